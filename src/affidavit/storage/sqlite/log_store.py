"""Reading the log file: trees, leaves, checkpoints, manifests, alarms. Safe to use from several threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from affidavit import errors
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import Place, StoredEvent
from affidavit.core.sealing import leaf_of_event
from affidavit.storage.log import Alarm, Manifest, Published, Sealed, Tree
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.log_file import TREE_COLUMNS, tree_of
from affidavit.storage.sqlite.log_writer import read_alarms, read_manifests

__all__ = ["SqliteLog"]

MOST_IDLE = 8
PIECE = 10_000
"""Leaves read in one transaction."""
_ALIASED = ", ".join(f"t.{column}" for column in TREE_COLUMNS.split(", "))


class SqliteLog:
    """LogStore of one log file, and what readers ask of manifests and alarms.

    Args:
        path: of the log file; while it is missing there are no trees.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: list[tuple[sqlite3.Connection, tuple[int, int] | None]] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def session(self) -> Iterator[sqlite3.Connection | None]:
        """A connection within a read transaction; ``None`` while there is no log."""
        with translated(self.path):
            opened = self._take()
            if opened is None:
                yield None
                return
            connection, number = opened
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("ROLLBACK")
            except BaseException:
                connection.close()
                raise
            self._give(connection, number)

    def _take(self) -> tuple[sqlite3.Connection, tuple[int, int] | None] | None:
        now = inode(self.path)
        with self._lock:
            stale = [each for each in self._idle if each[1] != now]
            self._idle = [each for each in self._idle if each[1] == now]
            opened = self._idle.pop() if self._idle else None
        for connection, _ in stale:
            connection.close()
        if opened is not None or now is None:
            return opened
        connection = connect(self.path, writer=False)
        try:
            if not migrate.applied(connection, self.path):
                connection.close()  # it is being made at this moment
                return None
            migrate.check(connection, self.path, migrate.LOG)
        except BaseException:
            connection.close()
            raise
        return connection, now

    def _give(self, connection: sqlite3.Connection, number: tuple[int, int] | None) -> None:
        with self._lock:
            if not self._closed and len(self._idle) < MOST_IDLE:
                self._idle.append((connection, number))
                return
        connection.close()

    def trees(self, organization: str) -> list[Tree]:
        """See :class:`affidavit.storage.log.LogStore`."""
        with self.session() as log:
            if log is None:
                return []
            rows = log.execute(
                f"SELECT {TREE_COLUMNS} FROM affidavit_trees WHERE organization = ? ORDER BY incarnation",
                (organization,),
            )
            return [tree_of(row) for row in rows]

    def tree(self, hex_digits: str, incarnation: int) -> Tree | None:
        """See :class:`affidavit.storage.log.LogStore`."""
        with self.session() as log:
            if log is None:
                return None
            row = log.execute(
                f"SELECT {TREE_COLUMNS} FROM affidavit_trees WHERE hex = ? AND incarnation = ?",
                (hex_digits, incarnation),
            ).fetchone()
            return None if row is None else tree_of(row)

    def all_trees(self) -> list[Tree]:
        """Every incarnation of every organization, by number."""
        with self.session() as log:
            if log is None:
                return []
            rows = log.execute(f"SELECT {TREE_COLUMNS} FROM affidavit_trees ORDER BY tree")
            return [tree_of(row) for row in rows]

    def places(self, events: Sequence[StoredEvent]) -> Mapping[int, Place]:
        """See :class:`affidavit.storage.log.LogStore`.

        A ``seq`` alone would do, but a file that was restored from before hands out the same ones again: in
        an organization with several incarnations the leaf itself is compared.
        """
        wanted = {event.seq: event for event in events}
        found: dict[int, Place] = {}
        if not wanted:
            return found
        with self.session() as log:
            if log is None:
                return found
            rows = log.execute(
                f"SELECT l.seq, l.idx, l.hash, {_ALIASED},"
                " (SELECT count(*) FROM affidavit_trees o WHERE o.organization = t.organization)"
                " FROM affidavit_leaves l JOIN affidavit_trees t ON t.tree = l.tree"
                f" WHERE l.seq IN ({','.join('?' * len(wanted))}) ORDER BY t.incarnation",
                list(wanted),
            ).fetchall()
        for seq, index, digest, *columns, incarnations in rows:
            tree, event = tree_of(tuple(columns)), wanted[seq]
            if tree.organization != event.organization:
                continue
            if incarnations > 1 and leaf_hash(leaf_of_event(event, tree.hex_digits).entry) != digest:
                continue
            found[seq] = Place(tree.number, index, digest, index < tree.published)
        return found

    def hashes(self, tree: int, level: int, start: int, count: int) -> list[bytes]:
        """See :class:`affidavit.storage.log.LogStore`."""
        with self.session() as log:
            if log is None:
                return []
            if level == 0:
                rows = log.execute(
                    "SELECT hash FROM affidavit_leaves WHERE tree = ? AND idx >= ? AND idx < ? ORDER BY idx",
                    (tree, start, start + count),
                )
            else:
                rows = log.execute(
                    "SELECT hash FROM affidavit_tiles WHERE tree = ? AND level = ? AND idx >= ? AND idx < ?"
                    " ORDER BY idx",
                    (tree, level, start, start + count),
                )
            return [digest for (digest,) in rows]

    def leaves(self, tree: int, start: int, end: int) -> Iterator[Sequence[Sealed]]:
        """See :class:`affidavit.storage.log.LogStore`."""
        while start < end:
            with self.session() as log:
                if log is None:
                    raise errors.LogMismatch(f"The log file {self.path} is gone.")
                rows = log.execute(
                    "SELECT seq, idx, hash FROM affidavit_leaves WHERE tree = ? AND idx >= ? AND idx < ?"
                    " ORDER BY idx LIMIT ?",
                    (tree, start, end, PIECE),
                ).fetchall()
            if not rows:
                return
            yield [Sealed(*row) for row in rows]
            start = rows[-1][1] + 1

    def checkpoints(self, tree: int) -> list[Published]:
        """See :class:`affidavit.storage.log.LogStore`."""
        with self.session() as log:
            if log is None:
                return []
            rows = log.execute(
                "SELECT tree, size, signed_at, note, cosigned FROM affidavit_checkpoints"
                " WHERE tree = ? ORDER BY size",
                (tree,),
            )
            return [
                Published(number, size, signed_at, note, bool(cosigned))
                for number, size, signed_at, note, cosigned in rows
            ]

    def kept(self, tree: int, below: int, most: int) -> list[Published]:
        """See :class:`affidavit.storage.log.LogStore`."""
        with self.session() as log:
            if log is None:
                return []
            own = "FROM affidavit_checkpoints WHERE tree = ? AND size > 0 AND size < ?"
            (count,) = log.execute(f"SELECT count(*) {own}", (tree, below)).fetchone()
            rows = log.execute(
                f"SELECT tree, size, signed_at, note, cosigned FROM"
                f" (SELECT *, row_number() OVER (ORDER BY size) number {own})"
                " WHERE number % ? = 0 ORDER BY size",
                (tree, below, max(1, -(-count // most))),
            )
            return [Published(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]

    def newest(self, tree: int) -> Published | None:
        """See :class:`affidavit.storage.log.LogStore`."""
        with self.session() as log:
            if log is None:
                return None
            row = log.execute(
                "SELECT tree, size, signed_at, note, cosigned FROM affidavit_checkpoints"
                " WHERE tree = ? ORDER BY size DESC LIMIT 1",
                (tree,),
            ).fetchone()
            return None if row is None else Published(row[0], row[1], row[2], row[3], bool(row[4]))

    def position(self) -> int:
        """The place up to which every event has its leaf; 0 while there is no log."""
        with self.session() as log:
            if log is None:
                return 0
            (seq,) = log.execute("SELECT seq FROM affidavit_position").fetchone() or (0,)
            return int(seq)

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        with self.session() as log:
            return [] if log is None else read_manifests(log, organization)

    def alarms(self) -> list[Alarm]:
        """See :class:`affidavit.storage.log.AlarmStore`."""
        with self.session() as log:
            return [] if log is None else read_alarms(log)

    def close(self) -> None:
        """Close what is idle; sessions under way close when they end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
