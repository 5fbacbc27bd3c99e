"""Folds a run of leaves into the root of the whole tree, a thousand at a time.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from affidavit.core.merkle import HASH_SIZE, Frontier, decompose
from affidavit.core.unsound import Malformed, RootMismatch

__all__ = ["Folded", "subtree_root"]


def subtree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 1, 2, 4, ... leaf hashes, level by level: half the time of one after the other."""
    row = list(hashes)
    while len(row) > 1:
        pairs = iter(row)
        row = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
    return row[0]


class Folded:
    """The tree up to where its leaves have been seen.

    Args:
        start: leaves before the first one that is added.
        left: their subtrees, as :func:`~affidavit.core.merkle.decompose` names them.
        watched: sizes at which the root is to be kept; those that no subtree ends at are missed.

    Attributes:
        roots: at the watched sizes.

    Raises:
        Malformed: another number of hashes, or one that is not 32 bytes.
    """

    def __init__(self, start: int, left: Sequence[bytes], watched: Iterable[int] = ()) -> None:
        self.roots: dict[int, bytes] = {}
        self._watched = frozenset(watched)
        self._frontier = Frontier()
        self._keep()
        self._subtrees(0, start, left, "left")

    @property
    def size(self) -> int:
        """Leaves so far."""
        return self._frontier.size

    def add(self, hashes: Sequence[bytes]) -> None:
        """Append leaves by their hashes."""
        start = self.size
        end = start + len(hashes)
        cuts = sorted(size for size in self._watched if start < size < end)
        for until in (*cuts, end):
            for each in decompose(self.size, until):
                first = (each.index << each.level) - start
                self._frontier.push(each.level, subtree_root(hashes[first : first + (1 << each.level)]))
            self._keep()

    def finish(self, size: int, right: Sequence[bytes], root: bytes) -> None:
        """Append the subtrees behind the leaves, and compare the root.

        Raises:
            Malformed: another number of hashes, or one that is not 32 bytes.
            RootMismatch: these are not the leaves that were signed.
        """
        self._subtrees(self.size, size, right, "right")
        if (computed := self._frontier.root()) != root:
            raise RootMismatch(f"the root of the tree of size {size}", root, computed)

    def _subtrees(self, start: int, end: int, hashes: Sequence[bytes], what: str) -> None:
        parts = decompose(start, end)
        if len(parts) != len(hashes) or any(len(each) != HASH_SIZE for each in hashes):
            raise Malformed("range.json", f"must hold {len(parts)} hashes on the {what}", len(hashes))
        for part, subtree in zip(parts, hashes, strict=True):
            self._frontier.push(part.level, subtree)
            self._keep()

    def _keep(self) -> None:
        if self.size in self._watched:
            self.roots[self.size] = self._frontier.root()
