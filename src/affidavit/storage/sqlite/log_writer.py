"""The worker's side of the log: what waits is read from the app's file, the trees grow in the log file.

The app's file is only read, so recording never waits for its log. :mod:`affidavit.storage.log` says what is
promised. The order is: read the rows, sync the app's write-ahead log, commit the leaves with the new place.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affidavit import errors
from affidavit.core.leaf import LEAF_VERSION
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, home_of, leaf_of
from affidavit.storage.log import Claimed, Grown, QueueProgress
from affidavit.storage.sql.log_tables import TREE_COLUMNS, pack_frontier
from affidavit.storage.sql.log_writer import SqlLogWriter
from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.log_file import open_log
from affidavit.storage.sqlite.log_replay import replay_bound, sealed_already

__all__ = ["SqliteLogWriter"]

_ROWS = f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events WHERE seq"
_VERSION, _ORGANIZATION = COLUMNS.index("version"), COLUMNS.index("organization")


class SqliteLogWriter(SqlLogWriter[sqlite3.Connection]):
    """Queue, LogWriter, ManifestStore and AlarmStore of one SQLite store.

    Args:
        database: the app's file.
        log: the log file.
        make: whether a missing log file is made.
        adopt: whether the log of another database belongs to this one from now on.

    Raises:
        LogMismatch: the log file is missing and may not be made, or belongs to another database.
    """

    def __init__(self, database: Path, log: Path, *, make: bool = True, adopt: bool = False) -> None:
        self._database = database
        self._path = log
        self._events = self._open_events()
        try:
            with translated(database):
                row = self._events.execute(
                    "SELECT value FROM affidavit_meta WHERE key = 'database_id'"
                ).fetchone()
            self._log = open_log(log, row[0].decode() if row else "", make=make, adopt=adopt)
        except BaseException:
            self._events.close()
            raise
        self._log_inode = inode(log)
        self._after = 0
        self._bound: int | None = None

    def _open_events(self) -> sqlite3.Connection:
        connection = connect(self._database, writer=False)
        # Texts as they stand: what is not UTF-8 must not stop the queue.
        connection.text_factory = bytes
        self._events_inode = inode(self._database)
        return connection

    def _follow(self) -> None:
        """Open the app's file anew where another stands under its path; a log file must stay what it is."""
        if inode(self._database) != self._events_inode:
            self._events.close()
            self._events = self._open_events()
        if inode(self._path) != self._log_inode:
            raise errors.LogMismatch(
                f"The log file {self._path} was deleted or replaced under the worker; put it back and start"
                " the worker again, or see: affidavit log status"
            )

    # Queue

    def claim(self, limit: int) -> Sequence[Claimed]:
        """See :class:`affidavit.storage.log.Queue`."""
        self._follow()
        while True:
            with translated(self._path):
                place = self._log.execute("SELECT seq, id, leaf FROM affidavit_position").fetchone()
                if place is None:
                    raise errors.LogMismatch(
                        f"The place of the queue is missing in {self._path}; somebody deleted it. Restore"
                        " that file, or see: affidavit fsck"
                    )
                seq, event_id, leaf = place
                if self._bound is None:
                    self._bound = replay_bound(self._log)
                bound = self._bound
            with translated(self._database), self._snapshot():
                if seq:
                    self._check_anchor(seq, event_id, leaf)
                rows = self._events.execute(f"{_ROWS} > ? ORDER BY seq LIMIT ?", (seq, limit)).fetchall()
            self._after = seq
            claimed = [Claimed(row[0], row[1:]) for row in rows]
            if not rows or seq >= bound or (claimed := self._without_leaf(claimed, bound)):
                break
        for at, each in enumerate(claimed):
            version = each.values[_VERSION]
            if type(version) is int and version > LEAF_VERSION:
                if at == 0:
                    raise errors.RowTooNew(
                        f"The event at place {each.seq} has version {version}, this worker knows"
                        f" {LEAF_VERSION}; upgrade it. Recording goes on, sequencing waits."
                    )
                return claimed[:at]
        return claimed

    def _without_leaf(self, claimed: Sequence[Claimed], bound: int) -> list[Claimed]:
        """Those that have none; where all have theirs the queue moves on beyond them."""
        with translated(self._path):
            leaves = [sealed_already(self._log, *each) if each.seq <= bound else None for each in claimed]
        fresh = [each for each, leaf in zip(claimed, leaves, strict=True) if leaf is None]
        if not fresh:
            last = claimed[-1]
            with self.transaction() as log:
                log.execute(
                    "UPDATE affidavit_position SET seq = ?, id = ?, leaf = ?",
                    (last.seq, last.values[0], leaves[-1]),
                )
        return fresh

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._events.execute("BEGIN")
        try:
            yield
        finally:
            self._events.execute("ROLLBACK")

    def _check_anchor(self, seq: int, event_id: bytes, leaf: bytes) -> None:
        """The row at the queue's place must be the one that was sequenced there: same id and same leaf."""
        row = self._events.execute(f"{_ROWS} = ?", (seq,)).fetchone()
        if row is None:
            raise errors.LogMismatch(
                f"The event at place {seq}, the last one with a leaf, is not in {self._database}: that file"
                " was restored from before. Restore it with its log, or see: affidavit log reopen"
            )
        values = row[1:]
        tree = self._log.execute(
            "SELECT hex FROM affidavit_trees WHERE organization = ? LIMIT 1",
            (home_of(values[_ORGANIZATION]),),
        ).fetchone()
        try:
            same = (
                tree is not None
                and values[0] == event_id
                and leaf_hash(leaf_of(values, tree[0]).entry) == leaf
            )
        except RowVersionError:
            same = False
        if not same:
            raise errors.LogMismatch(
                f"The event at place {seq}, the last one with a leaf, is another one now: {self._database}"
                " was restored from before and written to, or edited. See: affidavit fsck and affidavit log"
            )

    def settle(self, claimed: Sequence[Claimed]) -> None:
        """See :class:`affidavit.storage.log.Queue`. Without a ``-wal`` all is in the synced main file."""
        if not claimed:
            return
        try:
            descriptor = os.open(f"{self._database}-wal", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise errors.StorageError(f"{self._database}-wal cannot be synced: {error.strerror}") from error
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            raise errors.StorageError(f"{self._database}-wal cannot be synced: {error.strerror}") from error
        finally:
            os.close(descriptor)

    def progress(self) -> QueueProgress:
        """See :class:`affidavit.storage.log.Queue`."""
        with translated(self._path):
            (seq,) = self._log.execute("SELECT seq FROM affidavit_position").fetchone() or (0,)
        if inode(self._database) != self._events_inode:
            self._follow()
        with translated(self._database):
            (last,) = self._events.execute("SELECT coalesce(max(seq), 0) FROM affidavit_events").fetchone()
            oldest = self._events.execute(
                "SELECT recorded_at FROM affidavit_events WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)
            ).fetchone()
        return QueueProgress(seq, max(0, last - seq), None if oldest is None else oldest[0])

    # LogWriter

    def forget(self) -> None:
        """Look again how far the queue may have gone back: a new incarnation was begun."""
        self._bound = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The log file, to be read; its errors are ours when the block ends."""
        with translated(self._path):
            yield self._log

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction of the log file, durable when the block has ended, nothing when it raises."""
        with translated(self._path):
            self._log.execute("BEGIN IMMEDIATE")
            try:
                yield self._log
                self._log.execute("COMMIT")
            except BaseException:
                if self._log.in_transaction:
                    self._log.execute("ROLLBACK")
                raise

    def append(self, claimed: Sequence[Claimed], grown: Sequence[Grown]) -> None:
        """See :class:`affidavit.storage.log.LogWriter`."""
        last = claimed[-1]
        hashes = {leaf.seq: leaf.hash for growth in grown for leaf in growth.leaves[-1:]}
        with self.transaction() as log:
            for growth in grown:
                _grow(log, growth)
            leaf = hashes.get(last.seq) or _stored_leaf(log, last.seq)
            moved = log.execute(
                "UPDATE affidavit_position SET seq = ?, id = ?, leaf = ? WHERE seq = ?",
                (last.seq, last.values[0], leaf, self._after),
            )
            if moved.rowcount != 1:
                raise errors.LogMoved(f"The queue no longer stands at {self._after}.")
            for growth in grown:
                _check_order(log, growth)

    def close(self) -> None:
        """Close both files."""
        self._log.close()
        self._events.close()


def _stored_leaf(log: sqlite3.Connection, seq: int) -> bytes:
    """The leaf of an event that was sequenced out of turn: the first one of an incarnation."""
    (leaf,) = log.execute(
        "SELECT hash FROM affidavit_leaves WHERE seq = ? ORDER BY tree DESC LIMIT 1", (seq,)
    ).fetchone()
    return bytes(leaf)


def _grow(log: sqlite3.Connection, growth: Grown) -> None:
    tree, frontier = growth.tree, growth.frontier
    if tree.size == 0:
        try:
            log.execute(
                f"INSERT INTO affidavit_trees ({TREE_COLUMNS}, frontier) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*tree[:6], frontier.size, 0, pack_frontier(frontier)),
            )
        except sqlite3.IntegrityError as error:
            raise errors.LogMoved(f"The tree of {tree.organization} was begun already.") from error
    else:
        changed = log.execute(
            "UPDATE affidavit_trees SET size = ?, frontier = ? WHERE tree = ? AND size = ?",
            (frontier.size, pack_frontier(frontier), tree.number, tree.size),
        )
        if changed.rowcount != 1:
            raise errors.LogMoved(f"The tree of {tree.organization} no longer has {tree.size} leaves.")
    log.executemany(
        "INSERT INTO affidavit_leaves (tree, idx, seq, hash) VALUES (?, ?, ?, ?)",
        [(tree.number, index, seq, digest) for seq, index, digest in growth.leaves],
    )
    log.executemany(
        "INSERT INTO affidavit_tiles (tree, level, idx, hash) VALUES (?, ?, ?, ?)",
        [(tree.number, *tile) for tile in growth.tiles],
    )


def _check_order(log: sqlite3.Connection, growth: Grown) -> None:
    """No event gets a second leaf, wherever somebody put the place of the queue."""
    tree = growth.tree
    if tree.size == 0 or (tree.size == 1 and tree.first_seq is not None):
        return  # a new tree; leaf 0 of a later incarnation stands before events with smaller places
    (newest,) = log.execute(
        "SELECT seq FROM affidavit_leaves WHERE tree = ? AND idx = ?", (tree.number, tree.size - 1)
    ).fetchone() or (None,)
    if newest is None or newest >= growth.leaves[0].seq:
        raise errors.LogMismatch(
            f"The next event of {tree.organization} stands at place {growth.leaves[0].seq}, its tree ends"
            f" with the one at {newest}: the place of the queue or the tree was edited. See: affidavit fsck"
        )
