"""The index file: made, opened, recognised as ours, and noticed when it was deleted under us."""

from __future__ import annotations

import secrets
import sqlite3
from importlib.resources import files
from pathlib import Path

import msgspec

from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.migrate import statements

__all__ = ["INDEX_VERSION", "IndexState", "create", "read_state", "remove"]

INDEX_VERSION = 1


class IndexState(msgspec.Struct, frozen=True):
    """The one row of ``affidavit_index``."""

    database_id: str
    key: bytes
    seq: int
    id: bytes | None
    recorded_at: int | None


def create(path: Path, database_id: str) -> sqlite3.Connection:
    """Make an empty index file that follows a database. Only the worker does this."""
    connection = connect(path, writer=True, create=True, synchronous="NORMAL")
    with translated(path):
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
    return connection


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


def remove(path: Path) -> None:
    """Take away an index file and its companions. Only the worker does this, with none of them open."""
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        if inode(name) is not None:
            name.unlink()
