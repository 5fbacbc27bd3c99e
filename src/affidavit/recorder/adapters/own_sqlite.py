"""Connections of its own to an SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.adapters.sqlite import Sqlite3Driver, explained

__all__ = ["SqliteSource"]


class SqliteSource:
    """See :class:`affidavit.recorder.own.Source`.

    Args:
        path: of the file; it is not made.
        patience: seconds to wait for another writer.
    """

    dialect = "sqlite"
    keeps = True

    def __init__(self, path: Path, patience: float) -> None:
        self.path = path.absolute()
        self._patience = patience

    def connect(self) -> sqlite3.Connection:
        """A new connection, whose commits are on the disk."""
        connection = None
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode=rw",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=self._patience,
            )
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise explained(error) from error
        return connection

    def run(self, connection: sqlite3.Connection, steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own."""
        connection.execute("BEGIN IMMEDIATE")
        try:
            recorded = drive(Sqlite3Driver(connection), steps)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return recorded

    def is_busy(self, error: BaseException) -> bool:
        """Another connection holds the write lock."""
        return isinstance(error, sqlite3.OperationalError) and (error.sqlite_errorcode & 0xFF) in (
            sqlite3.SQLITE_BUSY,
            sqlite3.SQLITE_LOCKED,
        )

    def is_away(self, error: BaseException) -> bool:
        """The file cannot be opened."""
        return (
            isinstance(error, sqlite3.OperationalError)
            and (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_CANTOPEN
        )

    def close(self, connection: sqlite3.Connection) -> None:
        """Close a connection."""
        connection.close()
