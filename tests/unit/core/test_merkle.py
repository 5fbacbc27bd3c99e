"""The tree against RFC 6962 as it is written, against published vectors, against what attackers would try."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    Subtree,
    consistency_ranges,
    decompose,
    fold,
    inclusion_length,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    root_from_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from affidavit.core.unsound import BadProof, Malformed, RootMismatch, Unsound
from tests.rfc6962 import NaiveTree

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "rfc6962.json").read_text(encoding="utf-8")
)
ALL = 300
"""Every size up to this is compared with the naive definition."""

ENTRIES = [b"entry %d" % number for number in range(ALL)]
NAIVE = NaiveTree(ENTRIES)
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


@cache
def range_hash(start: int, end: int) -> bytes:
    """The hash of a range the way a reader makes it: perfect subtrees looked up, then folded."""
    return fold(
        [NAIVE.mth(each.index << each.level, each.index + 1 << each.level) for each in decompose(start, end)]
    )


def inclusion(index: int, size: int) -> list[bytes]:
    """The proof of a leaf, from the ranges that the product names."""
    return [range_hash(start, end) for start, end in inclusion_ranges(index, size)]


def consistency(old: int, new: int) -> list[bytes]:
    """The proof between two sizes, from the ranges that the product names."""
    return [range_hash(start, end) for start, end in consistency_ranges(old, new)]


# against the definition


def test_every_root_up_to_size_300_is_that_of_the_definition() -> None:
    """Grown leaf by leaf, and the frontier of each size is the one that ``decompose`` names."""
    frontier = Frontier()
    for size in range(ALL + 1):
        assert frontier.size == size
        assert frontier.root() == NAIVE.root(size) == root_of(LEAVES[:size])
        assert frontier.hashes == [
            NAIVE.mth(each.index << each.level, each.index + 1 << each.level) for each in decompose(0, size)
        ]
        if size < ALL:
            frontier.append(LEAVES[size])


def test_every_inclusion_proof_up_to_size_300_is_that_of_the_definition_and_verifies() -> None:
    """All 45,150 of them; their lengths are what index and size demand."""
    for size in range(1, ALL + 1):
        for index in range(size):
            proof = inclusion(index, size)
            assert proof == NAIVE.path(index, 0, size)
            assert len(proof) == inclusion_length(index, size)
            verify_inclusion(index, size, LEAVES[index], proof, NAIVE.root(size))


def test_every_consistency_proof_up_to_size_300_is_that_of_the_definition_and_verifies() -> None:
    """All 45,150 of them, equal sizes included."""
    for new in range(1, ALL + 1):
        for old in range(1, new + 1):
            proof = consistency(old, new)
            assert proof == NAIVE.proof(old, new)
            verify_consistency(old, new, NAIVE.root(old), NAIVE.root(new), proof)


# against what others have published


def test_the_published_roots_of_eight_leaves() -> None:
    """Leaves and roots of sizes 0 to 8 are those of the transparency-dev test trees."""
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in VECTORS["inputs"]]
    assert [leaf.hex() for leaf in leaves] == VECTORS["leaves"]
    assert [root_of(leaves[:size]).hex() for size in range(9)] == VECTORS["roots"]


def test_the_proofs_of_a_certificate_transparency_log_verify() -> None:
    """An entry and an older tree of a real log with 961,984,013 entries, proven by that log."""
    log = VECTORS["argon2020"]
    root, old_root = b64decode(log["root"]), b64decode(log["old_root"])
    path, proof = ([b64decode(each) for each in log[name]] for name in ("inclusion", "consistency"))
    verify_inclusion(log["index"], log["size"], bytes.fromhex(log["leaf"]), path, root)
    verify_consistency(log["old_size"], log["size"], old_root, root, proof)
    with pytest.raises(RootMismatch):
        verify_inclusion(log["index"] ^ 1, log["size"], bytes.fromhex(log["leaf"]), path, root)


class Accumulated:
    """The trees of the accumulated vectors: leaf ``i`` is the byte ``i``, up to 130 leaves."""

    most = 130
    naive = NaiveTree([bytes([number]) for number in range(most)])

    def range_hash(self, start: int, end: int) -> bytes:
        found = decompose(start, end)
        return fold(
            [self.naive.mth(each.index << each.level, each.index + 1 << each.level) for each in found]
        )

    def valid(self, start: int, end: int) -> bool:
        """Whether ``[start, end)`` begins at a multiple of the least power of two that holds it."""
        width = 1
        while width < end - start:
            width *= 2
        return start % width == 0

    def hash_lines(self, empty: int) -> Iterator[tuple[str, list[bytes]]]:
        for end in range(1 - empty, self.most + 1):
            for start in range(end + empty):
                if self.valid(start, end):
                    yield f"[{start}, {end})", [self.range_hash(start, end)]

    def inclusion_lines(self, empty: int) -> Iterator[tuple[str, list[bytes]]]:
        for end in range(1 - empty, self.most + 1):
            for start in range(end):
                for index in range(start, end) if self.valid(start, end) else ():
                    ranges = inclusion_ranges(index - start, end - start)
                    proof = [self.range_hash(start + one, start + other) for one, other in ranges]
                    yield f"{index} [{start}, {end})", proof

    def consistency_lines(self, empty: int) -> Iterator[tuple[str, list[bytes]]]:
        for size in range(self.most + 1):
            for end in range(1 - empty, size + 1):
                for start in range(end + empty):
                    if self.valid(start, end):
                        ranges = self.subtree_ranges(start, end, size)
                        yield f"[{start}, {end}) {size}", [self.range_hash(*each) for each in ranges]

    def subtree_ranges(self, start: int, end: int, size: int) -> list[tuple[int, int]]:
        """Down to the first node of the tree that begins where the subtree does, then as for a tree."""
        if start == end:
            return []
        below, siblings = (0, size), []
        while below[0] != start:
            span = below[1] - below[0]
            middle = below[0] + 2 ** ((span - 1).bit_length() - 1)
            left, right = (below[0], middle), (middle, below[1])
            below, sibling = (left, right) if end <= middle else (right, left)
            siblings.append(sibling)
        inner = consistency_ranges(end - start, below[1] - start)
        return [(one + start, other + start) for one, other in inner] + siblings[::-1]


@pytest.mark.parametrize("name", VECTORS["accumulated"])
def test_the_accumulated_hashes(name: str) -> None:
    """Every subtree hash and proof of trees up to 130 leaves, folded into one published hash a kind."""
    trees = Accumulated()
    kinds: dict[str, Callable[[int], Iterator[tuple[str, list[bytes]]]]] = {
        "hashes": trees.hash_lines,
        "inclusion": trees.inclusion_lines,
        "consistency": trees.consistency_lines,
    }
    kind, _, with_empty = name.partition("_")
    count, folded = 0, hashlib.sha256()
    for label, hashes in kinds[kind](int(bool(with_empty))):
        folded.update(" ".join([label, *(each.hex() for each in hashes)]).encode() + b"\n")
        count += 1
    assert [count, folded.hexdigest()] == VECTORS["accumulated"][name]


# against attackers


def test_an_entry_that_looks_like_a_node_has_another_hash() -> None:
    """(case 20) No entry hashes to an inner node, whatever bytes it has."""
    left, right = LEAVES[:2]
    for entry in (b"\x01" + left + right, left + right):
        assert leaf_hash(entry) != node_hash(left, right)
    assert root_of([leaf_hash(left + right)]) != root_of([left, right])


def test_a_node_is_no_leaf_of_the_signed_size() -> None:
    """(case 20) The node over leaves 0 and 1, offered as leaf 0 with the rest of the path: a wrong length."""
    node = node_hash(*LEAVES[:2])
    upper = inclusion(0, 8)[1:]
    assert root_from_inclusion(0, 4, node, upper) == NAIVE.root(8)  # it fits a size that nobody signed
    with pytest.raises(BadProof):
        verify_inclusion(0, 8, node, upper, NAIVE.root(8))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 8, 9, 100])
def test_the_last_leaf_twice_is_another_tree(size: int) -> None:
    """(case 21) Nothing is padded: repeating the last leaf changes the root."""
    assert root_of([*LEAVES[:size], LEAVES[size - 1]]) != root_of(LEAVES[:size])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 13, 64, 100])
def test_an_inclusion_proof_of_another_length_is_refused(size: int) -> None:
    """(case 22) Too short, too long, and with the root appended, for every leaf."""
    root = NAIVE.root(size)
    for index in range(size):
        proof = inclusion(index, size)
        for wrong in ([*proof, root], [root, *proof], [*proof, *proof[-1:], root], proof[:-1], proof[1:]):
            if len(wrong) != len(proof):
                with pytest.raises(BadProof, match="hashes, not"):
                    verify_inclusion(index, size, LEAVES[index], wrong, root)


@pytest.mark.parametrize("wrong", [b"", b"\x00" * 31, b"\x00" * 33])
def test_a_hash_of_another_length_is_refused(wrong: bytes) -> None:
    """(case 22) In an inclusion proof, as its leaf, in a consistency proof and as either root."""
    proof, root = inclusion(5, 13), NAIVE.root(13)
    for place in range(len(proof)):
        with pytest.raises(Malformed, match="32 bytes"):
            verify_inclusion(5, 13, LEAVES[5], [*proof[:place], wrong, *proof[place + 1 :]], root)
    with pytest.raises(Malformed, match="32 bytes"):
        verify_inclusion(5, 13, wrong, proof, root)
    path = consistency(6, 13)
    for place in range(len(path)):
        with pytest.raises(Malformed, match="32 bytes"):
            verify_consistency(6, 13, NAIVE.root(6), root, [*path[:place], wrong, *path[place + 1 :]])
    for roots in ((wrong, root), (NAIVE.root(6), wrong)):
        with pytest.raises(Malformed, match="32 bytes"):
            verify_consistency(6, 13, *roots, path)


@pytest.mark.parametrize(
    ("index", "size"),
    [
        (0, 0),
        (1, 1),
        (5, 5),
        (6, 5),
        (-1, 5),
        (2**63, 2**64),
        (2**63 - 1, 2**63 - 1),
        (2**63, 5),
        (0, 2**63),
        (0, -1),
    ],
)
def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    """(case 23) An index that is negative, at or above the size, or a size above 2**63 - 1."""
    with pytest.raises(BadProof, match="no leaf"):
        inclusion_ranges(index, size)
    with pytest.raises(BadProof, match="no leaf"):
        verify_inclusion(index, size, LEAVES[0], [], NAIVE.root(1))


def test_the_greatest_tree_has_proofs_of_63_hashes() -> None:
    """(case 23) At size 2**63 - 1 the first leaf needs 63 hashes, the last 62, all within the tree."""
    for index, length in ((0, 63), (MAX_SIZE - 1, 62)):
        ranges = inclusion_ranges(index, MAX_SIZE)
        assert len(ranges) == inclusion_length(index, MAX_SIZE) == length
        assert sum(end - start for start, end in ranges) == MAX_SIZE - 1
    assert len(consistency_ranges(1, MAX_SIZE)) == 63


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 65_535, 65_536, 65_537])
def test_sizes_around_the_edges_of_tiles(size: int) -> None:
    """(case 24) Roots and some proofs at the sizes where a tile or a level begins."""
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    naive = NaiveTree([b"%d" % number for number in range(size)])
    assert root_of(leaves) == naive.root()
    for index in {0, size // 2, size - 1} if size else ():
        verify_inclusion(index, size, leaves[index], naive.path(index, 0, size), naive.root())
        verify_consistency(index + 1, size, naive.root(index + 1), naive.root(), naive.proof(index + 1, size))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 5), (6, 5), (-1, 5), (1, 2**63)])
def test_sizes_out_of_order_have_no_consistency_proof(old: int, new: int) -> None:
    """(case 25) From size 0 there is nothing to prove, so nothing is accepted; nor from a greater size."""
    with pytest.raises(BadProof, match="no consistency proof"):
        consistency_ranges(old, new)
    with pytest.raises(BadProof, match="no consistency proof"):
        verify_consistency(old, new, EMPTY_ROOT, NAIVE.root(5), [])


def test_equal_sizes_need_equal_roots_and_no_hash() -> None:
    """(case 25) The proof from a size to itself is empty, and its roots are one."""
    verify_consistency(5, 5, NAIVE.root(5), NAIVE.root(5), [])
    with pytest.raises(RootMismatch):
        verify_consistency(5, 5, NAIVE.root(5), NAIVE.root(6), [])
    with pytest.raises(BadProof):
        verify_consistency(5, 5, NAIVE.root(5), NAIVE.root(5), [NAIVE.root(5)])


def test_a_proof_proves_no_other_leaf() -> None:
    """Every proof of trees up to 40 leaves, offered for each other index: refused."""
    for size in range(2, 41):
        root = NAIVE.root(size)
        for index in range(size):
            proof = inclusion(index, size)
            for other in set(range(size)) - {index}:
                with pytest.raises(Unsound):
                    verify_inclusion(other, size, LEAVES[index], proof, root)


def test_a_consistency_proof_proves_no_other_roots_and_no_sizes_of_another_length() -> None:
    """Each hash flipped, roots exchanged, sizes whose proof has another length: refused, for sizes up to 33.

    A root does not say how many leaves are under it: sizes are believed because the checkpoint is signed.
    """
    for new in range(2, 34):
        for old in range(1, new):
            proof, first, second = consistency(old, new), NAIVE.root(old), NAIVE.root(new)
            for place in range(len(proof)):
                flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
                with pytest.raises(RootMismatch):
                    verify_consistency(
                        old, new, first, second, [*proof[:place], flipped, *proof[place + 1 :]]
                    )
            for sizes in ((old + 1, new), (old - 1, new), (old, new + 1), (old, new - 1)):
                if not 0 < sizes[0] <= sizes[1] or len(consistency_ranges(*sizes)) != len(proof):
                    with pytest.raises(BadProof):
                        verify_consistency(*sizes, first, second, proof)
            for roots in ((second, first), (first, first), (second, second)):
                with pytest.raises(Unsound):
                    verify_consistency(old, new, *roots, proof)


def test_a_mismatch_shows_both_roots() -> None:
    """The error carries what was expected and what came out."""
    with pytest.raises(RootMismatch) as caught:
        verify_inclusion(1, 2, LEAVES[2], [LEAVES[0]], NAIVE.root(2))
    assert caught.value.expected == NAIVE.root(2)
    assert caught.value.computed == node_hash(LEAVES[0], LEAVES[2])


# frontiers


def test_a_frontier_goes_on_from_where_it_was_stored() -> None:
    """Size and hashes are all it takes; a copy grows by itself."""
    grown = Frontier()
    for leaf in LEAVES[:77]:
        grown.append(leaf)
    stored = Frontier(grown.size, grown.hashes)
    other = grown.copy()
    for leaf in LEAVES[77:200]:
        stored.append(leaf)
    assert stored.root() == NAIVE.root(200)
    assert (other.size, other.root()) == (grown.size, grown.root()) == (77, NAIVE.root(77))


def test_subtrees_can_be_pushed_where_they_begin() -> None:
    """Pushing the parts that ``decompose`` names gives the tree; at another place it is refused."""
    frontier = Frontier()
    for start, end in ((0, 96), (96, 100), (100, 300)):
        for each in decompose(start, end):
            frontier.push(each.level, NAIVE.mth(each.index << each.level, each.index + 1 << each.level))
        assert frontier.root() == NAIVE.root(end)
    with pytest.raises(BadProof, match="cannot begin at leaf 300"):
        frontier.push(3, NAIVE.mth(0, 8))


@pytest.mark.parametrize(("size", "hashes"), [(0, 1), (1, 0), (3, 1), (3, 3), (4, 2), (-1, 0), (2**63, 1)])
def test_a_frontier_with_another_number_of_hashes_is_refused(size: int, hashes: int) -> None:
    """One hash for each binary digit of the size."""
    with pytest.raises(Malformed, match="frontier"):
        Frontier(size, LEAVES[:hashes])


def test_a_frontier_refuses_a_hash_of_another_length() -> None:
    """32 bytes each."""
    with pytest.raises(Malformed, match="32 bytes"):
        Frontier(1, [b"short"])


def test_a_frontier_tells_of_every_tile_hash_above_level_0() -> None:
    """Each completed subtree of 256 leaves is announced once, when its last leaf arrives."""
    told: list[tuple[int, int, bytes]] = []
    frontier = Frontier()
    leaves = [leaf_hash(b"%d" % number) for number in range(66_000)]
    for leaf in leaves:
        frontier.append(leaf, lambda level, index, made: told.append((level, index, made)))
    assert [each[:2] for each in told if each[0] == 1] == [(1, index) for index in range(66_000 // 256)]
    assert [each[:2] for each in told if each[0] > 1] == [(2, 0)]
    naive = NaiveTree([b"%d" % number for number in range(66_000)])
    for level, index, made in told[:3] + told[-3:]:
        assert made == naive.mth(index * 256**level, (index + 1) * 256**level)


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [
        (0, 0, []),
        (5, 5, []),
        (0, 1, [Subtree(0, 0)]),
        (0, 7, [Subtree(2, 0), Subtree(1, 2), Subtree(0, 6)]),
        (3, 9, [Subtree(0, 3), Subtree(2, 1), Subtree(0, 8)]),
        (1, 4, [Subtree(0, 1), Subtree(1, 1)]),
    ],
)
def test_ranges_are_covered_by_the_fewest_subtrees(start: int, end: int, found: list[Subtree]) -> None:
    """From left to right, without gaps."""
    assert decompose(start, end) == found
