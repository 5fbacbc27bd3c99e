"""What a storage engine hands to the conformance suites: databases, and the stores of each."""

from __future__ import annotations

from typing import Protocol

from affidavit.storage.log import AlarmStore, LogStore, LogWriter, ManifestStore, Queue
from affidavit.storage.protocols import Follower
from affidavit.storage.redaction import Redactor
from affidavit.storage.stores import Stores as AllStores

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


class Stores(AllStores, Protocol):
    """One open database: every role that the engine implements, as one process sees it."""

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
