"""Rows and leaves: every event's leaf is made again from its row and compared with the one that is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from affidavit.core.forms import format_id
from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, home_of, leaf_of
from affidavit.core.verdict import LATE_SECONDS
from affidavit.log.fsck.explain import Explanations
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.salts import SaltCheck
from affidavit.log.fsck.state import LogState, StoredTree
from affidavit.storage.evidence import Evidence, Fault, LogEvidence, RawEvent, RawLeaf
from affidavit.storage.protocols import UNPLACED

__all__ = ["RowCheck"]

_PIECE = 4_096
_MOST_OPEN = 100_000
"""Unexplained values that wait for a manifest made meanwhile; more are failures at once."""
_ORGANIZATION, _ACTION, _ACTOR_ID, _ACTOR = map(
    COLUMNS.index, ("organization", "action", "actor_id", "actor")
)
_SECRET, _RECORDED_AT, _END = COLUMNS.index("secret"), COLUMNS.index("recorded_at"), 17


class _Person(msgspec.Struct):
    id: Any = None


class _ActorGroup(msgspec.Struct):
    actor: _Person | None = None


_actor = msgspec.json.Decoder(_ActorGroup).decode


class _Open(NamedTuple):
    """An entry with something missing that is not explained so far; no groups where the row is gone."""

    tree: StoredTree
    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    seq: int
    id: str
    groups: tuple[str, ...]
    action: str
    recorded_at: int


class RowCheck:
    """One walk through all rows and leaves in recording order.

    Args:
        evidence: the app's file.
        log: the log file; ``None`` where there is none.
        explanations: why something may be missing.
        findings: where faults and counts go.
        late: tree number to ``(size, microseconds)`` of its cosigned checkpoints, ascending.
    """

    def __init__(
        self,
        evidence: Evidence,
        log: LogEvidence | None,
        explanations: Explanations | None,
        findings: Findings,
        late: dict[int, list[tuple[int, int]]] | None = None,
    ) -> None:
        self._evidence = evidence
        self._log = log
        self._explanations = explanations
        self._findings = findings
        self._late = late or {}
        self._state = LogState({})
        self._salts = SaltCheck()
        self._open: list[_Open] = []
        self._highest = 0
        self._elsewhere: dict[int, RawEvent] = {}
        self._watchers: list[Callable[[RawEvent], None]] = []

    def watch(self, watcher: Callable[[RawEvent], None]) -> None:
        """Show every row to somebody else too, in recording order."""
        self._watchers.append(watcher)

    def run(self, state: LogState, last: int) -> None:
        """Check everything up to the place ``last``.

        Args:
            state: of the log file; what is sequenced later counts as pending.
            last: place of the newest event that is looked at.
        """
        self._state = state
        position = state.position()
        after = -(2**63)
        while True:
            rows, leaves, after, more = self._piece(after, last)
            by_place = {row.seq: row for row in rows}
            for seq, group in _merged(by_place, leaves):
                row = by_place.get(seq)
                if row is not None:
                    self._row(row)
                self._place(seq, row, group, position)
            if not more:
                break
        for piece in self._evidence.waiting():
            for row in piece:
                self._row(row)
                self._findings.pending += 1
        self._salts.finish(self._evidence, last, self._findings)

    def _piece(self, after: int, last: int) -> tuple[Sequence[RawEvent], Sequence[RawLeaf], int, bool]:
        """The next rows and the leaves of the same places; whether there may be more."""
        rows = self._evidence.events(after, _PIECE)
        leaves = self._log.leaves_after(after, 2 * _PIECE) if self._log is not None else ()
        ends = []
        if len(rows) == _PIECE:
            ends.append(rows[-1].seq)
        if len(leaves) == 2 * _PIECE:
            ends.append(leaves[-1].seq - 1)  # others may share the last place
        end = min(ends, default=None)
        if end is None:
            return [row for row in rows if row.seq <= last], leaves, after, False
        chosen = [row for row in rows if row.seq <= min(end, last)]
        return chosen, [leaf for leaf in leaves if leaf.seq <= end], end, True

    def _row(self, row: RawEvent) -> None:
        values = row.values
        self._highest = max(self._highest, row.seq if row.seq < UNPLACED else 0)
        self._salts.see(values[_SECRET])
        said = self._said(values)
        if said != values[_ACTOR_ID]:
            rule = "repeats another id than the group actor has"
            self._findings.fault(Fault("affidavit_events", "actor_id", _key(row), rule, id=_id(values[0])))
        for watcher in self._watchers:
            watcher(row)

    @staticmethod
    def _said(values: tuple[Any, ...]) -> bytes | None:
        """What ``actor_id`` must be, as bytes."""
        if type(values[_ACTOR]) is not bytes:
            return None
        try:
            group = _actor(values[_ACTOR])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if group.actor is None or not isinstance(group.actor.id, str):
            return None
        return group.actor.id.encode()

    def _place(self, seq: int, row: RawEvent | None, leaves: Sequence[RawLeaf], position: int) -> None:
        """One place: at most one of its leaves is that of the row; the others' rows are gone."""
        own = self._own(row, leaves) if row is not None else None
        for leaf in leaves:
            if leaf is not own:
                self._orphan(leaf, row)
        if own is not None and row is not None:
            self._compare(row, own)
        elif row is not None and seq <= position:
            rule = "has no leaf although sequencing went past it"
            self._findings.fault(
                Fault("affidavit_events", "", f"seq {seq}", rule, id=_id(row.values[0])),
            )
        elif row is not None:
            self._findings.pending += 1

    def _own(self, row: RawEvent, leaves: Sequence[RawLeaf]) -> RawLeaf | None:
        home = home_of(row.values[_ORGANIZATION])
        own, incarnation = None, 0
        for leaf in leaves:
            tree = self._state.trees.get(leaf.tree)
            if tree is not None and tree.organization == home and tree.incarnation > incarnation:
                own, incarnation = leaf, tree.incarnation
        return own

    def _compare(self, row: RawEvent, leaf: RawLeaf) -> None:
        tree = self._state.trees[leaf.tree]
        if type(leaf.index) is not int or leaf.index >= tree.size:
            return  # sequenced while this runs, or named with its tree
        verdict = self._findings.trees[tree.number]
        try:
            entry, invalid = leaf_of(row.values, tree.hex_digits)
        except RowVersionError:
            self._wrong(tree, leaf, row, "version", "is of a later version than its leaf can be", "")
            return
        computed = leaf_hash(entry)
        if computed != leaf.hash:
            rule = "gives another leaf than the one that stands in the tree: row or leaf was changed"
            self._wrong(tree, leaf, row, "", rule, computed.hex())
        elif invalid is not None:
            verdict.invalid += 1
            verdict.warn(f"entry {leaf.index} is an invalid leaf: {invalid}")
        elif row.values[_SECRET] is None:
            self._redacted(tree, leaf, row)
        else:
            verdict.verified += 1
            self._lateness(tree, leaf.index, row.values[_RECORDED_AT])

    def _wrong(
        self, tree: StoredTree, leaf: RawLeaf, row: RawEvent, column: str, rule: str, computed: str
    ) -> None:
        fault = Fault(
            "affidavit_events", column, f"seq {row.seq}", rule, shown(leaf.hash), computed, leaf.index,
            _id(row.values[0]),
        )  # fmt: skip
        self._findings.fault(fault, tree.number)

    def _lateness(self, tree: StoredTree, index: int, recorded_at: int) -> None:
        before = [moment for size, moment in self._late.get(tree.number, ()) if size <= index]
        if before and recorded_at < before[-1] - LATE_SECONDS * 1_000_000:
            self._findings.trees[tree.number].sealed_late += 1

    def _redacted(self, tree: StoredTree, leaf: RawLeaf, row: RawEvent) -> None:
        values = row.values
        gone = tuple(
            group for group, text in zip(LEAF_GROUPS, values[_ACTOR:_END], strict=True) if text is None
        )
        opened = _Open(
            tree, leaf.index, row.seq, _id(values[0]), gone, values[_ACTION].decode(), values[_RECORDED_AT]
        )
        if not self._explained(opened):
            self._keep(opened)

    def _orphan(self, leaf: RawLeaf, row: RawEvent | None) -> None:
        """A leaf whose event is not there."""
        tree = self._state.trees.get(leaf.tree)
        if tree is None or type(leaf.index) is not int or leaf.index >= tree.size:
            return  # named with the trees, or sequenced while this runs
        opened = _Open(tree, leaf.index, leaf.seq, "", (), "", 0)
        if self._explained(opened):
            return
        if not tree.newest:
            self._findings.lost[tree.number] = self._findings.lost.get(tree.number, 0) + 1
        elif row is not None and home_of(row.values[_ORGANIZATION]) != tree.organization:
            self._elsewhere[tree.number] = row
            rule = "is the leaf of another organization's tree than the row at its place"
            self._findings.fault(
                Fault("affidavit_events", "organization", f"seq {leaf.seq}", rule, tree.organization,
                      shown(home_of(row.values[_ORGANIZATION])), leaf.index, _id(row.values[0])),
                tree.number,
            )  # fmt: skip
        else:
            self._keep(opened)

    def _explained(self, opened: _Open) -> bool:
        """Count an entry whose missing parts are explained."""
        if self._explanations is None:
            return False
        tree, verdict = opened.tree, self._findings.trees[opened.tree.number]
        if not opened.groups:
            if self._explanations.pruned(tree, opened.index):
                verdict.pruned += 1
                return True
            return False
        if self._explanations.erased(tree, opened.index, opened.groups) == set(opened.groups):
            verdict.redacted += 1
            return True
        if len(opened.groups) == len(LEAF_GROUPS) and self._explanations.expired(
            tree, opened.action, opened.recorded_at
        ):
            verdict.expired += 1
            return True
        return False

    def _keep(self, opened: _Open) -> None:
        if len(self._open) < _MOST_OPEN:
            self._open.append(opened)
        else:
            self._unexplained(opened)

    def settle(self, refresh: Callable[[], LogState]) -> None:
        """Decide about what nothing explained, with what was recorded while the walk ran."""
        if self._open and self._explanations is not None:
            self._explanations.refresh(refresh())
        for opened in self._open:
            if not self._explained(opened):
                self._unexplained(opened)
        self._open.clear()
        for number, row in self._elsewhere.items():
            verdict = self._findings.trees[number]
            if not verdict.verified + verdict.redacted + verdict.expired + verdict.invalid:
                rule = "is not the organization of any event in the tree"
                home, stated = home_of(row.values[_ORGANIZATION]), self._findings.organizations[number]
                fault = Fault("affidavit_trees", "organization", str(number), rule, home, stated)
                self._findings.fault(fault, number, entries=0)

    def _unexplained(self, opened: _Open) -> None:
        key = f"seq {opened.seq}"
        if not opened.groups:
            rule = "the event of this leaf is gone and no manifest explains it"
            fault = Fault("affidavit_events", "", key, rule, index=opened.index)
        else:
            rule = "is missing, and neither a manifest nor a policy on record explains it"
            missing = ", ".join(
                group
                for group in opened.groups
                if self._explanations is None
                or not self._explanations.erased(opened.tree, opened.index, (group,))
            )
            fault = Fault("affidavit_events", missing, key, rule, index=opened.index, id=opened.id)
        self._findings.fault(fault, opened.tree.number)

    @property
    def highest(self) -> int:
        """The greatest place that a row has."""
        return self._highest


def _merged(rows: dict[int, RawEvent], leaves: Sequence[RawLeaf]) -> Iterator[tuple[int, Sequence[RawLeaf]]]:
    """Every place that has a row or leaves, in order."""
    grouped = {seq: list(group) for seq, group in groupby(leaves, key=lambda leaf: leaf.seq)}
    for seq in sorted(rows.keys() | grouped.keys()):
        yield seq, grouped.get(seq, ())


def _key(row: RawEvent) -> str:
    return f"seq {row.seq}" if row.seq < UNPLACED else f"event {_id(row.values[0])}"


def _id(raw: Any) -> str:
    return format_id(raw) if type(raw) is bytes and len(raw) == 16 else ""
