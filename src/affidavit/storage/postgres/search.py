"""Walks over one organization's events, newest first: ids from ordered indexes, each row checked.

A walk goes through the months in a few parts. In each it takes a window of ids from one index, tests them on
others, and fetches the rows that are left: one statement, bounded by the window. It can stop between any two.

It is long because a walk and the three ways in which it takes a window share one state: where it stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from affidavit.core.filter import Condition, Filter
from affidavit.core.ids import first_id
from affidavit.core.match import matches
from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.core.sealing import home_of
from affidavit.core.times import SECOND
from affidavit.storage.postgres.connect import uid
from affidavit.storage.postgres.places import places
from affidavit.storage.postgres.plan import POSTGRES
from affidavit.storage.postgres.snapshot import LONG_TAIL, PENDING, Part, Snapshot, within
from affidavit.storage.postgres.sources import Actions, Arms, Flagged, Looked, Source, Union
from affidavit.storage.postgres.terms import asked_hashes, email_hash
from affidavit.storage.protocols import UNPLACED
from affidavit.storage.sql.conditions import (
    BEYOND,
    Expression,
    id_range,
    impossible,
    outcome_of,
    severities_of,
)
from affidavit.storage.sql.merging import Step
from affidavit.storage.sql.terms import TERM_FIELDS

__all__ = [
    "PLACED",
    "Walk",
    "by_part",
    "events_of",
    "looked_up",
    "organizations_of",
    "scanned",
    "tail_ids",
    "where",
]

FIRST_WINDOW, LARGEST_WINDOW = 256, 65_536
"""Rows of a walk without an index that are looked at in one statement."""
FIRST_KEYS, LARGEST_KEYS = 256, 8_192
"""Ids of an index that are tested in one statement."""
SLOW_WINDOW = 0.010
"""Seconds after which a window is not made larger."""
COMPARED = 256
"""Ids of each index that are read to find the one with the fewest."""

FEW = 64
"""Events beyond the watermark that are looked up one by one."""
USUAL_DELAY = 60 * SECOND
"""Most events are recorded so soon after they occurred, microseconds."""

PLACED = (
    "(SELECT l.seq FROM affidavit_trees t JOIN affidavit_leaves l ON l.tree = t.tree AND l.id = e.id"
    " WHERE t.organization = ? ORDER BY l.tree DESC LIMIT 1)"
)
"""The place of an event ``e`` in the newest tree that has it; the parameter is the trees' organization."""
_ROW = f"{', '.join(f'e.{column}' for column in COLUMNS)}, {PLACED}"
_COLUMNS = ", ".join(COLUMNS)
_NO_ROW = (None,) * (len(COLUMNS) + 1)


def looked_up(part: Part, tests: str, columns: str = _COLUMNS) -> str:
    """The event of an organization with the id ``k.id``, found by its id whatever else is asked of it.

    Args:
        part: where the ids lie.
        tests: on the row, each with AND before it.
        columns: of the row.
    """
    found = f"SELECT * FROM affidavit_events WHERE organization = ? AND id = k.id AND {within(part)} OFFSET 0"
    return f"LATERAL (SELECT {columns} FROM ({found}) r WHERE true{tests} LIMIT 1) e"


def scanned(part: Part, tests: str, limit: int, columns: str = _COLUMNS, bound: str = "") -> str:
    """The newest events of an organization that pass, read in the order of ids whatever else is asked.

    Args:
        part: where the ids lie.
        tests: on the row, each with AND before it.
        limit: of what passes; the rest of the part may all be read for it.
        columns: of the row.
        bound: further bounds on the ids, each with AND before it.
    """
    ids = f"{within(part)}{bound} ORDER BY id DESC OFFSET 0"
    found = f"SELECT * FROM affidavit_events WHERE organization = ? AND {ids}"
    return f"SELECT {columns} FROM ({found}) r WHERE true{tests} ORDER BY id DESC LIMIT {limit}"


def events_of(rows: Iterable[Sequence[Any]]) -> list[StoredEvent]:
    """From rows of all columns and the place."""
    return [
        StoredEvent(UNPLACED if row[-1] is None else row[-1], tuple(row[:-1]))
        for row in rows
        if row[0] is not None
    ]


def organizations_of(snapshot: Snapshot) -> list[str]:
    """Every organization that has an event, by a loose scan of the unique index."""
    first = "SELECT organization FROM affidavit_events {} ORDER BY organization LIMIT 1"
    rows = snapshot.execute(
        f"WITH RECURSIVE names(name) AS (({first.format('')}) UNION ALL"
        f" SELECT ({first.format('WHERE organization > name')}) FROM names WHERE name IS NOT NULL)"
        " SELECT name FROM names WHERE name IS NOT NULL"
    )
    return [name for (name,) in rows]


