"""Walks over one organization's events, newest first: candidates from indexes, each checked on its row.

Keys first: ids are intersected, narrowed by SQL, and only what a page needs is fetched whole. Every step is
bounded, so that a walk can stop between two of them and go on later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from affidavit.core.filter import Condition, Filter
from affidavit.core.match import matches
from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.storage.sql.conditions import (
    Expression,
    id_range,
    impossible,
    outcome_of,
    severities_of,
)
from affidavit.storage.sql.merging import Step
from affidavit.storage.sql.terms import TERM_FIELDS, email_hash, small_networks
from affidavit.storage.sqlite.plan import SQLITE
from affidavit.storage.sqlite.readers import Session
from affidavit.storage.sqlite.streams import (
    Arms,
    Chunk,
    Listed,
    Networks,
    Source,
    Stream,
    Terms,
    Union,
    intersect,
)
from affidavit.storage.sqlite.terms import address_prefix, prefixes

__all__ = ["LONG_TAIL", "Walk", "actions_of"]

LONG_TAIL = 20_000
"""With more events than this beyond the watermark, looked-up values are found by walking instead."""
_FIRST_WINDOW, _LARGEST_WINDOW = 256, 65_536
_SLOW_WINDOW = 0.010
"""Seconds after which a window is not made larger."""
_KEYS_AT_ONCE = 512

SELECT = f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events"


def actions_of(session: Session, organization: str, values: Sequence[str]) -> list[str]:
    """The actions that occur under whole names and prefixes, by a loose scan of the action index."""
    found = {value for value in values if not value.endswith(".*")}
    for value in values:
        if value.endswith(".*"):
            after, end = value[:-1], value[:-2] + "/"
            while row := session.events.execute(
                "SELECT action FROM affidavit_events INDEXED BY affidavit_events_action"
                " WHERE organization = ? AND action > ? AND action < ? ORDER BY action LIMIT 1",
                (organization, after, end),
            ).fetchone():
                after = row[0]
                found.add(after)
    return sorted(found)


class Walk:
    """A walk over one organization within one snapshot."""

    def __init__(
        self, session: Session, organization: str, filter_: Filter, below: bytes, as_of: int | None = None
    ) -> None:
        self._session = session
        self._organization = organization
        self._filter = filter_
        self._low, high = id_range(filter_)
        self._below: bytes | None = min(below, high)
        self._candidates: Chunk = []
        self._after: bytes | None = self._below
        self._window = _FIRST_WINDOW
        self._streams, driven = self._drivers()
        self._residual = SQLITE.narrowing(c for c in filter_.conditions if c not in driven)
        if as_of is not None and as_of < session.last_seq:
            self._residual.append(Expression("seq <= ?", (as_of,)))
        self._impossible = impossible(filter_)

    # -- drivers ----------------------------------------------------------------------------------------

    def _drivers(self) -> tuple[list[Stream], set[Condition]]:
        sources: list[Source] = []
        driven: set[Condition] = set()
        for condition in self._filter.conditions:
            if condition.negated:
                continue
            source = self._source(condition)
            if source is not None:
                sources.append(source)
                driven.add(condition)
        if outcome_of(self._filter) == "failure":
            sources.append(self._arms("affidavit_events_failure", [Expression("outcome = 'failure'")]))
            driven.update(c for c in self._filter.conditions if c.field == "outcome")
        severities = severities_of(self._filter)
        if severities is not None:
            arms = [Expression(f"severity = '{severity}' AND severity <> 'info'") for severity in severities]
            sources.append(self._arms("affidavit_events_severity", arms) if arms else Listed(()))
            driven.update(c for c in self._filter.conditions if c.field == "severity")
        return [Stream(source) for source in sources], driven

    def _arms(self, index: str, arms: Sequence[Expression]) -> Arms:
        return Arms(self._session.events, self._organization, index, arms, self._low)

    def _source(self, condition: Condition) -> Source | None:
        match condition.field:
            case "action":
                return self._actions(condition.values)
            case "action_group":
                return self._actions([f"{value}.*" for value in condition.values])
            case "actor" if self._session.tail <= LONG_TAIL:
                return self._actors(condition)
            case field if field in TERM_FIELDS and self._session.tail <= LONG_TAIL:
                return self._looked_up(condition)
        return None

    def _actions(self, values: Sequence[str]) -> Source:
        actions = actions_of(self._session, self._organization, values)
        return self._arms(
            "affidavit_events_action", [Expression("action = ?", (action,)) for action in actions]
        )

    def _actors(self, condition: Condition) -> Source:
        """Actor and on-behalf-of by id; addresses lead to ids through a table of their own."""
        ids = sorted({*condition.values, *self._ids_of_emails(condition.values)})
        sources: list[Source] = [
            self._arms("affidavit_events_actor", [Expression("actor_id = ?", (actor,)) for actor in ids])
        ]
        return self._with_tail(condition, [*sources, *self._terms(Condition("on_behalf_of", tuple(ids)))])

    def _looked_up(self, condition: Condition) -> Source | None:
        if condition.field == "on_behalf_of":
            ids = sorted({*condition.values, *self._ids_of_emails(condition.values)})
            return self._with_tail(condition, self._terms(Condition("on_behalf_of", tuple(ids))))
        ranges = small_networks(condition)
        if ranges is None:
            return None
        return self._with_tail(condition, [*self._terms(condition), *self._networks(ranges)])

    def _ids_of_emails(self, values: Sequence[str]) -> list[str]:
        state, index = self._session.state, self._session.index
        if state is None or index is None:
            return []
        return [
            actor
            for value in values
            for (actor,) in index.execute(
                "SELECT actor_id FROM affidavit_emails WHERE organization = ? AND hash = ?",
                (self._organization, email_hash(state.key, value)),
            )
        ]

    def _terms(self, condition: Condition) -> list[Source]:
        state, index = self._session.state, self._session.index
        if state is None or index is None:
            return []
        return [
            Terms(index, self._session.runs(), prefix, self._low)
            for prefix in prefixes(state.key, self._organization, condition)
        ]

    def _networks(self, ranges: Sequence[tuple[str, str]]) -> list[Source]:
        state, index = self._session.state, self._session.index
        if state is None or index is None:
            return []
        return [
            Networks(
                index,
                self._session.runs(),
                address_prefix(state.key, self._organization, first),
                address_prefix(state.key, self._organization, last),
                self._low,
            )
            for first, last in ranges
        ]

    def _with_tail(self, condition: Condition, sources: list[Source]) -> Source:
        if self._session.tail:
            (expression,) = SQLITE.narrowing([condition])
            ids = self._session.events.execute(
                # NOT INDEXED keeps the planner on seq: any index would be a scan of everything.
                "SELECT id FROM affidavit_events NOT INDEXED"
                f" WHERE seq > ? AND +organization = ? AND {expression.sql}",
                (self._session.watermark, self._organization, *expression.parameters),
            )
            sources.append(Listed(id_ for (id_,) in ids))
        return Union(sources)

    # -- steps ------------------------------------------------------------------------------------------

    def step(self, need: int, stop: Callable[[], bool]) -> Step:
        """Go on by one bounded piece of work.

        Args:
            need: how many events the caller can still use.
            stop: whether the time is over, asked within long intersections.
        """
        if self._impossible:
            return [], None
        if not self._candidates:
            if self._after is None:
                return [], None
            self._candidates, self._after = self._next(self._after, need, stop)
        taken = max(1, need) if not self._streams or not self._residual else _KEYS_AT_ONCE
        ids, self._candidates = self._candidates[:taken], self._candidates[taken:]
        if self._streams and self._residual and ids:
            ids, rest = self._narrowed(ids), self._candidates
            if len(ids) > need:
                # Only what the page can use is fetched whole; the rest is narrowed again on the next step.
                ids, self._candidates = ids[:need], [*ids[need:], *rest]
        events = [event for event in self._fetch(ids) if matches(self._filter, event)]
        if self._candidates:
            return events, self._candidates[0] + b"\0"
        return events, self._after

    def _next(self, below: bytes, need: int, stop: Callable[[], bool]) -> tuple[Chunk, bytes | None]:
        if self._streams:
            return intersect(self._streams, below, stop)
        if not self._residual:
            rows = self._session.events.execute(
                "SELECT id FROM affidavit_events INDEXED BY affidavit_events_id"
                " WHERE organization = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?",
                (self._organization, below, self._low, need),
            )
            ids = [row[0] for row in rows]
            return ids, ids[-1] if len(ids) == need else None
        return self._next_window(below)

    def _next_window(self, below: bytes) -> tuple[Chunk, bytes | None]:
        """Look at a number of rows, so that the work is bounded however few of them match."""
        begun = time.perf_counter()
        (count, floor) = self._session.events.execute(
            "SELECT count(*), min(id) FROM (SELECT id FROM affidavit_events INDEXED BY affidavit_events_id"
            " WHERE organization = ? AND id < ? AND id >= ? ORDER BY id DESC LIMIT ?)",
            (self._organization, below, self._low, self._window),
        ).fetchone()
        if not count:
            return [], None
        where = " AND ".join(expression.sql for expression in self._residual)
        rows = self._session.events.execute(
            f"SELECT id FROM affidavit_events INDEXED BY affidavit_events_id"
            f" WHERE organization = ? AND id < ? AND id >= ? AND {where} ORDER BY id DESC",
            [self._organization, below, floor, *(p for e in self._residual for p in e.parameters)],
        )
        ids = [row[0] for row in rows]
        ended = count < self._window
        if time.perf_counter() - begun < _SLOW_WINDOW:
            self._window = min(_LARGEST_WINDOW, self._window * 2)
        return ids, None if ended else floor

    def _narrowed(self, ids: Chunk) -> Chunk:
        where = " AND ".join(expression.sql for expression in self._residual)
        rows = self._session.events.execute(
            f"SELECT id FROM affidavit_events INDEXED BY affidavit_events_id"
            f" WHERE organization = ? AND id IN ({','.join('?' * len(ids))}) AND {where}",
            [self._organization, *ids, *(p for e in self._residual for p in e.parameters)],
        )
        return sorted((row[0] for row in rows), reverse=True)

    def _fetch(self, ids: Chunk) -> list[StoredEvent]:
        if not ids:
            return []
        rows = self._session.events.execute(
            f"{SELECT} INDEXED BY affidavit_events_id"
            f" WHERE organization = ? AND id IN ({','.join('?' * len(ids))})",
            [self._organization, *ids],
        )
        return sorted(
            (StoredEvent(row[0], row[1:]) for row in rows), key=lambda event: event.id, reverse=True
        )
