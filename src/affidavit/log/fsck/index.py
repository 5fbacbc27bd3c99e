"""The index file: terms, counts and addresses are derived again and compared with what is stored.

A missing index is fine, and a wrong one is no evidence of anything; but a term that is missing hides an event
from a search, so it is named.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from affidavit.core.forms import microseconds_of
from affidavit.core.row import COLUMNS
from affidavit.core.times import HOUR
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.tally import Tally, bucket_of
from affidavit.storage.evidence import Evidence, Fault, IndexEvidence, RawEvent, Record

__all__ = ["IndexCheck"]

_ID, _ORGANIZATION, _ACTION, _OUTCOME, _SEVERITY, _RECORDED_AT = map(
    COLUMNS.index, ("id", "organization", "action", "outcome", "severity", "recorded_at")
)
_SECRET = COLUMNS.index("secret")
_ID_SIZE = 16
_PIECE = 4_096
_LOOKED_AT = 64
"""Buckets that differ and are read again to name what differs in them."""
_NAMED = 100


class _Sums:
    """What an index holds, or should hold."""

    def __init__(self) -> None:
        self.terms, self.hourly, self.emails = Tally(), Tally(), Tally()
        self.people: set[int] = set()

    def add_row(self, index: IndexEvidence, state: Record, row: RawEvent) -> None:
        keys, emails = index.terms(state["key"], row)
        for term in keys:
            self.terms.add(term)
        for email in emails:
            number = hash(email)
            if number not in self.people:
                self.people.add(number)
                self.emails.add(email)
        if row.seq <= _counted(state):
            self.hourly.add(_hour(row))


def _hour(row: RawEvent) -> tuple[Any, ...]:
    values = row.values
    return (
        values[_ORGANIZATION],
        microseconds_of(values[_ID]) // HOUR,
        values[_ACTION],
        values[_OUTCOME],
        values[_SEVERITY],
    )


def _counted(state: Record) -> int:
    """The place up to which counts are complete: an engine may write them less often than terms."""
    return int(state.get("counted", state["seq"]))


class _Run:
    """One run of terms: what its row says, and what stands in it."""

    def __init__(self, row: Record) -> None:
        self.row = row
        self.keys = 0
        self.least: bytes | None = None
        self.greatest: bytes | None = None


class IndexCheck:
    """Compares the index with the events up to its watermark.

    Args:
        index: the index file.
        evidence: the app's file.
        findings: where faults go.
    """

    def __init__(self, index: IndexEvidence, evidence: Evidence, findings: Findings) -> None:
        self._index = index
        self._evidence = evidence
        self._findings = findings
        self._stored = _Sums()
        self._derived = _Sums()
        self._runs: list[_Run] = []
        self._has_runs = False
        self._state: Record | None = None
        self._unreadable = 0
        self._unlisted = 0
        self._bounds: set[Any] = set()
        self._all_wrong = False
        self._stated: str | None = None
        self._emptied: set[int] = set()

    @property
    def database_id(self) -> str | None:
        """The database that the index says it follows; ``None`` where there is no index."""
        return self._stated

    def begin(self, database_id: str | None) -> None:
        """Read the whole index, in one transaction of its own file."""
        with self._index.moment() as there:
            if not there:
                return
            tables = self._index.tables()
            state = self._head(tables.get("affidavit_index", []), database_id)
            if state is None:
                return
            self._state = state
            self._has_runs = "affidavit_runs" in tables
            self._runs = [_Run(row) for row in tables.get("affidavit_runs", [])]
            self._bounds = {run.row[column] for run in self._runs for column in ("low", "high")}
            self._read()
        self._compare_runs()

    def _head(self, rows: Sequence[Record], database_id: str | None) -> Record | None:
        if len(rows) != 1:
            self._fault("affidavit_index", "", "", "must have exactly one row", "1", str(len(rows)))
            return None
        state = rows[0]
        self._stated = state.get("database_id")
        usable = True
        for column, expected in (("version", self._index.version), ("database_id", database_id), ("one", 1)):
            if state.get(column, expected) != expected:
                rule = "is not that of this database"
                self._fault("affidavit_index", column, "1", rule, shown(expected), shown(state[column]))
                usable = usable and column == "one"
        if type(state["key"]) is not bytes or len(state["key"]) != _ID_SIZE:
            self._fault("affidavit_index", "key", "1", "must be 16 bytes", "", "")
            return None
        if type(state["seq"]) is not int:
            self._fault("affidavit_index", "seq", "1", "must be a number", "", shown(state["seq"]))
            return None
        self._watermark(state)
        counted = state.get("counted", state["seq"])
        if type(counted) is not int or not 0 <= counted <= state["seq"]:
            rule = "must be at most the watermark"
            self._fault("affidavit_index", "counted", "1", rule, str(state["seq"]), shown(counted))
            return None
        return state if usable else None

    def _watermark(self, state: Record) -> None:
        row = self._evidence.events_at([state["seq"]]).get(state["seq"]) if state["seq"] else None
        for column, place in (("id", _ID), ("recorded_at", _RECORDED_AT)):
            expected = None if row is None else row.values[place]
            if state[column] != expected:
                rule = "is not that of the event at the watermark"
                self._fault("affidavit_index", column, "1", rule, shown(expected), shown(state[column]))

    def _read(self) -> None:
        by_number = {run.row["run"]: run for run in self._runs}
        for piece in self._index.terms_stored():
            for number, term in piece:
                run = by_number.get(number)
                if run is None and self._has_runs:
                    self._unlisted += 1
                    continue
                if type(term) is not bytes or len(term) < _ID_SIZE:
                    self._fault("affidavit_terms", "k", shown(number), "must end with an id", "", shown(term))
                    continue
                self._stored.terms.add(term)
                if run is None:
                    continue
                run.keys += 1
                event_id = term[-_ID_SIZE:]
                if run.least is None or event_id < run.least:
                    run.least = event_id
                if run.greatest is None or event_id > run.greatest:
                    run.greatest = event_id
        if self._unlisted:
            self._findings.rest.warn(
                f"the index holds {self._unlisted} keys of runs that are not listed: a merge is under way, or"
                " it was interrupted and the worker sweeps them when it starts"
            )
        for *kind, count in self._index.hourly():
            if type(count) is not int or count < 1:
                self._fault("affidavit_hourly", "n", _key(kind), "must be a number above 0", "", shown(count))
                continue
            self._stored.hourly.add(tuple(kind), count)
        for row in self._index.emails():
            self._stored.emails.add(tuple(row))

    def _compare_runs(self) -> None:
        for run in self._runs:
            key = shown(run.row["run"])
            if run.row["keys"] != run.keys:
                rule = "is not the number of keys in the run"
                self._fault("affidavit_runs", "keys", key, rule, str(run.keys), shown(run.row["keys"]))
            low, high = run.row["low"], run.row["high"]
            rule = "leaves out an id that stands in the run"
            if type(low) is not bytes or (run.least is not None and low > run.least):
                self._fault("affidavit_runs", "low", key, rule, shown(run.least), shown(low))
            if type(high) is not bytes or (run.greatest is not None and high < run.greatest):
                self._fault("affidavit_runs", "high", key, rule, shown(run.greatest), shown(high))

    def see(self, row: RawEvent) -> None:
        """Derive what the index must hold of one event; in recording order."""
        if self._state is None or row.seq > self._state["seq"]:
            return
        self._bounds.discard(row.values[_ID])
        try:
            self._derived.add_row(self._index, self._state, row)
        except (ValueError, TypeError):
            self._unreadable += 1

    def finish(self) -> None:
        """Compare, and name what differs."""
        if self._state is None or self._unreadable:
            return
        self._compare_bounds()
        different = {
            "terms": self._stored.terms.differences(self._derived.terms),
            "hourly": self._stored.hourly.differences(self._derived.hourly),
            "emails": self._stored.emails.differences(self._derived.emails),
        }
        if any(different.values()):
            self._all_wrong = len(different["terms"]) > _LOOKED_AT
            self._name({what: set(buckets[:_LOOKED_AT]) for what, buckets in different.items()})

    def _compare_bounds(self) -> None:
        """The bounds of a run are ids of events: of the first and the last one that it was made of."""
        for run in self._runs:
            for column in ("low", "high"):
                if run.row[column] in self._bounds:
                    key = shown(run.row["run"])
                    rule = "is the id of no event up to the watermark"
                    self._fault("affidavit_runs", column, key, rule, "", shown(run.row[column]))

    def _name(self, buckets: dict[str, set[int]]) -> None:
        """Read the parts that differ once more, both sides, and name each difference."""
        with self._index.moment() as there:
            tables = self._index.tables() if there else {}
            rows = tables.get("affidavit_index", [])
            if not rows:
                return
            state = rows[0]
            listed = {row["run"] for row in tables.get("affidavit_runs", [])}
            stored: dict[str, dict[Hashable, int]] = {"terms": {}, "hourly": {}, "emails": {}}
            for piece in self._index.terms_stored():
                for run, term in piece:
                    if run in listed or not self._has_runs:
                        _count(stored["terms"], term, buckets["terms"])
            for *kind, count in self._index.hourly():
                if type(count) is int:
                    _count(stored["hourly"], tuple(kind), buckets["hourly"], count)
            for row in self._index.emails():
                _count(stored["emails"], tuple(row), buckets["emails"])
        derived = self._derive(state, buckets)
        if self._all_wrong and not stored["terms"].keys() & derived["terms"].keys():
            self._fault("affidavit_index", "key", "1", "is not the key under which the terms were made")
            return
        for what, table in (
            ("terms", "affidavit_terms"),
            ("hourly", "affidavit_hourly"),
            ("emails", "affidavit_emails"),
        ):
            self._differences(table, stored[what], derived[what])

    def _derive(self, state: Record, buckets: dict[str, set[int]]) -> dict[str, dict[Hashable, int]]:
        derived: dict[str, dict[Hashable, int]] = {"terms": {}, "hourly": {}, "emails": {}}
        after = -(2**63)
        while rows := self._evidence.events(after, _PIECE):
            after = rows[-1].seq
            for row in rows:
                if row.seq > state["seq"]:
                    return derived
                if row.values[_SECRET] is None:
                    self._emptied.add(hash(row.values[_ID]))
                terms, emails = self._index.terms(state["key"], row)
                for term in terms:
                    _count(derived["terms"], term, buckets["terms"])
                for email in emails:
                    if email not in derived["emails"]:
                        _count(derived["emails"], email, buckets["emails"])
                if row.seq <= _counted(state):
                    _count(derived["hourly"], _hour(row), buckets["hourly"])
        return derived

    def _differences(self, table: str, stored: dict[Hashable, int], derived: dict[Hashable, int]) -> None:
        named = 0
        for item in sorted(stored.keys() | derived.keys(), key=repr):
            have, want = stored.get(item, 0), derived.get(item, 0)
            if have == want:
                continue
            named += 1
            if named > _NAMED:
                return
            if table == "affidavit_hourly" and have and want:
                self._fault(table, "n", _key(item), "is not the number of events", str(want), str(have))
            elif have > want and isinstance(item, bytes) and hash(item[-_ID_SIZE:]) in self._emptied:
                self._findings.rest.warn(
                    "the index holds keys of values that are gone; the worker takes them away"
                )
            elif have > want:
                self._fault(table, "", _key(item), "stands in the index, but no event has it", "", "")
            else:
                self._fault(
                    table, "", _key(item), "is missing from the index: a search misses an event", "", ""
                )

    def _fault(
        self, table: str, column: str, key: str, rule: str, expected: str = "", computed: str = ""
    ) -> None:
        self._findings.fault(Fault(table, column, key, rule, expected, computed))


def _count(counts: dict[Hashable, int], item: Hashable, buckets: set[int], times: int = 1) -> None:
    if bucket_of(item) in buckets:
        counts[item] = counts.get(item, 0) + times


def _key(item: Any) -> str:
    """A key of the index without the text of an event in it: hashes, ids, hours."""
    if isinstance(item, bytes):
        return item.hex()
    parts = [
        part.decode("utf-8", "replace") if isinstance(part, bytes) and len(part) != _ID_SIZE else shown(part)
        for part in item
    ]
    return ", ".join(parts)[:200]
