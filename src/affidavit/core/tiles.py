"""Tiles (c2sp.org/tlog-tiles): the tree as files of 256 hashes, and the entries in bundles of 256.

A tile at level 0 holds leaf hashes, one at level *l* + 1 the roots of full tiles at level *l*. The last tile
of a level may be partial; it has no root in the level above. :class:`TileTree` reads proofs out of tiles that
somebody else serves, and believes none of them before it is shown to lead to the root.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from affidavit.core.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    MAX_SIZE,
    Subtree,
    consistency_ranges,
    decompose,
    fold,
    inclusion_ranges,
    leaf_hash,
    node_hash,
)
from affidavit.core.unsound import BadProof, Malformed, RootMismatch

__all__ = [
    "MAX_ENTRY",
    "WIDTH",
    "Tile",
    "TileTree",
    "parse_tile_path",
    "read_entries",
    "tiles_of",
    "write_entries",
]

WIDTH = 256
"""Hashes of a full tile, entries of a full bundle."""

MAX_ENTRY = 65_535
"""Bytes of an entry: its length stands before it in 16 bits."""

_MAX_LEVEL = 63
_HEIGHT = 8
_KEPT = 1024
_PATH = re.compile(
    r"tile/(?P<level>entries|[0-9]{1,2})/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[0-9]{1,3}))?",
    re.ASCII,
)


class Tile(NamedTuple):
    """One tile or bundle.

    Attributes:
        level: 0 to 63; ``None`` for a bundle of entries, which stands beside level 0.
        index: from the left, from 0.
        width: hashes or entries; below 256 it is partial.
    """

    level: int | None
    index: int  # type: ignore[assignment]  # the word of the specification, and no method of tuples here
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is served: ``tile/0/x001/x234/067``, with ``.p/112`` where it is partial."""
        level = "entries" if self.level is None else self.level
        groups = re.findall(r"\d{3}", str(self.index).zfill(-(-len(str(self.index)) // 3) * 3))
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{'/'.join(['x' + each for each in groups[:-1]] + groups[-1:])}{partial}"


def parse_tile_path(path: str) -> Tile:
    """Read the path of a tile, relative to the prefix of the log.

    Raises:
        Malformed: any spelling but the one that :attr:`Tile.path` writes.
    """
    match = _PATH.fullmatch(path)
    if match is not None:
        level = None if match["level"] == "entries" else int(match["level"])
        index = int(match["index"].replace("/x", "").replace("x", "").replace("/", ""))
        tile = Tile(level, index, int(match["width"] or WIDTH))
        if tile.path == path and tile.width and (level or 0) <= _MAX_LEVEL:
            return tile
    raise Malformed("the path of a tile", "must be tile/LEVEL/INDEX or tile/LEVEL/INDEX.p/WIDTH", path)


def tiles_of(size: int) -> Iterator[Tile]:
    """Every hash tile of a tree of this size, level by level, from left to right, partial ones included."""
    level = 0
    while size:
        full, partial = divmod(size, WIDTH)
        yield from (Tile(level, index) for index in range(full))
        if partial:
            yield Tile(level, full, partial)
        size = full
        level += 1


def write_entries(entries: Sequence[bytes]) -> bytes:
    """A bundle: each entry after its length in two bytes, the greater first.

    Raises:
        Malformed: an entry of more than :data:`MAX_ENTRY` bytes, no entry, or more than 256.
    """
    if not 0 < len(entries) <= WIDTH:
        raise Malformed("a bundle", f"must hold 1 to {WIDTH} entries", len(entries))
    for each in entries:
        if len(each) > MAX_ENTRY:
            raise Malformed("an entry", f"must be at most {MAX_ENTRY} bytes", len(each))
    return b"".join(len(each).to_bytes(2, "big") + each for each in entries)


def read_entries(bundle: bytes, count: int) -> list[bytes]:
    """Take a bundle apart.

    Raises:
        Malformed: it does not hold exactly ``count`` entries and nothing after them.
    """
    found: list[bytes] = []
    position = 0
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(bundle[position:start], "big")
        if start > len(bundle) or position > len(bundle):
            raise Malformed("a bundle", f"must hold {count} entries, and ends in number {len(found)}")
        found.append(bundle[start:position])
    if position != len(bundle):
        raise Malformed("a bundle", f"must end after {count} entries", f"{len(bundle) - position} bytes more")
    return found


class TileTree:
    """The tree behind tiles that are fetched one by one and authenticated before any hash of them is used.

    Partial tiles, the right edge of the tree, have no root in the level above. They are fetched together at
    the first use, and all their hashes folded into the root of the tree: if one differs, none is used. A full
    tile is believed when its root stands in its parent, which was believed before it. So a tile that was
    forged together with an entry is always found (CVE-2026-56865 is what happens where only some of the edge
    is checked).

    Args:
        fetch: returns the bytes of a tile; it may raise what it likes.
        size: leaves, from a signed checkpoint.
        root: 32 bytes, from the same checkpoint.

    Raises:
        Malformed: a size or root that no checkpoint has.
    """

    def __init__(self, fetch: Callable[[Tile], bytes], size: int, root: bytes) -> None:
        if not 0 <= size <= MAX_SIZE or len(root) != HASH_SIZE or (size == 0 and root != EMPTY_ROOT):
            raise Malformed("size and root of a tree", "must be those of a checkpoint", (size, root.hex()))
        self.size = size
        self.root = root
        self._fetch = fetch
        self._edge: dict[tuple[int, int], bytes] | None = None
        self._full: dict[tuple[int, int], bytes] = {}

    def inclusion_proof(self, index: int) -> tuple[bytes, ...]:
        """The proof of a leaf in this tree (RFC 6962 section 2.1.1).

        Raises:
            BadProof: there is no such leaf.
            RootMismatch, Malformed: a tile does not belong to this tree.
        """
        return tuple(self._range(start, end) for start, end in inclusion_ranges(index, self.size))

    def consistency_proof(self, old: int) -> tuple[bytes, ...]:
        """The proof that this tree begins with that of size ``old`` (RFC 6962 section 2.1.2).

        Raises:
            BadProof: ``old`` is 0 or above the size.
            RootMismatch, Malformed: a tile does not belong to this tree.
        """
        return tuple(self._range(start, end) for start, end in consistency_ranges(old, self.size))

    def root_at(self, old: int) -> bytes:
        """The root of the tree when it had ``old`` leaves.

        Raises:
            BadProof: ``old`` is negative or above the size.
            RootMismatch, Malformed: a tile does not belong to this tree.
        """
        if not 0 <= old <= self.size:
            raise BadProof(f"a tree of size {self.size} never had size {old}")
        return self._range(0, old)

    def leaf(self, index: int) -> bytes:
        """The hash of a leaf.

        Raises:
            BadProof: there is no such leaf.
            RootMismatch, Malformed: a tile does not belong to this tree.
        """
        if not 0 <= index < self.size:
            raise BadProof(f"there is no leaf {index} in a tree of size {self.size}")
        return self._subtree(Subtree(0, index))

    def entries(self, index: int) -> list[bytes]:
        """The entries of bundle ``index``: leaves ``256 * index`` and the up to 255 that follow.

        Raises:
            BadProof: there is no such bundle.
            RootMismatch: an entry is not the one in the tree, or a tile does not belong to it.
            Malformed: a bundle or tile of another form.
        """
        first = index * WIDTH
        count = min(WIDTH, self.size - first)
        if index < 0 or count <= 0:
            raise BadProof(f"there is no bundle {index} in a tree of size {self.size}")
        found = read_entries(self._fetch(Tile(None, index, count)), count)
        for position, entry in enumerate(found, first):
            if (expected := self.leaf(position)) != (computed := leaf_hash(entry)):
                raise RootMismatch(f"entry {position}", expected, computed)
        return found

    def _range(self, start: int, end: int) -> bytes:
        return fold([self._subtree(each) for each in decompose(start, end)])

    def _subtree(self, subtree: Subtree) -> bytes:
        """The hash of a perfect subtree, out of the one tile that has all of it."""
        level, height = divmod(subtree.level, _HEIGHT)
        first = subtree.index << height
        hashes = self._tile(level, first // WIDTH)
        start = first % WIDTH * HASH_SIZE
        return _perfect_root(hashes[start : start + (HASH_SIZE << height)])

    def _tile(self, level: int, index: int) -> bytes:
        """The hashes of a tile, after they were shown to lead to the root."""
        if self._edge is None:
            self._edge = self._fetch_edge()
        known = self._edge.get((level, index)) or self._full.get((level, index))
        if known is None:
            known = self._fetch_full(level, index)
            if len(self._full) >= _KEPT:
                del self._full[next(iter(self._full))]
            self._full[level, index] = known
        return known

    def _fetch_edge(self) -> dict[tuple[int, int], bytes]:
        edge: dict[tuple[int, int], bytes] = {}
        peaks: list[bytes] = []
        level, size = 0, self.size
        while size:
            size, width = divmod(size, WIDTH)
            if width:
                hashes = self._fetch_hashes(Tile(level, size, width))
                edge[level, size] = hashes
                peaks = _peaks(hashes) + peaks
            level += 1
        if (computed := fold(peaks)) != self.root:
            raise RootMismatch(f"the partial tiles of size {self.size}", self.root, computed)
        return edge

    def _fetch_full(self, level: int, index: int) -> bytes:
        expected = self._subtree(Subtree((level + 1) * _HEIGHT, index))
        tile = Tile(level, index)
        hashes = self._fetch_hashes(tile)
        if (computed := _perfect_root(hashes)) != expected:
            raise RootMismatch(tile.path, expected, computed)
        return hashes

    def _fetch_hashes(self, tile: Tile) -> bytes:
        hashes = bytes(self._fetch(tile))
        if len(hashes) != tile.width * HASH_SIZE:
            raise Malformed(tile.path, f"must be {tile.width * HASH_SIZE} bytes", len(hashes))
        return hashes


def _perfect_root(hashes: bytes) -> bytes:
    """The root over 1, 2, 4, ... hashes."""
    row = [hashes[start : start + HASH_SIZE] for start in range(0, len(hashes), HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def _peaks(hashes: bytes) -> list[bytes]:
    """The roots of the perfect subtrees of a partial tile, from left to right."""
    return [
        _perfect_root(
            hashes[each.index * HASH_SIZE << each.level : (each.index + 1) * HASH_SIZE << each.level]
        )
        for each in decompose(0, len(hashes) // HASH_SIZE)
    ]
