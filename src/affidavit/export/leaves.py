"""Which leaves a bundle holds: those of a range of indexes, or those whose events a filter matches.

Both are read twice, in pieces of bounded size, each in short transactions.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Final, Literal, NamedTuple

from affidavit.core.filter import Filter
from affidavit.core.manifest import ManifestBody
from affidavit.core.match import matches
from affidavit.core.merkle import MAX_SIZE, Frontier, decompose
from affidavit.core.row import encode_group
from affidavit.errors import InvalidQuery, LogMismatch
from affidavit.log.entries import PIECE, Entries, Entry, Manifests
from affidavit.log.reader import Reader
from affidavit.log.receipts import Receipts, Sweep
from affidavit.storage.log import LogStore, Sealed, Tree

__all__ = ["Filtered", "Parts", "Ranged", "in_base64", "parse_range", "walk"]

_SPOOLED: Final = struct.Struct(">QQ32s")
_IN_MEMORY: Final = 1 << 20


class Parts(NamedTuple):
    """What a bundle is made from.

    Attributes:
        log: the trees.
        manifests: of what was erased or pruned.
        entries: what the leaves stand for.
        receipts: know the newest checkpoints.
        reader: finds the events of a filter.
        clock: microseconds since 1970 UTC.
    """

    log: LogStore
    manifests: Manifests
    entries: Entries
    receipts: Receipts
    reader: Reader
    clock: Callable[[], int]


def parse_range(text: str) -> tuple[int, int | None]:
    """Read ``A:B``, first index and end (exclusive); either side may be missing.

    Raises:
        InvalidQuery: any other text.
    """
    start, separator, end = text.partition(":")
    if not separator or not all(
        side == "" or (side.isascii() and side.isdigit() and len(side) < 19) for side in (start, end)
    ):
        raise InvalidQuery.of("range", "format", "must be FIRST:END, such as 0:1000", text[:100])
    return int(start or 0), int(end) if end else None


class Ranged:
    """The leaves from one index to another.

    Args:
        parts: what they are read from.
        sweep: of the checkpoint at the start of the export.
        start: first index.
        end: behind the last one.
    """

    kind: Literal["range"] = "range"

    def __init__(self, parts: Parts, sweep: Sweep, start: int, end: int) -> None:
        self._parts = parts
        self._tree = sweep.tree
        self._start, self._end = start, end
        self._left = sweep.subtrees(0, start)
        self._frontier = Frontier(start, self._left)

    def span(self, _size: int) -> tuple[int, int]:
        """First index, and the one behind the last."""
        return self._start, self._end

    def holds(self, index: int) -> bool:
        """Whether an index is among the entries."""
        return self._start <= index < self._end

    def covered(self, bodies: Sequence[ManifestBody]) -> int:
        """How many of the entries these manifests cover."""
        runs = ((entry.start, entry.end + 1) for body in bodies for entry in body.entries)
        return sum(max(0, min(end, self._end) - max(start, self._start)) for start, end in runs)

    def read(self, *, first: bool) -> Iterator[list[Entry]]:
        """The entries in index order; ``first`` for the first of the two readings.

        Raises:
            LogMismatch: an entry is not that of its row.
        """
        for piece in self._parts.entries.read(self._tree, self._start, self._end):
            if first:
                for entry in piece:
                    self._frontier.append(entry.hash)
            yield piece

    def proofs(self, sweep: Sweep) -> tuple[str, list[bytes]]:
        """Name and content of the member that leads from the entries to the root.

        Raises:
            LogMismatch: they do not lead there.
        """
        right = sweep.subtrees(self._end, sweep.size)
        whole = self._frontier.copy()
        for subtree, digest in zip(decompose(self._end, sweep.size), right, strict=True):
            whole.push(subtree.level, digest)
        if whole.root() != sweep.root:
            raise LogMismatch(
                f"The leaves of {self._tree.origin} do not lead to the root that was signed for size"
                f" {sweep.size}: stored hashes were changed. See: affidavit fsck"
            )
        return "range.json", [encode_group({"left": in_base64(self._left), "right": in_base64(right)})]

    def close(self) -> None:
        """Nothing is held open."""


class Filtered:
    """The leaves of the events that a filter matches.

    Args:
        parts: what they are read from.
        tree: the one that they must stand in.
        asked: the filter.
        size: of the checkpoint at the start of the export; later leaves are left out.
    """

    kind: Literal["filtered"] = "filtered"

    def __init__(self, parts: Parts, tree: Tree, asked: Filter, size: int) -> None:
        self._parts = parts
        self._tree = tree
        self._asked = asked
        self._size = size
        # Where the entries stand and nothing of what they say; without a name, so that a kill leaves nothing.
        self._spool = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # closed by close()
        self._ahead: Iterator[int] | None = None
        self._next = -1

    def span(self, size: int) -> tuple[int, int]:
        """The whole tree of a size."""
        return 0, size

    def holds(self, index: int) -> bool:
        """Whether an index is among the entries; to be asked in index order."""
        if self._ahead is None:
            self._ahead = (leaf.index for piece in self._spooled() for leaf in piece)
        while self._next < index:
            self._next = next(self._ahead, MAX_SIZE)
        return self._next == index

    def covered(self, bodies: Sequence[ManifestBody]) -> int:
        """How many of the entries these manifests cover."""
        if not bodies:
            return 0
        return sum(
            any(body.entry_at(leaf.index) for body in bodies) for piece in self._spooled() for leaf in piece
        )

    def read(self, *, first: bool) -> Iterator[list[Entry]]:
        """The entries in index order; ``first`` for the first of the two readings.

        Raises:
            LogMismatch: an entry is not that of its row.
        """
        pieces = walk(self._parts, self._tree, self._asked, self._size) if first else self._spooled()
        for leaves in pieces:
            piece = self._parts.entries.of(self._tree, leaves)
            if first:
                self._spool.write(b"".join(_SPOOLED.pack(leaf.index, leaf.seq, leaf.hash) for leaf in leaves))
            yield piece

    def proofs(self, sweep: Sweep) -> tuple[str, Iterator[bytes]]:
        """Name and content of the member that leads from each entry to the root."""
        return "proofs.ndjson", self._proofs(sweep)

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()

    def _proofs(self, sweep: Sweep) -> Iterator[bytes]:
        for leaves in self._spooled():
            proofs = [sweep.proof(leaf.index, leaf.hash) for leaf in leaves]
            yield b"".join(encode_group([each.index, in_base64(each.hashes)]) + b"\n" for each in proofs)

    def _spooled(self) -> Iterator[list[Sealed]]:
        at = 0
        while True:
            self._spool.seek(at)
            read = self._spool.read(PIECE * _SPOOLED.size)
            if not read:
                return
            at += len(read)
            yield [Sealed(seq, index, digest) for index, seq, digest in _SPOOLED.iter_unpack(read)]


def walk(parts: Parts, tree: Tree, asked: Filter, size: int) -> Iterator[list[Sealed]]:
    """The leaves of one tree whose events match, in index order, of indexes below ``size``."""
    first = tree.first_seq
    if first is not None:
        # The event that began this incarnation was recorded after those that follow it.
        for leaf in parts.log.leaves(tree.number, 0, 1):
            event = parts.entries.event(first)
            if event is not None and matches(asked, event):
                yield list(leaf)
    for events in parts.reader.export((tree.organization,), asked, order="asc"):
        found = [
            Sealed(event.seq, event.place.index, event.place.hash)
            for event in events
            if event.place is not None and event.place.tree == tree.number and event.seq != first
        ]
        for at in range(0, len(found), PIECE):
            yield [leaf for leaf in found[at : at + PIECE] if leaf.index < size]


def in_base64(hashes: Iterable[bytes]) -> list[str]:
    """Hashes as they stand in JSON."""
    return [b64encode(each).decode() for each in hashes]
