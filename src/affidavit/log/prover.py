"""Proofs from the stored hashes: the hash of any range, inclusion, consistency, and range proofs.

Nothing here is believed by anybody: a proof is checked against a signed root by whoever gets it.
"""

from __future__ import annotations

from affidavit import errors
from affidavit.core.merkle import (
    Subtree,
    consistency_ranges,
    decompose,
    fold,
    inclusion_ranges,
    node_hash,
)
from affidavit.storage.log import LogStore

__all__ = ["Prover"]


class Prover:
    """Makes proofs from one store.

    Args:
        store: of the trees.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store

    def root(self, tree: int, size: int) -> bytes:
        """The root of the first ``size`` leaves; of none, that of the empty tree."""
        return fold([self._subtree(tree, each) for each in decompose(0, size)])

    def range_hash(self, tree: int, start: int, end: int) -> bytes:
        """The hash of a range that stands in an inclusion or consistency proof (RFC 6962 section 2.1)."""
        return fold([self._subtree(tree, each) for each in decompose(start, end)])

    def inclusion(self, tree: int, index: int, size: int) -> list[bytes]:
        """The inclusion proof of a leaf in the tree of ``size`` (RFC 6962 section 2.1.1).

        Raises:
            BadProof: there is no such leaf.
        """
        return [self.range_hash(tree, start, end) for start, end in inclusion_ranges(index, size)]

    def consistency(self, tree: int, old: int, new: int) -> list[bytes]:
        """The consistency proof from size ``old`` to ``new`` (RFC 6962 section 2.1.2).

        Raises:
            BadProof: ``old`` is 0 or above ``new``.
        """
        return [self.range_hash(tree, start, end) for start, end in consistency_ranges(old, new)]

    def range_proof(self, tree: int, start: int, end: int, size: int) -> tuple[list[bytes], list[bytes]]:
        """What leaves ``[start, end)`` need to become the root of ``size``: the subtrees beside them.

        Returns:
            The hashes of ``decompose(0, start)`` and of ``decompose(end, size)``.
        """
        return (
            [self._subtree(tree, each) for each in decompose(0, start)],
            [self._subtree(tree, each) for each in decompose(end, size)],
        )

    def _subtree(self, tree: int, subtree: Subtree) -> bytes:
        """A perfect subtree, from the greatest stored ones within it (every eighth level is stored)."""
        level = subtree.level // 8
        count = 1 << (subtree.level - 8 * level)
        hashes = self._store.hashes(tree, level, subtree.index * count, count)
        if len(hashes) != count:
            raise errors.LogMismatch(
                f"Tree {tree} lacks hashes of level {8 * level} from {subtree.index * count} on."
                " See: affidavit fsck"
            )
        while len(hashes) > 1:
            hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
        return hashes[0]
