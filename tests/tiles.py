"""Tiles written the slow way, each hash from the definition: what readers of tiles are tested with."""

from __future__ import annotations

from collections.abc import Sequence

from affidavit.core.tiles import Tile
from tests.rfc6962 import NaiveTree

WIDTH = 256


class TileStore:
    """All tiles and bundles of a log, by tile; ``store.fetch`` is what a reader calls.

    Tile ``n`` at level ``l`` holds MTH(D[(256n+i) * 256**l : (256n+i+1) * 256**l]) for i from 0.
    """

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.naive = NaiveTree(entries)
        self.size = len(entries)
        self.root = self.naive.root()
        self.tiles: dict[Tile, bytes] = {}
        self.fetched: list[Tile] = []
        level = 0
        while self.size >> 8 * level:
            self._write_level(level)
            level += 1
        for index, start in enumerate(range(0, self.size, WIDTH)):
            part = entries[start : start + WIDTH]
            bundle = b"".join(len(each).to_bytes(2, "big") + each for each in part)
            self.tiles[Tile(None, index, len(part))] = bundle

    def fetch(self, tile: Tile) -> bytes:
        """The bytes of a tile; remembers that it was asked for."""
        self.fetched.append(tile)
        return self.tiles[tile]

    def hash_tiles(self) -> list[Tile]:
        """Those with hashes, as they were written: level by level."""
        return [tile for tile in self.tiles if tile.level is not None]

    def _write_level(self, level: int) -> None:
        span = WIDTH**level
        hashes = [self.naive.mth(start, start + span) for start in range(0, self.size - span + 1, span)]
        for index, start in enumerate(range(0, len(hashes), WIDTH)):
            part = hashes[start : start + WIDTH]
            self.tiles[Tile(level, index, len(part))] = b"".join(part)
