"""What may be missing: erased values and pruned rows that a manifest covers, values past a recorded policy.

A value that is gone is a failure unless the log itself says why. It says so in three ways: a signed manifest
that an event of the log cites; the event ``audit.retention.expired`` with the policy that was in force; and
against both, for expiry, a legal hold.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from affidavit.core.forms import format_time
from affidavit.core.leaf import LEAF_GROUPS, Leaf
from affidavit.core.manifest import PRUNE, ManifestBody, ManifestEntry, cites
from affidavit.core.retention import Policy, class_covers, parse_policy
from affidavit.core.unsound import Malformed, RootMismatch
from affidavit.core.verdict import Verdict

__all__ = ["KnownManifest", "Reasons", "Runs", "reasons_of", "warn_of_manifests"]

_DAY = 24 * 3600 * 1_000_000
_EXPIRED = "audit.retention.expired"
_CHANGED = "audit.retention.changed"
_CREATED = "audit.hold.created"
_RELEASED = "audit.hold.released"
_REQUESTED = "audit.erasure.requested"
_NEVER = b""


class KnownManifest(NamedTuple):
    """A manifest whose note was checked, under the SHA-256 of its body in hex."""

    digest: str
    body: ManifestBody


class Reasons:
    """Why something may be missing, out of the leaves and manifests at hand.

    Args:
        cited: digests of the manifests that an event of the log cites.
        expiries: policy, classes on hold and latest moment of the expiries that the log has recorded.
    """

    def __init__(self, cited: frozenset[str], expiries: Iterable[tuple[Policy, frozenset[str], int]]) -> None:
        self.cited = cited
        self._expiries = list(expiries)
        self._cutoffs: dict[bytes, bytes] = {}

    def cutoff(self, action: bytes) -> bytes:
        """Events of this action may have expired if recorded up to this moment; empty where none may."""
        known = self._cutoffs.get(action)
        if known is None:
            known = self._cutoffs[action] = self._cutoff(action.decode())
        return known

    def _cutoff(self, action: str) -> bytes:
        latest = -1
        for policy, held, moment in self._expiries:
            days = policy.days(action)
            if days is not None and not any(class_covers(name, action) for name in held):
                latest = max(latest, moment - days * _DAY)
        return _NEVER if latest < 0 else format_time(latest).encode()


def reasons_of(
    leaves: Mapping[int, Leaf], manifests: Sequence[KnownManifest], verdict: Verdict, *, whole_until: int
) -> Reasons:
    """Draw together what the explaining leaves say.

    Args:
        leaves: by index.
        manifests: with a good signature.
        verdict: is warned of what is odd.
        whole_until: every leaf below this index is at hand, so that what is not there does not exist.
    """
    cited = {
        each.digest
        for each in manifests
        for leaf in leaves.values()
        if cites(leaf.action, leaf.facts, each.body.kind, bytes.fromhex(each.digest))
    }
    return Reasons(frozenset(cited), _expiries(leaves, verdict, whole_until))


def _expiries(
    leaves: Mapping[int, Leaf], verdict: Verdict, whole_until: int
) -> list[tuple[Policy, frozenset[str], int]]:
    table: str | None = None
    holds: dict[str, str] = {}
    latest: dict[tuple[str, frozenset[str]], int] = {}
    for index, leaf in sorted(leaves.items()):
        if leaf.action == _CHANGED:
            table = _text(leaf, "policy")
        elif leaf.action == _CREATED:
            holds[_text(leaf, "hold")] = _text(leaf, "class")
        elif leaf.action == _RELEASED:
            holds.pop(_text(leaf, "hold"), None)
        elif leaf.action == _EXPIRED:
            known = "" if table is None and index < whole_until else table
            if _in_force(index, _text(leaf, "policy"), known, verdict):
                key = _text(leaf, "policy"), frozenset(holds.values())
                latest[key] = max(latest.get(key, 0), leaf.recorded_at or 0)
    return [(parse_policy(text), held, moment) for (text, held), moment in latest.items()]


def _in_force(index: int, text: str, table: str | None, verdict: Verdict) -> bool:
    try:
        parse_policy(text)
    except Malformed as error:
        verdict.warn(f"the expiry at entry {index} explains nothing: {error.message}")
        return False
    if table is None:
        verdict.warn(f"whether the policy of the expiry at entry {index} was in force cannot be seen here")
    elif table != text:
        verdict.warn(f"the expiry at entry {index} explains nothing: its policy was not the one in force")
        return False
    return True


def _text(leaf: Leaf, name: str) -> str:
    value = leaf.facts.get(name)
    return value if isinstance(value, str) else ""


def warn_of_manifests(
    leaves: Mapping[int, Leaf], manifests: Sequence[KnownManifest], cited: frozenset[str], verdict: Verdict
) -> None:
    """Say which manifests no event cites, and which erasures have none here."""
    known = {each.digest for each in manifests}
    for digest in sorted(known - cited):
        verdict.warn(f"no event here cites the manifest {digest}; it explains nothing")
    for index, leaf in sorted(leaves.items()):
        named = leaf.facts.get("manifest")
        if leaf.action == _REQUESTED and named not in known:
            verdict.warn(f"the manifest of the erasure at entry {index} is not here: {named!s:.80}")


class _Run:
    """One entry of one manifest while its indexes pass by."""

    __slots__ = ("digest", "entry", "expected", "hashed", "places", "prune")

    def __init__(self, known: KnownManifest, entry: ManifestEntry) -> None:
        self.digest = known.digest
        self.entry = entry
        self.prune = known.body.kind == PRUNE
        self.places = tuple(LEAF_GROUPS.index(group) for group in entry.groups)
        self.expected = entry.start
        self.hashed: Any = sha256()


class Runs:
    """Follows the entries in index order and compares each manifest's digests with the leaves themselves.

    A manifest says which digests stood at the places that it covers. A run that is seen only in part, at the
    edge of a range or in a selection, cannot be compared; it still covers its places.
    """

    def __init__(self, manifests: Iterable[KnownManifest], verdict: Verdict) -> None:
        waiting = [
            (entry.start, at, known, entry)
            for at, known in enumerate(manifests)
            for entry in known.body.entries
        ]
        waiting.sort(key=lambda each: (each[0], each[1]), reverse=True)
        self._waiting = waiting
        self._active: list[_Run] = []
        self._verdict = verdict
        self._told: set[tuple[str, int]] = set()
        self.next = waiting[-1][0] if waiting else None
        """The first index that needs a call of :meth:`enter`; ``None`` where no later one does."""

    def enter(self, index: int) -> None:
        """Begin with an index; those between it and the one before are not at hand."""
        while self._waiting and self._waiting[-1][0] <= index:
            _, _, known, entry = self._waiting.pop()
            self._active.append(_Run(known, entry))
        self._active = [run for run in self._active if run.entry.end >= index]
        for run in self._active:
            if run.expected != index:
                run.hashed = None

    def covered(self, cited: frozenset[str]) -> set[int]:
        """Places of the groups whose absence at this index cited manifests explain."""
        return {place for run in self._active if run.digest in cited for place in run.places}

    def covers_leaf(self, cited: frozenset[str]) -> bool:
        """Whether a cited manifest explains that the leaf at this index was pruned."""
        return any(run.prune and run.digest in cited for run in self._active)

    def leave(
        self, index: int, digests: Sequence[bytes] | None, leaf_hash: bytes, present: Iterable[int] = ()
    ) -> None:
        """End with an index.

        Args:
            index: as given to :meth:`enter`.
            digests: hex, of the five groups; ``None`` for a leaf without any.
            leaf_hash: of the leaf.
            present: places of the groups whose values are there.
        """
        there = set(present)
        for run in self._active:
            run.expected = index + 1
            for place in there.intersection(run.places):
                self._tell(run.digest, place, index)
            self._hash(run, digests, leaf_hash)
            if run.entry.end == index and run.hashed is not None:
                self._compare(run)
        self.next = index + 1 if self._active else self._waiting[-1][0] if self._waiting else None

    def _tell(self, digest: str, place: int, index: int) -> None:
        if (digest, place) not in self._told:
            self._told.add((digest, place))
            what = f"{LEAF_GROUPS[place]} of entry {index}"
            self._verdict.warn(f"manifest {digest} says that {what} was erased, and its value is here")

    def _hash(self, run: _Run, digests: Sequence[bytes] | None, leaf_hash: bytes) -> None:
        if run.hashed is None:
            return
        if run.prune:
            run.hashed.update(leaf_hash)
        elif digests is None:
            run.hashed = None
        else:
            for place in run.places:
                run.hashed.update(bytes.fromhex(digests[place].decode()))

    def _compare(self, run: _Run) -> None:
        computed = run.hashed.digest()
        if computed != run.entry.digest:
            place = f"entries {run.entry.start} to {run.entry.end}"
            error = RootMismatch(f"its digest over {place}", run.entry.digest, computed)
            self._verdict.refuse(f"manifest {run.digest}", error)
