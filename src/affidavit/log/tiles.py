"""What a tree publishes: its newest checkpoint, tiles of hashes and bundles of entries (c2sp.org/tlog-tiles).

Only what a signed checkpoint covers is handed out. A tile is cut from the stored hashes and believed by
nobody: whoever reads it computes the root.
"""

from __future__ import annotations

from affidavit.core.merkle import HASH_SIZE
from affidavit.core.tiles import WIDTH, Tile, write_entries
from affidavit.errors import NotFound, NotPublished
from affidavit.log.entries import Entries
from affidavit.storage.log import LogStore, Published, Tree

__all__ = ["Tiles"]

_BITS = 8


class Tiles:
    """Reads checkpoints and tiles. Safe to use from several threads.

    Args:
        log: the trees.
        entries: what the leaves stand for.
    """

    def __init__(self, log: LogStore, entries: Entries) -> None:
        self._log = log
        self._entries = entries

    def checkpoint(self, tree: Tree) -> Published:
        """The newest signed checkpoint.

        Raises:
            NotPublished: there is none yet.
        """
        newest = self._log.newest(tree.number)
        if newest is None:
            raise NotPublished("This tree has no signed checkpoint yet; ask again in some seconds.")
        return newest

    def tile(self, tree: Tree, tile: Tile) -> bytes:
        """The hashes of a tile, or the entries of a bundle.

        Raises:
            NotFound: it holds something that no published checkpoint covers.
            Pruned: it is a bundle, and the row of one of its entries was pruned.
            LogMismatch: an entry is not that of its row; index and id are named.
        """
        level = tile.level or 0
        start = tile.index * WIDTH
        end = start + tile.width
        # Of a tree of this size only so many hashes stand at this level; a wider tile is not of it.
        if end > tree.published >> (_BITS * level):
            raise NotFound("No published checkpoint covers this tile.")
        if tile.level is None:
            return write_entries(self._entries.bundle(tree, start, end))
        hashes = b"".join(self._log.hashes(tree.number, level, start, tile.width))
        if len(hashes) != tile.width * HASH_SIZE:
            raise NotFound("The hashes of this tile are not kept any more.")
        return hashes
