"""Group commit: one transaction for many callers, and no caller can end it for the others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from affidavit.catalogs import ready_made
from affidavit.core.event import Actor, Draft
from affidavit.core.row import Row
from affidavit.errors import IdConflict, StorageError
from affidavit.recorder.intake import Intake
from affidavit.storage.sqlite import database as sqlite
from affidavit.storage.sqlite.writer import GroupCommit

NOW = 1_790_000_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite.SqliteDatabase]:
    """A fresh database."""
    sqlite.migrate_file(tmp_path / "a.db")
    opened = sqlite.SqliteDatabase(tmp_path / "a.db", None, clock=lambda: NOW)
    yield opened
    opened.close()


class Maker:
    """Makes rows."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._intake = Intake(
            lambda rows: [],
            clock=lambda: NOW,
            entropy=lambda size: (next(self._numbers).to_bytes(8, "big") * (size // 8 + 1))[:size],
            catalogs=ready_made,
            organization_secret=lambda name: name.encode().ljust(32)[:32],
        )

    def row(self, key: str | None = None, reason: str | None = None) -> list[Row]:
        """One event, under a key where one is given."""
        draft = Draft(
            action="user.update",
            actor=Actor(type="user", id="u"),
            idempotency_key=key,
            occurred_at=NOW if key else None,
            reason=reason,
        )
        return self._intake.prepare([draft], organization="acme")


def count(database: sqlite.SqliteDatabase) -> int:
    """How many events are stored."""
    return len(database.events.after(0, 1_000))


def test_a_cancelled_caller_does_not_end_the_writer(database: sqlite.SqliteDatabase) -> None:
    """Whoever goes away before the commit leaves its event stored and everybody else served."""
    maker = Maker()

    async def run() -> None:
        leaving = database.group.submit(maker.row())
        leaving.cancel()
        for _ in range(3):
            (recorded,) = await asyncio.wait_for(database.group.submit(maker.row()), 30)
            assert not recorded.duplicate

    asyncio.run(run())
    assert count(database) == 4


def test_callers_of_one_turn_share_a_transaction(database: sqlite.SqliteDatabase) -> None:
    """What one turn of the loop hands in is committed together, and each caller gets its own answer."""
    maker = Maker()
    groups: list[int] = []
    insert_group = database.writer.insert_group

    def counted(batches: Sequence[Sequence[Row]]) -> object:
        groups.append(len(batches))
        return insert_group(batches)

    database.writer.insert_group = counted  # type: ignore[method-assign,assignment]
    rows = [maker.row() for _ in range(20)]

    async def run() -> None:
        answers = await asyncio.gather(*(database.group.submit(one) for one in rows))
        assert [answer[0].id for answer in answers] == [one[0].id for one in rows]

    asyncio.run(run())
    assert groups == [20]


def test_a_conflict_fails_its_caller_only(database: sqlite.SqliteDatabase) -> None:
    """Of several callers in one group, only the one with other content under its id is refused."""
    maker = Maker()
    first, other, free = maker.row("k"), maker.row("k", reason="other"), maker.row()

    async def run() -> list[object]:
        submitted = [database.group.submit(one) for one in (first, other, free)]
        return list(await asyncio.gather(*submitted, return_exceptions=True))

    answers = asyncio.run(run())
    assert isinstance(answers[1], IdConflict)
    assert count(database) == 2


def test_an_error_of_the_database_reaches_every_caller(database: sqlite.SqliteDatabase) -> None:
    """A group that cannot be committed fails as a whole; the next one is tried anew."""
    maker = Maker()
    insert_group = database.writer.insert_group

    def failing(batches: Sequence[Sequence[Row]]) -> object:
        raise StorageError("no")

    async def run() -> None:
        database.writer.insert_group = failing  # type: ignore[method-assign,assignment]
        submitted = [database.group.submit(maker.row()) for _ in range(3)]
        for answer in await asyncio.gather(*submitted, return_exceptions=True):
            assert isinstance(answer, StorageError)
        database.writer.insert_group = insert_group  # type: ignore[method-assign]
        await database.group.submit(maker.row())

    asyncio.run(run())
    assert count(database) == 1


def test_closing_commits_what_waits(database: sqlite.SqliteDatabase) -> None:
    """What was handed in before the end is stored; afterwards callers are told to send again."""
    maker = Maker()
    group = GroupCommit(database.writer)

    async def run() -> None:
        waiting = group.submit(maker.row())
        group.close()
        await waiting
        with pytest.raises(StorageError, match="shutting down"):
            group.submit(maker.row())

    asyncio.run(run())
    assert count(database) == 1
