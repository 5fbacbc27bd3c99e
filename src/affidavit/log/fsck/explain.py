"""Why a value or a row may be missing: manifests that events cite, and retention policies on record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from affidavit.core.leaf import parse_leaf
from affidavit.core.manifest import ManifestBody, cites
from affidavit.core.merkle import leaf_hash
from affidavit.core.retention import Policy, parse_policy
from affidavit.core.sealing import RowVersionError, leaf_of
from affidavit.core.unsound import Unsound
from affidavit.log.fsck.findings import Findings
from affidavit.log.fsck.manifests import Citation, ManifestCheck
from affidavit.log.fsck.state import LogState, StoredTree
from affidavit.storage.evidence import Evidence, Fault, LogEvidence

__all__ = ["Explanations"]


class _Stated(NamedTuple):
    """One of our own events as its leaf states it, in the clear."""

    incarnation: int
    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    action: str
    recorded_at: int
    facts: Mapping[str, Any]


class _Expiry(NamedTuple):
    incarnation: int
    recorded_at: int
    policy: Policy


class Explanations:
    """What explains missing values, read again by :meth:`refresh` for what was erased meanwhile.

    Args:
        evidence: the app's file.
        log: the log file.
        manifests: checks their table.
        findings: where faults go.
    """

    def __init__(
        self, evidence: Evidence, log: LogEvidence, manifests: ManifestCheck, findings: Findings
    ) -> None:
        self._evidence = evidence
        self._log = log
        self._manifests = manifests
        self._findings = findings
        self._state = LogState({})
        self._stated: dict[str, list[_Stated]] = {}
        self._expiries: dict[str, list[_Expiry]] = {}
        self._bodies: dict[str, list[ManifestBody]] = {}

    def refresh(self, state: LogState) -> None:
        """Read manifests, and forget what events said."""
        self._state = state
        self._stated.clear()
        self._expiries.clear()
        for body in self._manifests.run(state, self._cited):
            self._bodies.setdefault(body.origin, []).append(body)

    def _cited(self, tree: StoredTree, body: ManifestBody, digest: bytes) -> Citation:
        later = [each for each in self.stated(tree) if each.incarnation >= tree.incarnation]
        if not any(cites(each.action, each.facts, body.kind, digest) for each in later):
            return Citation.NONE
        for each in later:
            if each.action == "audit.erasure.completed" and digest.hex() in each.facts.values():
                return Citation.COMPLETED
        return Citation.REQUESTED

    def stated(self, tree: StoredTree) -> list[_Stated]:
        """An organization's own events that have a leaf, in the order of the log."""
        if tree.hex_digits not in self._stated:
            events = self._evidence.explaining(tree.organization)
            found: list[_Stated] = []
            for at in range(0, len(events), 1_000):
                by_place = {event.seq: event for event in events[at : at + 1_000]}
                for leaf in self._log.leaves_at(list(by_place)):
                    of = self._state.trees.get(leaf.tree)
                    if of is None or of.hex_digits != tree.hex_digits:
                        continue
                    stated = _read(by_place[leaf.seq].values, of, leaf.index, leaf.hash)
                    if stated is not None:
                        found.append(stated)
            self._stated[tree.hex_digits] = sorted(found, key=lambda each: (each.incarnation, each.index))
        return self._stated[tree.hex_digits]

    def pruned(self, tree: StoredTree, index: int) -> bool:
        """Whether a manifest explains that the row of an entry is gone."""
        return any(body.explains(index) for body in self._bodies.get(tree.origin, ()))

    def erased(self, tree: StoredTree, index: int, groups: Iterable[str]) -> set[str]:
        """Those of the groups of an entry that a manifest explains."""
        bodies = self._bodies.get(tree.origin, ())
        return {group for group in groups if any(body.explains(index, group) for body in bodies)}

    def expired(self, tree: StoredTree, action: str, recorded_at: int) -> bool:
        """Whether a policy on record had let an event expire, at the moment at which it says so."""
        return any(
            each.incarnation >= tree.incarnation
            and each.policy.is_past(action, recorded_at, each.recorded_at)
            for each in self._expiry(tree)
        )

    def _expiry(self, tree: StoredTree) -> list[_Expiry]:
        """The expiries whose policy is the one that was in force, as the log itself says."""
        if tree.hex_digits in self._expiries:
            return self._expiries[tree.hex_digits]
        in_force = ""
        found = []
        for each in self.stated(tree):
            text = each.facts.get("policy")
            if each.action == "audit.retention.changed" and isinstance(text, str):
                in_force = text
            if each.action != "audit.retention.expired":
                continue
            if text != in_force:
                key = f"leaf {each.index}"
                rule = "an expiry states another policy than the one in force"
                fault = Fault("affidavit_events", "facts", key, rule, in_force, str(text), each.index)
                self._findings.fault(fault, tree.number, entries=0)
                continue
            try:
                found.append(_Expiry(each.incarnation, each.recorded_at, parse_policy(text)))
            except Unsound as error:
                fault = Fault("affidavit_events", "facts", f"leaf {each.index}", error.message)
                self._findings.fault(fault, tree.number, entries=0)
        self._expiries[tree.hex_digits] = found
        return found


def _read(values: tuple[Any, ...], tree: StoredTree, index: int, digest: Any) -> _Stated | None:
    """What a row states, where it is the one that its leaf was made of; others are named elsewhere."""
    try:
        entry = leaf_of(values, tree.hex_digits).entry
        if leaf_hash(entry) != digest:
            return None
        leaf = parse_leaf(entry)
    except (RowVersionError, Unsound):
        return None
    if leaf.invalid or leaf.recorded_at is None:
        return None
    return _Stated(tree.incarnation, index, leaf.action, leaf.recorded_at, leaf.facts)
