"""Tiles: paths, bundles, and a tree that believes no tile before it leads to the root."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from hashlib import sha256

import pytest

from affidavit.core.merkle import EMPTY_ROOT, MAX_SIZE, verify_consistency, verify_inclusion
from affidavit.core.tiles import (
    MAX_ENTRY,
    Tile,
    TileTree,
    parse_tile_path,
    read_entries,
    tiles_of,
    write_entries,
)
from affidavit.core.unsound import BadProof, Malformed, RootMismatch, Unsound
from tests.tiles import TileStore

FORGED = b"an entry that was never logged"


@cache
def store(size: int) -> TileStore:
    """The tiles of a log with that many entries."""
    return TileStore([b"entry %d" % number for number in range(size)])


def tree_of(tiles: TileStore, changed: dict[Tile, bytes] | None = None) -> TileTree:
    """A reader of these tiles, some of them exchanged, under the true size and root."""
    served = tiles.tiles | (changed or {})
    return TileTree(served.__getitem__, tiles.size, tiles.root)


def nothing(tile: Tile) -> bytes:
    """A log that serves no tile."""
    raise AssertionError(f"{tile} must not be asked for")


def flip(value: bytes, at: int) -> bytes:
    """The same bytes with one bit changed."""
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def leaf(entry: bytes) -> bytes:
    """The hash of an entry."""
    return sha256(b"\x00" + entry).digest()


# paths


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(63, 1000, 255), "tile/63/x001/000.p/255"),
        (Tile(2, 999, 1), "tile/2/999.p/1"),
        (Tile(1, 999_999_999), "tile/1/x999/x999/999"),
        (Tile(None, 0, 1), "tile/entries/000.p/1"),
        (Tile(None, 70000), "tile/entries/x070/000"),
        (Tile(0, 2**55), "tile/0/x036/x028/x797/x018/x963/968"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    """Groups of three digits, all but the last after an x; a width only where the tile is partial."""
    assert tile.path == path
    assert parse_tile_path(path) == tile


OTHER_SPELLINGS = """
tile/0/0 tile/0/00 tile/0/0000 tile/0/x000/000 tile/0/x000/001 tile/0/001/234 tile/0/x001/x234 tile/0/X001/234
tile/0/x01/234 tile/0/x0001/234 tile/0/x001/234/ tile/0//000 tile/0/000.p tile/0/000.p/ tile/0/000.p/0 tile/0/
tile/0/000.p/256 tile/0/000.p/01 tile/0/000.p/+1 tile/0/000.P/1 tile/0/000p/1 tile/0/000.p/1/ tile/00/000 tile
tile/64/000 tile/-1/000 tile/+1/000 tile/100/000 tile/8/0/000 tile/data/000 tile/Entries/000 tile//000 tile/0
/tile/0/000 tile/0/000/../001 tile/0/000?x tile/0/000.p/1.p/1 tile/0/-01 tile/0/0_1 tile/0/x1a/000 tile/0/٠٠٠
tile/٠/000 tile/0/000.p/٧ tile/0/x001/x234/x067 tile/0/x001/x001/x001/x001/x001/x001/x001/001
""".split()


@pytest.mark.parametrize(
    "path",
    [*OTHER_SPELLINGS, "", "tile/0/000\n", " tile/0/000", "tile/0/000 ", "tile/0/00\n", "tile/0/000\x00"],
)
def test_other_spellings_of_a_path_are_refused(path: str) -> None:
    """(case 28) Missing and surplus zeros, groups, signs, widths of 0 and 256, other scripts."""
    with pytest.raises(Malformed, match="path of a tile"):
        parse_tile_path(path)


def test_the_tiles_of_70_000_entries() -> None:
    """The example of the specification: 273 full and one partial, one full and one partial, one partial."""
    tiles = list(tiles_of(70_000))
    assert Counter((tile.level, tile.width) for tile in tiles) == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537])
def test_the_tiles_of_a_size_are_those_that_the_definition_writes(size: int) -> None:
    """(case 24) No empty ones, in the order of levels."""
    assert list(tiles_of(size)) == store(size).hash_tiles()


# bundles


def test_a_bundle_is_lengths_and_entries() -> None:
    """Two bytes, the greater first, then the entry."""
    assert write_entries([b"", b"ab", b"c" * 258]) == b"\x00\x00" + b"\x00\x02ab" + b"\x01\x02" + b"c" * 258


@pytest.mark.parametrize("size", [0, 1, MAX_ENTRY])
def test_entries_from_0_to_65_535_bytes_are_bundled(size: int) -> None:
    """(case 29) Both ways."""
    entries = [b"x" * size, b"y", b"z" * size]
    assert read_entries(write_entries(entries), 3) == entries


def test_an_entry_of_65_536_bytes_is_refused() -> None:
    """(case 29) Its length does not fit, so it is never written."""
    with pytest.raises(Malformed, match="at most 65535 bytes: 65536"):
        write_entries([b"x" * (MAX_ENTRY + 1)])


@pytest.mark.parametrize("count", [0, 257])
def test_a_bundle_holds_1_to_256_entries(count: int) -> None:
    """An empty bundle is never served."""
    with pytest.raises(Malformed, match="1 to 256"):
        write_entries([b""] * count)


def test_bytes_after_the_last_entry_are_refused() -> None:
    """(case 29) One byte, a whole further entry, and an entry too many for the count."""
    bundle = write_entries([b"one", b"two"])
    for surplus in (b"\x00", b"\x00\x00", b"\x00\x03six"):
        with pytest.raises(Malformed, match="must end after 2 entries"):
            read_entries(bundle + surplus, 2)
    with pytest.raises(Malformed, match="must end after 1 entries: '5 bytes more'"):
        read_entries(bundle, 1)


def test_a_bundle_that_was_cut_off_is_refused() -> None:
    """(case 29) At every byte, and where an entry is missing."""
    bundle = write_entries([b"one", b"", b"three"])
    for size in range(len(bundle)):
        with pytest.raises(Malformed, match="must hold 3 entries"):
            read_entries(bundle[:size], 3)
    with pytest.raises(Malformed, match="must hold 4 entries, and ends in number 3"):
        read_entries(bundle, 4)


# proofs out of tiles


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 512, 513, 1000])
def test_proofs_out_of_tiles_are_those_of_the_definition(size: int) -> None:
    """(case 24) Every leaf, and every older size; roots of older sizes and leaf hashes too."""
    tiles = store(size)
    tree = tree_of(tiles)
    for index in range(size):
        assert list(tree.inclusion_proof(index)) == tiles.naive.path(index, 0, size)
        assert list(tree.consistency_proof(index + 1)) == tiles.naive.proof(index + 1, size)
        assert tree.root_at(index + 1) == tiles.naive.root(index + 1)
        assert tree.leaf(index) == leaf(b"entry %d" % index)
    assert tree.root_at(0) == EMPTY_ROOT


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 70_000])
def test_proofs_out_of_tiles_of_three_levels(size: int) -> None:
    """(case 24) Leaves and sizes at the edges of tiles."""
    tiles = store(size)
    tree = tree_of(tiles)
    for index in {
        0,
        1,
        255,
        256,
        257,
        511,
        65_279,
        65_280,
        65_534,
        size - 257,
        size - 256,
        size - 2,
        size - 1,
    }:
        proof = tree.inclusion_proof(index)
        assert list(proof) == tiles.naive.path(index, 0, size)
        verify_inclusion(index, size, tree.leaf(index), proof, tiles.root)
        proof = tree.consistency_proof(index + 1)
        assert list(proof) == tiles.naive.proof(index + 1, size)
        verify_consistency(index + 1, size, tree.root_at(index + 1), tiles.root, proof)


@pytest.mark.parametrize("size", [1, 256, 257, 1000])
def test_entries_are_read_bundle_by_bundle(size: int) -> None:
    """All entries, in order; a bundle beyond the last does not exist."""
    tree = tree_of(store(size))
    bundles = -(-size // 256)
    assert [entry for index in range(bundles) for entry in tree.entries(index)] == list(
        store(size).naive.entries
    )
    for index in (bundles, -1, 2**60):
        with pytest.raises(BadProof, match="no bundle"):
            tree.entries(index)


def test_a_proof_fetches_few_tiles_and_none_twice() -> None:
    """The right edge once, then one tile a level on the way; a second proof beside it fetches nothing."""
    tiles = store(70_000)
    tiles.fetched.clear()
    tree = TileTree(tiles.fetch, tiles.size, tiles.root)
    tree.inclusion_proof(1000)
    assert tiles.fetched == [
        Tile(0, 273, 112),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
        *(tile for tile in tiles.fetched[3:] if tile in (Tile(0, 3), Tile(1, 0))),
    ]
    assert len(tiles.fetched) == 5
    tree.inclusion_proof(1001)
    assert len(tiles.fetched) == 5


def test_a_tree_of_no_leaves() -> None:
    """(case 24) It has the empty root, no tile and no proof; another root is refused at once."""
    tree = TileTree(nothing, 0, EMPTY_ROOT)
    assert tree.root_at(0) == EMPTY_ROOT
    for ask in (tree.inclusion_proof, tree.consistency_proof, tree.leaf, tree.entries):
        with pytest.raises(BadProof):
            ask(0)
    with pytest.raises(Malformed):
        TileTree(nothing, 0, bytes(32))


@pytest.mark.parametrize(("size", "root"), [(-1, bytes(32)), (2**63, bytes(32)), (1, bytes(31)), (1, b"")])
def test_sizes_and_roots_that_no_checkpoint_has(size: int, root: bytes) -> None:
    """(case 23) Refused before anything is fetched."""
    with pytest.raises(Malformed, match="size and root"):
        TileTree(nothing, size, root)


@pytest.mark.parametrize("index", [-1, 1000, 1001, 2**63])
def test_leaves_outside_the_tree(index: int) -> None:
    """(case 23) (case 25) Neither leaf nor proof; nor a consistency proof from 0 or from a greater size."""
    tree = tree_of(store(1000))
    for ask in (tree.inclusion_proof, tree.leaf):
        with pytest.raises(BadProof, match="no leaf"):
            ask(index)
    for old in (0, 1001, -1):
        with pytest.raises(BadProof):
            tree.consistency_proof(old)
    for old in (-1, 1001):
        with pytest.raises(BadProof, match="never had size"):
            tree.root_at(old)


# tiles that were changed


def reached_through(tiles: TileStore, tile: Tile) -> int:
    """The first leaf under a tile: reading it needs that tile."""
    assert tile.level is not None
    return tile.index << 8 * (tile.level + 1)


@pytest.mark.parametrize("size", [1, 200, 256, 600, 70_000])
def test_every_corrupted_tile_is_found(size: int) -> None:
    """(case 26) One bit of each tile at each level, one at a time; the first, the last and a hash between."""
    tiles = store(size)
    for tile in tiles.hash_tiles():
        for at in {0, tile.width * 16, tile.width * 32 - 1}:
            tree = tree_of(tiles, {tile: flip(tiles.tiles[tile], at)})
            with pytest.raises(RootMismatch):
                tree.leaf(reached_through(tiles, tile))


def test_every_hash_of_a_tile_is_authenticated() -> None:
    """(case 26) A bit of each single hash of a full tile, and of every partial one."""
    tiles = store(70_000)
    for tile in (Tile(0, 5), Tile(1, 0), Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)):
        for place in range(tile.width):
            tree = tree_of(tiles, {tile: flip(tiles.tiles[tile], 32 * place + 7)})
            with pytest.raises(RootMismatch):
                tree.leaf(reached_through(tiles, tile))


def test_hashes_in_another_order_are_found() -> None:
    """(case 26) Two neighbours exchanged, in a full and in a partial tile; one tile served for another."""
    tiles = store(70_000)
    for tile in (Tile(0, 5), Tile(0, 273, 112)):
        swapped = tiles.tiles[tile][32:64] + tiles.tiles[tile][:32] + tiles.tiles[tile][64:]
        with pytest.raises(RootMismatch):
            tree_of(tiles, {tile: swapped}).leaf(reached_through(tiles, tile))
    with pytest.raises(RootMismatch, match="tile/0/005"):
        tree_of(tiles, {Tile(0, 5): tiles.tiles[Tile(0, 6)]}).leaf(5 * 256)


def test_a_partial_tile_is_no_full_one_and_the_reverse() -> None:
    """(case 27) By its length: cut off, filled up with zeros or its own hashes, empty, a byte off."""
    tiles = store(70_000)
    full, partial = Tile(0, 5), Tile(0, 273, 112)
    for tile, served in (
        (full, tiles.tiles[full][: 112 * 32]),
        (full, b""),
        (full, tiles.tiles[full][:-1]),
        (full, tiles.tiles[full] + bytes(32)),
        (partial, tiles.tiles[full]),
        (partial, tiles.tiles[partial].ljust(8192, b"\x00")),
        (partial, tiles.tiles[partial] + tiles.tiles[partial][-32:]),
        (partial, tiles.tiles[partial][:-32]),
        (partial, b""),
    ):
        with pytest.raises(Malformed, match="must be"):
            tree_of(tiles, {tile: served}).leaf(reached_through(tiles, tile))


def test_tiles_of_another_size_do_not_fit_the_root() -> None:
    """(case 27) An older or newer checkpoint's size under this root, and this size under theirs."""
    tiles = store(1000)
    for size in (999, 1001, 1024, 512):
        served = store(size).tiles | tiles.tiles
        with pytest.raises(RootMismatch):
            TileTree(served.__getitem__, size, tiles.root).leaf(0)
        with pytest.raises(RootMismatch):
            TileTree(served.__getitem__, 1000, store(size).root).leaf(0)


