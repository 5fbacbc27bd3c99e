"""Reading the log file: trees, leaves, checkpoints, manifests, alarms. Safe to use from several threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from affidavit.storage.sql.log_store import SqlLog
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, inode, translated

__all__ = ["SqliteLog"]

MOST_IDLE = 8


class SqliteLog(SqlLog):
    """LogStore of one log file, and what readers ask of manifests and alarms.

    Args:
        path: of the log file; while it is missing there are no trees.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[tuple[sqlite3.Connection, tuple[int, int] | None]] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def session(self) -> Iterator[sqlite3.Connection | None]:
        """A connection within a read transaction; ``None`` while there is no log."""
        with translated(self.path):
            opened = self._take()
            if opened is None:
                yield None
                return
            connection, number = opened
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("ROLLBACK")
            except BaseException:
                connection.close()
                raise
            self._give(connection, number)

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int] | None] | None:
        now = inode(self.path)
        with self._lock:
            stale = [each for each in self._idle if each[1] != now]
            self._idle = [each for each in self._idle if each[1] == now]
            opened = self._idle.pop() if self._idle else None
        for connection, _ in stale:
            connection.close()
        if opened is not None or now is None:
            return opened
        connection = connect(self.path, writer=False)
        try:
            if not migrate.applied(connection, self.path):
                connection.close()  # it is being made at this moment
                return None
            migrate.check(connection, self.path, migrate.LOG)
        except BaseException:
            connection.close()
            raise
        return connection, now

    def _give(self, connection: sqlite3.Connection, number: tuple[int, int] | None) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append((connection, number))
                return
        connection.close()

    def close(self) -> None:
        """Close what is idle; sessions under way close when they end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
