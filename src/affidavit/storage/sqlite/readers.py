"""Reading sessions: one snapshot of the app's file and, taken before it, one of the index file.

In this order the tail beyond the watermark is never too short. The index file may be missing, of another
layout, being rebuilt or deleted under an open connection; then the watermark is 0 and everything is tail.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from affidavit import errors
from affidavit.storage.sqlite import index_file, migrate
from affidavit.storage.sqlite.connect import connect, inode, translated

__all__ = ["Readers", "Session", "despite_bad_text"]

R = TypeVar("R")
P = ParamSpec("P")

MOST_IDLE = 8


class _Reads(Protocol):
    """Something that reads through :class:`Readers`."""

    _readers: Readers


S = TypeVar("S", bound=_Reads)


def despite_bad_text(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that reads: one row whose text is not UTF-8 must not keep the others from being read."""

    @wraps(method)
    def read(self: S, /, *arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(self, *arguments, **named)
        except errors.UnreadableText:
            self._readers.tolerate()
            return method(self, *arguments, **named)

    return read


class _Pair:
    """The two connections of one reader, each with the inode it was opened on."""

    def __init__(self, database: Path, index: Path, *, tolerant: bool) -> None:
        self._index_path = index
        self.inode = inode(database)
        self.events = connect(database, writer=False)
        self.tolerant = tolerant
        if tolerant:
            self.events.text_factory = partial(str, encoding="utf-8", errors="replace")
        self.index: sqlite3.Connection | None = None
        self._index_inode: tuple[int, int] | None = None

    def refresh_index(self) -> None:
        now = inode(self._index_path)
        if self.index is not None and now != self._index_inode:
            self.drop_index()
        if self.index is None and now is not None:
            try:
                self.index = connect(self._index_path, writer=False)
                self._index_inode = now
            except errors.StorageError:
                self.drop_index()

    def drop_index(self) -> None:
        if self.index is not None:
            self.index.close()
        self.index = None

    def close(self) -> None:
        self.events.close()
        self.drop_index()


class Session:
    """What one answer is read from.

    Attributes:
        events: connection to the app's file, within a read transaction.
        index: connection to the index file, within a read transaction, or ``None``.
        state: of the index; ``None`` where it is missing.
        watermark: place up to which the index is complete.
        last_seq: place of the newest event in this snapshot.
    """

    def __init__(self, pair: _Pair) -> None:
        self.events = pair.events
        self.state: index_file.IndexState | None = None
        self.index: sqlite3.Connection | None = None
        if pair.index is not None:
            try:
                pair.index.execute("BEGIN")
                self.state = index_file.read_state(pair.index)
            except sqlite3.DatabaseError:
                pair.drop_index()
            self.index = pair.index
        pair.events.execute("BEGIN")
        self.last_seq: int
        (self.last_seq,) = pair.events.execute(
            "SELECT coalesce(max(seq), 0) FROM affidavit_events"
        ).fetchone()
        if self.state is not None and not self._follows(self.state):
            self.state = None
        self.watermark = self.state.seq if self.state is not None else 0
        self._runs: list[tuple[int, bytes, bytes]] | None = None

    def _follows(self, state: index_file.IndexState) -> bool:
        """Whether the index is of this history: an older copy of the file lacks the event or has another."""
        if not state.seq:
            return True
        row = self.events.execute("SELECT id FROM affidavit_events WHERE seq = ?", (state.seq,)).fetchone()
        return row is not None and row[0] == state.id

    @property
    def tail(self) -> int:
        """Events that the index does not have yet (at most; ``seq`` may have gaps)."""
        return int(self.last_seq - self.watermark)

    def runs(self) -> list[tuple[int, bytes, bytes]]:
        """Number, smallest and greatest id of each run, those with the newest ids first."""
        if self._runs is None:
            self._runs = (
                []
                if self.index is None or self.state is None
                else self.index.execute(
                    "SELECT run, low, high FROM affidavit_runs ORDER BY high DESC"
                ).fetchall()
            )
        return self._runs


class Readers:
    """Connections for readers, kept between answers; safe to use from several threads."""

    def __init__(self, database: Path, index: Path) -> None:
        self.database = database
        self._index = index
        self._idle: list[_Pair] = []
        self._lock = threading.Lock()
        self._closed = False
        self._tolerant = False
        with self.session() as session:
            migrate.check(session.events, database)

    @contextmanager
    def session(self, *, index: bool = True) -> Iterator[Session]:
        """One snapshot, for the length of the block; ``index=False`` reads without the index file."""
        pair = self._take()
        try:
            with translated(self.database):
                if index:
                    pair.refresh_index()
                else:
                    pair.drop_index()
                try:
                    yield Session(pair)
                finally:
                    for connection in (pair.events, pair.index):
                        if connection is not None and connection.in_transaction:
                            connection.execute("ROLLBACK")
        except BaseException:
            pair.close()
            raise
        self._give(pair)

    def _take(self) -> _Pair:
        with self._lock:
            pair = self._idle.pop() if self._idle else None
        if pair is not None and (pair.inode != inode(self.database) or pair.tolerant != self._tolerant):
            pair.close()
            pair = None
        return _Pair(self.database, self._index, tolerant=self._tolerant) if pair is None else pair

    def tolerate(self) -> None:
        """From now on show what is not UTF-8 with U+FFFD in it; slower, so only once it was met."""
        self._tolerant = True

    def _give(self, pair: _Pair) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append(pair)
                return
        pair.close()

    def close(self) -> None:
        """Close what is idle; sessions under way close when they end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for pair in idle:
            pair.close()