def test_a_changed_entry_is_found_and_named() -> None:
    """(case 1) One byte of an entry, with true tiles: the error names the leaf and shows both hashes."""
    tiles = store(600)
    bundle = Tile(None, 1)
    at = tiles.tiles[bundle].index(b"entry 300")
    with pytest.raises(RootMismatch, match="entry 300: expected") as caught:
        tree_of(tiles, {bundle: flip(tiles.tiles[bundle], at)}).entries(1)
    assert caught.value.expected == leaf(b"entry 300")


def bundle_with_forgery(tiles: TileStore, index: int) -> dict[Tile, bytes]:
    """The forged entry in its bundle, and its hash in its level 0 tile: both agree with each other."""
    first = index // 256 * 256
    entries = list(tiles.naive.entries[first : first + 256])
    entries[index - first] = FORGED
    return {
        Tile(None, index // 256, len(entries)): write_entries(entries),
        Tile(0, index // 256, len(entries)): b"".join(map(leaf, entries)),
    }


def positions(size: int) -> Iterator[int]:
    """A leaf in every level 0 tile, every leaf of the first and the last tile."""
    last = (size - 1) // 256 * 256
    yield from range(min(256, size))
    yield from range(256 + 17, last, 256)
    yield from range(last, size)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100, 255, 256, 257, 511, 512, 600, 767, 65_536, 65_793, 70_000])
