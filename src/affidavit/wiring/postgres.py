"""The PostgreSQL engine: one schema of a database, which may belong to an application."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence

from affidavit.config import Settings
from affidavit.core.ids import first_id
from affidavit.core.prepare import IMPORT_AFTER
from affidavit.core.row import Recorded, Row
from affidavit.errors import SchemaMissing, StorageError
from affidavit.log.erasure.registry import EventCopies
from affidavit.storage.postgres import migrate
from affidavit.storage.postgres.connect import Address, Session, connect
from affidavit.storage.postgres.copies import PostgresIndexCopies
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.events import PostgresEvents
from affidavit.storage.postgres.evidence import PostgresEvidence, PostgresIndexEvidence, PostgresLogEvidence
from affidavit.storage.postgres.follower import PostgresFollower, discard
from affidavit.storage.postgres.group import GroupCommit
from affidavit.storage.postgres.index import PostgresIndex
from affidavit.storage.postgres.lease import Lease
from affidavit.storage.postgres.log_repair import PostgresLogRepair
from affidavit.storage.postgres.log_store import PostgresLog
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from affidavit.storage.postgres.partitions import Partitions
from affidavit.storage.postgres.redaction import PostgresRedactor
from affidavit.storage.postgres.retention import PostgresPast, PostgresRanges
from affidavit.storage.protocols import Follower
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
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Database, EventsAndLog, LogSide, Places, Waiting

__all__ = ["OpenedPostgres", "PostgresEngine"]


class _Events(PostgresEvents):
    """Makes the months of old events before a batch of an import needs them."""

    def __init__(self, database: PostgresDatabase) -> None:
        super().__init__(database)
        self._months = Partitions(database.address)
        self._lock = threading.Lock()

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """See :class:`affidavit.storage.protocols.EventStore`."""
        border = first_id(clock() - IMPORT_AFTER)
        old = [row.id for row in rows if row.id < border]
        if old:
            with self._lock:
                self._months.make_for(old)
        return super().insert(rows)

    def close(self) -> None:
        """Let go of the connection that made months."""
        self._months.close()


class OpenedPostgres:
    """One opened PostgreSQL store; see :class:`affidavit.wiring.engine.Database`."""

    def __init__(self, database: PostgresDatabase) -> None:
        self.postgres = database
        self.events = _Events(database)
        self.index = PostgresIndex(database)
        self.log = PostgresLog(database.pool)
        self.organizations = SqlOrganizations(database)
        self.tokens = SqlTokens(database)
        self.logins = SqlLogins(database)
        self.sessions = SqlSessions(database)
        self.catalogs = SqlCatalogs(database)
        self.tasks = SqlTasks(database)
        self.policies = SqlPolicies(database)
        self.holds = SqlHolds(database)
        self.past = PostgresPast(database)
        self.ranges = PostgresRanges(database)
        self.meta = database.meta
        self.set_meta = database.set_meta
        self.queued = self.events.queued
        self._group: GroupCommit | None = None

    def submit(self, rows: Sequence[Row]) -> Awaitable[list[Recorded]]:
        """See the protocol."""
        if self._group is None:
            self._group = GroupCommit(self.postgres.address)
        return self._group.submit(rows)

    def waiting(self) -> Waiting:
        """See the protocol."""
        row = self.postgres.read(
            lambda session: session.execute(
                "SELECT count(*), (SELECT e.recorded_at FROM affidavit_pending p JOIN affidavit_events e"
                " ON e.organization = p.organization AND e.id = p.id ORDER BY p.seq LIMIT 1)"
                " FROM affidavit_pending"
            ).fetchone()
        )
        return Waiting(*row) if row is not None else Waiting(0, None)

    def close(self) -> None:
        """See the protocol."""
        if self._group is not None:
            self._group.close()
        self.events.close()
        self.postgres.close()


class _IndexCopies(PostgresIndexCopies):
    """The copies in the search index, and how it is thrown away."""

    def __init__(self, engine: PostgresEngine) -> None:
        super().__init__(engine.address, engine.fence)
        self.discard = engine.discard_index


class PostgresEngine:
    """See :class:`affidavit.wiring.engine.Engine`.

    Args:
        settings: of the program.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = Address(settings.database, settings.schema)
        self._lease = Lease(self.address)

    @property
    def fence(self) -> Callable[[Session], None] | None:
        """What each transaction of the worker asks first; ``None`` where no lease was taken here."""
        return self._lease.check if self._lease.taken else None

    @property
    def name(self) -> str:
        """Database and host."""
        return self.address.shown

    def exists(self) -> bool:
        """Whether our tables are there; where that cannot be found out, whoever opens it says why."""
        try:
            session = connect(self.address)
        except StorageError:
            return True
        with contextlib.closing(session):
            try:
                migrate.check(session)
            except SchemaMissing:
                return bool(migrate.applied(session))
            except StorageError:
                return True
        return True

    def migrate(self) -> list[tuple[int, str]]:
        """See the protocol."""
        return [(step.number, step.name) for step in migrate.migrate(self.address)]

    def planned(self) -> list[tuple[int, str]]:
        """See the protocol."""
        return [(step.number, step.name) for step in migrate.planned(self.address)]

    def identity(self) -> str:
        """See the protocol."""
        with contextlib.closing(PostgresDatabase(self.address, pool=1)) as database:
            return database.meta("database_id") or ""

    def open(self) -> Database:
        """See the protocol."""
        with contextlib.closing(connect(self.address)) as session:
            migrate.check(session)
        database = PostgresDatabase(self.address, pool=self.settings.database_pool, fence=self.fence)
        return OpenedPostgres(database)

    def take_in(self, rows: Sequence[Row]) -> None:
        """See the protocol."""
        with contextlib.closing(self.open()) as database:
            database.events.insert(rows)

    def lease(self) -> Lease:
        """A row that is renewed each second."""
        return self._lease

    def writer(self, *, make: bool = True, adopt: bool = False) -> PostgresLogWriter:  # noqa: ARG002
        """See the protocol; the log is in the same database, so it is always there and always ours."""
        return PostgresLogWriter(self.address, fence=self.fence)

    def log_reader(self) -> PostgresLog:
        """See the protocol."""
        return PostgresLog.opened(self.address)

    def repair(self, writer: LogSide) -> LogRepair:
        """See the protocol."""
        assert isinstance(writer, PostgresLogWriter)
        return PostgresLogRepair(writer)

    def redactor(self) -> PostgresRedactor:
        """See the protocol."""
        return PostgresRedactor(self.address, fence=self.fence)

    def follower(self) -> Follower:
        """See the protocol."""
        return PostgresFollower(self.address, fence=self.fence)

    def index_copies(self) -> _IndexCopies:
        """See the protocol."""
        return _IndexCopies(self)

    def discard_index(self) -> None:
        """See the protocol."""
        discard(self.address)

    def places(self, database: Database, redactor: Redactor) -> Places:
        """See the protocol. A part that keeps values of events is added here."""
        assert isinstance(database, OpenedPostgres)
        index = self.index_copies()
        copies = (
            EventCopies(database.events, redactor),
            index,
            SqlNames(database.postgres),
            SqlTaskCopies(database.postgres),
        )
        return Places(copies, (redactor.scrub, index.scrub), index.close)

    def log_exists(self) -> bool:
        """Its tables are made with the others."""
        return True

    def log_name(self) -> str:
        """Where the events are."""
        return f"log in {self.name}"

    def check_history(self, database: EventsAndLog) -> None:
        """Events and log are restored together, unless somebody put back some of the tables only."""
        assert isinstance(database.log, PostgresLog)
        database.log.check_place()

    def housekeeping(self, at_end: Callable[[Callable[[], None]], object]) -> Callable[[], bool] | None:
        """Months are made ahead, the default partition is emptied, what is pruned as a whole goes."""
        partitions = Partitions(self.address, fence=self.fence)
        at_end(partitions.close)
        return partitions.step

    def evidence(self) -> tuple[PostgresEvidence, PostgresLogEvidence, PostgresIndexEvidence]:
        """See the protocol."""
        return (
            PostgresEvidence(self.address),
            PostgresLogEvidence(self.address),
            PostgresIndexEvidence(self.address),
        )
