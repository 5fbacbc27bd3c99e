"""The one connection of a process that writes the app's file, and group commit on it.

SQLite has one writer at a time, so commit order is ``seq`` order. ``synchronous=FULL``: a commit is on the
disk when it returns. A group closes
without a timer: it takes whatever arrived while the previous commit ran, at most 1,000 rows or 16 MiB.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from affidavit import errors
from affidavit.core.content import same_content
from affidavit.core.event import MAX_BATCH, MAX_BATCH_BYTES
from affidavit.core.ids import format_id
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.storage.sql.pruned import Closed, closed_ranges, refuse_closed
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, inode, translate, translated

__all__ = ["GroupCommit", "Writer", "insert_beside"]

INSERT = (
    f"INSERT OR FAIL INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
)
"""One row: FAIL undoes as much of it as ABORT would, without the statement journal that ABORT needs."""
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE organization = ? AND id = ?"

SINGLE_CHECKPOINT = 4_096
BULK_CHECKPOINT = 32_768
"""Pages of the write-ahead log at which the writer checkpoints: few where single events matter, many for
bulk."""
_BULK_ROWS = 200
_PATIENCE = 50
"""Milliseconds that a write for somebody else waits for another writer."""


class Writer:
    """Writes batches and settings, one transaction at a time; safe to call from several threads."""

    def __init__(self, path: Path, *, clock: Callable[[], int]) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._connection = connect(path, writer=True)
        self._inode = inode(path)
        self._average = 1.0
        self._set_checkpoint(SINGLE_CHECKPOINT)

    def _set_checkpoint(self, pages: int) -> None:
        self._pages = pages
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, committed when the block ends, rolled back when it raises."""
        with self._lock:
            try:
                self._follow()
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    # A full disk may have rolled back already; whatever is open must not stay open.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise translate(error, self.path) from error
            if inode(self.path) != self._inode:
                raise errors.StorageError(
                    f"{self.path} was replaced just now; whether this was stored is unknown. Send it again."
                )

    def _follow(self) -> None:
        """Open the file anew where another stands under its path: nobody would see what the old one gets."""
        if inode(self.path) == self._inode:
            return
        connection = connect(self.path, writer=True)
        try:
            migrate.check(connection, self.path)
        except BaseException:
            connection.close()
            raise
        self._connection.close()
        self._connection, self._inode = connection, inode(self.path)
        self._set_checkpoint(self._pages)

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """Store one batch: all of it or nothing (see ``EventStore.insert``)."""
        with self.transaction() as connection:
            result = insert_rows(connection, rows, self._clock())
        self._weigh(len(rows))
        return result

    def insert_group(self, batches: Sequence[Sequence[Row]]) -> list[list[Recorded] | errors.AffidavitError]:
        """Store several batches with one commit; a batch that is refused fails alone."""
        results: list[list[Recorded] | errors.AffidavitError] = []
        with self.transaction() as connection:
            now = self._clock()
            closed = closed_ranges(connection)
            for batch in batches:
                try:
                    results.append(insert_rows(connection, batch, now, closed))
                except errors.Refused as refused:
                    results.append(refused)
        self._weigh(sum(map(len, batches)))
        return results

    def _weigh(self, rows: int) -> None:
        """Fit the checkpoint to the load; between two commits no reader is disturbed by the change."""
        self._average += (rows - self._average) / 16
        pages = BULK_CHECKPOINT if self._average > _BULK_ROWS else SINGLE_CHECKPOINT
        if pages != self._pages:
            with self._lock:
                self._set_checkpoint(pages)

    def close(self) -> None:
        """Close the connection; the last one to close folds the write-ahead log into the file."""
        with self._lock:
            self._connection.close()


def insert_rows(
    connection: sqlite3.Connection, rows: Sequence[Row], now: int, closed: Closed | None = None
) -> list[Recorded]:
    """Insert a batch within the caller's transaction; it is checked whole before its first row is written.

    Args:
        connection: within a write transaction.
        rows: the batch.
        now: ``recorded_at`` of rows that bring none.
        closed: the closed ranges of ids, where the caller has read them in this transaction.

    Raises:
        IdConflict: other content stands under an id of the batch; nothing was written.
        InvalidEvent: an id lies in a pruned range; nothing was written.
        StorageError: the caller must roll back.
    """
    refuse_closed(rows, closed_ranges(connection) if closed is None else closed)
    known = _duplicates(connection, rows) if any(row.given for row in rows) else ()
    fresh = [
        (*row.values, now if row.recorded_at is None else row.recorded_at)
        for number, row in enumerate(rows)
        if number not in known
    ]
    before = connection.total_changes
    connection.executemany(INSERT, fresh)
    if connection.total_changes - before != len(fresh):
        # The trigger ignored a row: a random id of 62 bits met an existing one within the same microsecond.
        # Its neighbours are written, so this is no conflict that a group could go on after.
        raise errors.StorageError("A new event's random id exists already; send the batch again.")
    return [Recorded(row.id, number in known) for number, row in enumerate(rows)]