def test_an_entry_forged_with_its_own_tile_is_found_at_every_position(size: int) -> None:
    """(case 29b) Entry and level 0 tile agree, parents are untouched: refused in every tile.

    That is what CVE-2026-56865 let through: several hashes of the right edge share a tile, and only the first
    was compared.
    """
    tiles = store(size)
    tried = 0
    for index in positions(size):
        changed = bundle_with_forgery(tiles, index)
        with pytest.raises(RootMismatch):
            tree_of(tiles, changed).entries(index // 256)
        with pytest.raises(RootMismatch):
            tree_of(tiles, changed).leaf(index)
        tried += 1
    assert tried >= min(size, 2)


def test_a_forgery_carried_upwards_is_found_below_the_top() -> None:
    """(case 29b) Entry, its tile and the tile above agree, the root does not: 12 places of the edge."""
    tiles = store(70_000)
    for index in (0, 255, 256, 65_535, 65_536, 65_536 + 255, 65_792, 66_048, 69_632, 69_887, 69_888, 69_999):
        forged = TileStore([*tiles.naive.entries[:index], FORGED, *tiles.naive.entries[index + 1 :]])
        for levels in (1, 2):
            changed = {
                tile: forged.tiles[tile]
                for tile in forged.tiles
                if tile.level is None or tile.level < levels
                if forged.tiles[tile] != tiles.tiles[tile]
            }
            with pytest.raises(RootMismatch):
                tree_of(tiles, changed).entries(index // 256)
            with pytest.raises(RootMismatch):
                tree_of(tiles, changed).inclusion_proof(index ^ 1)


def test_a_forged_neighbour_spoils_no_honest_proof_silently() -> None:
    """(case 29b) A proof is either the true one or refused, whichever tile was forged with its entry."""
    tiles = store(600)
    refused = 0
    for forged_at in range(0, 600, 37):
        for index in range(0, 600, 41):
            tree = tree_of(tiles, bundle_with_forgery(tiles, forged_at))
            try:
                proof = list(tree.inclusion_proof(index))
            except Unsound:
                refused += 1
                continue
            assert proof == tiles.naive.path(index, 0, 600)
    assert refused > 50


def test_the_greatest_tree_is_read_with_eight_levels() -> None:
    """(case 23) At size 2**63 - 1 the edge is eight partial tiles, each of them asked for by its width."""
    asked: list[Tile] = []

    def fetch(tile: Tile) -> bytes:
        asked.append(tile)
        return bytes(32 * tile.width)

    with pytest.raises(RootMismatch):
        TileTree(fetch, MAX_SIZE, bytes(32)).leaf(0)
    assert [(tile.level, tile.width) for tile in asked] == [(level, 255) for level in range(7)] + [(7, 127)]
