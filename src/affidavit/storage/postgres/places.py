"""Events by their places in recording order: pages of it, and what the follower takes in."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from affidavit import errors
from affidavit.core.credentials import ALL, Organizations
from affidavit.core.cursor import Position
from affidavit.core.filter import Filter
from affidavit.core.match import matches
from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.storage.postgres.connect import Session
from affidavit.storage.postgres.plan import POSTGRES
from affidavit.storage.postgres.snapshot import Snapshot, within
from affidavit.storage.protocols import UNPLACED, Found
from affidavit.storage.sql.conditions import Expression, id_range

__all__ = ["ascending", "oldest_beyond", "places"]

FIRST_PLACES, MOST_PLACES = 1_024, 65_536
SLOW_WINDOW = 0.010
MOST_PENDING = 50_000
"""Events without a place that one export takes along at its end."""


def places(tests: str, limit: str = "") -> str:
    """Leaves ``p`` in recording order, each with the organization of its tree.

    They are read by place whatever the planner thinks of the other ways (OFFSET 0).

    Args:
        tests: conditions on a leaf ``l``.
        limit: a LIMIT, or nothing.
    """
    return (
        "(SELECT l.seq, t.organization, l.id FROM (SELECT seq, tree, id FROM affidavit_leaves l"
        f" WHERE {tests} ORDER BY seq{limit} OFFSET 0) l"
        " JOIN affidavit_trees t ON t.tree = l.tree ORDER BY l.seq) p"
    )


_ROW = ", ".join(f"e.{column}" for column in COLUMNS)


def oldest_beyond(session: Session, seq: int) -> int | None:
    """When the first event beyond a place was recorded; ``None`` where there is none."""
    row = session.execute(
        f"SELECT e.recorded_at FROM {places('l.seq > ?', ' LIMIT 1')}, LATERAL (SELECT recorded_at"
        " FROM affidavit_events WHERE organization = p.organization AND id = p.id LIMIT 1) e",
        (seq,),
    ).fetchone()
    return None if row is None else int(row[0])


class _Asked:
    """The question, as conditions on a row and on its place."""

    def __init__(self, organizations: Organizations, filter_: Filter, as_of: int | None) -> None:
        self.filter = filter_
        self.organizations = None if organizations is ALL else sorted(organizations)
        narrowed = POSTGRES.narrowing(filter_.conditions)
        if as_of is not None:
            narrowed.append(Expression("recorded_at <= ?", (as_of,)))
        self.row = "".join(f" AND {each.sql}" for each in narrowed)
        self.parameters = [p for each in narrowed for p in each.parameters]
        self.ids = within(id_range(filter_))

    def read(self, snapshot: Snapshot, where: str, parameters: list[Any], limit: int) -> list[StoredEvent]:
        """Those of the places that may match, in their order; each is checked by the caller."""
        rows = snapshot.execute(
            # By its id whatever else is asked of the row (OFFSET 0).
            f"SELECT p.seq, {_ROW} FROM {where}, LATERAL (SELECT * FROM (SELECT * FROM affidavit_events"
            f" WHERE organization = p.organization AND id = p.id OFFSET 0) r WHERE true{self.row} LIMIT 1) e"
            f" ORDER BY p.seq LIMIT {limit}",
            [*parameters, *self.parameters],
        )
        return [StoredEvent(row[0], tuple(row[1:])) for row in rows]


def ascending(
    snapshot: Snapshot,
    organizations: Organizations,
    filter_: Filter,
    start: Position,
    limit: int,
    stop: Callable[[], bool],
    as_of: int | None,
) -> Found:
    """A page in recording order: windows of places, narrowed by SQL. The position stays valid at the end."""
    asked = _Asked(organizations, filter_, as_of)
    watermark = snapshot.state.recorded_at if snapshot.state is not None else None
    found: list[StoredEvent] = []
    place, window = start.seq, FIRST_PLACES
    while place < snapshot.last_seq and len(found) < limit and not (found and stop()):
        begun = time.perf_counter()
        upper = min(snapshot.last_seq, place + window)
        events, place = _window(snapshot, asked, place, upper, limit - len(found))
        found += [event for event in events if matches(filter_, event)]
        if time.perf_counter() - begun < SLOW_WINDOW:
            window = min(MOST_PLACES, window * 2)
        if stop():
            break
    if as_of is not None and place >= snapshot.last_seq:
        found += [event for event in _pending(snapshot, asked) if matches(filter_, event)]
        return Found(found, None, watermark)
    return Found(found, Position("asc", b"", place, watermark or start.watermark), watermark)


def _window(
    snapshot: Snapshot, asked: _Asked, place: int, upper: int, need: int
) -> tuple[list[StoredEvent], int]:
    """Events between two places, and the place up to which they are all."""
    tests = f"l.seq > ? AND l.seq <= ? AND {asked.ids}"
    parameters: list[Any] = [place, upper]
    if asked.organizations is not None:
        tests += " AND l.tree IN (SELECT tree FROM affidavit_trees WHERE organization = ANY(?) OFFSET 0)"
        parameters.append(asked.organizations)
    events = asked.read(snapshot, places(tests), parameters, need)
    return events, events[-1].seq if len(events) == need else upper


def _pending(snapshot: Snapshot, asked: _Asked) -> list[StoredEvent]:
    """Events of an export that have no place yet: they come last and all at once."""
    some = "" if asked.organizations is None else " AND organization = ANY(?)"
    events = asked.read(
        snapshot,
        f"(SELECT seq, organization, id FROM affidavit_pending q WHERE {asked.ids}{some} ORDER BY seq) p",
        [] if asked.organizations is None else [asked.organizations],
        MOST_PENDING + 1,
    )
    if len(events) > MOST_PENDING:
        raise errors.StorageBusy(
            f"More than {MOST_PENDING:,} events wait for their place in the log; export in recording order"
            " when the worker has caught up, or newest first."
        )
    return [StoredEvent(UNPLACED, event.values) for event in events]
