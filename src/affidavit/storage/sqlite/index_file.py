"""The index file: made, opened, recognised as ours, and noticed when it was deleted under us."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import msgspec

from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.migrate import statements

__all__ = ["INDEX_VERSION", "IndexState", "create", "discard", "oldest_beyond", "read_state", "remove"]

INDEX_VERSION = 1


class IndexState(msgspec.Struct, frozen=True):
    """The one row of ``affidavit_index``."""

    database_id: str
    key: bytes
    seq: int
    id: bytes | None
    recorded_at: int | None


def create(path: Path, database_id: str) -> sqlite3.Connection:
    """Make an empty index file that follows a database. Only the worker does this.

    It gets its name when it is whole: whoever is killed while making one leaves none that lacks its tables.
    """
    begun = path.with_name(f"{path.name}.new")
    begun.unlink(missing_ok=True)
    begun.with_name(f"{begun.name}-journal").unlink(missing_ok=True)
    os.close(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with translated(begun), closing(sqlite3.connect(begun, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements(
            files("affidavit.storage.sqlite").joinpath("index.sql").read_text(encoding="utf-8")
        ):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO affidavit_index VALUES (1, ?, ?, ?, 0, NULL, NULL)",
            (INDEX_VERSION, database_id, secrets.token_bytes(16)),
        )
        connection.execute("COMMIT")
    begun.replace(path)
    return connect(path, writer=True, synchronous="NORMAL")


def read_state(connection: sqlite3.Connection) -> IndexState | None:
    """The state as of the connection's transaction; ``None`` for a file of another layout."""
    try:
        row = connection.execute(
            "SELECT version, database_id, key, seq, id, recorded_at FROM affidavit_index"
        ).fetchone()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            return None
        raise
    if row is None or row[0] != INDEX_VERSION:
        return None
    return IndexState(*row[1:])


def oldest_beyond(events: sqlite3.Connection, seq: int) -> int | None:
    """When the first event beyond a place was recorded; ``None`` where there is none."""
    row = events.execute(
        "SELECT recorded_at FROM affidavit_events WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)
    ).fetchone()
    return None if row is None else int(row[0])


def remove(path: Path) -> None:
    """Take away an index file and its companions. Only the worker does this, with none of them open."""
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if inode(name) is not None:
            name.unlink()


def discard(path: Path) -> None:
    """Take away the index file alone, as an operator may at any time: the follower makes it anew."""
    path.unlink(missing_ok=True)
