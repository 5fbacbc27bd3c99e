"""The table of manifests, and what they explain: a value that is missing without one is a failure.

A manifest counts where its note is signed with the log key, where an event of its tree (or of a later
incarnation) cites it, and where the digests that it states are those of the leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from hashlib import sha256
from typing import Any, TypeAlias

from affidavit.core.leaf import LEAF_GROUPS, parse_leaf
from affidavit.core.manifest import (
    ERASURE,
    ManifestBody,
    ManifestEntry,
    manifest_hash,
    open_manifest,
    parse_manifest,
)
from affidavit.core.note import Check, Verifier
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, leaf_of
from affidavit.core.unsound import Unsound
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.state import LogState, StoredTree
from affidavit.storage.evidence import Evidence, Fault, LogEvidence, Record

__all__ = ["NO_KEY", "Citation", "Cited", "Keys", "ManifestCheck"]

Keys = Callable[[str], Sequence[Verifier]]
"""The keys that are trusted to sign for an origin; none where nobody gave one."""


class Citation(Enum):
    """How the log cites a manifest."""

    NONE = "no event cites it"
    REQUESTED = "an event cites it"
    COMPLETED = "an event says that it was carried out"


Cited: TypeAlias = Callable[[StoredTree, ManifestBody, bytes], Citation]
"""How events of a tree, or of a later incarnation, cite a manifest with this hash."""
NO_KEY = "no key of the log is at hand for {}; give it with --key"


class ManifestCheck:
    """Checks each manifest once.

    Attributes:
        ranges: organization, first and last id of each range that a prune manifest states and an event cites,
            with the hashes of these manifests.

    Args:
        evidence: the app's file.
        log: the log file.
        keys: trusted keys of the log.
        check: how a signature is checked.
        findings: where faults go.
    """

    def __init__(
        self, evidence: Evidence, log: LogEvidence, keys: Keys, check: Check, findings: Findings
    ) -> None:
        self._evidence = evidence
        self._log = log
        self._keys = keys
        self._check = check
        self._findings = findings
        self._seen: set[Any] = set()
        self._values = 0
        self.ranges: dict[tuple[str, str, str], list[bytes]] = {}

    def run(self, state: LogState, cited: Cited) -> list[ManifestBody]:
        """The manifests of the table that hold; faults of the others are named. Each is looked at once.

        Args:
            state: of the log file, read now.
            cited: how the log cites a manifest of a tree.
        """
        origins = {tree.origin: tree for tree in state.trees.values()}
        sound = []
        for row in state.tables.get("affidavit_manifests", ()):
            if row["hash"] in self._seen:
                continue
            self._seen.add(row["hash"])
            body = self._one(row, origins, cited)
            if body is not None:
                sound.append(body)
        return sound

    def _one(
        self,
        row: Record,
        origins: Mapping[str, StoredTree],
        cited: Cited,
    ) -> ManifestBody | None:
        key = shown(row["hash"])
        faults = list(self._columns(row, key, origins))
        for fault in faults:
            self._findings.fault(fault)
        if faults:
            return None
        body = parse_manifest(row["body"])
        tree = origins[body.origin]
        if (error := self._signature(row, body, tree)) is not None:
            self._findings.fault(
                Fault("affidavit_manifests", "note", key, error.message), tree.number, entries=0
            )
            return None
        citation = cited(tree, body, row["hash"])
        if citation is Citation.NONE:
            self._seen.discard(row["hash"])  # looked at again once the walk through the rows has ended
            # The manifest is stored first; where its task is still under way the event comes later.
            text = f"no event of the log cites manifest {key}, so it explains nothing"
            self._findings.trees[tree.number].warn(text)
            return None
        if body.ids is not None:
            self.ranges.setdefault((tree.organization, *body.ids), []).append(row["hash"])
        for entry in body.entries:
            self._entry(tree, body, entry, key)
        if body.kind == ERASURE:
            self._standing(tree, key, citation)
        return body

    def _columns(self, row: Record, key: str, origins: Mapping[str, StoredTree]) -> Iterator[Fault]:
        body = row["body"]
        if type(body) is not bytes or type(row["note"]) is not bytes:
            yield Fault("affidavit_manifests", "body", key, "must be bytes", "", shown(body))
            return
        if manifest_hash(body) != row["hash"]:
            rule = "is not the SHA-256 of the body"
            yield Fault("affidavit_manifests", "hash", key, rule, manifest_hash(body).hex(), key)
            return
        try:
            parsed = parse_manifest(body)
        except Unsound as error:
            yield Fault("affidavit_manifests", "body", key, error.message)
            return
        tree = origins.get(parsed.origin)
        if tree is None:
            yield Fault("affidavit_manifests", "body", key, "names a log that is not here", "", parsed.origin)
            return
        for column, expected in (
            ("kind", parsed.kind),
            ("made_at", parsed.made_at),
            ("organization", tree.organization),
        ):
            if row[column] != expected:
                rule = "is not what the body says"
                yield Fault("affidavit_manifests", column, key, rule, shown(expected), shown(row[column]))

    def _signature(self, row: Record, body: ManifestBody, tree: StoredTree) -> Unsound | None:
        keys = self._keys(body.origin)
        if not keys:
            self._findings.trees[tree.number].not_checked = NO_KEY.format(body.origin)
            return None
        try:
            open_manifest(row["body"], row["note"], keys, self._check)
        except Unsound as error:
            return error
        return None

    def _entry(self, tree: StoredTree, body: ManifestBody, entry: ManifestEntry, key: str) -> None:
        if not tree.newest and entry.end >= tree.size:
            # Its digest is of leaves that are gone; what is missing before them has a leaf of its own.
            text = f"manifest {key} names entries up to {entry.end}, which a restore lost"
            self._findings.trees[tree.number].warn(text)
            return
        leaves = self._log.leaves(tree.number, entry.start, entry.end - entry.start + 1)
        if len(leaves) != entry.end - entry.start + 1 or leaves[-1].index != entry.end:
            self._wrong(tree, entry, key, "names entries that the tree does not have", "")
            return
        if body.kind == ERASURE:
            computed = self._digests(tree, entry, [leaf.seq for leaf in leaves])
        else:
            computed = sha256(b"".join(leaf.hash for leaf in leaves)).digest()
        if computed is not None and computed != entry.digest:
            self._wrong(tree, entry, key, "states another digest than that of its entries", computed.hex())

    def _standing(self, tree: StoredTree, key: str, citation: Citation) -> None:
        """What a manifest states as gone must be gone once the log says that the erasure is complete."""
        standing, self._values = self._values, 0
        if standing and citation is Citation.COMPLETED:
            rule = f"{standing} values stand that an erasure states as gone, which the log says is completed"
            self._findings.fault(
                Fault("affidavit_events", "", f"manifest {key}", rule), tree.number, entries=0
            )
        elif standing:
            text = f"manifest {key}: {standing} values are not erased yet"
            self._findings.trees[tree.number].warn(text)

    def _wrong(self, tree: StoredTree, entry: ManifestEntry, key: str, rule: str, computed: str) -> None:
        fault = Fault("affidavit_manifests", "body", key, rule, entry.digest.hex(), computed, entry.start)
        self._findings.fault(fault, tree.number, entries=0)

    def _digests(self, tree: StoredTree, entry: ManifestEntry, places: Sequence[int]) -> bytes | None:
        """The digest of an entry from the rows; ``None`` where one of them was pruned later."""
        rows = self._evidence.events_at(places)
        total = sha256()
        for seq in places:
            if seq not in rows:
                return None
            try:
                leaf = parse_leaf(leaf_of(rows[seq].values, tree.hex_digits).entry)
            except (RowVersionError, Unsound):
                return None
            if leaf.invalid:
                return None
            for group in LEAF_GROUPS:
                if group in entry.groups:
                    self._values += rows[seq].values[COLUMNS.index(group)] is not None
                    total.update(bytes.fromhex(leaf.digests[group]))
        return total.digest()
