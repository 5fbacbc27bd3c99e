"""The suite of the role ``EventIndex``.

Every combination of filters is looked at by the property tests of the product; here is what pages,
positions and counts promise, for each state that an index can be in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from uuid import UUID

import pytest

from affidavit.core.credentials import ALL, Organizations
from affidavit.core.cursor import Order, Position
from affidavit.core.event import Actor, Resource
from affidavit.core.filter import Condition, Filter
from affidavit.core.ids import make_id
from affidavit.core.row import Row, StoredEvent
from affidavit.core.times import HOUR
from affidavit.storage.protocols import CountBy, Follower
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.conformance.suite import Suite, catch_up, seal
from affidavit.testing.engine import Stores

__all__ = ["EventIndexSuite", "walk"]

EVERYTHING = Filter()
ANA = Filter((Condition("actor", ("ana",)),))
FAILED = Filter((Condition("outcome", ("failure",)),))
THING = Filter((Condition("actor", ("ana",)), Condition("resource", ("r1",))))
QUIET = Filter((Condition("q", ("no such text",)),))


def walk(
    stores: Stores,
    organizations: Organizations,
    filter_: Filter,
    *,
    order: Order = "desc",
    limit: int = 3,
    seconds: float | None = None,
    as_of: int | None = None,
) -> list[StoredEvent]:
    """All pages of a question, each checked for its length and for getting on."""
    events: list[StoredEvent] = []
    position: Position | None = Position(order)
    while position is not None:
        found = stores.index.page(organizations, filter_, position, limit=limit, seconds=seconds, as_of=as_of)
        whole = as_of is not None and order == "asc" and found.position is None
        assert len({event.id for event in found.events}) <= limit or whole
        events += found.events
        if order == "asc" and found.position is not None and found.position.seq >= stores.events.last_seq():
            break
        assert found.position != position, "a page that neither ends nor gets on"
        position = found.position
    return events


def stored(stores: Stores, rows: list[Row]) -> list[StoredEvent]:
    """The events of rows, in the same order."""
    return [event for row in rows for event in stores.events.fetch(row.organization, [row.id])]


def sample(author: Author) -> list[Row]:
    """Sixty events of two organizations, some late, some failed, ids not in recording order."""
    return [
        author.row(
            ("user.create", "user.delete", "team.update")[number % 3],
            organization="globex" if number % 4 == 3 else "acme",
            actor=Actor(type="user", id="ana" if number % 5 else "bob"),
            resources=(Resource(type="team", id=f"r{number % 2}"),),
            outcome="failure" if number % 7 == 0 else "success",
            occurred_at=NOW - number * 37 % 60 * HOUR // 3,
        )
        for number in range(60)
    ]


def placed(stores: Stores, _follower: Follower) -> None:
    """Every event has its place."""
    seal(stores)


def taken(stores: Stores, follower: Follower) -> None:
    """The index has every event."""
    seal(stores)
    catch_up(follower)


def lost(stores: Stores, follower: Follower) -> None:
    """It had every event, and is gone."""
    taken(stores, follower)
    stores.lose_index()


State = Callable[[Stores, Follower], None]
STATES: dict[str, tuple[State | None, State | None]] = {
    "absent": (placed, placed),
    "behind": (taken, placed),
    "pending": (taken, None),
    "current": (taken, taken),
    "lost": (placed, lost),
}
"""What happens after the first half of the events was recorded, and after the second."""

KEYS: dict[CountBy, Callable[[StoredEvent], int | str]] = {
    "hour": lambda event: event.occurred_at // HOUR,
    "action": lambda event: event.action,
    "outcome": lambda event: event.outcome,
    "severity": lambda event: event.severity,
}
"""What counts are told apart by, as it stands on one event."""


class EventIndexSuite(Suite):
    """Pages, counts, span and progress, with the index in each of its states."""

    @pytest.fixture(params=STATES)
    def rows(
        self, request: pytest.FixtureRequest, stores: Stores, follower: Follower, author: Author
    ) -> list[Row]:
        """The sample, stored, with the index in each of its states."""
        rows = sample(author)
        for half, state in zip((rows[:30], rows[30:]), STATES[request.param], strict=True):
            stores.events.insert(half)
            if state is not None:
                state(stores, follower)
        return rows

    def test_a_walk_gives_every_event_once(self, stores: Stores, rows: list[Row]) -> None:
        """Newest first over all organizations, whatever the limit, and when no page has time for more."""
        for limit, seconds in product((1, 7, 59, 60, 61), (None, 0.0)):
            walked = [event.id for event in walk(stores, ALL, EVERYTHING, limit=limit, seconds=seconds)]
            assert walked == sorted((row.id for row in rows), reverse=True), (limit, seconds)

    def test_a_walk_in_recording_order_gives_every_event_once(self, stores: Stores, rows: list[Row]) -> None:
        """As they were inserted."""
        seal(stores)
        for limit, seconds in product((1, 7, 60), (None, 0.0)):
            walked = walk(stores, ALL, EVERYTHING, order="asc", limit=limit, seconds=seconds)
            assert [event.id for event in walked] == [row.id for row in rows], (limit, seconds)

    def test_only_the_organizations_asked_for_are_looked_at(self, stores: Stores, rows: list[Row]) -> None:
        """One, several, unknown ones; the empty set is nothing."""
        of = {
            name: sorted((row.id for row in rows if row.organization == name), reverse=True)
            for name in ("acme", "globex")
        }
        seal(stores)
        orders: tuple[Order, ...] = ("desc", "asc")
        for order in orders:
            assert walk(stores, (), EVERYTHING, order=order) == []
            assert walk(stores, ("nobody",), EVERYTHING, order=order) == []
            for name, ids in of.items():
                walked = [event.id for event in walk(stores, (name, "nobody"), EVERYTHING, order=order)]
                assert sorted(walked, reverse=True) == ids
        assert [event.id for event in walk(stores, ("globex", "acme"), EVERYTHING)] == sorted(
            of["acme"] + of["globex"], reverse=True
        )

    @pytest.mark.parametrize("filter_", [ANA, FAILED, THING, QUIET], ids=["actor", "failure", "two", "q"])
    def test_a_filter_finds_what_it_says(self, stores: Stores, rows: list[Row], filter_: Filter) -> None:
        """One looked-up value, a partial index, two values, and none; in both orders and with no time."""

        def is_meant(event: StoredEvent) -> bool:
            if filter_ is FAILED:
                return event.outcome == "failure"
            resources = event.groups()["resources"]
            return (
                filter_ is not QUIET
                and event.actor_id == "ana"
                and (filter_ is ANA or resources[0]["id"] == "r1")
            )

        meant = [event.id for event in stored(stores, rows) if is_meant(event)]
        for seconds in (None, 0.0):
            down = walk(stores, ALL, filter_, seconds=seconds)
            assert [event.id for event in down] == sorted(meant, reverse=True)
        seal(stores)
        for seconds in (None, 0.0):
            up = walk(stores, ALL, filter_, order="asc", seconds=seconds)
            assert [event.id for event in up] == meant

    def test_dates_are_inclusive_at_both_ends(self, stores: Stores, rows: list[Row]) -> None:
        """To the microsecond, and by occurrence, not by recording."""
        times = sorted(event.occurred_at for event in stored(stores, rows))
        start, end = times[10], times[40]
        walked = walk(stores, ALL, Filter(start=start, end=end))
        assert sorted(event.occurred_at for event in walked) == times[10:41]
        seal(stores)
        narrow = walk(stores, ALL, Filter(start=start + 1, end=end - 1), order="asc")
        assert sorted(event.occurred_at for event in narrow) == [t for t in times if start < t < end]

    def test_an_export_leaves_out_what_was_recorded_after_its_start(
        self, stores: Stores, rows: list[Row], author: Author, clock: Clock
    ) -> None:
        """Whatever the times of the new events are."""
        moment, old = stores.index.as_of(), {row.id for row in rows}
        clock.forward()
        stores.events.insert([author.row(occurred_at=NOW - number * HOUR) for number in range(10)])
        filters = (EVERYTHING, ANA, FAILED)
        for filter_ in filters:
            walked = {event.id for event in walk(stores, ALL, filter_, as_of=moment)}
            assert walked
            assert walked == {event.id for event in walk(stores, ALL, filter_)} & old

    def test_an_export_in_recording_order_has_everything_and_ends(
        self, stores: Stores, rows: list[Row], author: Author, clock: Clock
    ) -> None:
        """What was committed before its start, whether it has its place or not; nothing that came later."""
        moment = stores.index.as_of()
        clock.forward()
        stores.events.insert([author.row()])
        for filter_, limit in product((EVERYTHING, ANA, FAILED), (7, 1000)):
            walked = [e.id for e in walk(stores, ALL, filter_, order="asc", limit=limit, as_of=moment)]
            assert sorted(walked) == sorted(e.id for e in walk(stores, ALL, filter_, as_of=moment))

    def test_events_that_share_an_id_stay_together(self, stores: Stores, author: Author) -> None:
        """An id in three organizations: none of them falls between two pages."""
        shared = UUID(bytes=make_id(NOW, 1))
        for name in ("a", "b", "c"):
            stores.events.insert([author.row(organization=name, id=shared), author.row(organization=name)])
        for limit in (1, 2, 3, 4):
            walked = walk(stores, ALL, EVERYTHING, limit=limit)
            assert len(walked) == 6
            assert {event.organization for event in walked if event.id == shared.bytes} == {"a", "b", "c"}

    def test_the_end_of_recording_order_stays_open(
        self, stores: Stores, rows: list[Row], author: Author
    ) -> None:
        """The last position goes on with what is recorded later: everything since."""
        seal(stores)
        position = Position("asc", b"", stores.events.last_seq())
        found = stores.index.page(ALL, EVERYTHING, position, limit=10, seconds=None)
        assert found.events == []
        assert found.position is not None
        row = author.row("later.event")
        stores.events.insert([row])
        seal(stores)
        later = stores.index.page(ALL, EVERYTHING, found.position, limit=10, seconds=None)
        assert [event.id for event in later.events] == [row.id]

    @pytest.mark.parametrize(
        "filter_",
        [
            EVERYTHING,
            FAILED,
            Filter((Condition("action", ("user.*",)),)),
            Filter((Condition("action_group", ("user",), negated=True),)),
            Filter((Condition("severity", ("info",)), Condition("outcome", ("success",)))),
            Filter(start=NOW - 5 * HOUR + 1, end=NOW - 2 * HOUR - 1),
            Filter(start=NOW - 5 * HOUR, end=NOW - 2 * HOUR),
            Filter(start=NOW - HOUR // 2, end=NOW - HOUR // 3),
            Filter(start=NOW, end=NOW - 1),
        ],
        ids=["all", "failed", "prefix", "not_group", "two", "odd", "hours", "within", "empty"],
    )
    def test_counts_are_exact(self, stores: Stores, rows: list[Row], filter_: Filter) -> None:
        """By hour, action, outcome and severity: as if each event was counted."""
        events = walk(stores, ("acme",), filter_, limit=60)
        for by, key in KEYS.items():
            counted = stores.index.counts(("acme",), filter_, by)
            assert not counted.at_least
            assert len({row.key for row in counted.rows}) == len(counted.rows)
            assert {row.key: row.events for row in counted.rows if row.events} == Counter(map(key, events))
            failed = Counter(key(event) for event in events if event.outcome == "failure")
            assert {row.key: row.failures for row in counted.rows if row.failures} == failed

    def test_counts_of_several_organizations_add_up(self, stores: Stores, rows: list[Row]) -> None:
        """All, some and none."""
        total = {
            names: sum(row.events for row in stores.index.counts(names, EVERYTHING, "action").rows)
            for names in ((), ("acme",), ("globex",), ("acme", "globex"))
        }
        assert total == {(): 0, ("acme",): 45, ("globex",): 15, ("acme", "globex"): 60}
        assert sum(row.events for row in stores.index.counts(ALL, EVERYTHING, "hour").rows) == 60

    def test_the_span_reaches_from_the_oldest_to_the_newest(self, stores: Stores, rows: list[Row]) -> None:
        """By occurrence; none where there is no event."""
        times = [event.occurred_at for event in stored(stores, rows)]
        assert stores.index.span(ALL) == (min(times), max(times))
        assert stores.index.span(("nobody",)) is None
        assert stores.index.span(()) is None

    def test_progress_and_events_add_up(self, stores: Stores, rows: list[Row]) -> None:
        """What is in the index and what is behind it are all events."""
        progress = stores.index.progress()
        assert progress.seq + progress.behind == stores.events.last_seq()
        assert (progress.recorded_at is None) == (progress.seq == 0)