def tail_ids(snapshot: Snapshot, organization: str, since: int, part: Part) -> list[bytes]:
    """The ids of an organization's events beyond a place, newest first, pending ones among them, each once.

    Of more pending ones than :data:`~affidavit.storage.postgres.snapshot.PENDING` the newest.
    """
    placed = f"l.seq > ? AND {within(part, 'l.id')}"
    row = snapshot.execute(
        # In one piece: ten thousand rows of one id each would take ten times as long.
        f"SELECT string_agg(uuid_send(id), '') FROM ((SELECT p.id FROM {places(placed)}"
        f" WHERE p.organization = ?) UNION ALL (SELECT id FROM (SELECT * FROM affidavit_pending"
        f" ORDER BY seq DESC LIMIT {PENDING}) q WHERE organization = ? AND {within(part)})) t",
        (since, organization, organization),
    ).fetchone()
    found = bytes(row[0]) if row is not None and row[0] is not None else b""
    return sorted({found[at : at + 16] for at in range(0, len(found), 16)}, reverse=True)


class Walk:
    """A walk over one organization within one snapshot.

    Args:
        snapshot: where it reads.
        organization: whose events.
        filter_: the question.
        below: exclusive bound; ids from there on were looked at before.
        as_of: leave out what was recorded later, microseconds.
    """

    def __init__(
        self, snapshot: Snapshot, organization: str, filter_: Filter, below: bytes, as_of: int | None = None
    ) -> None:
        self._snapshot = snapshot
        self._organization = organization
        self._home = home_of(organization.encode())
        self._filter = filter_
        self._as_of = [] if as_of is None else [Expression("recorded_at <= ?", (as_of,))]
        low, high = id_range(filter_)
        self._whole: Part = (low, min(below, high))
        self._sources = self._sources_of() if not impossible(filter_) else {}
        self._tail: list[bytes] = []
        self._edge = BEYOND
        if any(source.indexed for source in self._sources):
            self._find_tail()
        self._parts = self._all_parts() if not impossible(filter_) else iter(())
        self._part = next(self._parts, None)
        self._driver: Source | None = None
        self._tests: list[Expression] = []
        self._narrowed: list[Expression] = []
        self._window = 0

    # -- sources ----------------------------------------------------------------------------------------

    def _sources_of(self) -> dict[Source, set[Condition]]:
        """What gives ids, each with the conditions that it answers."""
        sources: dict[Source, set[Condition]] = {}
        for condition in self._filter.conditions:
            if not condition.negated and (source := self._source(condition)) is not None:
                sources[source] = {condition}
        if outcome_of(self._filter) == "failure":
            sources[Flagged(self._organization, ["outcome = 'failure'"])] = self._on("outcome")
        severities = severities_of(self._filter)
        if severities is not None:
            tests = [f"severity = '{severity}' AND severity <> 'info'" for severity in severities]
            sources[Flagged(self._organization, tests)] = self._on("severity")
        return sources

    def _on(self, field: str) -> set[Condition]:
        return {condition for condition in self._filter.conditions if condition.field == field}

    def _source(self, condition: Condition) -> Source | None:
        match condition.field:
            case "action":
                return Actions(self._organization, condition.values)
            case "action_group":
                return Actions(self._organization, [f"{value}.*" for value in condition.values])
            case "actor" if self._indexed:
                ids = self._ids_of(condition.values)
                behalf = Condition("on_behalf_of", tuple(ids))
                return Union([Arms(self._organization, "actor_id", ids), Looked(self._hashes(behalf) or [])])
            case field if field in TERM_FIELDS and self._indexed:
                if field == "on_behalf_of":
                    condition = Condition(field, tuple(self._ids_of(condition.values)))
                hashes = self._hashes(condition)
                return None if hashes is None else Looked(hashes)
        return None

    @property
    def _indexed(self) -> bool:
        """Whether terms can be asked. A row that names no organization has its leaf elsewhere."""
        return self._snapshot.tail <= LONG_TAIL and self._home == self._organization

    def _hashes(self, condition: Condition) -> list[int] | None:
        state = self._snapshot.state
        key = b"" if state is None else state.key
        return asked_hashes(key, self._organization, condition)

    def _ids_of(self, values: Sequence[str]) -> list[str]:
        """The values, and the actors to whom they lead as addresses."""
        state = self._snapshot.state
        found: list[str] = []
        if state is not None:
            rows = self._snapshot.execute(
                "SELECT actor_id FROM affidavit_emails WHERE organization = ? AND hash = ANY(?)",
                (self._organization, [email_hash(state.key, value) for value in values]),
            )
            found = [actor for (actor,) in rows]
        return sorted({*values, *found})

    # -- the tail ---------------------------------------------------------------------------------------

    def _find_tail(self) -> None:
        """What the index lacks: most of it are the newest events, above an edge, and read row by row.

        What lies below the edge is looked up one by one.
        """
        snapshot, (low, below) = self._snapshot, self._whole
        if not snapshot.tail:
            return
        if snapshot.tail > FEW and snapshot.state is not None and snapshot.state.recorded_at is not None:
            edge = max(low, first_id(max(0, snapshot.state.recorded_at - USUAL_DELAY)))
            if edge < below and self._rows_above(edge, 3 * snapshot.tail) < 3 * snapshot.tail:
                self._edge = edge
        beneath = (low, min(below, self._edge))
        self._tail = tail_ids(snapshot, self._organization, snapshot.watermark, beneath)

    def _rows_above(self, edge: bytes, most: int) -> int:
        count = 0
        for part in self._snapshot.parts(edge, self._whole[1]):
            row = self._snapshot.execute(
                "SELECT count(*) FROM (SELECT FROM affidavit_events"
                f" WHERE organization = ? AND {within(part)} ORDER BY id DESC LIMIT {most}) r",
                (self._organization,),
            ).fetchone()
            count += row[0] if row is not None else 0
        return count

    def _all_parts(self) -> Iterator[Part]:
        low, below = self._whole
        yield from self._snapshot.parts(max(low, self._edge), below)
        yield from self._snapshot.parts(low, min(below, self._edge))

    def _taken_from_tail(self, low: bytes, below: bytes) -> list[StoredEvent]:
        """The tail's events of a range that was looked at, where they may match."""
        ids = [id_ for id_ in self._tail if low <= id_ < below]
        if not ids:
            return []
        tests, parameters = where([*POSTGRES.narrowing(self._filter.conditions), *self._as_of])
        rows = self._snapshot.execute(
            f"SELECT {_ROW} FROM unnest(?::uuid[]) k(id), {looked_up((low, below), tests)}",
            (self._home, [*map(uid, ids)], self._organization, *parameters),
        )
        return events_of(rows)

    # -- steps ------------------------------------------------------------------------------------------

    def step(self, need: int, _stop: Callable[[], bool]) -> Step:
        """See :meth:`affidavit.storage.sql.merging.Walk.step`."""
        if self._part is None:
            return [], None
        low, below = self._part
        if self._window == 0:
            self._choose(self._part)
        begun = time.perf_counter()
        rows, reached = self._read(self._part, need)
        if time.perf_counter() - begun < SLOW_WINDOW:
            self._window *= 2
        reached = low if reached is None else reached
        # Everything from `reached` on was looked at; nothing of the part is left where that is its first id.
        if reached > low:
            self._part = (low, reached)
        else:
            self._part, self._window = next(self._parts, None), 0
        events = {event.id: event for event in events_of(rows)}
        events |= {event.id: event for event in self._taken_from_tail(reached, below)}
        found = [events[id_] for id_ in sorted(events, reverse=True) if matches(self._filter, events[id_])]
        return found, None if self._part is None else reached

    def _choose(self, part: Part) -> None:
        """Let the source drive that has the fewest ids; the others test what it finds."""
        # Above the edge the index is not complete.
        sources = {} if part[0] >= self._edge else dict(self._sources)
        for source in list(sources):
            if not source.open(self._snapshot, part):
                del sources[source]
        driver = self._fewest(list(sources), part)
        answered = set() if driver is None else set(sources[driver])
        self._tests = []
        for source, conditions in sources.items():
            if source is not driver and (test := source.test(part)) is not None:
                self._tests.append(test)
                answered |= conditions
        left = [condition for condition in self._filter.conditions if condition not in answered]
        self._narrowed = [*POSTGRES.narrowing(left), *self._as_of]
        self._driver = driver
        self._window = FIRST_WINDOW if driver is None else FIRST_KEYS

    def _fewest(self, sources: Sequence[Source], part: Part) -> Source | None:
        if len(sources) < 2:
            return sources[0] if sources else None
        compared = max(16, COMPARED // max(source.arms for source in sources))
        keys = [source.keys(part, compared) for source in sources]
        rows = self._snapshot.execute(
            " UNION ALL ".join(
                f"SELECT {number}, count(*), min(k.id::text) FROM ({each.sql}) k"
                for number, each in enumerate(keys)
            ),
            [parameter for each in keys for parameter in each.parameters],
        ).fetchall()
        ends: dict[int, tuple[bool, int, str]] = {
            number: (count < compared, -count, oldest or "") for number, count, oldest in rows
        }
        complete = [number for number, (ended, _, _) in ends.items() if ended]
        if complete:
            return sources[max(complete, key=lambda number: ends[number][1])]
        return sources[min(ends, key=lambda number: ends[number][2])]

    def _read(self, part: Part, need: int) -> tuple[list[tuple[Any, ...]], bytes | None]:
        """Rows that may match, and the id down to which this is all; ``None``: to the end of the part."""
        if self._driver is None:
            return self._scanned(part, need) if self._narrowed else self._plain(part, need)
        if self._narrowed or self._tests:
            return self._tested(self._driver, part, need)
        count = need if self._driver.arms == 1 else min(need, max(64, 2 * LARGEST_KEYS // self._driver.arms))
        keys = self._driver.keys(part, count)
        rows = self._snapshot.execute(
            f"SELECT k.id, {_ROW} FROM ({keys.sql}) k LEFT JOIN {looked_up(part, '')} ON true"
            " ORDER BY k.id DESC",
            (self._home, *keys.parameters, self._organization),
        ).fetchall()
        return [row[1:] for row in rows], rows[-1][0] if len(rows) == count else None

    def _plain(self, part: Part, need: int) -> tuple[list[tuple[Any, ...]], bytes | None]:
        rows = self._snapshot.execute(
            f"SELECT {_ROW} FROM affidavit_events e"
            f" WHERE organization = ? AND {within(part)} ORDER BY id DESC LIMIT {need}",
            (self._home, self._organization),
        ).fetchall()
        return rows, rows[-1][0] if len(rows) == need else None

    def _scanned(self, part: Part, need: int) -> tuple[list[tuple[Any, ...]], bytes | None]:
        """Look at a number of rows, so that the work is bounded however few of them match."""
        window = min(self._window, LARGEST_WINDOW)
        tests, parameters = where(self._narrowed)
        rows = self._snapshot.execute(
            f"WITH w AS MATERIALIZED (SELECT id FROM affidavit_events WHERE organization = ?"
            f" AND {within(part)} ORDER BY id DESC LIMIT {window}),"
            " f AS MATERIALIZED (SELECT count(*) AS n, min(id::text)::uuid AS oldest FROM w)"
            f" SELECT f.n, f.oldest, {_ROW} FROM f LEFT JOIN LATERAL"
            f" ({scanned(part, tests, need, bound=' AND id >= f.oldest')}) e ON true ORDER BY e.id DESC",
            (self._organization, self._home, self._organization, *parameters),
        ).fetchall()
        return _reached(rows, need, window)

    def _tested(self, driver: Source, part: Part, need: int) -> tuple[list[tuple[Any, ...]], bytes | None]:
        """A window of ids from one index, tested on others and on the row."""
        window = max(min(self._window, LARGEST_KEYS) // driver.arms, min(need, FIRST_KEYS))
        keys = driver.keys(part, window)
        passing, of_tests = where(self._tests)
        tests, parameters = where(self._narrowed)
        rows = self._snapshot.execute(
            f"WITH w AS MATERIALIZED ({keys.sql}),"
            " f AS MATERIALIZED (SELECT count(*) AS n, min(id::text)::uuid AS oldest FROM w)"
            f" SELECT f.n, f.oldest, {_ROW} FROM f LEFT JOIN LATERAL ("
            f"SELECT e.* FROM (SELECT id FROM w ORDER BY id DESC OFFSET 0) k, {looked_up(part, tests)}"
            f" WHERE true{passing} ORDER BY k.id DESC LIMIT {need}) e ON true ORDER BY e.id DESC",
            (*keys.parameters, self._home, self._organization, *parameters, *of_tests),
        ).fetchall()
        return _reached(rows, need, window)


def _reached(
    rows: list[tuple[Any, ...]], need: int, window: int
) -> tuple[list[tuple[Any, ...]], bytes | None]:
    """From rows that begin with how many ids were looked at and the oldest of them."""
    count, oldest = rows[0][:2]
    found = [row[2:] for row in rows if row[2] is not None]
    if len(found) == need:
        return found, found[-1][0]
    return found, oldest if count == window else None


def where(expressions: Iterable[Expression]) -> tuple[str, list[object]]:
    """Further conditions of a WHERE clause, each with AND before it, and their parameters."""
    listed = list(expressions)
    return "".join(f" AND {each.sql}" for each in listed), [p for each in listed for p in each.parameters]


def by_part(ids: Sequence[bytes], parts: Iterator[Part]) -> Iterator[tuple[Part, list[bytes]]]:
    """Ids, newest first, by the part that they lie in."""
    rest = list(ids)
    for low, below in parts:
        some = [id_ for id_ in rest if low <= id_ < below]
        if some:
            yield (low, below), some
            rest = [id_ for id_ in rest if id_ < low]
        if not rest:
            return
