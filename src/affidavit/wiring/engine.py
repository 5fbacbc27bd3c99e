"""What the rest of the wiring asks of a storage engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from affidavit.config import Settings
from affidavit.core.row import Recorded, Row
from affidavit.log.retention.expire import IndexCopies
from affidavit.storage.copies import Copies
from affidavit.storage.evidence import Evidence, IndexEvidence, LogEvidence
from affidavit.storage.log import Alarm, AlarmStore, LogStore, LogWriter, Manifest, ManifestStore, Queue, Tree
from affidavit.storage.protocols import EventStore, Follower, RawRow
from affidavit.storage.redaction import Redactor
from affidavit.storage.repair import LogRepair
from affidavit.storage.stores import Stores
from affidavit.wiring.lease import Lease

__all__ = [
    "ClosableRedactor",
    "Database",
    "Engine",
    "EventsAndLog",
    "IndexSide",
    "LogReader",
    "LogSide",
    "Places",
    "Waiting",
]


class LogReader(LogStore, Protocol):
    """Reads the log: trees, manifests, alarms."""

    def position(self) -> int:
        """The place up to which every event has its leaf."""
        ...

    def all_trees(self) -> list[Tree]:
        """Every incarnation of every organization, by number."""
        ...

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        ...

    def alarms(self) -> list[Alarm]:
        """See :class:`affidavit.storage.log.AlarmStore`."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class LogSide(Queue, LogWriter, ManifestStore, AlarmStore, Protocol):
    """What the holder of the worker's lease writes the log with."""

    def forget(self) -> None:
        """Look again at what was held in memory: a new incarnation was begun."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ClosableRedactor(Redactor, Protocol):
    """Takes values away."""

    def close(self) -> None:
        """Let go of it."""
        ...


class IndexSide(Copies, IndexCopies, Protocol):
    """The copies of values in the search index, and how it is thrown away."""


class Waiting(NamedTuple):
    """What waits for its leaf.

    Attributes:
        events: how many.
        since: when the oldest was recorded, microseconds since 1970 UTC; ``None`` where nothing waits.
    """

    events: int
    since: int | None


class Places(NamedTuple):
    """The places that may hold copies of personal data, and what empties their free space."""

    copies: Sequence[Copies]
    scrubs: Sequence[Callable[[], bool]]
    close: Callable[[], None]


class EventsAndLog(Protocol):
    """The events of a database and their log."""

    @property
    def events(self) -> EventStore:
        """Keeps events."""
        ...

    @property
    def log(self) -> LogReader:
        """Reads the trees."""
        ...


class Database(Stores, EventsAndLog, Protocol):
    """One opened database: every role, as one process sees it; safe to use from several threads."""

    def submit(self, rows: Sequence[Row]) -> Awaitable[list[Recorded]]:
        """Store rows in a transaction shared with other callers of the running event loop."""
        ...

    def waiting(self) -> Waiting:
        """What waits for its leaf."""
        ...

    def queued(self) -> Iterator[RawRow]:
        """The rows that wait for their leaf, in the order in which they get one."""
        ...

    def meta(self, key: str) -> str | None:
        """A fact about the database, such as ``demo``."""
        ...

    def set_meta(self, key: str, value: str) -> None:
        """Note a fact about the database."""
        ...

    def close(self) -> None:
        """Commit what waits and let go of it."""
        ...


class Engine(Protocol):
    """A database by its settings; nothing is open until a method opens it.

    The writing sides (``writer``, ``redactor``, ``follower``, ``index_copies``) belong to the holder of the
    lease that this object gave, where the engine can tell; they refuse to write once it is lost.
    """

    @property
    def settings(self) -> Settings:
        """Of the program."""
        ...

    @property
    def name(self) -> str:
        """Where the database is, for people; no password."""
        ...

    def exists(self) -> bool:
        """Whether there is a database with our tables, or one that cannot be looked at."""
        ...

    def migrate(self) -> list[tuple[int, str]]:
        """Make or upgrade the schema; number and name of each step."""
        ...

    def planned(self) -> list[tuple[int, str]]:
        """What :meth:`migrate` would do."""
        ...

    def identity(self) -> str:
        """The random name of the database."""
        ...

    def open(self) -> Database:
        """Open the stores."""
        ...

    def take_in(self, rows: Sequence[Row]) -> None:
        """Store rows that waited in a spool, in a transaction of their own.

        Raises:
            Refused: an event cannot be stored, ever; nothing was.
            StorageBusy: another writer holds the database; it was not waited for.
        """
        ...

    def lease(self) -> Lease:
        """The right to be its worker; the same object each time."""
        ...

    def writer(self, *, make: bool = True, adopt: bool = False) -> LogSide:
        """Open the log for writing.

        Args:
            make: whether a missing log is made.
            adopt: whether the log of another database belongs to this one from now on.
        """
        ...

    def log_reader(self) -> LogReader:
        """Another reader of the log; the caller closes it."""
        ...

    def repair(self, writer: LogSide) -> LogRepair:
        """What begins new incarnations."""
        ...

    def redactor(self) -> ClosableRedactor:
        """What takes values away."""
        ...

    def follower(self) -> Follower:
        """What keeps the search index."""
        ...

    def index_copies(self) -> IndexSide:
        """The copies in the search index."""
        ...

    def discard_index(self) -> None:
        """Throw the search index away; the follower makes it anew."""
        ...

    def places(self, database: Database, redactor: Redactor) -> Places:
        """Every place that may hold copies of personal data."""
        ...

    def log_exists(self) -> bool:
        """Whether there is a log at all."""
        ...

    def log_name(self) -> str:
        """Where the log is, for people."""
        ...

    def check_history(self, database: EventsAndLog) -> None:
        """Raise :class:`~affidavit.errors.LogMismatch` where events and log are not of one history."""
        ...

    def housekeeping(self, at_end: Callable[[Callable[[], None]], object]) -> Callable[[], bool] | None:
        """One bounded piece of the engine's own upkeep (partitions), a true answer asks for more of it.

        Args:
            at_end: takes what is to be called when the worker ends.
        """
        ...

    def evidence(self) -> tuple[Evidence, LogEvidence, IndexEvidence]:
        """What is stored, as it stands."""
        ...
