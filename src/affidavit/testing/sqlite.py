"""The SQLite engine for the conformance suites."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from affidavit.storage.protocols import Follower
from affidavit.storage.sql.retention import SqlHolds, SqlPolicies
from affidavit.storage.sql.settings import (
    SqlCatalogs,
    SqlLogins,
    SqlOrganizations,
    SqlSessions,
    SqlTokens,
)
from affidavit.storage.sql.tasks import SqlTasks
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.storage.sqlite.redaction import SqliteRedactor
from affidavit.storage.sqlite.retention import SqlitePast, SqliteRanges
from affidavit.testing.engine import LogSide, RedactionSide

__all__ = ["SqliteEngine", "SqliteStores", "empty_database"]


def empty_database(path: Path) -> bytes:
    """The bytes of an empty database with a current schema, made at ``path``."""
    migrate_file(path)
    return path.read_bytes()


class SqliteStores:
    """The stores of one SQLite file; see :class:`affidavit.testing.engine.Stores`.

    Args:
        path: of a migrated file.
        clock: microseconds since 1970 UTC, for ``recorded_at``.
    """

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        self.database = SqliteDatabase(path, clock=clock)
        self.events = self.database.events
        self.index = self.database.index
        self.log = self.database.log
        self.organizations = SqlOrganizations(self.database)
        self.tokens = SqlTokens(self.database)
        self.logins = SqlLogins(self.database)
        self.sessions = SqlSessions(self.database)
        self.catalogs = SqlCatalogs(self.database)
        self.tasks = SqlTasks(self.database)
        self.policies = SqlPolicies(self.database)
        self.holds = SqlHolds(self.database)
        self.past = SqlitePast(self.database)
        self.ranges = SqliteRanges(self.database)

    def follower(self) -> Follower:
        """A new follower of the index."""
        return IndexFollower(self.database.path, self.database.index_path)

    def redactor(self) -> RedactionSide:
        """A new redactor."""
        return SqliteRedactor(self.database.path)

    def log_side(self) -> LogSide:
        """A new writer of the log."""
        return SqliteLogWriter(self.database.path, self.database.log_path)

    def lose_index(self) -> None:
        """Delete the index file; what stands beside it stays behind, as after ``rm app-index.db``."""
        self.database.index_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


class SqliteEngine:
    """Makes SQLite files in a folder; see :class:`affidavit.testing.engine.Engine`.

    Args:
        folder: exists, and is removed by whoever made it.
        clock: microseconds since 1970 UTC.
        template: bytes of an empty database (:func:`empty_database`), to make others faster.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int], template: bytes | None = None) -> None:
        self._folder = folder
        self._clock = clock
        self._template = template
        self._made = 0
        self._open: list[SqliteStores] = []

    def create(self) -> str:
        """Make an empty database: a copy of the template, which is made where there is none."""
        self._made += 1
        path = self._folder / f"audit-{self._made}.db"
        if self._template is None:
            self._template = empty_database(self._folder / "template.db")
        path.write_bytes(self._template)
        return str(path)

    def open(self, database: str) -> SqliteStores:
        """Open one of these databases."""
        stores = SqliteStores(Path(database), self._clock)
        self._open.append(stores)
        return stores

    def close(self) -> None:
        """Close what is open; closing twice does no harm."""
        for stores in self._open:
            stores.close()
        self._open.clear()
