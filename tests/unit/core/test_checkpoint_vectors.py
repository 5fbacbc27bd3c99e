"""The vectors that docs/spec/checkpoint.md promises, read and written by the product. They are frozen."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.checkpoint import open_checkpoint, parse_checkpoint
from affidavit.core.merkle import leaf_hash, root_of, verify_consistency
from affidavit.core.note import parse_note, parse_verifier
from affidavit.core.policy import parse_policy
from affidavit.core.proof import parse_proof, verify_proof
from affidavit.core.tiles import Tile, TileTree, parse_tile_path, read_entries, write_entries
from affidavit.core.unsound import Malformed, RootMismatch

PATH = Path(__file__).parents[2] / "vectors" / "checkpoint.json"
VECTORS: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
ENTRIES = [bytes.fromhex(entry) for entry in VECTORS["entries"]]

READERS: dict[str, Callable[[str], object]] = {
    "verifier_key": parse_verifier,
    "note": lambda text: parse_note(text.encode()),
    "checkpoint": parse_checkpoint,
    "proof": lambda text: parse_proof(text.encode()),
    "tile_path": parse_tile_path,
    "policy": parse_policy,
}


def test_the_vectors_are_frozen() -> None:
    """A change of the file is a change of the specification: this line must change with it."""
    assert (
        sha256(PATH.read_bytes()).hexdigest()
        == "3ba45e11cc2c556ed1dd3c489fdcbf6267b7c75fcdebb2a0b6a8c7286ab9108e"
    )


@pytest.mark.parametrize(("kind", "text", "accepted", "why"), VECTORS["forms"])
def test_texts_that_must_be_accepted_or_refused(kind: str, text: str, accepted: bool, why: str) -> None:
    """(case 28) (case 34) (case 35) (case 36) (case 39) Each form, by its own reader."""
    if accepted:
        READERS[kind](text)
    else:
        with pytest.raises(Malformed):
            READERS[kind](text)


def test_every_kind_has_texts_of_both_sorts() -> None:
    """So that a reader that accepts or refuses everything is noticed."""
    assert {(kind, accepted) for kind, _, accepted, _ in VECTORS["forms"]} == {
        (kind, accepted) for kind in READERS for accepted in (True, False)
    }


def test_the_log_of_the_vectors() -> None:
    """Root, older roots, consistency, checkpoint, cosignature, policy, proofs: all of one log."""
    log, witness = parse_verifier(VECTORS["log"]["vkey"]), parse_verifier(VECTORS["witness"]["vkey"])
    policy = parse_policy(VECTORS["policy"])
    assert (policy.log_keys, policy.witness_keys) == ((log,), (witness,))
    note = VECTORS["note"].encode()
    opened = open_checkpoint(note, policy.log_keys, policy.witness_keys, origin=VECTORS["log"]["name"])
    assert opened.cosigned == ((witness, VECTORS["cosigned_at"]),)
    policy.check_quorum(cosigner for cosigner, _ in opened.cosigned)
    roots = [root_of(map(leaf_hash, ENTRIES[:size])) for size in range(14)]
    assert [root.hex() for root in roots] == VECTORS["roots"]
    assert opened.checkpoint.root == roots[13] == bytes.fromhex(VECTORS["root"])
    for index, text in enumerate(VECTORS["proofs"]):
        proof = parse_proof(text.encode())
        assert (proof.index, proof.checkpoint, proof.encode()) == (index, note, text.encode())
        verify_proof(proof, ENTRIES[index], opened)
        with pytest.raises(RootMismatch):
            verify_proof(proof, ENTRIES[index - 1], opened)
    for old, hashes in VECTORS["consistency"].items():
        verify_consistency(int(old), 13, roots[int(old)], roots[13], [bytes.fromhex(each) for each in hashes])


def test_the_tiles_of_the_vectors() -> None:
    """They stand under their paths, and give the same proofs."""
    files = {
        parse_tile_path(path): bytes.fromhex(content)
        for path, content in (VECTORS["tile"], VECTORS["bundle"])
    }
    assert set(files) == {Tile(0, 0, 13), Tile(None, 0, 13)}
    assert read_entries(files[Tile(None, 0, 13)], 13) == ENTRIES
    assert write_entries(ENTRIES) == files[Tile(None, 0, 13)]
    tree = TileTree(files.__getitem__, 13, bytes.fromhex(VECTORS["root"]))
    assert tree.entries(0) == ENTRIES
    for index, text in enumerate(VECTORS["proofs"]):
        assert tree.inclusion_proof(index) == parse_proof(text.encode()).hashes
        expected = [bytes.fromhex(each) for each in VECTORS["consistency"][str(index + 1)]]
        assert list(tree.consistency_proof(index + 1)) == expected
