"""Have tlog-scales read a log of ours, or write one: a question as JSON on standard input, answers on output.

Runs in the environment of requirements/interop.txt, not in that of the product.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tlog_scales import signing, tiles  # type: ignore[import-not-found]
from tlog_scales.backend import LocalBackend  # type: ignore[import-not-found]
from tlog_scales.reader import TilesReader  # type: ignore[import-not-found]
from tlog_scales.tlog import Checkpoint  # type: ignore[import-not-found]
from tlog_scales.writer import TilesWriter  # type: ignore[import-not-found]


class Overlay:
    """A log in a folder, some of whose files are others."""

    def __init__(self, folder: str, changed: dict[str, str]) -> None:
        self.true = LocalBackend(Path(folder))
        self.changed = changed

    def get(self, *path: str) -> bytes | None:
        """The bytes of a file, or nothing where there is none."""
        changed = self.changed.get("/".join(path))
        found: bytes | None = self.true.get(*path) if changed is None else bytes.fromhex(changed)
        return found


def read(question: dict[str, Any]) -> dict[str, Any]:
    """The root over the tiles, and the proofs that it makes of them."""
    reader = TilesReader(LocalBackend(Path(question["folder"])))
    checkpoint = reader.get_checkpoint()
    size = checkpoint.size
    inclusion = {
        index: [each.hex() for each in reader.get_inclusion_proof(index, size).node_hashes]
        for index in question["indexes"]
    }
    consistency = {
        old: [each.hex() for each in reader.get_consistency_proof(old, size).node_hashes]
        for old in question["olds"]
    }
    return {
        "origin": checkpoint.origin,
        "size": size,
        "root": reader.calculate_root_hash().hex(),
        "inclusion": inclusion,
        "consistency": consistency,
    }


def entry(question: dict[str, Any]) -> list[str]:
    """For each overlay: the entry at an index, where it is proven under the root of the checkpoint."""
    verdicts = []
    for index, changed in question["forgeries"]:
        reader = TilesReader(Overlay(question["folder"], changed))
        checkpoint = reader.get_checkpoint()
        found = reader.get_entry(index)
        try:
            proof = reader.get_inclusion_proof(index, checkpoint.size)
            proof.check(tiles.leaf_hash(found), checkpoint.root_hash)
        except Exception as error:  # noqa: BLE001  # every way of refusing is a verdict
            verdicts.append(f"{type(error).__name__}: {error}"[:200])
        else:
            verdicts.append(f"accepted {found.hex()}")
    return verdicts


def signatures(question: dict[str, Any]) -> list[str]:
    """For each note and key: whether the key has signed it."""
    verdicts = []
    for note, vkey in question["notes"]:
        try:
            Checkpoint.from_text(note).verify(signing.Vkey.from_string(vkey))
        except Exception as error:  # noqa: BLE001  # every way of refusing is a verdict
            verdicts.append(f"{type(error).__name__}: {error}"[:200])
        else:
            verdicts.append("accepted")
    return verdicts


def write(question: dict[str, Any]) -> str:
    """Write a log in several steps; returns its key."""
    signer = signing.PlainEd25519Signer(question["origin"], bytes.fromhex(question["seed"]))
    writer = TilesWriter.create(Path(question["folder"]), question["origin"])
    for part in question["parts"]:
        for each in part:
            writer.add_leaf(bytes.fromhex(each))
        writer.commit([signer])
    vkey: str = signer.vkey.serialize()
    return vkey


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    answers = {"read": read, "entry": entry, "signatures": signatures, "write": write}
    json.dump(answers[asked["do"]](asked), sys.stdout)
