"""Proofs and receipts: that an event is a leaf of its tree, for whoever keeps them (c2sp.org/tlog-proof).

A proof names index, inclusion proof and signed checkpoint; a receipt adds the leaf and what opens its
digests, so that it can be checked without asking anybody (docs/spec/receipt.md). Every proof is followed to
the signed root before it is handed out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from affidavit.core.checkpoint import parse_checkpoint
from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.merkle import (
    Subtree,
    consistency_ranges,
    decompose,
    fold,
    inclusion_ranges,
    node_hash,
    root_from_inclusion,
    verify_consistency,
)
from affidavit.core.note import parse_note
from affidavit.core.proof import TlogProof
from affidavit.core.row import Place, StoredEvent, encode_group
from affidavit.core.tiles import WIDTH
from affidavit.core.unsound import RootMismatch
from affidavit.errors import LogMismatch, NotFound, NotPublished
from affidavit.log.entries import Entries, Entry
from affidavit.storage.log import LogStore, Published, Sealed, Tree

__all__ = ["RECEIPT_VERSION", "Receipts", "Sweep", "encode_receipt"]

RECEIPT_VERSION = 1
_TILE_BITS = 8
_TILES = 64
_NODES = 8_192


class Sweep:
    """Inclusion proofs of many leaves under one checkpoint; what neighbours share is read and hashed once.

    Args:
        log: the trees.
        tree: the one concerned.
        checkpoint: of that tree.
    """

    def __init__(self, log: LogStore, tree: Tree, checkpoint: Published) -> None:
        self.tree = tree
        self.checkpoint = checkpoint
        self.size = checkpoint.size
        signed = parse_checkpoint(parse_note(checkpoint.note).text)
        if (signed.origin, signed.size) != (tree.origin, checkpoint.size):
            raise LogMismatch(
                f"What is kept as checkpoint of {tree.origin} at {checkpoint.size} is that of {signed.origin}"
                f" at {signed.size}. See: affidavit fsck"
            )
        self.root = signed.root
        self._log = log
        self._tile = lru_cache(_TILES)(self._read_tile)
        self._node = lru_cache(_NODES)(self._make_node)

    def proof(self, index: int, leaf: bytes) -> TlogProof:
        """The proof of one leaf.

        Args:
            index: below the size of the checkpoint.
            leaf: its hash.

        Raises:
            LogMismatch: the stored hashes do not lead to the signed root.
            BadProof: there is no such leaf.
        """
        hashes = tuple(fold(self.subtrees(*each)) for each in inclusion_ranges(index, self.size))
        if root_from_inclusion(index, self.size, leaf, hashes) != self.root:
            raise LogMismatch(
                f"Leaf {index} of {self.tree.origin} does not lead to the root that was signed for size"
                f" {self.size}: stored hashes were changed. See: affidavit fsck"
            )
        return TlogProof(index, hashes, self.checkpoint.note)

    def consistency(self, old: int, root: bytes) -> list[bytes]:
        """The proof that this tree begins with an earlier one.

        Args:
            old: size of the earlier tree, 1 to that of the checkpoint.
            root: what was signed for it.

        Raises:
            LogMismatch: it does not.
        """
        hashes = [fold(self.subtrees(*each)) for each in consistency_ranges(old, self.size)]
        try:
            verify_consistency(old, self.size, root, self.root, hashes)
        except RootMismatch as error:
            raise LogMismatch(
                f"The checkpoint of {self.tree.origin} at {old} is not one of the tree at {self.size}:"
                f" {error.message}. See: affidavit fsck"
            ) from error
        return hashes

    def subtrees(self, start: int, end: int) -> list[bytes]:
        """The hashes of the perfect subtrees that :func:`~affidavit.core.merkle.decompose` names."""
        return [self._node(each.level, each.index) for each in decompose(start, end)]

    def _make_node(self, level: int, index: int) -> bytes:
        if level % _TILE_BITS:
            return node_hash(self._node(level - 1, 2 * index), self._node(level - 1, 2 * index + 1))
        stored, at = level // _TILE_BITS, index % WIDTH
        tile = self._tile(stored, index // WIDTH)
        if at >= len(tile):
            raise LogMismatch(
                f"{self.tree.origin} lacks the hash of subtree {Subtree(level, index)}. See: affidavit fsck"
            )
        return tile[at]

    def _read_tile(self, level: int, index: int) -> list[bytes]:
        return self._log.hashes(self.tree.number, level, index * WIDTH, WIDTH)


class Receipts:
    """Makes proofs and receipts of events. Safe to use from several threads.

    Args:
        log: the trees.
        entries: what their leaves stand for.
    """

    def __init__(self, log: LogStore, entries: Entries) -> None:
        self._log = log
        self._entries = entries

    def proof(self, event: StoredEvent) -> bytes:
        """The proof of an event under the newest checkpoint of its tree, as text.

        Raises:
            NotPublished: no signed checkpoint covers it yet.
            LogMismatch: the stored hashes do not lead to the signed root.
        """
        place = _covered(event)
        return self._sweep(event.organization, place).proof(place.index, place.hash).encode()

    def receipt(self, event: StoredEvent) -> bytes:
        """The receipt of an event under the newest checkpoint of its tree, as JSON.

        Raises:
            NotPublished: no signed checkpoint covers it yet.
            LogMismatch: its leaf is not that of the event, or hashes do not lead to the signed root.
        """
        place = _covered(event)
        sweep = self._sweep(event.organization, place)
        (entry,) = self._entries.of(sweep.tree, [Sealed(event.seq, place.index, place.hash)])
        return encode_receipt(entry, sweep.proof(place.index, place.hash))

    def newest(self, organization: str, incarnation: int | None = None) -> Sweep:
        """The newest checkpoint of a tree.

        Args:
            organization: whose.
            incarnation: of the tree; ``None`` for the newest.

        Raises:
            NotFound: there is no such incarnation.
            NotPublished: there is no signed checkpoint yet.
        """
        trees = self._log.trees(organization)
        chosen = trees[-1:] if incarnation is None else [t for t in trees if t.incarnation == incarnation]
        if not chosen and incarnation is not None:
            raise NotFound(f"There is no incarnation {incarnation} of this log.")
        checkpoint = self._log.newest(chosen[0].number) if chosen else None
        if checkpoint is None:
            raise NotPublished("This log has no signed checkpoint yet; ask again in some seconds.")
        return Sweep(self._log, chosen[0], checkpoint)

    def many(self, events: Sequence[StoredEvent], sweep: Sweep) -> list[tuple[bytes, bool]]:
        """The receipts of those events that a checkpoint covers, each with whether groups are gone.

        Raises:
            LogMismatch: as in :meth:`receipt`.
        """
        leaves = [
            Sealed(event.seq, event.place.index, event.place.hash)
            for event in events
            if event.place is not None
            and event.place.tree == sweep.tree.number
            and event.place.index < sweep.size
        ]
        return [
            (
                encode_receipt(entry, sweep.proof(entry.index, entry.hash)),
                len(entry.disclosures) < len(LEAF_GROUPS),
            )
            for entry in self._entries.of(sweep.tree, leaves)
            if entry.leaf is not None
        ]

    def _sweep(self, organization: str, place: Place) -> Sweep:
        trees = [each for each in self._log.trees(organization) if each.number == place.tree]
        checkpoint = self._log.newest(place.tree)
        if not trees or checkpoint is None or checkpoint.size <= place.index:
            raise LogMismatch(
                f"The log of {organization} has lost its newest checkpoint. See: affidavit fsck"
            )
        (tree,) = trees
        return Sweep(self._log, tree, checkpoint)


def encode_receipt(entry: Entry, proof: TlogProof) -> bytes:
    """A receipt as canonical JSON on one line.

    Raises:
        NotFound: the row was pruned, so there is nothing to show.
    """
    if entry.leaf is None:
        raise NotFound("There is no event with this id.")
    members = {
        "disclosures": [each.decode() for each in entry.disclosures],
        "leaf": entry.leaf.decode(),
        "proof": proof.encode().decode(),
        "v": RECEIPT_VERSION,
    }
    return encode_group(members)


def _covered(event: StoredEvent) -> Place:
    place = event.place
    if place is None:
        raise NotPublished("The event waits for its place in the log; ask again in some seconds.")
    if not place.published:
        raise NotPublished(
            f"The event is leaf {place.index} of its log, which no signed checkpoint covers yet;"
            " ask again in some seconds."
        )
    return place
