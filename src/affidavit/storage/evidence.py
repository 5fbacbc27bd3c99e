"""The role that shows what is stored, as it stands: raw values with their types, for whoever checks them.

Everything here may have been edited by somebody who holds the files, so a value can be of any type and
nothing is believed. What an engine alone can know (its schema, its pages, the types of its values) it checks
itself and reports as a :class:`Fault`. Every method reads in short transactions unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Evidence",
    "Fault",
    "GuardEvidence",
    "IndexEvidence",
    "LogEvidence",
    "RawEvent",
    "RawLeaf",
    "Record",
]

Record = Mapping[str, Any]
"""A row: column to value, text as ``str`` (what is not UTF-8 with replacement characters), blobs as bytes."""


class Fault(NamedTuple):
    """One thing that is not as it must be.

    Attributes:
        table: or view, index, trigger; a file's name where it concerns all of it.
        column: empty where it concerns the row or the object.
        key: of the row, as text; empty where it concerns the table.
        rule: what is broken, one sentence.
        expected, computed: what should stand there and what does, shortened; empty where that says nothing.
        index, id: of the entry of the log that it concerns.
    """

    table: str
    column: str
    key: str
    rule: str
    expected: str = ""
    computed: str = ""
    index: int | None = None  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    id: str = ""


class RawEvent(NamedTuple):
    """A row of the event table: its place, the values of ``COLUMNS`` with texts as UTF-8 bytes."""

    seq: int
    values: tuple[Any, ...]


class RawLeaf(NamedTuple):
    """A row of the table of leaves."""

    tree: int
    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    seq: int
    hash: Any


class Evidence(Protocol):
    """The file of the app: events and settings."""

    def faults(self) -> Iterator[Fault]:
        """What the engine itself finds in all files: schema, pages, types of values. May read for long."""
        ...

    def warnings(self) -> Iterator[str]:
        """What the engine finds that is no fault, one sentence each."""
        ...

    def settings(self) -> tuple[Mapping[str, list[Record]], int]:
        """Every table but that of events, and the place of the newest event, all of one moment."""
        ...

    def waiting(self) -> Iterator[Sequence[RawEvent]]:
        """Events that have no place yet, in pieces; asked after :meth:`settings`.

        Those that change settings are exactly those that waited at that moment. On engines that give an
        event its place when they store it there are none.
        """
        ...

    def events(self, after: int, limit: int) -> Sequence[RawEvent]:
        """The next rows in recording order that have a place; fewer only where there are no more."""
        ...

    def events_at(self, places: Sequence[int]) -> Mapping[int, RawEvent]:
        """The rows at these places, those that are there; at most 1,000 places."""
        ...

    def explaining(self, organization: str) -> Sequence[RawEvent]:
        """An organization's own ``audit.*`` and ``log.*`` events, in recording order."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class LogEvidence(Protocol):
    """The log file. Nothing of it may be asked while :meth:`tables` is ``None``."""

    def tables(self) -> Mapping[str, list[Record]] | None:
        """Every table but leaves and tiles, of one moment; ``None`` where there is no log file."""
        ...

    def leaves(self, tree: int, start: int, limit: int) -> Sequence[RawLeaf]:
        """The next leaves of one tree by index."""
        ...

    def leaves_after(self, seq: int, limit: int) -> Sequence[RawLeaf]:
        """The next leaves of all trees by the place of their event."""
        ...

    def leaves_at(self, places: Sequence[int]) -> Sequence[RawLeaf]:
        """The leaves of the events at these places, by place; at most 1,000 places."""
        ...

    def tiles(self, tree: int, level: int) -> Iterator[tuple[Any, Any]]:
        """Index and hash of the stored tiles of one level, by index."""
        ...

    def tile_levels(self, tree: int) -> Sequence[int]:
        """Levels of which tiles of a tree are stored."""
        ...

    def head(self, tree: int) -> tuple[Record | None, Sequence[Record]]:
        """The row of one tree and its checkpoints by size, of one moment."""
        ...

    def size(self, tree: int) -> int:
        """How many leaves a tree says that it has at this moment."""
        ...

    def strays(self) -> Sequence[tuple[str, int]]:
        """Table and number of each tree that has leaves, tiles or checkpoints but is not listed."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class IndexEvidence(Protocol):
    """The index file, as of one moment: its methods are asked within one :meth:`moment`."""

    @property
    def version(self) -> int:
        """Of the layout that this program makes."""
        ...

    def moment(self) -> AbstractContextManager[bool]:
        """A context in which all answers are of one moment; true where there is an index file."""
        ...

    def tables(self) -> Mapping[str, list[Record]]:
        """The state, and the list of runs where the engine keeps terms in runs."""
        ...

    def terms_stored(self) -> Iterator[Sequence[tuple[Any, Any]]]:
        """Run and key of every term, in pieces."""
        ...

    def hourly(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the hourly counts."""
        ...

    def emails(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the addresses."""
        ...

    def terms(self, key: bytes, event: RawEvent) -> tuple[set[bytes], set[tuple[bytes, bytes, bytes]]]:
        """What the index must hold of an event: keys of its terms, rows of the addresses.

        Raises:
            ValueError: a group cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class GuardEvidence(Protocol):
    """The file of the guard, where it is one."""

    def faults(self) -> Iterator[Fault]:
        """What the engine itself finds in the file."""
        ...

    def tables(self) -> Mapping[str, list[Record]] | None:
        """Every table, of one moment; ``None`` where there is no file."""
        ...

    def head(self, origin: str) -> Record | None:
        """What is remembered of one tree at this moment."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
