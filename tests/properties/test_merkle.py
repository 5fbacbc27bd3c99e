"""Properties of the tree, and of every form that proofs are written in: round trips, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from affidavit.core import strict
from affidavit.core.checkpoint import Checkpoint, cosignature_message, parse_checkpoint
from affidavit.core.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_ranges,
    decompose,
    fold,
    inclusion_length,
    inclusion_ranges,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from affidavit.core.note import (
    COSIGNATURE,
    ED25519,
    Note,
    Signature,
    make_verifier,
    parse_note,
    parse_signatures,
    parse_verifier,
    signature_line,
)
from affidavit.core.proof import TlogProof, parse_proof
from affidavit.core.tiles import Tile, TileTree, parse_tile_path, read_entries, tiles_of, write_entries
from affidavit.core.unsound import Malformed, Unsound
from tests.rfc6962 import NaiveTree
from tests.signers import Signer
from tests.tiles import TileStore

T = TypeVar("T")

CONTROLS = "".join(map(chr, range(32)))
HASHES = st.binary(min_size=32, max_size=32)
SIZES = st.integers(1, MAX_SIZE)
ENTRIES = st.lists(st.binary(max_size=40), min_size=1, max_size=600)
LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS), min_size=1)
NAMES = LINES.filter(lambda name: "+" not in name and not any(map(str.isspace, name)))
KEYS = st.binary(max_size=8).map(lambda seed: Signer("x", seed=seed.hex()).public)
SIGNATURES = st.builds(
    Signature, NAMES, st.binary(min_size=4, max_size=4), st.binary(min_size=1, max_size=80)
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def leaves_of(draw: st.DrawFn, most: int = MAX_SIZE) -> tuple[int, int]:
    """An index and a size that has it."""
    size = draw(st.integers(1, most))
    return draw(st.integers(0, size - 1)), size


# the tree


@given(leaf=leaves_of())
@example(leaf=(0, MAX_SIZE))
@example(leaf=(MAX_SIZE - 1, MAX_SIZE))
def test_the_siblings_of_a_leaf_are_all_the_others(leaf: tuple[int, int]) -> None:
    """Whatever the size: the ranges of a proof and the leaf cover the tree once, as many as it says."""
    index, size = leaf
    ranges = inclusion_ranges(index, size)
    assert len(ranges) == inclusion_length(index, size) <= 63
    edge = 0
    for start, end in sorted([*ranges, (index, index + 1)]):
        assert start == edge < end
        edge = end
    assert edge == size


@given(sizes=st.tuples(SIZES, SIZES).map(sorted))
@example(sizes=[1, MAX_SIZE])
@example(sizes=[2**62, MAX_SIZE])
def test_a_consistency_proof_covers_the_new_tree_once(sizes: list[int]) -> None:
    """With the old tree in front where that is one perfect subtree; no range crosses the old size."""
    old, new = sizes
    ranges = consistency_ranges(old, new)
    assert len(ranges) <= 64
    if old == new:
        assert ranges == []
        return
    covered = sorted(ranges if old & (old - 1) else [(0, old), *ranges])
    edge = 0
    for start, end in covered:
        assert start == edge < end
        assert end <= old or start >= old
        edge = end
    assert edge == new


@given(ends=st.tuples(st.integers(0, MAX_SIZE), st.integers(0, MAX_SIZE)).map(sorted))
def test_a_range_is_covered_by_perfect_subtrees(ends: list[int]) -> None:
    """Side by side from its start to its end, each beginning where its size allows."""
    edge, end = ends
    for each in decompose(*ends):
        assert each.index << each.level == edge
        edge = each.index + 1 << each.level
    assert edge == end


@given(entries=ENTRIES, cut=st.integers(0, 600))
def test_a_tree_that_grows_in_two_parts_is_one_tree(entries: list[bytes], cut: int) -> None:
    """Stored between them; roots are those of the definition, and the parts are consistent."""
    leaves = [leaf_hash(entry) for entry in entries]
    old = min(cut, len(leaves))
    first = Frontier()
    for leaf in leaves[:old]:
        first.append(leaf)
    second = Frontier(first.size, first.hashes)
    for leaf in leaves[old:]:
        second.append(leaf)
    naive = NaiveTree(entries)
    assert first.root() == naive.root(old) == root_of(leaves[:old])
    assert second.root() == naive.root() == fold(second.hashes)
    if old:
        proof = naive.proof(old, len(leaves))
        verify_consistency(old, len(leaves), first.root(), second.root(), proof)


@given(entries=st.lists(st.binary(max_size=8), min_size=1, max_size=70, unique=True), choice=st.data())
def test_a_proof_with_one_bit_changed_proves_nothing(entries: list[bytes], choice: st.DataObject) -> None:
    """In a hash, the leaf or the root, wherever the bit is."""
    naive = NaiveTree(entries)
    index = choice.draw(st.integers(0, len(entries) - 1))
    parts = [naive.mth(index, index + 1), naive.root(), *naive.path(index, 0, len(entries))]
    verify_inclusion(index, len(entries), parts[0], parts[2:], parts[1])
    which, bit = choice.draw(st.integers(0, len(parts) - 1)), choice.draw(st.integers(0, 255))
    parts[which] = (int.from_bytes(parts[which], "big") ^ 1 << bit).to_bytes(32, "big")
    with pytest.raises(Unsound):
        verify_inclusion(index, len(entries), parts[0], parts[2:], parts[1])


@given(size=st.integers(1, 1500), choice=st.data())
def test_tiles_give_the_proofs_of_the_definition(size: int, choice: st.DataObject) -> None:
    """Of any leaf and older size; with one byte of any tile changed they are the same or refused."""
    tiles = TileStore([b"%d" % number for number in range(size)])
    index = choice.draw(st.integers(0, size - 1))
    tree = TileTree(tiles.fetch, size, tiles.root)
    path, proof = tiles.naive.path(index, 0, size), tiles.naive.proof(index + 1, size)
    assert list(tree.inclusion_proof(index)) == path
    assert list(tree.consistency_proof(index + 1)) == proof
    assert list(tiles_of(size)) == tiles.hash_tiles()
    changed = choice.draw(st.sampled_from(tiles.hash_tiles()))
    at = choice.draw(st.integers(0, 32 * changed.width - 1))
    value = tiles.tiles[changed]
    served = tiles.tiles | {changed: value[:at] + bytes([value[at] ^ 128]) + value[at + 1 :]}
    bent = TileTree(served.__getitem__, size, tiles.root)
    try:
        found = list(bent.inclusion_proof(index)), list(bent.consistency_proof(index + 1))
    except Unsound:
        return
    assert found == (path, proof)


# written and read


@given(number=st.integers(0, MAX_SIZE))
def test_numbers(number: int) -> None:
    """Written by ``str``."""
    assert strict.integer(str(number), "x") == number


@given(value=st.binary())
def test_bytes_as_text(value: bytes) -> None:
    """Base64url and hexadecimal digits; standard base64 stands in keys and notes."""
    assert strict.base64url_of(strict.write_base64url(value), "x") == value
    assert strict.hex_of(value.hex(), "x") == value


@given(name=NAMES, key=KEYS, kind=st.sampled_from([ED25519, COSIGNATURE]))
def test_verifier_keys(name: str, key: bytes, kind: int) -> None:
    """Any name that is allowed."""
    verifier = make_verifier(name, key, kind)
    assert parse_verifier(verifier.vkey) == verifier


@given(text=ANY_TEXT.map(lambda text: text + "\n"), signatures=st.lists(SIGNATURES, min_size=1, max_size=5))
@example(text="\n", signatures=[Signature("a", b"abcd", b"x")])
@example(text="a\n\n", signatures=[Signature("—", b"abcd", b"x")])
def test_notes(text: str, signatures: list[Signature]) -> None:
    """Any text without control characters, empty lines included, with any signatures."""
    assume(not any(character < " " and character != "\n" for character in text))
    note = Note(text, tuple(signatures))
    assert parse_note(note.encode()) == note
    lines = "".join(signature_line(*each) for each in signatures)
    assert parse_signatures(lines) == note.signatures


@given(
    origin=LINES,
    size=SIZES,
    root=HASHES,
    extensions=st.lists(LINES, max_size=3).map(tuple),
    seconds=st.integers(0, MAX_SIZE),
)
def test_checkpoints(origin: str, size: int, root: bytes, extensions: tuple[str, ...], seconds: int) -> None:
    """Any origin and extension lines; what a witness signs can be taken apart again in one way."""
    checkpoint = Checkpoint(origin, size, root, extensions)
    assert parse_checkpoint(checkpoint.text) == checkpoint
    assert parse_checkpoint(checkpoint._replace(size=0, root=EMPTY_ROOT).text).size == 0
    header, time, text = cosignature_message(checkpoint.text, seconds).decode().split("\n", 2)
    assert (header, time, text) == ("cosignature/v1", f"time {seconds}", checkpoint.text)


@given(
    index=st.integers(0, MAX_SIZE),
    hashes=st.lists(HASHES, max_size=63).map(tuple),
    extra=st.none() | st.binary(min_size=1),
    signatures=st.lists(SIGNATURES, min_size=1, max_size=3),
)
def test_proofs(
    index: int, hashes: tuple[bytes, ...], extra: bytes | None, signatures: list[Signature]
) -> None:
    """Any index, hashes and extra data around any note."""
    proof = TlogProof(index, hashes, Note("a\n\nb\n", tuple(signatures)).encode(), extra)
    assert parse_proof(proof.encode()) == proof


@given(level=st.none() | st.integers(0, 63), index=st.integers(0, 10**18 - 1), width=st.integers(1, 256))
@example(level=0, index=999, width=256)
@example(level=0, index=1000, width=255)
def test_tile_paths(level: int | None, index: int, width: int) -> None:
    """Any level, index and width."""
    tile = Tile(level, index, width)
    assert parse_tile_path(tile.path) == tile


@given(entries=st.lists(st.binary(max_size=70) | st.just(b"x" * 65_535), min_size=1, max_size=256))
def test_bundles(entries: list[bytes]) -> None:
    """Any entries, empty and greatest ones included."""
    assert read_entries(write_entries(entries), len(entries)) == entries


def _read(reader: Callable[[], T]) -> T | None:
    """What a reader makes of its input, or nothing where it says what is wrong."""
    try:
        return reader()
    except Malformed:
        return None


# read and written: whatever a reader takes, the writer writes the same


@given(
    text=st.text("0123456789+-_ x١", max_size=22),
    encoded=st.text("ABab01+/-_= \n", max_size=12),
)
def test_small_forms_have_one_text_for_one_value(text: str, encoded: str) -> None:
    """Numbers, both alphabets of base64, hexadecimal digits."""
    if (number := _read(lambda: strict.integer(text, "x"))) is not None:
        assert str(number) == text
    if (url := _read(lambda: strict.base64url_of(encoded, "x"))) is not None:
        assert strict.write_base64url(url) == encoded
    if (digits := _read(lambda: strict.hex_of(encoded, "x"))) is not None:
        assert digits.hex() == encoded
    if (value := _read(lambda: strict.base64_of(encoded, "x"))) is not None and len(value) > 4:
        assert signature_line("a", value[:4], value[4:]) == f"— a {encoded}\n"


@given(path=st.from_regex(r"\Atile/(entries|[0-9]{1,2})/(x?[0-9]{3}/){0,3}[0-9]{2,4}(\.p/[0-9]{0,3})?\n?\Z"))
def test_a_tile_has_one_path(path: str) -> None:
    """Whatever is read as a path is the path of what was read."""
    if (tile := _read(lambda: parse_tile_path(path))) is not None:
        assert tile.path == path


@given(
    lines=st.lists(
        st.sampled_from(["", "a", "— a YWJjZHg=", "— a YWJjZHh=", "—  YWJjZHg=", "\t", "1", "0"]) | LINES
    )
)
def test_a_note_has_one_form(lines: list[str]) -> None:
    """Lines in any order: what is read as a note is written as it was, byte for byte."""
    message = "".join(f"{line}\n" for line in lines).encode()
    if (note := _read(lambda: parse_note(message))) is not None:
        assert note.encode() == message


@given(
    lines=st.lists(
        st.sampled_from(["", "a", "0", "7", "07", "A" * 43 + "=", "A" * 42 + "B=", "x\ty"]) | LINES,
        max_size=6,
    ),
    end=st.sampled_from(["\n", ""]),
)
def test_a_checkpoint_has_one_text(lines: list[str], end: str) -> None:
    """What is read as a checkpoint is written as it was."""
    text = "\n".join(lines) + end
    if (checkpoint := _read(lambda: parse_checkpoint(text))) is not None:
        assert checkpoint.text == text


@given(
    lines=st.lists(
        st.sampled_from(
            ["index 0", "index 00", "extra AA==", "extra ", "A" * 43 + "=", "A" * 42 + "B=", "x"]
        ),
        max_size=5,
    )
)
def test_a_proof_has_one_text(lines: list[str]) -> None:
    """What is read as a proof is written as it was."""
    head = "\n".join(["c2sp.org/tlog-proof@v1", *lines])
    message = (head + "\n\na\n\n— a YWJjZHg=\n").encode()
    if (proof := _read(lambda: parse_proof(message))) is not None:
        assert proof.encode() == message


@given(bundle=st.binary(max_size=12), count=st.integers(1, 4))
def test_a_bundle_has_one_form(bundle: bytes, count: int) -> None:
    """What is read as a bundle is written as it was."""
    if (entries := _read(lambda: read_entries(bundle, count))) is not None:
        assert len(entries) == count
        assert write_entries(entries) == bundle
