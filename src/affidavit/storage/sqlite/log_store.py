"""Reading the log file: trees, leaves, checkpoints, manifests, alarms. Safe to use from several threads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from affidavit.core.merkle import leaf_hash
from affidavit.core.row import Place, StoredEvent
from affidavit.core.sealing import leaf_of_event
from affidavit.storage.sql.log_store import ALIASED, SqlLog
from affidavit.storage.sql.log_tables import tree_of
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, inode, translated

__all__ = ["SqliteLog"]

MOST_IDLE = 8


class SqliteLog(SqlLog):
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
                f"SELECT l.seq, l.idx, l.hash, {ALIASED},"
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

    def close(self) -> None:
        """Close what is idle; sessions under way close when they end."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()
