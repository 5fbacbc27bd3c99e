"""A durable queue in an SQLite file of its own: what could not be sent or stored yet waits here.

What :meth:`Spool.put` returned for is on the disk and survives a crash of the process. Whoever takes entries
out says afterwards which of them are done; an entry whose taker died is taken again, so the other side must
know entries by a name of their own. Entries that the other side refuses for good are parked where somebody
can look at them.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote

from affidavit.errors import SpoolFull, StorageError, StorageFull
from affidavit.recorder.forks import when_forked

__all__ = ["DeadLetter", "Entry", "Spool", "set_up"]

LIMIT = 256 * 1024 * 1024
"""Bytes of entries that a spool holds by default."""
_PAUSE = 0.05
_OPENING = 10.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS spool (number INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dead_letters"
    " (number INTEGER PRIMARY KEY, body BLOB NOT NULL, error TEXT NOT NULL, parked_at INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS size (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL)",
    "INSERT OR IGNORE INTO size VALUES (1, 0)",
    "CREATE TRIGGER IF NOT EXISTS spool_grows AFTER INSERT ON spool"
    " BEGIN UPDATE size SET bytes = bytes + length(NEW.body); END",
    "CREATE TRIGGER IF NOT EXISTS spool_shrinks AFTER DELETE ON spool"
    " BEGIN UPDATE size SET bytes = bytes - length(OLD.body); END",
)


class Entry(NamedTuple):
    """What waits: its number, in the order of arrival, and its bytes."""

    number: int
    body: bytes


class DeadLetter(NamedTuple):
    """What the other side refused for good.

    Attributes:
        number: as it had in the queue.
        body: unchanged.
        error: what the other side said.
        parked_at: microseconds since 1970 UTC.
    """

    number: int
    body: bytes
    error: str
    parked_at: int


class Standing(NamedTuple):
    """What is in a spool.

    Attributes:
        waiting: entries.
        oldest: the entry that waits longest; ``None`` where none does.
        refused: dead letters.
    """

    waiting: int
    oldest: Entry | None
    refused: int


def look(path: Path) -> Standing | None:
    """What is in a spool file, without a change to it; ``None`` where there is none.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        path.stat()
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            (waiting,) = connection.execute("SELECT count(*) FROM spool").fetchone()
            first = connection.execute("SELECT number, body FROM spool ORDER BY number LIMIT 1").fetchone()
            (refused,) = connection.execute("SELECT count(*) FROM dead_letters").fetchone()
    except FileNotFoundError:
        return None
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"The spool {path} cannot be read: {error}") from error
    return Standing(waiting, None if first is None else Entry(*first), refused)


