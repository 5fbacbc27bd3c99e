"""Streams of ids, newest first, and their intersection by leapfrog.

A stream gives the ids below a bound in descending order, a chunk at a time. Every statement here is bounded
by a LIMIT, so the work of one step is bounded whatever the data.
"""

from __future__ import annotations

import heapq
import sqlite3
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from affidavit.storage.sql.conditions import BEYOND, Expression

__all__ = ["Arms", "Listed", "Networks", "Source", "Stream", "Terms", "Union", "intersect"]

FIRST, LARGEST = 64, 1_024
"""Ids of a stream's first chunk, and of its largest."""

Chunk = list[bytes]


class Source(ABC):
    """Where ids come from."""

    @abstractmethod
    def take(self, below: bytes, count: int) -> Chunk:
        """The greatest ``count`` ids below a bound, descending; fewer mean that there are no more."""


class Arms(Source):
    """Ordered scans of one index of the event table, up to 64 of them in one statement.

    The index is named in the statement: left to itself the planner takes a partial index or a sort.
    """

    ARMS = 64

    def __init__(
        self,
        connection: sqlite3.Connection,
        organization: str,
        index: str,
        arms: Sequence[Expression],
        low: bytes,
    ) -> None:
        self._connection = connection
        self._low = low
        self._groups = [arms[start : start + self.ARMS] for start in range(0, len(arms), self.ARMS)]
        self._organization = organization
        self._index = index

    def take(self, below: bytes, count: int) -> Chunk:
        """See :meth:`Source.take`."""
        return _greatest([self._take(group, below, count) for group in self._groups], count)

    def _take(self, arms: Sequence[Expression], below: bytes, count: int) -> Chunk:
        scan = (
            "SELECT id FROM (SELECT id FROM affidavit_events INDEXED BY {index}"
            " WHERE organization = ? AND {arm} AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?)"
        )
        sql = " UNION ALL ".join(scan.format(index=self._index, arm=arm.sql) for arm in arms)
        parameters: list[object] = []
        for arm in arms:
            parameters += [self._organization, *arm.parameters, below, self._low, count]
        rows = self._connection.execute(f"{sql} ORDER BY 1 DESC LIMIT ?", [*parameters, count])
        return [row[0] for row in rows]


class Listed(Source):
    """Ids that are known already, such as those of the tail."""

    def __init__(self, ids: Iterable[bytes]) -> None:
        self._ids = sorted(set(ids))

    def take(self, below: bytes, count: int) -> Chunk:
        """See :meth:`Source.take`."""
        end = bisect_left(self._ids, below)
        return self._ids[max(0, end - count) : end][::-1]


class Union(Source):
    """Several sources as one; an id in two of them comes once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def take(self, below: bytes, count: int) -> Chunk:
        """See :meth:`Source.take`."""
        return _greatest([source.take(below, count) for source in self._sources], count)


class Terms(Source):
    """The ids under one prefix, over all runs; runs older than what was found are not opened."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        runs: Sequence[tuple[int, bytes, bytes]],
        prefix: bytes,
        low: bytes,
    ) -> None:
        self._connection = connection
        self._runs = runs
        self._prefix = prefix
        self._low = low

    def take(self, below: bytes, count: int) -> Chunk:
        """See :meth:`Source.take`."""
        at = len(self._prefix)
        found: Chunk = []
        for run, low, high in self._runs:
            if low >= below:
                continue
            if len(found) >= count and found[count - 1] > high:
                break
            keys = self._connection.execute(
                "SELECT k FROM affidavit_terms WHERE run = ? AND k < ? AND k >= ? ORDER BY k DESC LIMIT ?",
                (run, self._prefix + below, self._prefix + self._low, count),
            )
            ids = [key[at:] for (key,) in keys]
            if ids:
                found = _greatest([found, ids], count)
        return found


class Networks(Source):
    """The ids of a range of at most 256 addresses: those that occur are found run by run."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        runs: Sequence[tuple[int, bytes, bytes]],
        first: bytes,
        last: bytes,
        low: bytes,
    ) -> None:
        self._connection = connection
        self._runs = runs
        self._first = first
        self._last = last
        self._low = low
        self._addresses: dict[int, list[bytes]] = {}

    def take(self, below: bytes, count: int) -> Chunk:
        """See :meth:`Source.take`."""
        found: Chunk = []
        for entry in self._runs:
            run, low, high = entry
            if low >= below:
                continue
            if len(found) >= count and found[count - 1] > high:
                break
            if run not in self._addresses:
                self._addresses[run] = self._occurring(run)
            chunks = [
                Terms(self._connection, (entry,), prefix, self._low).take(below, count)
                for prefix in self._addresses[run]
            ]
            found = _greatest([found, *chunks], count)
        return found

    def _occurring(self, run: int) -> list[bytes]:
        width = len(self._first)
        after, addresses = self._first, []
        end = self._last + BEYOND
        while row := self._connection.execute(
            "SELECT k FROM affidavit_terms WHERE run = ? AND k >= ? AND k <= ? ORDER BY k LIMIT 1",
            (run, after, end),
        ).fetchone():
            addresses.append(row[0][:width])
            after = row[0][:width] + BEYOND
        return addresses


def _greatest(chunks: Sequence[Chunk], count: int) -> Chunk:
    """The greatest ids of several descending chunks, each once."""
    filled = [chunk for chunk in chunks if chunk]
    if len(filled) <= 1:
        return filled[0][:count] if filled else []
    merged: Chunk = []
    last = None
    for item in heapq.merge(*filled, reverse=True):
        if item != last:
            merged.append(item)
            if len(merged) == count:
                break
            last = item
    return merged


class Stream:
    """A source with the chunk read last: complete from ``floor`` up to the bound it was covered to."""

    __slots__ = ("_size", "_source", "done", "floor", "ids")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._size = FIRST
        self.ids: Chunk = []
        self.floor = BEYOND
        self.done = False

    def cover(self, below: bytes) -> None:
        """Hold the greatest ids below a bound; an empty ``ids`` afterwards means that there are none."""
        if self.ids and self.ids[0] >= below:
            self.ids = [item for item in self.ids if item < below]
        if self.ids or self.done:
            return
        self.ids = self._source.take(min(below, self.floor), self._size)
        self.done = len(self.ids) < self._size
        self.floor = b"" if self.done else self.ids[-1]
        self._size = min(LARGEST, self._size * 2)


def intersect(
    streams: Sequence[Stream], below: bytes, stop: Callable[[], bool]
) -> tuple[Chunk, bytes | None]:
    """The next ids that all streams have, newest first.

    Args:
        streams: at least one.
        below: exclusive bound.
        stop: asked between steps; when true, what was found so far is the answer.

    Returns:
        The ids, and the bound down to which the answer is complete: exclusive for what comes next, ``None``
        at the end.
    """
    while True:
        for stream in streams:
            stream.cover(below)
        if not all(stream.ids for stream in streams):
            return [], None
        # Nothing above the lowest head is in all of them: the others leap there.
        head = min(stream.ids[0] for stream in streams)
        if head < max(stream.ids[0] for stream in streams):
            below = head + b"\0"
            for stream in streams:
                stream.cover(below)
            if not all(stream.ids for stream in streams):
                return [], None
        floor = max(stream.floor for stream in streams)
        common = set(streams[0].ids)
        for stream in streams[1:]:
            common.intersection_update(stream.ids)
        found = sorted((item for item in common if item >= floor), reverse=True)
        if all(stream.done for stream in streams) and floor == b"":
            return found, None
        below = floor
        if found or stop():
            return found, below
