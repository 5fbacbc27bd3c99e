"""Trees and tiles: every hash above the leaves is computed again, and the head with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from affidavit.core.merkle import HASH_SIZE, Frontier
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.state import StoredTree
from affidavit.storage.evidence import Fault, LogEvidence

__all__ = ["TreeCheck"]

_PIECE = 8_192
_NAMED = 100
"""Faults of one kind in one tree that are named."""


class _Tiles:
    """The stored tiles of one tree, each level read along with the tree that grows."""

    def __init__(self, log: LogEvidence, tree: int, report: Callable[[Fault], None]) -> None:
        self._log = log
        self._tree = tree
        self._report = report
        self._levels: dict[int, Iterator[tuple[Any, Any]]] = {}
        self._next: dict[int, tuple[Any, Any] | None] = {}
        self._size: Callable[[], int] | None = None

    def _level(self, level: int) -> tuple[Any, Any] | None:
        if level not in self._levels:
            self._levels[level] = iter(self._log.tiles(self._tree, level))
            self._next[level] = next(self._levels[level], None)
        return self._next[level]

    def made(self, level: int, index: int, digest: bytes) -> None:
        """A subtree is complete: the tile must say so."""
        stored = self._level(level)
        while stored is not None and stored[0] < index:
            self._stray(level, stored)
            stored = self._next[level]
        key = f"{self._tree}, {level}, {index}"
        if stored is None or stored[0] != index:
            rule = "the tile of a full subtree is missing"
            self._report(Fault("affidavit_tiles", "", key, rule, digest.hex(), ""))
            return
        if stored[1] != digest:
            rule = "is not the hash of the leaves below it"
            self._report(Fault("affidavit_tiles", "hash", key, rule, digest.hex(), shown(stored[1])))
        self._next[level] = next(self._levels[level], None)

    def end(self, now: Callable[[], int]) -> None:
        """Nothing may stand beyond what the leaves make by now."""
        self._size = now
        for level in self._log.tile_levels(self._tree):
            while (stored := self._level(level)) is not None:
                self._stray(level, stored)

    def _stray(self, level: int, stored: tuple[Any, Any]) -> None:
        index = stored[0] if type(stored[0]) is int else -1
        if self._size is not None and index >= 0 and (index + 1) << (8 * level) <= self._size():
            self._next[level] = next(self._levels[level], None)
            return  # made while this runs
        key = f"{self._tree}, {level}, {stored[0]}"
        rule = "stands where the leaves make no full subtree"
        self._report(Fault("affidavit_tiles", "", key, rule, "", shown(stored[1])))
        self._next[level] = next(self._levels[level], None)


class TreeCheck:
    """Computes one tree again from its leaves.

    Args:
        log: the log file.
        findings: where faults go.
    """

    def __init__(self, log: LogEvidence, findings: Findings) -> None:
        self._log = log
        self._findings = findings
        self._named: dict[tuple[int, str], int] = {}

    def _report(self, tree: StoredTree, fault: Fault) -> None:
        kind = (tree.number, fault.table + fault.column + fault.rule)
        self._named[kind] = self._named.get(kind, 0) + 1
        if self._named[kind] <= _NAMED:
            self._findings.fault(fault, tree.number, entries=0)

    def run(self, tree: StoredTree, sizes: Mapping[int, bytes | None]) -> dict[int, bytes]:
        """Check leaves, tiles and head of one tree.

        Args:
            tree: as its row says.
            sizes: tree sizes whose roots are wanted.

        Returns:
            Size to the root that the leaves have; sizes beyond the leaves are missing.
        """
        frontier = Frontier()
        tiles = _Tiles(self._log, tree.number, lambda fault: self._report(tree, fault))
        roots = {0: frontier.root()} if 0 in sizes else {}
        before: int | None = None
        while frontier.size < tree.size:
            piece = self._log.leaves(tree.number, frontier.size, min(_PIECE, tree.size - frontier.size))
            for leaf in piece:
                if leaf.index != frontier.size:
                    break
                digest = leaf.hash
                if type(digest) is not bytes or len(digest) != HASH_SIZE:
                    self._leaf(tree, leaf.index, "hash", "must be 32 bytes", shown(digest))
                    digest = bytes(HASH_SIZE)
                before = self._order(tree, leaf.index, leaf.seq, before)
                frontier.append(digest, tiles.made)
                if frontier.size in sizes:
                    roots[frontier.size] = frontier.root()
            if not piece or piece[-1].index != frontier.size - 1:
                self._leaf(tree, frontier.size, "", "the leaf is missing", "")
                break
        self._head(tree, frontier)
        if frontier.size == tree.size:
            tiles.end(lambda: self._log.size(tree.number))
        return roots

    def _order(self, tree: StoredTree, index: int, seq: Any, before: int | None) -> int | None:
        """Leaves stand in recording order, but for the first one of an incarnation that was begun later."""
        if type(seq) is not int:
            self._leaf(tree, index, "seq", "must be a number", shown(seq))
            return before
        if index == 0 and tree.first_seq is not None:
            if seq != tree.first_seq:
                self._leaf(tree, index, "seq", "is not first_seq of its tree", str(seq), str(tree.first_seq))
            return None
        if before is not None and seq <= before:
            self._leaf(tree, index, "seq", "does not stand in recording order", str(seq), f"above {before}")
            return before
        return seq

    def _leaf(
        self, tree: StoredTree, index: int, column: str, rule: str, computed: str, expected: str = ""
    ) -> None:
        key = f"{tree.number}, {index}"
        self._report(tree, Fault("affidavit_leaves", column, key, rule, expected, computed, index))

    def _head(self, tree: StoredTree, frontier: Frontier) -> None:
        key = str(tree.number)
        if frontier.size != tree.size:
            rule = "says more leaves than there are"
            self._report(
                tree, Fault("affidavit_trees", "size", key, rule, str(frontier.size), str(tree.size))
            )
            return
        beyond = self._log.leaves(tree.number, tree.size, 1) or self._log.leaves(tree.number, -(2**63), 1)
        if beyond and not 0 <= beyond[0].index < max(tree.size, self._log.size(tree.number)):
            rule = "says fewer leaves than there are"
            self._report(
                tree, Fault("affidavit_trees", "size", key, rule, str(beyond[0].index + 1), str(tree.size))
            )
        packed = b"".join(frontier.hashes)
        if packed != tree.frontier:
            rule = "is not the compact range of the leaves"
            self._report(
                tree, Fault("affidavit_trees", "frontier", key, rule, shown(packed), shown(tree.frontier))
            )
        if not 0 <= tree.published <= tree.size:
            rule = "says that more is published than there is"
            self._report(
                tree,
                Fault("affidavit_trees", "published", key, rule, f"at most {tree.size}", str(tree.published)),
            )
