"""One database to measure on, of whichever engine: what the measurements ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from affidavit.config import Settings
from affidavit.core.filter import Filter
from affidavit.core.row import Recorded, Row

__all__ = ["Base", "Behind", "EnginePage", "Probe", "Raw", "Ready"]


class Behind(NamedTuple):
    """What the worker has not taken in: how many events, and the age of the oldest in seconds."""

    events: int
    age: float


class Probe(Protocol):
    """Looks from outside at how far the worker is."""

    def look(self) -> Behind:
        """What it lacks now."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Ready(NamedTuple):
    """A batch as the driver takes it, made before the clock runs."""

    events: int
    content: Any


class Raw(Protocol):
    """The raw engine: the same tables and indexes, written by the driver alone."""

    def ready(self, rows: Sequence[Row], now: int) -> Ready:
        """A batch of prepared events; ``now`` is its ``recorded_at``."""
        ...

    def write(self, batches: Sequence[Ready]) -> float:
        """Write each batch in a durable transaction; events a second."""
        ...

    def close(self) -> None:
        """Throw it away."""
        ...


EnginePage = Callable[[Filter], object]
"""The 51 events of a page by one statement of the engine."""


class Base(Protocol):
    """A database; ``make`` or ``copy_to`` bring it about."""

    @property
    def engine(self) -> str:
        """``SQLite`` or ``PostgreSQL``."""
        ...

    @property
    def name(self) -> str:
        """Of the database."""
        ...

    @property
    def settings(self) -> Settings:
        """Of a program that works on it, with a key and a guard for it alone."""
        ...

    def whole(self) -> bool:
        """Whether it was filled to its end in an earlier run."""
        ...

    def finished(self) -> None:
        """Note that it is filled to its end."""
        ...

    def make(self, since: int | None = None) -> None:
        """Make it anew, empty.

        Args:
            since: of the first event to come, microseconds since 1970 UTC; ``None`` for now.
        """
        ...

    def inserting(
        self, clock: Callable[[], int]
    ) -> AbstractContextManager[Callable[[Sequence[Row]], list[Recorded]]]:
        """What inserts rows, with a clock for their ``recorded_at``."""
        ...

    def beside(self, name: str) -> Base:
        """Another database in the same place."""
        ...

    def copy_to(self, name: str) -> Base:
        """A copy of it while nobody uses it: events, index, log, key and guard."""
        ...

    def drop(self) -> None:
        """Take it away."""
        ...

    def raw(self, name: str, *, like: bool) -> Raw:
        """The raw engine in a database of its own, empty, or a copy of this one."""
        ...

    def probe(self) -> Probe:
        """What looks at the worker of it."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Bytes on the disk, by what they hold."""
        ...

    def alone(self) -> AbstractContextManager[Mapping[str, EnginePage]]:
        """A page by the engine alone, for each of some questions."""
        ...
