"""What a storage engine hands to the conformance suites: databases, and the stores of each."""

from __future__ import annotations

from typing import Protocol

from affidavit.storage.log import AlarmStore, LogStore, LogWriter, ManifestStore, Queue
from affidavit.storage.protocols import EventIndex, EventStore, Follower
from affidavit.storage.redaction import Redactor
from affidavit.storage.retention import HoldStore, PastStore, PolicyStore, RangeStore
from affidavit.storage.settings import CatalogStore, LoginStore, OrganizationStore, SessionStore, TokenStore
from affidavit.storage.tasks import TaskStore

__all__ = ["Engine", "LogSide", "RedactionSide", "Stores"]


class LogSide(Queue, LogWriter, ManifestStore, AlarmStore, Protocol):
    """What the holder of the worker's lease writes the log with."""

    def close(self) -> None:
        """Let go of its files."""
        ...


class RedactionSide(Redactor, Protocol):
    """What takes values away, as a worker process opens it."""

    def close(self) -> None:
        """Let go of its files."""
        ...


class Stores(Protocol):
    """One open database: every role that the engine implements, as one process sees it."""

    @property
    def events(self) -> EventStore:
        """Keeps events."""
        ...

    @property
    def index(self) -> EventIndex:
        """Says which events match."""
        ...

    @property
    def organizations(self) -> OrganizationStore:
        """Organizations and their secrets."""
        ...

    @property
    def tokens(self) -> TokenStore:
        """API tokens."""
        ...

    @property
    def logins(self) -> LoginStore:
        """One-time login links."""
        ...

    @property
    def sessions(self) -> SessionStore:
        """Signed-in browsers."""
        ...

    @property
    def catalogs(self) -> CatalogStore:
        """Pushed catalogs."""
        ...

    @property
    def policies(self) -> PolicyStore:
        """Retention policies."""
        ...

    @property
    def holds(self) -> HoldStore:
        """Legal holds."""
        ...

    @property
    def past(self) -> PastStore:
        """Finds events by action and id."""
        ...

    @property
    def ranges(self) -> RangeStore:
        """Closed ranges of ids."""
        ...

    @property
    def tasks(self) -> TaskStore:
        """Work that was ordered."""
        ...

    def redactor(self) -> RedactionSide:
        """Takes values away; the caller closes it."""
        ...

    @property
    def log(self) -> LogStore:
        """Reads the trees."""
        ...

    def log_side(self) -> LogSide:
        """A writer of the log, as a worker process would open it; the caller closes it."""
        ...

    def follower(self) -> Follower:
        """A new follower of the index, as a worker process would open it; the caller closes it."""
        ...

    def lose_index(self) -> None:
        """Take away what can be rebuilt, as an operator may at any time; open connections stay open."""
        ...

    def close(self) -> None:
        """Let go of everything that is open."""
        ...


class Engine(Protocol):
    """Makes databases. One of these for each engine is all that a suite needs to know of it."""

    def create(self) -> str:
        """Make an empty database with a current schema; returns what :meth:`open` takes."""
        ...

    def open(self, database: str) -> Stores:
        """Open a database, again or at the same time as others."""
        ...

    def close(self) -> None:
        """Close every store that is still open, and take the databases away."""
        ...
