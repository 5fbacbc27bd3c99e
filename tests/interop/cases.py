"""What programs from elsewhere are given: proofs of ours, and forgeries of each kind that we know.

A case is one entry with its proof and its signed checkpoint, as JSON. The proofs and notes are made by the
code of the product, read out of tiles; forgeries are made of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, TypeAlias

from affidavit.core.checkpoint import Checkpoint
from affidavit.core.merkle import node_hash
from affidavit.core.note import Note, Signature
from affidavit.core.tiles import TileTree
from tests.signers import Signer
from tests.tiles import TileStore

Case: TypeAlias = dict[str, Any]

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 255, 256, 257, 511, 600, 70_000)
LOG = Signer("log.example/0123456789abcdef0123456789abcdef/1")


@cache
def store(size: int) -> TileStore:
    """The tiles of a log with that many entries."""
    return TileStore([b"entry %d of a log" % number for number in range(size)])


def places(size: int) -> list[int]:
    """All leaves of a small tree; of a great one the edges of tiles and some between."""
    if size <= 16:
        return list(range(size))
    edges = {0, 1, 254, 255, 256, 257, 511, 512, 65_535, 65_536, 69_887, 69_888, size - 2, size - 1}
    return sorted({*edges, *range(0, size, size // 13)} & set(range(size)))


def write_note(checkpoint: Checkpoint, signer: Signer = LOG, signed: Checkpoint | None = None) -> str:
    """The checkpoint as a note; ``signed`` where the signature is of another one."""
    value = signer.private.sign((signed or checkpoint).text.encode())
    return Note(checkpoint.text, (Signature(signer.name, signer.key_id, value),)).encode().decode()


def case(entry: bytes, index: int, hashes: list[bytes], note: str) -> Case:
    """One proof."""
    return {
        "entry": entry.hex(),
        "index": index,
        "hashes": [each.hex() for each in hashes],
        "note": note,
        "name": LOG.name,
        "key": LOG.public.hex(),
        "key_id": LOG.key_id.hex(),
    }


def honest() -> Iterator[Case]:
    """Proofs as the product makes them."""
    for size in SIZES:
        tiles = store(size)
        tree = TileTree(tiles.fetch, size, tiles.root)
        note = write_note(Checkpoint(LOG.name, size, tiles.root))
        for index in places(size):
            yield case(tiles.naive.entries[index], index, list(tree.inclusion_proof(index)), note)


def forged() -> dict[str, list[Case]]:
    """Forgeries by kind. None of them may be accepted by anybody."""
    kinds: dict[str, list[Case]] = {}
    for true in honest():
        for kind, bent in (*_bent_proofs(true), *_bent_notes(true)):
            kinds.setdefault(kind, []).append(bent)
    kinds["a node as an entry"] = list(_nodes_as_entries())
    kinds["entry and its own tile"] = [
        each for size in (1, 2, 255, 256, 257, 600, 70_000) for each in _own_tile(size)
    ]
    return kinds


def _bent_proofs(true: Case) -> Iterator[tuple[str, Case]]:
    hashes, index = true["hashes"], true["index"]
    size = int(true["note"].split("\n")[1])
    yield "another entry", true | {"entry": true["entry"] + "00"}
    yield "an entry that is cut", true | {"entry": true["entry"][:-2]}
    for other in {index - 1, index + 1, index ^ 1} & set(range(size)):
        yield "another index", true | {"index": other}
    yield "a hash too many", true | {"hashes": [*hashes, store(size).root.hex()]}
    for at, each in enumerate(hashes):
        flipped = f"{int(each[0], 16) ^ 1:x}" + each[1:]
        yield "a hash changed", true | {"hashes": [*hashes[:at], flipped, *hashes[at + 1 :]]}
        yield "a hash missing", true | {"hashes": hashes[:at] + hashes[at + 1 :]}
        yield "a hash of 31 bytes", true | {"hashes": [*hashes[:at], each[:-2], *hashes[at + 1 :]]}
        yield "a hash of 33 bytes", true | {"hashes": [*hashes[:at], each + "00", *hashes[at + 1 :]]}
    if len(hashes) > 1:
        yield "hashes turned round", true | {"hashes": hashes[::-1]}


def _bent_notes(true: Case) -> Iterator[tuple[str, Case]]:
    size = int(true["note"].split("\n")[1])
    real = Checkpoint(LOG.name, size, store(size).root)
    yield "a size that was not signed", true | {"note": write_note(real._replace(size=size + 1), signed=real)}
    yield (
        "a root that was not signed",
        true | {"note": write_note(real._replace(root=bytes(32)), signed=real)},
    )
    yield "another root, signed", true | {"note": write_note(real._replace(root=bytes(32)))}
    impostor = Signer(LOG.name, seed="impostor")
    impostor.key_id = LOG.key_id
    yield "the key of somebody else", true | {"note": write_note(real, impostor)}


def _nodes_as_entries() -> Iterator[Case]:
    """The children of a node, offered as an entry of the tree of half the size, which the log even signs."""
    for size in (2, 4, 8, 256):
        tiles = store(size)
        half = Checkpoint(LOG.name, size // 2, tiles.root)
        left, right = tiles.naive.mth(0, 1), tiles.naive.mth(1, 2)
        upper = tiles.naive.path(0, 0, size)[1:]
        assert size != 2 or node_hash(left, right) == tiles.root
        for entry in (left + right, b"\x01" + left + right):
            yield case(entry, 0, upper, write_note(half))


def _own_tile(size: int) -> Iterator[Case]:
    """Some entry and its tile forged in each level 0 tile, parents untouched: what a naive reader proves."""
    true = store(size)
    note = write_note(Checkpoint(LOG.name, size, true.root))
    last = (size - 1) // 256 * 256
    for index in sorted(
        {*range(17, last, 256), *range(0, min(size, 256), 51), *range(last, size, 37), size - 1}
    ):
        entries = [*true.naive.entries[:index], b"forged", *true.naive.entries[index + 1 :]]
        tile = index // 256
        false = TileStore(entries[tile * 256 : (tile + 1) * 256])
        reader = NaiveReader(true, tile, false)
        yield case(b"forged", index, reader.inclusion_proof(index), note)
        if index + 1 < size and index % 2 == 0:
            neighbour = true.naive.entries[index + 1]
            yield case(neighbour, index + 1, reader.inclusion_proof(index + 1), note)


class NaiveReader:
    """Reads hashes out of tiles and believes them: level 0 of one tile is forged, all else is true."""

    def __init__(self, true: TileStore, tile: int, false: TileStore) -> None:
        self.true, self.false = true, false
        self.start = tile * 256
        self.end = self.start + false.size

    def inclusion_proof(self, index: int) -> list[bytes]:
        """The siblings on the way, each of the lowest tile that has it."""
        return self._path(index, 0, self.true.size)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if index < middle:
            return [*self._path(index, start, middle), self._hash(middle, end)]
        return [*self._path(index, middle, end), self._hash(start, middle)]

    def _hash(self, start: int, end: int) -> bytes:
        if self.start <= start and end <= self.end and end - start < 256:
            return self.false.naive.mth(start - self.start, end - self.start)
        return self.true.naive.mth(start, end)
