"""Any combination of filters finds exactly what a second, naive reading of all events finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from affidavit.core.credentials import ALL
from affidavit.core.cursor import Order
from affidavit.core.query import parse_params
from affidavit.core.row import StoredEvent
from affidavit.storage.sqlite import follower, search
from affidavit.testing.sqlite import empty_database
from tests.postgres import Server
from tests.properties import naive
from tests.properties.world import VALUES, PostgresWorld, SqliteWorld, World, questions, scopes

EVENTS = 600
FEW = settings().max_examples * 2 // 5
ORDERS: tuple[Order, ...] = ("desc", "asc")


@dataclass(frozen=True)
class Log:
    """A log that stands still, and all its events."""

    state: str
    world: World = field(repr=False)
    events: list[naive.Event] = field(repr=False)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty database, migrated once."""
    return empty_database(tmp_path_factory.mktemp("template") / "empty.db")


@pytest.fixture(scope="module", autouse=True)
def _small_runs() -> Iterator[None]:
    """Batches, merges and windows so small that every path through them is walked by few events."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower, "BATCH", 7)
        patch.setattr(follower, "FAN_IN", 3)
        patch.setattr(follower, "SLICE", 20)
        patch.setattr(search, "_FIRST_WINDOW", 16)
        patch.setattr(search, "_KEYS_AT_ONCE", 8)
        patch.setattr("affidavit.storage.sqlite.streams.FIRST", 4)
        patch.setattr("affidavit.storage.sqlite.streams.LARGEST", 32)
        patch.setattr("affidavit.storage.sqlite.index._FIRST_SEQS", 32)
        for name, value in (
            ("follower.BATCH", 7),
            ("follower.FLUSH_EVENTS", 100),
            ("search.FIRST_WINDOW", 16),
            ("search.FIRST_KEYS", 8),
            ("places.FIRST_PLACES", 32),
        ):
            patch.setattr(f"affidavit.storage.postgres.{name}", value)
        yield


SQLITE = ("absent", "behind", "current", "between merges", "lost", "long tail", "erased")
POSTGRES = ("pending", "in months", "made anew", "long pending")


@pytest.fixture(scope="module", params=[*SQLITE, *(f"postgres: {state}" for state in POSTGRES)])
def log(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, template: bytes
) -> Iterator[Log]:
    """Six hundred events, with the index in each of its states."""
    engine, _, state = request.param.rpartition(": ")
    with pytest.MonkeyPatch.context() as patch:
        if engine:
            server: Server = request.getfixturevalue("postgres")
            world: World = on_postgres(PostgresWorld(server, 5), state, patch)
        else:
            world = on_sqlite(SqliteWorld(tmp_path_factory.mktemp("log"), 5, template), state, patch)
        yield Log(request.param, world, world.events())
    world.close()


def on_sqlite(world: SqliteWorld, state: str, patch: pytest.MonkeyPatch) -> World:
    """Bring a world into a state."""
    world.record(EVENTS // 3)
    if state in ("behind", "erased"):
        world.follow()
    world.record(EVENTS // 3)
    if state == "between merges":
        while world.follower.step():
            world.follower.tidy()
        world.follower.tidy()
    elif state == "long tail":
        world.follow()
    world.record(EVENTS // 3)
    if state in ("current", "lost", "erased"):
        world.follow()
    if state == "lost":
        world.stores.lose_index()
    if state == "erased":
        world.erase(0.4)
    if state == "long tail":
        patch.setattr(search, "LONG_TAIL", 50)
    return world


def on_postgres(world: PostgresWorld, state: str, patch: pytest.MonkeyPatch) -> World:
    """The last third has no place; before it the log, and behind that the index."""
    if state == "made anew":
        world.make_month("2025-12-01")
    for number in range(3):
        world.record(EVENTS // 3)
        if number < 2:
            world.place()
        if number == 0 or state == "in months":
            world.follow()
    if state == "in months":
        # November stays in the default partition.
        world.make_month("2026-01-01")
        world.make_month("2025-12-01")
        world.erase(0.3)
    if state == "made anew":
        world.stores.lose_index()
        world.place()
        for _ in range(30):
            world.follower.step()
    if state == "long pending":
        patch.setattr("affidavit.storage.postgres.search.LONG_TAIL", 50)
        patch.setattr("affidavit.storage.postgres.sources.MOST_ACTIONS", 3)
    return world


def names(events: Iterable[naive.Event | StoredEvent]) -> list[tuple[str, bytes]]:
    """What tells events apart, sorted."""
    return sorted((event.organization, event.id) for event in events)


@given(
    pairs=questions(),
    organizations=scopes(),
    order=st.sampled_from(ORDERS),
    limit=st.sampled_from((1, 2, 3, 7, 50, 1000)),
    seconds=st.sampled_from((0.0, 60.0)),
)
@example(pairs=[], organizations=None, order="desc", limit=1, seconds=60.0)
@example(pairs=[], organizations=None, order="asc", limit=1, seconds=0.0)
def test_any_filters_find_what_the_naive_reading_finds(
    log: Log,
    pairs: list[tuple[str, str]],
    organizations: tuple[str, ...] | None,
    order: Order,
    limit: int,
    seconds: float,
) -> None:
    """Page by page with tokens: every event that matches, once, in order, and no other."""
    expected = naive.answer(log.events, organizations, pairs, order)
    limit = max(limit, len(expected) // (60 if log.state in SQLITE else 12))
    found = log.world.walk(organizations, pairs, order=order, limit=limit, seconds=seconds)
    assert names(found) == names(expected)


def test_each_value_of_each_filter_alone_finds_what_the_naive_reading_finds(log: Log) -> None:
    """Every trap by itself, as it is and excluded: what random questions meet once in a thousand."""
    every = 1 if log.state in ("absent", "between merges") else 9
    single = [(name, value) for name, values in VALUES.items() for value in dict.fromkeys(values)]
    for name, value in single[::every]:
        for pairs in ([(name, value)], [(f"not_{name}", value)]):
            expected = naive.answer(log.events, ("acme",), pairs, "desc")
            found = log.world.walk(("acme",), pairs, order="desc", limit=1000, seconds=60.0)
            assert names(found) == names(expected), pairs


@settings(max_examples=FEW)
@given(pairs=questions(), organizations=scopes(), order=st.sampled_from(ORDERS))
def test_an_export_finds_what_the_naive_reading_finds(
    log: Log,
    pairs: list[tuple[str, str]],
    organizations: tuple[str, ...] | None,
    order: Order,
) -> None:
    """The whole answer in pieces."""
    expected = naive.answer(log.events, organizations, pairs, "desc")
    asked = ALL if organizations is None else organizations
    found = [
        event for piece in log.world.reader.export(asked, parse_params(pairs), order=order) for event in piece
    ]
    assert names(found) == names(expected)


@settings(max_examples=FEW)
@given(pairs=questions(), organizations=scopes(), buckets=st.integers(1, 100))
def test_the_histogram_and_the_facets_count_what_the_naive_reading_finds(
    log: Log,
    pairs: list[tuple[str, str]],
    organizations: tuple[str, ...] | None,
    buckets: int,
) -> None:
    """Exactly, or they say that it is at least so many."""
    expected = naive.answer(log.events, organizations, pairs, "desc")
    asked = ALL if organizations is None else organizations
    histogram = log.world.reader.histogram(asked, parse_params(pairs), buckets=buckets)
    assert len(histogram.buckets) <= buckets
    assert sum(bucket.count for bucket in histogram.buckets) == histogram.total
    for bucket in histogram.buckets:
        within = [event for event in expected if bucket.start <= event.occurred_at < bucket.end]
        failed = sum(event.clear["outcome"] == "failure" for event in within)
        counts = (bucket.count, bucket.failures)
        assert counts == (len(within), failed) or (
            histogram.at_least and bucket.count <= len(within) and bucket.failures <= failed
        )
    assert histogram.total == len(expected) or (histogram.at_least and histogram.total < len(expected))
    facets = log.world.reader.facets(
        asked, parse_params(pairs), fields=("action", "outcome", "actor"), top=100
    )
    for name, column in (("action", "action"), ("outcome", "outcome"), ("actor", "actor_id")):
        counted = Counter(event.clear[column] for event in expected if event.clear[column] is not None)
        assert dict(facets.fields[name]) == counted or (
            facets.at_least and all(counted[value] >= count for value, count in facets.fields[name])
        )


STEPS = st.sampled_from(("record", "record", "step", "follow", "tidy", "lose", "reopen", "nothing"))


@given(
    seed=st.integers(0, 2**32 - 1),
    number=st.integers(0, 40),
    followed=st.booleans(),
    pairs=questions(),
    organizations=scopes(),
    order=st.sampled_from(ORDERS),
    limit=st.integers(1, 9),
    seconds=st.sampled_from((0.0, 60.0)),
    steps=st.lists(STEPS, max_size=12),
)
def test_a_walk_holds_while_others_record_and_the_index_changes(
    template: bytes,
    seed: int,
    number: int,
    followed: bool,
    pairs: list[tuple[str, str]],
    organizations: tuple[str, ...] | None,
    order: Order,
    limit: int,
    seconds: float,
    steps: list[str],
) -> None:
    """Events committed before the first page come exactly once, later ones at most once, others never."""
    with TemporaryDirectory() as folder:
        world = SqliteWorld(Path(folder), seed, template)
        try:
            world.record(number)
            if followed:
                world.follow()
            first = naive.answer(world.events(), organizations, pairs, order)
            left = iter(steps)
            found = world.walk(
                organizations,
                pairs,
                order=order,
                limit=limit,
                seconds=seconds,
                between=lambda page: take(world, next(left, "nothing")),
            )
            last = naive.answer(world.events(), organizations, pairs, order)
        finally:
            world.close()
    seen = set(names(found))
    assert set(names(first)) <= seen <= set(names(last))
    if order == "asc":
        assert seen == set(names(last)), "everything since means every later event too"


def take(world: World, step: str) -> None:
    """What happens between two pages."""
    match step:
        case "record":
            world.record(world.random.randrange(1, 6))
        case "step":
            world.follower.step()
        case "follow":
            world.follow()
        case "tidy":
            world.follower.tidy()
        case "lose":
            world.stores.lose_index()
        case "reopen":
            world.follower.close()
            world.follower = world.stores.follower()
