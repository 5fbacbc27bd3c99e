"""The SQLite engine: three files beside one another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

from affidavit.config import Settings
from affidavit.core.row import Recorded, Row
from affidavit.errors import ConfigError
from affidavit.log.erasure.registry import EventCopies
from affidavit.storage.protocols import Follower, RawRow
from affidavit.storage.redaction import Redactor
from affidavit.storage.repair import LogRepair
from affidavit.storage.sql.copies import SqlNames, SqlTaskCopies
from affidavit.storage.sql.retention import SqlHolds, SqlPolicies
from affidavit.storage.sql.settings import (
    SqlCatalogs,
    SqlLogins,
    SqlOrganizations,
    SqlSessions,
    SqlTokens,
)
from affidavit.storage.sql.tasks import SqlTasks
from affidavit.storage.sqlite import database as sqlite
from affidavit.storage.sqlite.connect import connect, index_path
from affidavit.storage.sqlite.evidence import SqliteEvidence, SqliteIndexEvidence, SqliteLogEvidence
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.storage.sqlite.index_copies import SqliteIndexCopies
from affidavit.storage.sqlite.index_file import discard
from affidavit.storage.sqlite.log_check import check_files
from affidavit.storage.sqlite.log_file import database_id, log_path
from affidavit.storage.sqlite.log_repair import SqliteLogRepair
from affidavit.storage.sqlite.log_store import SqliteLog
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.storage.sqlite.redaction import SqliteRedactor, empty_wal
from affidavit.storage.sqlite.retention import SqlitePast, SqliteRanges
from affidavit.storage.sqlite.writer import insert_beside
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Database, EventsAndLog, LogSide, Places, Waiting
from affidavit.wiring.lease import FileLease

__all__ = ["OpenedSqlite", "SqliteEngine"]


class OpenedSqlite:
    """One opened SQLite store; see :class:`affidavit.wiring.engine.Database`."""

    def __init__(self, database: sqlite.SqliteDatabase) -> None:
        self.sqlite = database
        self.events = database.events
        self.index = database.index
        self.log = database.log
        self.organizations = SqlOrganizations(database)
        self.tokens = SqlTokens(database)
        self.logins = SqlLogins(database)
        self.sessions = SqlSessions(database)
        self.catalogs = SqlCatalogs(database)
        self.tasks = SqlTasks(database)
        self.policies = SqlPolicies(database)
        self.holds = SqlHolds(database)
        self.past = SqlitePast(database)
        self.ranges = SqliteRanges(database)
        self.meta = database.meta
        self.set_meta = database.set_meta
        self.close = database.close

    def submit(self, rows: Sequence[Row]) -> Awaitable[list[Recorded]]:
        """See the protocol."""
        return self.sqlite.group.submit(rows)

    def waiting(self) -> Waiting:
        """See the protocol."""
        position = self.log.position()
        oldest = self.events.after(position, 1)
        return Waiting(max(0, self.events.last_seq() - position), oldest[0].recorded_at if oldest else None)

    def queued(self) -> Iterator[RawRow]:
        """See the protocol."""
        for first in range(self.log.position() + 1, self.events.last_seq() + 1, 1_000):
            yield from self.events.rows(range(first, first + 1_000))


class _IndexCopies(SqliteIndexCopies):
    """The copies in the search index, and how it is thrown away."""

    def __init__(self, engine: SqliteEngine) -> None:
        super().__init__(engine.path, engine.index_path)
        self.discard = engine.discard_index


class SqliteEngine:
    """See :class:`affidavit.wiring.engine.Engine`.

    Args:
        settings: of the program.

    Raises:
        ConfigError: the database is not a file.
    """

    def __init__(self, settings: Settings) -> None:
        path = settings.database_path
        if path is None:
            raise ConfigError("Use a file, sqlite:///file.db, or postgresql://user@host/database")
        self.settings = settings
        self.path = path
        self.log_path = settings.log_database or log_path(path)
        self.index_path = settings.index_database or index_path(path)
        self._lease = FileLease(path.with_name(f"{path.with_suffix('').name}-worker.lock"))

    @property
    def name(self) -> str:
        """The file."""
        return str(self.path)

    def exists(self) -> bool:
        """Whether there is a file with something in it."""
        return self.path.exists() and self.path.stat().st_size > 0

    def migrate(self) -> list[tuple[int, str]]:
        """See the protocol."""
        return [(step.number, step.name) for step in sqlite.migrate_file(self.path)]

    def planned(self) -> list[tuple[int, str]]:
        """See the protocol."""
        return [(step.number, step.name) for step in sqlite.planned(self.path)]

    def identity(self) -> str:
        """See the protocol."""
        return database_id(self.path)

    def open(self) -> Database:
        """See the protocol."""
        return OpenedSqlite(sqlite.SqliteDatabase(self.path, self.index_path, self.log_path, clock=clock))

    def take_in(self, rows: Sequence[Row]) -> None:
        """See the protocol."""
        insert_beside(self.path, rows, clock())

    def lease(self) -> FileLease:
        """A lock on a file beside the database."""
        return self._lease

    def writer(self, *, make: bool = True, adopt: bool = False) -> SqliteLogWriter:
        """See the protocol."""
        return SqliteLogWriter(self.path, self.log_path, make=make, adopt=adopt)

    def log_reader(self) -> SqliteLog:
        """See the protocol."""
        return SqliteLog(self.log_path)

    def repair(self, writer: LogSide) -> LogRepair:
        """See the protocol."""
        assert isinstance(writer, SqliteLogWriter)
        return SqliteLogRepair(self.path, self.log_path, writer)

    def redactor(self) -> SqliteRedactor:
        """See the protocol."""
        return SqliteRedactor(self.path)

    def follower(self) -> Follower:
        """See the protocol."""
        return IndexFollower(self.path, self.index_path)

    def index_copies(self) -> _IndexCopies:
        """See the protocol."""
        return _IndexCopies(self)

    def discard_index(self) -> None:
        """See the protocol."""
        discard(self.index_path)

    def places(self, database: Database, redactor: Redactor) -> Places:
        """See the protocol. A part that keeps values of events is added here."""
        assert isinstance(database, OpenedSqlite)
        index = self.index_copies()
        copies = (
            EventCopies(database.events, redactor),
            index,
            SqlNames(database.sqlite),
            SqlTaskCopies(database.sqlite),
        )
        return Places(copies, (redactor.scrub, index.scrub, self._scrub_log), index.close)

    def _scrub_log(self) -> bool:
        connection = connect(self.log_path, writer=True)
        try:
            return empty_wal(self.log_path, connection)
        finally:
            connection.close()

    def log_exists(self) -> bool:
        """See the protocol."""
        return self.log_path.exists()

    def log_name(self) -> str:
        """The log file."""
        return f"log file {self.log_path}"

    def check_history(self, database: EventsAndLog) -> None:
        """See the protocol."""
        assert isinstance(database.log, SqliteLog)
        check_files(self.path, database.events, database.log)

    def housekeeping(self, at_end: Callable[[Callable[[], None]], object]) -> Callable[[], bool] | None:  # noqa: ARG002
        """There is none."""
        return None

    def evidence(self) -> tuple[SqliteEvidence, SqliteLogEvidence, SqliteIndexEvidence]:
        """See the protocol."""
        return (
            SqliteEvidence(self.path, self.log_path, self.index_path),
            SqliteLogEvidence(self.log_path),
            SqliteIndexEvidence(self.index_path),
        )
