"""Another implementation of tlog-tiles reads our tiles, and we read those that it writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.checkpoint import Checkpoint, open_checkpoint
from affidavit.core.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from affidavit.core.note import make_verifier, parse_note, parse_verifier
from affidavit.core.proof import parse_proof, verify_proof
from affidavit.core.tiles import Tile, TileTree, tiles_of, write_entries
from affidavit.core.unsound import BadSignature, RootMismatch, UnknownSigner
from tests.signers import Signer, signed

HERE = Path(__file__).parent
PROGRAMS = HERE.parents[1] / ".venv-interop" / "bin"
LOG, WITNESS = Signer("log.example/0123/1"), Signer.witness("witness.example")


def ask(do: str, **question: Any) -> Any:
    """What tlog-scales answers."""
    command = [str(PROGRAMS / "python"), str(HERE / "tlog_scales_log.py")]
    asked = json.dumps({"do": do, **question})
    answer = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, (
        f"tlog-scales did not run (make interop installs it): {answer.stderr[-2000:]}"
    )
    return json.loads(answer.stdout)


def bundles(entries: Sequence[bytes]) -> dict[str, bytes]:
    """The bundles of a log by path."""
    parts = [entries[start : start + 256] for start in range(0, len(entries), 256)]
    return {Tile(None, number, len(part)).path: write_entries(part) for number, part in enumerate(parts)}


def write_log(folder: Path, entries: Sequence[bytes]) -> Checkpoint:
    """A log as we write it: hashes of the frontier in tiles, entries in bundles, a cosigned checkpoint."""
    rows: dict[int, list[bytes]] = {0: [leaf_hash(entry) for entry in entries]}
    frontier = Frontier()
    for leaf in rows[0]:
        frontier.append(leaf, lambda level, _index, made: rows.setdefault(level, []).append(made))
    files = bundles(entries)
    for tile in tiles_of(len(entries)):
        assert tile.level is not None
        files[tile.path] = b"".join(rows[tile.level][tile.index * 256 :][: tile.width])
    checkpoint = Checkpoint(LOG.name, len(entries), frontier.root())
    files["checkpoint"] = signed(checkpoint.text, LOG.line(checkpoint.text), WITNESS.line(checkpoint.text))
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return checkpoint


def entries_of(size: int) -> list[bytes]:
    """Entries of several lengths."""
    return [b"entry %d " % number + b"x" * (number % 50) for number in range(size)]


def tree_in(folder: Path, checkpoint: Checkpoint, changed: dict[str, bytes] | None = None) -> TileTree:
    """Our reader over files, some of which are others."""

    def fetch(tile: Tile) -> bytes:
        return (changed or {}).get(tile.path) or (folder / tile.path).read_bytes()

    return TileTree(fetch, checkpoint.size, checkpoint.root)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 70_000])
def test_our_tiles_are_read_by_tlog_scales(tmp_path: Path, size: int) -> None:
    """(case 24) The root over them is ours, and so is every proof that it makes of them."""
    checkpoint = write_log(tmp_path, entries_of(size))
    ours = tree_in(tmp_path, checkpoint)
    edges = {0, 1, 254, 255, 256, 65_535, 65_536, size // 3, size // 2, size - 2, size - 1}
    indexes = sorted(edges & set(range(size)))
    answer = ask("read", folder=str(tmp_path), indexes=indexes, olds=[index + 1 for index in indexes])
    assert (answer["origin"], answer["size"], answer["root"]) == (LOG.name, size, checkpoint.root.hex())
    for index in indexes:
        assert answer["inclusion"][str(index)] == [each.hex() for each in ours.inclusion_proof(index)]
        assert answer["consistency"][str(index + 1)] == [
            each.hex() for each in ours.consistency_proof(index + 1)
        ]


def test_a_proof_that_tlog_scales_writes_of_our_tiles_is_verified(tmp_path: Path) -> None:
    """Its command line writes a tlog-proof; we read it, open its checkpoint and verify the entry."""
    entries = entries_of(1000)
    write_log(tmp_path, entries)
    for index in (0, 300, 999):
        command = [str(PROGRAMS / "tlog-tiles"), "gen-proof", str(tmp_path), str(index)]
        written = subprocess.run(command, capture_output=True, check=True).stdout
        proof = parse_proof(written)
        assert proof.encode() == written
        opened = open_checkpoint(proof.checkpoint, [LOG.verifier], [WITNESS.verifier], origin=LOG.name)
        assert [witness for witness, _ in opened.cosigned] == [WITNESS.verifier]
        verify_proof(proof, entries[index], opened)
        with pytest.raises(RootMismatch):
            verify_proof(proof, entries[index] + b" ", opened)


def test_our_signatures_are_checked_by_tlog_scales(tmp_path: Path) -> None:
    """(case 31) (case 40) Log and witness are accepted, other keys and copied signatures are not, by both."""
    text = Checkpoint(LOG.name, 7, bytes(32)).text
    other = Checkpoint(LOG.name, 8, bytes(32)).text
    good = signed(text, LOG.line(text), WITNESS.line(text))
    copied = signed(text, LOG.line(other), WITNESS.line(other))
    stranger = Signer(LOG.name, seed="stranger")
    notes = [
        (good.decode(), LOG.verifier.vkey),
        (good.decode(), WITNESS.verifier.vkey),
        (parse_note(good).encode().decode(), make_verifier(LOG.name, LOG.public).vkey),
        (copied.decode(), LOG.verifier.vkey),
        (copied.decode(), WITNESS.verifier.vkey),
        (good.decode(), stranger.verifier.vkey),
    ]
    verdicts = ask("signatures", notes=notes)
    assert [verdict == "accepted" for verdict in verdicts] == [True, True, True, False, False, False]
    assert open_checkpoint(good, [LOG.verifier], [WITNESS.verifier]).cosigned
    with pytest.raises(BadSignature):
        open_checkpoint(copied, [LOG.verifier])
    with pytest.raises(BadSignature):
        open_checkpoint(signed(text, LOG.line(text), WITNESS.line(other)), [LOG.verifier], [WITNESS.verifier])
    with pytest.raises(UnknownSigner):
        open_checkpoint(good, [stranger.verifier])


@pytest.mark.parametrize("size", [1, 2, 256, 257, 1000, 70_000])
def test_an_entry_forged_with_its_own_tile_is_refused_by_both(tmp_path: Path, size: int) -> None:
    """(case 29b) In every level 0 tile, read out of the same files; what was not touched is still proven."""
    entries = entries_of(size)
    checkpoint = write_log(tmp_path, entries)
    forgeries: list[tuple[int, dict[str, str]]] = []
    for first in range(0, size, 256):
        width = min(256, size - first)
        for index in {first + width // 2, first + width - 1}:
            part = [*entries[first:index], b"forged", *entries[index + 1 : first + width]]
            changed = {
                Tile(None, first // 256, width).path: write_entries(part),
                Tile(0, first // 256, width).path: b"".join(map(leaf_hash, part)),
            }
            forgeries.append((index, {path: content.hex() for path, content in changed.items()}))
            ours = tree_in(tmp_path, checkpoint, changed)
            with pytest.raises(RootMismatch):
                ours.entries(first // 256)
    honest: list[tuple[int, dict[str, str]]] = [(0, {}), (size - 1, {})]
    verdicts = ask("entry", folder=str(tmp_path), forgeries=[*forgeries, *honest])
    assert [verdict for verdict in verdicts[:-2] if verdict.startswith("accepted")] == []
    assert verdicts[-2:] == [f"accepted {entries[index].hex()}" for index, _ in honest]


def test_the_log_that_tlog_scales_writes_is_read_by_us(tmp_path: Path) -> None:
    """Tiles, bundles, checkpoint and key, after it grew in four steps; an older tree of it is consistent."""
    entries = [b"", b"x" * 65_535, *entries_of(1200)]
    parts = [entries[:1], entries[1:256], entries[256:700], entries[700:]]
    folder = tmp_path / "log"
    vkey = ask(
        "write",
        folder=str(folder),
        origin="other.example/log",
        seed="42" * 32,
        parts=[[each.hex() for each in part] for part in parts],
    )
    message = (folder / "checkpoint").read_bytes()
    opened = open_checkpoint(message, [parse_verifier(vkey)], origin="other.example/log")
    assert opened.checkpoint.size == len(entries)
    assert opened.note.encode() == message
    tree = tree_in(folder, opened.checkpoint)
    read = [entry for number in range(-(-len(entries) // 256)) for entry in tree.entries(number)]
    assert read == entries
    for index in (0, 1, 255, 256, 1201):
        leaf = leaf_hash(entries[index])
        verify_inclusion(index, len(entries), leaf, tree.inclusion_proof(index), opened.checkpoint.root)
        old, proof = index + 1, tree.consistency_proof(index + 1)
        verify_consistency(old, len(entries), tree.root_at(old), opened.checkpoint.root, proof)
