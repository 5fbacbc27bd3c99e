"""One SQLite store, opened: the writer, the readers, and what the settings stores need of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from affidavit.core.row import Row
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, index_path
from affidavit.storage.sqlite.events import SqliteEvents
from affidavit.storage.sqlite.index import SqliteIndex
from affidavit.storage.sqlite.log_file import log_path
from affidavit.storage.sqlite.log_store import SqliteLog
from affidavit.storage.sqlite.readers import Readers
from affidavit.storage.sqlite.writer import GroupCommit, Writer, insert_rows

__all__ = ["SqliteDatabase", "migrate_file", "planned"]

T = TypeVar("T")


def migrate_file(path: Path) -> list[migrate.Migration]:
    """Make the database where it is missing and bring its schema up to date; what was applied."""
    connection = connect(path, writer=True, create=True)
    try:
        return migrate.migrate(connection, path)
    finally:
        connection.close()


def planned(path: Path) -> list[migrate.Migration]:
    """What :func:`migrate_file` would apply; changes nothing, a missing file included."""
    if not path.exists():
        return migrate.available()
    connection = connect(path, writer=False)
    try:
        return migrate.pending(connection, path)
    finally:
        connection.close()


class SqliteDatabase:
    """Everything of one store in one process.

    Args:
        path: the app's file; it exists and its schema is current.
        index: the index file; ``None`` puts it beside.
        log: the log file; ``None`` puts it beside.
        clock: microseconds since 1970 UTC.
    """

    def __init__(
        self, path: Path, index: Path | None = None, log: Path | None = None, *, clock: Callable[[], int]
    ) -> None:
        self.path = path
        self.index_path = index or index_path(path)
        self.log_path = log or log_path(path)
        self._clock = clock
        self.readers = Readers(path, self.index_path)
        try:
            self.writer = Writer(path, clock=clock)
        except BaseException:
            self.readers.close()
            raise
        self.events = SqliteEvents(self.writer, self.readers)
        self.index = SqliteIndex(self.readers, self.index_path)
        self.log = SqliteLog(self.log_path)
        self._group: GroupCommit | None = None

    @property
    def group(self) -> GroupCommit:
        """Group commit, its thread started at the first use (so that a fork before it is harmless)."""
        if self._group is None:
            self._group = GroupCommit(self.writer)
        return self._group

    def change(
        self,
        work: Callable[[sqlite3.Connection], T],
        rows: Callable[[T], Sequence[Row]],
        *,
        alone: str | None = None,  # noqa: ARG002 - SQLite lets one transaction write at a time
    ) -> T:
        """Run ``work`` and insert the rows that follow from its answer, in one durable transaction."""
        with self.writer.transaction() as connection:
            answer = work(connection)
            insert_rows(connection, rows(answer), self._clock())
        return answer

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``work`` within one reading transaction."""
        with self.readers.session() as session:
            return work(session.events)

    def meta(self, key: str) -> str | None:
        """A fact about the database, such as ``demo``."""
        row = self.read(
            lambda connection: connection.execute(
                "SELECT value FROM affidavit_meta WHERE key = ?", (key,)
            ).fetchone()
        )
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Note a fact about the database."""
        self.change(
            lambda connection: connection.execute(
                "INSERT OR REPLACE INTO affidavit_meta VALUES (?, ?)", (key, value)
            ),
            lambda _: (),
        )

    def close(self) -> None:
        """Commit what waits and close the files."""
        if self._group is not None:
            self._group.close()
        self.readers.close()
        self.log.close()
        self.writer.close()
