"""Reads the log, whatever SQL engine keeps it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from affidavit import errors
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import Place, StoredEvent
from affidavit.core.sealing import leaf_of_event
from affidavit.storage.log import Alarm, Manifest, Published, Sealed, Tree
from affidavit.storage.sql.database import Connection
from affidavit.storage.sql.log_tables import TREE_COLUMNS, read_alarms, read_manifests, tree_of

__all__ = ["SqlLog"]

PIECE = 10_000
"""Leaves read in one transaction."""
_ALIASED = ", ".join(f"t.{column}" for column in TREE_COLUMNS.split(", "))
_CHECKPOINT = "tree, size, signed_at, note, cosigned"


class SqlLog(ABC):
    """LogStore, and what readers ask of manifests and alarms."""

    @abstractmethod
    def session(self) -> AbstractContextManager[Connection | None]:
        """A connection that sees one moment; ``None`` while there is no log."""
        ...

    def trees(self, organization: str) -> list[Tree]:
        """See :class:`affidavit.storage.log.LogStore`."""
        return self._trees("WHERE organization = ? ORDER BY incarnation", organization)

    def tree(self, hex_digits: str, incarnation: int) -> Tree | None:
        """See :class:`affidavit.storage.log.LogStore`."""
        found = self._trees("WHERE hex = ? AND incarnation = ?", hex_digits, incarnation)
        return found[0] if found else None

    def all_trees(self) -> list[Tree]:
        """Every incarnation of every organization, by number."""
        return self._trees("ORDER BY tree")

    def _trees(self, which: str, *parameters: object) -> list[Tree]:
        with self.session() as log:
            if log is None:
                return []
            rows = log.execute(f"SELECT {TREE_COLUMNS} FROM affidavit_trees {which}", parameters).fetchall()
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
            table, extra = ("affidavit_leaves", ()) if level == 0 else ("affidavit_tiles", (level,))
            rows = log.execute(
                f"SELECT hash FROM {table} WHERE tree = ? AND idx >= ? AND idx < ?"
                f"{' AND level = ?' if level else ''} ORDER BY idx",
                (tree, start, start + count, *extra),
            ).fetchall()
            return [digest for (digest,) in rows]

    def leaves(self, tree: int, start: int, end: int) -> Iterator[Sequence[Sealed]]:
        """See :class:`affidavit.storage.log.LogStore`."""
        while start < end:
            with self.session() as log:
                if log is None:
                    raise errors.LogMismatch("The log is gone.")
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
        return self._checkpoints("affidavit_checkpoints WHERE tree = ? ORDER BY size", tree)

    def kept(self, tree: int, below: int, most: int) -> list[Published]:
        """See :class:`affidavit.storage.log.LogStore`."""
        own = "FROM affidavit_checkpoints WHERE tree = ? AND size > 0 AND size < ?"
        with self.session() as log:
            if log is None:
                return []
            (count,) = log.execute(f"SELECT count(*) {own}", (tree, below)).fetchone()
        return self._checkpoints(
            f"(SELECT {_CHECKPOINT}, row_number() OVER (ORDER BY size) AS number {own}) numbered"
            " WHERE number % ? = 0 ORDER BY size",
            *(tree, below, max(1, -(-count // most))),
        )

    def newest(self, tree: int) -> Published | None:
        """See :class:`affidavit.storage.log.LogStore`."""
        found = self._checkpoints("affidavit_checkpoints WHERE tree = ? ORDER BY size DESC LIMIT 1", tree)
        return found[0] if found else None

    def _checkpoints(self, which: str, *parameters: object) -> list[Published]:
        with self.session() as log:
            if log is None:
                return []
            rows = log.execute(f"SELECT {_CHECKPOINT} FROM {which}", parameters).fetchall()
            return [Published(row[0], row[1], row[2], row[3], bool(row[4])) for row in rows]

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
