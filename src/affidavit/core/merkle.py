"""The Merkle tree of RFC 6962 section 2.1 over SHA-256: hashes, compact ranges, proofs, their verification.

A *range* ``[start, end)`` of leaves has one hash, that of RFC 6962 over these leaves alone. A *perfect*
subtree is named ``(level, index)``: the hash of leaves ``index * 2**level`` to ``(index + 1) * 2**level``.
Proofs are made from perfect subtrees, which somebody else looks up; nothing here reads anything.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

from affidavit.core.unsound import BadProof, Malformed, RootMismatch

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "MAX_SIZE",
    "Frontier",
    "Subtree",
    "consistency_ranges",
    "decompose",
    "fold",
    "inclusion_length",
    "inclusion_ranges",
    "leaf_hash",
    "node_hash",
    "root_from_inclusion",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE = 32
MAX_SIZE = 2**63 - 1
EMPTY_ROOT = sha256(b"").digest()
"""The root of the tree without leaves (RFC 6962 section 2.1)."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256 of 0x00 and the entry: the prefix keeps a node from passing as a leaf."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and both children."""
    return sha256(b"\x01" + left + right).digest()


class Subtree(NamedTuple):
    """A perfect subtree: leaves ``index << level`` (inclusive) to ``(index + 1) << level`` (exclusive)."""

    level: int
    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here


def decompose(start: int, end: int) -> list[Subtree]:
    """The fewest perfect subtrees that cover ``[start, end)``, from left to right.

    For ``start`` 0 these are the binary digits of ``end``; otherwise sizes first rise, then fall.
    """
    found: list[Subtree] = []
    while start < end:
        level = min((start & -start).bit_length() - 1 if start else 63, (end - start).bit_length() - 1)
        found.append(Subtree(level, start >> level))
        start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash of a range from those of its perfect subtrees, right to left; of none, :data:`EMPTY_ROOT`.

    Only for ranges that :func:`inclusion_ranges` and :func:`consistency_ranges` name, and those that start
    at 0: there the subtrees fall in size.
    """
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


class Frontier:
    """The compact range ``[0, size)``: one hash for each binary digit of the size, the greatest first.

    Args:
        size: leaves.
        hashes: as :func:`decompose` names them for ``[0, size)``.

    Raises:
        Malformed: another number of hashes, or one that is not 32 bytes.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if not 0 <= size <= MAX_SIZE or len(self.hashes) != size.bit_count():
            raise Malformed("the frontier", f"must hold {max(0, size).bit_count()} hashes", len(self.hashes))
        _check_hashes(self.hashes)

    def copy(self) -> Frontier:
        """Another one that grows by itself."""
        return Frontier(self.size, self.hashes)

    def append(self, leaf: bytes, made: Callable[[int, int, bytes], None] | None = None) -> None:
        """Add the hash of the next leaf.

        Args:
            leaf: from :func:`leaf_hash`.
            made: is told of each perfect subtree of 256, 65,536, ... leaves that this completes, as
                ``(tile level, index, hash)``: the hash stands at that place of the tiles of that level.
        """
        size, hashes = self.size, self.hashes
        level = 0
        while size & 1:
            leaf = sha256(b"\x01" + hashes.pop() + leaf).digest()
            size >>= 1
            level += 1
            if level & 7 == 0 and made is not None:
                made(level >> 3, size, leaf)
        hashes.append(leaf)
        self.size += 1

    def push(self, level: int, subtree: bytes) -> None:
        """Add a perfect subtree; the size must be a multiple of its leaves.

        Raises:
            BadProof: it does not stand at the end of this range.
        """
        if self.size & ((1 << level) - 1):
            raise BadProof(f"a subtree of level {level} cannot begin at leaf {self.size}")
        size = self.size >> level
        while size & 1:
            subtree = node_hash(self.hashes.pop(), subtree)
            size >>= 1
        self.hashes.append(subtree)
        self.size += 1 << level

    def root(self) -> bytes:
        """The root hash of the tree of this size."""
        return fold(self.hashes)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root of the tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_length(index: int, size: int) -> int:
    """How many hashes prove leaf ``index`` in a tree of ``size`` (RFC 9162 section 2.1.3)."""
    inner = (index ^ (size - 1)).bit_length()
    return inner + (index >> inner).bit_count()


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The ranges whose hashes are the inclusion proof (RFC 6962 section 2.1.1), the leaf's sibling first.

    Raises:
        BadProof: there is no such leaf in a tree of this size.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise BadProof(f"there is no leaf {index} in a tree of size {size}")
    found: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < middle:
            found.append((middle, end))
            end = middle
        else:
            found.append((start, middle))
            start = middle
    found.reverse()
    return found


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The ranges whose hashes are the consistency proof (RFC 6962 section 2.1.2); none for equal sizes.

    Raises:
        BadProof: ``old`` is 0 or above ``new``.
    """
    if not 0 < old <= new <= MAX_SIZE:
        raise BadProof(f"there is no consistency proof from size {old} to size {new}")
    return list(_consistency(old, 0, new, whole=True))