def insert_beside(path: Path, rows: Sequence[Row], now: int) -> None:
    """Insert a batch for somebody else, with a connection for it alone, and wait for no other writer.

    Args:
        path: the app's file.
        rows: the batch.
        now: ``recorded_at`` of rows that bring none.

    Raises:
        Refused: see :func:`insert_rows`.
        StorageBusy: another writer holds the file.
    """
    connection = connect(path, writer=True)
    try:
        connection.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
        with translated(path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                insert_rows(connection, rows, now)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
    finally:
        connection.close()


def _duplicates(connection: sqlite3.Connection, rows: Sequence[Row]) -> set[int]:
    """Which rows of a batch stand in the table, or in the batch before them, with the same content."""
    known: set[int] = set()
    batch: dict[tuple[str, bytes], Row] = {}
    for number, row in enumerate(rows):
        if not row.given:
            continue
        key = (row.organization, row.id)
        earlier = batch.get(key)
        stands = connection.execute(_SELECT, key).fetchone() if earlier is None else (*earlier.values, 0)
        if stands is None:
            batch[key] = row
            continue
        if row.compare and not same_content(row, stands):
            name = format_id(row.id)
            raise errors.IdConflict(
                f"Event {name} exists with other content; nothing of this batch was stored.",
                (errors.FieldError("/id", "conflict", "exists with other content", name),),
            )
        known.add(number)
    return known


class GroupCommit:
    """A thread that commits what arrives, many callers with one commit.

    The callers are coroutines. What one turn of their loop hands in arrives together, and one wake-up of
    the loop tells all callers of a commit; to wake either side once for each caller would cost as much
    again as the commit.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._waiting: deque[tuple[Sequence[Row], asyncio.Future[list[Recorded]]]] = deque()
        self._wake = threading.Condition()
        self._announced = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="affidavit-writer", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[Row]) -> asyncio.Future[list[Recorded]]:
        """Hand in one batch, on an event loop; done when its commit is durable, or failed.

        A caller that goes away before that changes nothing: the batch is stored all the same.
        """
        if self._closed:
            raise errors.StorageError("The server is shutting down; send the batch again.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Recorded]] = loop.create_future()
        self._waiting.append((rows, future))
        if not self._announced:
            self._announced = True
            loop.call_soon(self._announce)
        return future

    def close(self) -> None:
        """Commit what waits, then stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def _announce(self) -> None:
        # First the mark, then the wake-up: what is handed in after the mark announces itself again.
        self._announced = False
        with self._wake:
            self._wake.notify()

    def _take(self) -> list[tuple[Sequence[Row], asyncio.Future[list[Recorded]]]]:
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
        group: list[tuple[Sequence[Row], asyncio.Future[list[Recorded]]]] = []
        count = size = 0
        while self._waiting:
            rows = self._waiting[0][0]
            count += len(rows)
            size += sum(row.size for row in rows)
            if group and (count > MAX_BATCH or size > MAX_BATCH_BYTES):
                break
            group.append(self._waiting.popleft())
        return group

    def _run(self) -> None:
        while group := self._take():
            results: Sequence[list[Recorded] | Exception]
            try:
                results = self._writer.insert_group([rows for rows, _ in group])
            except Exception as error:  # noqa: BLE001 - every caller of the group is told
                # The transaction was rolled back: nothing of the group is stored.
                results = [error] * len(group)
            answers: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}
            for (_, future), result in zip(group, results, strict=True):
                answers.setdefault(future.get_loop(), []).append((future, result))
            for loop, settled in answers.items():
                # A loop that was closed meanwhile has nobody left to tell.
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(_settle, settled)


_Answer = tuple["asyncio.Future[list[Recorded]]", "list[Recorded] | Exception"]


def _settle(answers: Sequence[_Answer]) -> None:
    for future, result in answers:
        if future.done():
            continue  # its caller was cancelled
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
