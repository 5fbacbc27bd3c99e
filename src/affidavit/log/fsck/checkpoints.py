"""Checkpoints: whoever signed them, and whether the tree still has the root that they state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from affidavit.core.checkpoint import Opened, open_checkpoint, parse_checkpoint
from affidavit.core.note import Check, Verifier, parse_note
from affidavit.core.unsound import RootMismatch, Unsound
from affidavit.core.verdict import Cosigned
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.manifests import NO_KEY, Keys
from affidavit.log.fsck.state import StoredTree
from affidavit.storage.evidence import Fault, Record

__all__ = ["CheckpointCheck", "is_cosigned"]

_COSIGNATURE = 72
"""Bytes of a cosignature: a time and an Ed25519 signature."""


class CheckpointCheck:
    """Checks the checkpoints that are kept.

    Args:
        keys: trusted keys of the log.
        witnesses: trusted keys of witnesses.
        check: how a signature is checked.
        findings: where faults go.
    """

    def __init__(self, keys: Keys, witnesses: Sequence[Verifier], check: Check, findings: Findings) -> None:
        self._keys = keys
        self._witnesses = witnesses
        self._check = check
        self._findings = findings

    def run(
        self, tree: StoredTree, rows: Sequence[Record], roots: Mapping[int, bytes]
    ) -> list[tuple[int, int]]:
        """Check all checkpoints of one tree.

        Args:
            tree: as its row says.
            rows: the checkpoints, by size.
            roots: size to the root that the leaves have.

        Returns:
            Size and moment, in microseconds, of those that a trusted witness has cosigned.
        """
        moments = []
        signed_at = 0
        for row in rows:
            opened = self._one(tree, row, roots)
            if opened is not None and opened.cosigned:
                moments.append((row["size"], max(seconds for _, seconds in opened.cosigned) * 1_000_000))
            signed_at = self._order(tree, row, signed_at)
        newest = rows[-1]["size"] if rows else 0
        if newest != tree.published:
            rule = "is not the size of the newest checkpoint"
            key = str(tree.number)
            fault = Fault("affidavit_trees", "published", key, rule, str(newest), str(tree.published))
            self._findings.fault(fault, tree.number, entries=0)
        if len(rows) != tree.kept:
            rule = "is not the number of checkpoints: one was taken away or added"
            fault = Fault("affidavit_trees", "kept", str(tree.number), rule, str(tree.kept), str(len(rows)))
            self._findings.fault(fault, tree.number, entries=0)
        return moments

    def _order(self, tree: StoredTree, row: Record, before: int) -> int:
        signed_at: Any = row["signed_at"]
        if type(signed_at) is not int or signed_at < before:
            rule = "lies before that of a smaller checkpoint"
            self._fault(tree, row, "signed_at", rule, f"at least {before}", shown(signed_at))
            return before
        return signed_at

    def _one(self, tree: StoredTree, row: Record, roots: Mapping[int, bytes]) -> Opened | None:
        note, size = row["note"], row["size"]
        if type(note) is not bytes or type(size) is not int:
            self._fault(tree, row, "note", "must be bytes", "", shown(note))
            return None
        verdict = self._findings.trees[tree.number]
        opened = None
        try:
            checkpoint = parse_checkpoint(parse_note(note).text)
            if checkpoint.origin != tree.origin:
                self._origin(tree, row, checkpoint.origin)
                return None
            keys = self._keys(tree.origin)
            if keys:
                opened = open_checkpoint(note, keys, self._witnesses, origin=tree.origin, check=self._check)
                verdict.signed_by = [key.vkey for key in opened.signers]
                verdict.witnesses = [Cosigned(witness.name, at) for witness, at in opened.cosigned]
            else:
                verdict.not_checked = NO_KEY.format(tree.origin)
            if checkpoint.size != size:
                self._fault(tree, row, "size", "is not the size in the note", str(checkpoint.size), str(size))
            if size > tree.size:
                self._fault(
                    tree, row, "size", "is beyond the tree: its tail was cut", str(size), str(tree.size)
                )
            elif size in roots and roots[size] != checkpoint.root:
                raise RootMismatch(f"the root of size {size}", checkpoint.root, roots[size])
        except RootMismatch as error:
            rule = "the leaves have another root than the checkpoint states"
            self._fault(tree, row, "note", rule, error.expected.hex(), error.computed.hex())
        except Unsound as error:
            self._fault(tree, row, "note", error.message)
        if row["cosigned"] != int(is_cosigned(note, tree.origin)):
            rule = "does not say whether the note carries a cosignature"
            self._fault(
                tree, row, "cosigned", rule, str(int(is_cosigned(note, tree.origin))), shown(row["cosigned"])
            )
        return opened

    def _origin(self, tree: StoredTree, row: Record, origin: str) -> None:
        """Checkpoint and tree disagree on the origin: name the part in which they do."""
        self._fault(tree, row, "note", "is of another log than its tree", tree.origin, origin)
        for column, stated, stored in zip(
            ("host", "hex", "incarnation"), origin.rsplit("/", 2), tree.origin.rsplit("/", 2), strict=False
        ):
            if stated != stored:
                rule = "is not that of its checkpoints"
                fault = Fault("affidavit_trees", column, str(tree.number), rule, stated, stored)
                self._findings.fault(fault, tree.number, entries=0)

    def _fault(
        self, tree: StoredTree, row: Record, column: str, rule: str, expected: str = "", computed: str = ""
    ) -> None:
        key = f"{tree.number}, {row['size']}"
        fault = Fault("affidavit_checkpoints", column, key, rule, expected, computed)
        self._findings.fault(fault, tree.number, entries=0)


def is_cosigned(note: bytes, origin: str) -> bool:
    """Whether a note carries a signature of the length of a cosignature by another name than its log's."""
    try:
        lines = parse_note(note).signatures
    except Unsound:
        return False
    return any(each.name != origin and len(each.value) == _COSIGNATURE for each in lines)