def _consistency(old: int, start: int, end: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    stack: list[tuple[int, int]] = []
    while old != end:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if old <= middle:
            stack.append((middle, end))
            end = middle
        else:
            stack.append((start, middle))
            start = middle
            whole = False
    if not whole:
        yield start, end
    yield from reversed(stack)


def root_from_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 section 2.1.3.2).

    Raises:
        BadProof: an index outside the tree, or a proof of another length than these two demand.
        Malformed: a hash that is not 32 bytes.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise BadProof(f"there is no leaf {index} in a tree of size {size}")
    expected = inclusion_length(index, size)
    if len(proof) != expected:
        raise BadProof(f"the proof of leaf {index} of {size} has {expected} hashes, not {len(proof)}")
    _check_hashes((leaf, *proof))
    position, last, result = index, size - 1, leaf
    for sibling in proof:
        if position & 1 or position == last:
            result = node_hash(sibling, result)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        position >>= 1
        last >>= 1
    return result


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that a leaf hash stands at ``index`` of the tree with this size and root.

    Raises:
        BadProof, Malformed: the proof is none for this index and size.
        RootMismatch: it leads to another root.
    """
    computed = root_from_inclusion(index, size, leaf, proof)
    if computed != root:
        raise RootMismatch(f"leaf {index} of {size}", root, computed)


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of size ``new`` begins with that of size ``old`` (RFC 9162 section 2.1.4.2).

    Raises:
        BadProof, Malformed: sizes out of order, ``old`` 0 (nothing to prove), a proof of another length.
        RootMismatch: the proof leads to another old or new root.
    """
    if not 0 < old <= new <= MAX_SIZE:
        raise BadProof(f"there is no consistency proof from size {old} to size {new}")
    _check_hashes((old_root, new_root, *proof))
    expected = len(consistency_ranges(old, new))
    if len(proof) != expected:
        raise BadProof(f"the proof from size {old} to {new} has {expected} hashes, not {len(proof)}")
    if old == new:
        if old_root != new_root:
            raise RootMismatch(f"two roots of size {old}", old_root, new_root)
        return
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    position, last = old - 1, new - 1
    while position & 1:
        position >>= 1
        last >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if position & 1 or position == last:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            second = node_hash(second, sibling)
        position >>= 1
        last >>= 1
    if first != old_root:
        raise RootMismatch(f"the tree of size {old}", old_root, first)
    if second != new_root:
        raise RootMismatch(f"the tree of size {new}", new_root, second)


def _check_hashes(hashes: Iterable[bytes]) -> None:
    for each in hashes:
        if len(each) != HASH_SIZE:
            raise Malformed("a hash", f"must be {HASH_SIZE} bytes", len(each))
