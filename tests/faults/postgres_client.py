"""A program that records in PostgreSQL without pause, and says what was acknowledged; made to be killed.

``python -m tests.faults.postgres_client group|function FILE PREFIX``: FILE holds the URL of the database and
is read again after each error. An event goes out, under the same idempotency key, until it was acknowledged;
then its marker and id are printed. ``group`` records as a server does, ``function`` as an application that
changes a row of its own in the same transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import UUID

import psycopg

from affidavit import errors
from affidavit.core.event import Request
from affidavit.core.row import Row
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.group import GroupCommit
from affidavit.testing.author import Author

__all__ = ["ORGANIZATION"]

ORGANIZATION = "acme"
CALLERS = 6
PAUSE = 0.02
"""Seconds before the next try."""


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def say(markers: Sequence[str], ids: Sequence[bytes]) -> None:
    """Tell which events were acknowledged."""
    lines = [f"{marker} {UUID(bytes=event_id)}\n" for marker, event_id in zip(markers, ids, strict=True)]
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


class Groups:
    """The group commit at the address that the file names now."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._address = Address(file.read_text())
        self._group = GroupCommit(self._address)

    async def store(self, rows: Sequence[Row]) -> list[bytes]:
        """Submit until it was acknowledged."""
        while True:
            with contextlib.suppress(errors.StorageError):
                return [recorded.id for recorded in await self._group.submit(rows)]
            await asyncio.sleep(PAUSE)
            address = Address(self._file.read_text())
            if address != self._address:
                self._address, self._group = address, GroupCommit(address)


async def call(groups: Groups, author: Author, prefix: str, random: Random) -> None:
    """One caller of a server."""
    batch = 0
    while True:
        batch += 1
        markers = [f"{prefix}-{batch}-{event}" for event in range(random.choice((1, 1, 1, 5, 80)))]
        rows = [
            author.row(
                organization=ORGANIZATION, idempotency_key=mark, occurred_at=now(), request=Request(id=mark)
            )
            for mark in markers
        ]
        say(markers, await groups.store(rows))


async def serve(file: Path, prefix: str) -> None:
    """Callers side by side, as in a server."""
    groups, author = Groups(file), Author(now, seed=hash(prefix))
    await asyncio.gather(
        *(call(groups, author, f"{prefix}.{n}", Random(f"{prefix}{n}")) for n in range(CALLERS))
    )


def work(file: Path, prefix: str) -> None:
    """An application: one change of its own and one event in each transaction."""
    number = 0
    marker, at = f"{prefix}-0", datetime.now(UTC)
    while True:
        try:
            with psycopg.connect(file.read_text(), connect_timeout=5) as connection:
                while True:
                    say([marker], [record(connection, marker, at).bytes])
                    number += 1
                    marker, at = f"{prefix}-{number}", datetime.now(UTC)
        except psycopg.OperationalError:
            time.sleep(PAUSE)


def record(connection: psycopg.Connection, marker: str, at: datetime) -> UUID:
    """One transaction of it."""
    connection.execute("INSERT INTO changed VALUES (%s) ON CONFLICT DO NOTHING", (marker,))
    ((event_id,),) = connection.execute(
        "SELECT id FROM affidavit_record_v1(%s, 'user.create', %s, idempotency_key => %s, context => %s,"
        """ actor => '{"actor":{"id":"ana","type":"user"}}')""",
        (ORGANIZATION, at, marker, json.dumps({"request": {"id": marker}})),
    ).fetchall()
    connection.commit()
    found: UUID = event_id
    return found


def main(mode: str, file: str, prefix: str) -> None:
    """Run until killed."""
    if mode == "group":
        asyncio.run(serve(Path(file), prefix))
    else:
        work(Path(file), prefix)


if __name__ == "__main__":
    main(*sys.argv[1:])