class Spool:
    """One spool file. Safe to use from several threads and processes, and after a fork.

    Args:
        path: of the file; it is made where it is missing, readable by this account alone.
        limit: bytes of entries that may wait.
        when_full: ``raise`` :class:`~affidavit.errors.SpoolFull`, or ``block`` until there is room.
        patience: seconds that ``block`` waits at most; then it raises, too.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int = LIMIT,
        when_full: Literal["raise", "block"] = "raise",
        patience: float = float("inf"),
    ) -> None:
        self.path = path
        self._limit = limit
        self._when_full = when_full
        self._patience = patience
        self._lock = threading.RLock()
        self._turn = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        when_forked(self)

    def before_fork(self) -> None:
        """Close the file, and let no thread open it before the fork is over."""
        self._turn.acquire()
        self._lock.acquire()
        self.close()

    def after_fork(self, *, child: bool) -> None:
        """Parent and child open the file anew, each when it needs it."""
        if child:
            self._lock, self._turn = threading.RLock(), threading.Lock()
        else:
            self._lock.release()
            self._turn.release()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._turn:
            pass  # a fork that waits goes first; the lock alone could go back to one busy thread for ever
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                full = code == sqlite3.SQLITE_FULL or getattr(error, "errno", None) == ENOSPC
                kind = StorageFull if full else StorageError
                raise kind(f"The spool {self.path} failed: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Only where nobody can have it open: to close a descriptor drops the locks of the whole process.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=10.0, cached_statements=32
        )
        try:
            set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def put(self, bodies: Sequence[bytes]) -> list[int]:
        """Add entries, all or none; durable on return. Their numbers.

        Raises:
            SpoolFull: there is no room, and none came in time.
            StorageError: the file failed.
        """
        size = sum(map(len, bodies))
        until = time.monotonic() + self._patience
        while True:
            with self._open() as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    (held,) = connection.execute("SELECT bytes FROM size").fetchone()
                    if held + size <= self._limit:
                        numbers = [_add(connection, body) for body in bodies]
                        connection.execute("COMMIT")
                        return numbers
                    connection.execute("ROLLBACK")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            if self._when_full == "raise" or size > self._limit or time.monotonic() >= until:
                raise SpoolFull(
                    f"The spool {self.path} holds {held:,} of {self._limit:,} bytes and has no room for"
                    f" {size:,} more; nothing of this was taken."
                )
            time.sleep(_PAUSE)

    def take(self, limit: int, after: int = 0) -> list[Entry]:
        """The oldest entries beyond a number; they stay until :meth:`done` or :meth:`park`."""
        with self._open() as connection:
            return [
                Entry(*row)
                for row in connection.execute(
                    "SELECT number, body FROM spool WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
                )
            ]

    def done(self, numbers: Sequence[int]) -> None:
        """Take entries away: the other side has them."""
        with self._write() as connection:
            connection.executemany("DELETE FROM spool WHERE number = ?", [(number,) for number in numbers])

    def park(self, number: int, error: str, now: int) -> None:
        """Put an entry among the dead letters: the other side will never take it."""
        with self._write() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO dead_letters SELECT number, body, ?, ? FROM spool WHERE number = ?",
                (error, now, number),
            )
            connection.execute("DELETE FROM spool WHERE number = ?", (number,))

    def dead_letters(self, limit: int = 1_000, after: int = 0) -> list[DeadLetter]:
        """The oldest of what was refused, beyond a number."""
        with self._open() as connection:
            rows = connection.execute(
                "SELECT number, body, error, parked_at FROM dead_letters WHERE number > ?"
                " ORDER BY number LIMIT ?",
                (after, limit),
            )
            return [DeadLetter(*row) for row in rows]

    def rewrite(self, number: int, body: bytes, error: str) -> None:
        """Put something else instead of a dead letter: a person's values were erased in it."""
        with self._write() as connection:
            connection.execute(
                "UPDATE dead_letters SET body = ?, error = ? WHERE number = ?", (body, error, number)
            )

    def revive(self, numbers: Sequence[int]) -> None:
        """Queue dead letters again, as the newest entries: why they were refused was mended."""
        with self._write() as connection:
            for number in numbers:
                connection.execute(
                    "INSERT INTO spool (body) SELECT body FROM dead_letters WHERE number = ?", (number,)
                )
                connection.execute("DELETE FROM dead_letters WHERE number = ?", (number,))

    def discard(self, numbers: Sequence[int]) -> None:
        """Throw dead letters away for good."""
        with self._write() as connection:
            connection.executemany("DELETE FROM dead_letters WHERE number = ?", [(each,) for each in numbers])

    def waiting(self) -> int:
        """How many entries wait."""
        with self._open() as connection:
            (count,) = connection.execute("SELECT count(*) FROM spool").fetchone()
            return int(count)

    def newest(self) -> int:
        """The number of the newest entry that waits, 0 where none does."""
        with self._open() as connection:
            (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM spool").fetchone()
            return int(number)

    def scrub(self) -> bool:
        """Empty the write-ahead log, which holds what was deleted; false where somebody was in the way."""
        with self._open() as connection:
            try:
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
                return False
            return not busy

    def has_entries(self) -> bool:
        """Whether any entry waits; a file that does not exist is not made."""
        if self._connection is None and not self.path.exists():
            return False
        with self._open() as connection:
            return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM spool)").fetchone()[0])

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file; what waits in it stays."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def set_up(connection: sqlite3.Connection) -> None:
    """Make the tables of a spool, where they are missing."""
    until = time.monotonic() + _OPENING
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # SQLite does not wait here when several processes make the file at once.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(_PAUSE)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        connection.execute(statement)
    connection.execute("COMMIT")


def _add(connection: sqlite3.Connection, body: bytes) -> int:
    number = connection.execute("INSERT INTO spool (body) VALUES (?)", (body,)).lastrowid
    assert number is not None
    return number
