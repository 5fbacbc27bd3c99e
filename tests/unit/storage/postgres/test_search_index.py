"""The index of PostgreSQL beside what goes on around it: late commits, new months, a lost index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from random import Random
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from psycopg import errors as pg

from affidavit import errors
from affidavit.core.credentials import ALL
from affidavit.core.cursor import Order, Position
from affidavit.core.event import Actor, Resource
from affidavit.core.filter import Condition, Filter
from affidavit.core.query import parse_params
from affidavit.core.row import Row
from affidavit.core.times import DAY, HOUR
from affidavit.storage.postgres import follower as following
from affidavit.storage.postgres import places
from affidavit.storage.postgres.connect import Session, connect, uid
from affidavit.storage.postgres.follower import PostgresFollower, discard
from affidavit.storage.postgres.writer import insert_rows
from affidavit.storage.protocols import UNPLACED
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.conformance.suite import catch_up, seal
from affidavit.testing.postgres import PostgresEngine, PostgresStores
from tests.postgres import Server

FILTERS = {
    "all": Filter(),
    "actor": Filter((Condition("actor", ("ana",)),)),
    "resource": Filter((Condition("resource", ("r1",)),)),
    "two": Filter((Condition("actor", ("ana",)), Condition("resource", ("r1",)))),
    "not": Filter((Condition("actor", ("ana",), negated=True),)),
}
ORDERS: tuple[Order, ...] = ("desc", "asc")


@pytest.fixture
def clock() -> Clock:
    """The clock that the store reads."""
    return Clock()


@pytest.fixture
def engine(postgres: Server, clock: Clock) -> Iterator[PostgresEngine]:
    """Makes databases."""
    made = PostgresEngine(postgres, clock=clock)
    yield made
    made.close()


@pytest.fixture
def stores(engine: PostgresEngine) -> PostgresStores:
    """The stores of an empty database."""
    return engine.open(engine.create())


@pytest.fixture
def author(clock: Clock) -> Author:
    """Makes rows."""
    return Author(clock)


@pytest.fixture
def plain(stores: PostgresStores) -> Iterator[psycopg.Connection]:
    """A connection of somebody who comes with SQL."""
    with psycopg.connect(stores.address.url, autocommit=True) as connection:
        yield connection


def some(author: Author, random: Random, number: int) -> list[Row]:
    """Events of the last two days, in no order."""
    return [
        author.row(
            actor=Actor(type="user", id=random.choice(("ana", "bob"))),
            resources=(Resource(type="team", id=random.choice(("r1", "r2"))),),
            occurred_at=NOW - random.randrange(2 * DAY),
        )
        for _ in range(number)
    ]


def meant(filter_: Filter, row: Row) -> bool:
    """Whether a row of :func:`some` is in the answer."""
    actor, resources = str(row.values[11]), str(row.values[13])
    says = {"actor": actor == "ana", "resource": '"id":"r1"' in resources}
    return all(says[condition.field] is not condition.negated for condition in filter_.conditions)


def ids_of(stores: PostgresStores, filter_: Filter, order: Order = "desc") -> list[bytes]:
    """All of an answer, page by page."""
    position: Position | None = Position(order)
    found: list[bytes] = []
    while position is not None:
        page = stores.index.page(ALL, filter_, position, limit=7, seconds=None)
        found += [event.id for event in page.events]
        if order == "asc" and position == page.position:
            break
        position = page.position
    return found


def follow(stores: PostgresStores) -> None:
    """Bring the index up to the newest event that has its place."""
    follower = stores.follower()
    catch_up(follower)
    follower.close()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_walk_beside_transactions_that_commit_out_of_order(
    stores: PostgresStores, author: Author, name: str, order: Order, seed: int
) -> None:
    """What was committed before the first page comes exactly once, what is committed later at most once."""
    random, filter_ = Random(seed), FILTERS[name]
    follower = stores.follower()
    known = some(author, random, 30)
    stores.events.insert(known[:20])
    seal(stores)
    if seed:
        follower.step()
    stores.events.insert(known[20:])
    if order == "asc":
        seal(stores)
    first = {row.id for row in known if meant(filter_, row)}
    later: set[bytes] = set()
    with ExitStack() as stack:
        waiting: list[tuple[Session, list[Row]]] = []
        for _ in range(6):
            session = connect(stores.address)
            stack.callback(session.close)
            session.execute("BEGIN")
            rows = some(author, random, 5)
            insert_rows(session, rows, NOW)
            waiting.append((session, rows))

        def meanwhile() -> None:
            if waiting:
                session, rows = waiting.pop(random.randrange(len(waiting)))
                session.execute(random.choice(("COMMIT", "COMMIT", "ROLLBACK")))
                stood = session.execute(
                    "SELECT count(*) FROM affidavit_events WHERE id = ?", (uid(rows[0].id),)
                ).fetchone()
                later.update(row.id for row in rows if stood == (1,) and meant(filter_, row))
            random.choice((lambda: seal(stores), follower.step, follower.tidy, lambda: None))()

        found: list[bytes] = []
        position: Position | None = Position(order)
        while position is not None:
            page = stores.index.page(ALL, filter_, position, limit=3, seconds=None)
            found += [event.id for event in page.events]
            if order == "asc" and not waiting and position == page.position:
                break
            position = page.position
            meanwhile()
            if order == "asc" and not waiting:
                seal(stores)
    follower.close()
    assert len(found) == len(set(found))
    assert first <= set(found) <= first | later
    if order == "asc":
        assert set(found) == first | later


def test_walks_beside_writers_a_sequencer_and_a_follower(stores: PostgresStores, clock: Clock) -> None:
    """Threads of their own, as fast as they can: no page misses what stood before its walk began."""
    known = some(Author(clock, 1), Random(1), 60)
    stores.events.insert(known)
    seal(stores)
    stopped = Event()
    failed: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            while not stopped.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failed.append(error)

    follower = stores.follower()

    def writer(seed: int) -> Callable[[], object]:
        rows = some(Author(clock, seed), Random(seed), 60)
        batches = iter([rows[at : at + 3] for at in range(0, 60, 3)])
        return lambda: stores.events.insert(next(batches, []))

    works: list[Callable[[], object]] = [writer(2), writer(3), lambda: seal(stores), follower.step]
    threads = [Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        for name, filter_ in FILTERS.items():
            found = ids_of(stores, filter_)
            assert {row.id for row in known if meant(filter_, row)} <= set(found), name
            assert len(found) == len(set(found)), name
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
        follower.close()
    assert failed == []


def test_the_index_is_not_taken_away_under_a_page(stores: PostgresStores, author: Author, plain: Any) -> None:
    """TRUNCATE is no part of a snapshot: it waits for the reader, and comes before the next watermark."""
    rows = some(author, Random(2), 40)
    stores.events.insert(rows)
    seal(stores)
    follow(stores)
    with stores.index._snapshots.open() as snapshot:
        before = snapshot.execute("SELECT count(*) FROM affidavit_terms").fetchone()
        with pytest.raises(pg.LockNotAvailable):
            plain.execute("SELECT affidavit_index_discard()")
        assert snapshot.execute("SELECT count(*) FROM affidavit_terms").fetchone() == before
        assert snapshot.watermark == 40
    discard(stores.address)
    for filter_ in FILTERS.values():
        assert sorted(ids_of(stores, filter_)) == sorted(row.id for row in rows if meant(filter_, row))
    assert stores.index.progress().seq == 0


def answered_during(stores: PostgresStores, plain: Any, statement: str, filter_: Filter) -> list[bytes]:
    """The answer of a reader who comes while a statement is done and not yet committed."""
    plain.execute("BEGIN")
    plain.execute(statement)
    found: list[list[bytes]] = []
    reader = Thread(target=lambda: found.append(ids_of(stores, filter_)))
    reader.start()
    with psycopg.connect(stores.address.url, autocommit=True) as watching:
        while not watching.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
            assert reader.is_alive(), "the reader did not wait"
    plain.execute("COMMIT")
    reader.join()
    return found[0]


def test_a_reader_who_waited_for_the_index_to_go_does_without_it(
    stores: PostgresStores, author: Author, plain: Any
) -> None:
    """The old watermark with the empty tables would be an answer without events."""
    rows = some(author, Random(9), 40)
    stores.events.insert(rows)
    seal(stores)
    follow(stores)
    filter_ = FILTERS["resource"]
    found = answered_during(stores, plain, "SELECT affidavit_index_discard()", filter_)
    assert sorted(found) == sorted(row.id for row in rows if meant(filter_, row))


def test_a_reader_who_waited_for_a_month_finds_its_events_there(
    stores: PostgresStores, author: Author, plain: Any
) -> None:
    """What the planner knows of partitions and what the snapshot sees are of one moment."""
    rows = some(author, Random(10), 40)
    stores.events.insert(rows)
    december = Filter(start=NOW - 3 * DAY, end=NOW - 1)
    assert len(ids_of(stores, december)) == 40
    found = answered_during(stores, plain, "SELECT affidavit_month_make('2025-12-01', 1000)", december)
    assert sorted(found) == sorted(row.id for row in rows)


def test_a_month_that_is_made_between_two_pages_hides_nothing(
    stores: PostgresStores, author: Author, plain: Any
) -> None:
    """Its events move out of the default partition; not while a page is under way."""
    rows = some(author, Random(3), 40)
    stores.events.insert(rows)
    for filter_ in (FILTERS["all"], FILTERS["actor"]):
        expected = sorted((row.id for row in rows if meant(filter_, row)), reverse=True)
        found: list[bytes] = []
        position: Position | None = Position("desc")
        months = iter(("2025-12-01", "2026-01-01", "2025-11-01"))
        while position is not None:
            page = stores.index.page(ALL, filter_, position, limit=5, seconds=None)
            found += [event.id for event in page.events]
            position = page.position
            if filter_ is FILTERS["all"] and (month := next(months, None)) is not None:
                with stores.index._snapshots.open(), pytest.raises(pg.LockNotAvailable):
                    plain.execute("SELECT affidavit_month_make(%s, 1000)", [month])
                plain.execute("SELECT affidavit_month_make(%s, 1000)", [month])
        assert found == expected


def hourly(plain: Any) -> Counter[tuple[Any, ...]]:
    """The hourly counts that stand in the table."""
    rows = plain.execute("SELECT organization, hour, action, outcome, severity, n FROM affidavit_hourly")
    return Counter({tuple(kind): n for *kind, n in rows})


def counted(rows: list[Row]) -> Counter[tuple[Any, ...]]:
    """The same from what was recorded: the time is in the first 48 bits of an id."""
    hours = [int.from_bytes(row.id[:6], "big") * 1000 // HOUR for row in rows]
    return Counter((row.organization, hour, *row.values[4:7]) for row, hour in zip(rows, hours, strict=True))


def test_counts_that_were_kept_back_are_written_after_a_while_or_by_the_next_follower(
    stores: PostgresStores, author: Author, plain: Any
) -> None:
    """And the answer is exact all the time."""
    now = [0.0]
    rows = some(author, Random(4), 50)
    follower = PostgresFollower(stores.address, monotonic=lambda: now[0])

    def total() -> int:
        return sum(row.events for row in stores.index.counts(ALL, Filter(), "action").rows)

    stores.events.insert(rows[:30])
    seal(stores)
    assert follower.step() == 30
    follower.tidy()
    assert hourly(plain) == Counter()
    assert total() == 30
    now[0] = following.FLUSH_SECONDS
    follower.tidy()
    assert hourly(plain) == counted(rows[:30])
    stores.events.insert(rows[30:])
    seal(stores)
    assert follower.step() == 20
    follower.close()
    assert total() == 50
    now[0] = 100.0
    second = PostgresFollower(stores.address, monotonic=lambda: now[0])
    assert second.step() == 0
    now[0] += following.FLUSH_SECONDS
    second.tidy()
    assert hourly(plain) == counted(rows)
    assert plain.execute("SELECT seq, counted FROM affidavit_index").fetchone() == (50, 50)
    assert total() == 50
    second.close()


def test_many_events_are_counted_at_once(
    stores: PostgresStores, author: Author, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the time."""
    monkeypatch.setattr(following, "BATCH", 10)
    monkeypatch.setattr(following, "FLUSH_EVENTS", 25)
    rows = some(author, Random(5), 70)
    stores.events.insert(rows)
    seal(stores)
    follower = stores.follower()
    places = []
    while follower.step():
        places.append(plain.execute("SELECT counted FROM affidavit_index").fetchone()[0])
    follower.close()
    assert places == [0, 0, 30, 30, 30, 60, 60]
    assert hourly(plain) <= counted(rows)


def test_a_log_that_was_cut_back_is_noticed(stores: PostgresStores, author: Author, plain: Any) -> None:
    """Readers do without the index, and the follower makes it anew under another key."""
    rows = some(author, Random(6), 30)
    stores.events.insert(rows)
    seal(stores)
    follower = stores.follower()
    catch_up(follower)
    (key,) = plain.execute("SELECT key FROM affidavit_index").fetchone()
    plain.execute("UPDATE affidavit_leaves SET id = gen_random_uuid() WHERE seq = 30")
    assert stores.index.progress().seq == 0
    filter_ = FILTERS["resource"]
    expected = {row.id for row in rows if meant(filter_, row)}
    assert expected - {rows[29].id} <= set(ids_of(stores, filter_)) <= expected
    assert follower.step() == 30
    assert plain.execute("SELECT key <> %s FROM affidavit_index", [key]).fetchone() == (True,)
    follower.close()


def test_terms_have_their_months_and_lose_them(stores: PostgresStores, author: Author, plain: Any) -> None:
    """The default partition stays empty; a month without events goes, one whose events wait for it stays."""
    team = (Resource(type="team", id="r1"),)
    stores.events.insert([author.row(resources=team, occurred_at=NOW - age) for age in (0, 5 * HOUR)])
    seal(stores)
    follower = stores.follower()
    catch_up(follower)
    assert months(plain) == {"202512", "202601"}
    assert plain.execute("SELECT count(*) FROM affidavit_terms_default").fetchone() == (0,)
    plain.execute("SELECT affidavit_terms_make('2024-02-01')")
    plain.execute("UPDATE affidavit_partitioning SET version = version + 1")
    while follower.tidy():
        pass
    assert months(plain) == {"202512", "202601"}
    follower.close()


def months(plain: Any) -> set[str]:
    """The months of the terms."""
    rows = plain.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'affidavit_terms'::regclass"
    )
    return {name[-6:] for (name,) in rows} - {"efault"}


def test_an_event_with_two_leaves_does_not_stop_the_follower(
    stores: PostgresStores, author: Author, plain: Any
) -> None:
    """One that was replaced under its id is sequenced again: its terms stand already."""
    row = author.row(resources=(Resource(type="team", id="r1"),))
    stores.events.insert([row])
    seal(stores)
    follower = stores.follower()
    assert follower.step() == 1
    plain.execute(
        "INSERT INTO affidavit_trees (tree, organization, host, hex, incarnation, size, frontier)"
        " SELECT 99, organization, host, hex, 2, 1, '' FROM affidavit_trees WHERE organization = 'acme'"
    )
    plain.execute("INSERT INTO affidavit_leaves SELECT 99, 0, 2, id, hash FROM affidavit_leaves")
    plain.execute("UPDATE affidavit_position SET seq = 2")
    assert follower.step() == 1
    assert ids_of(stores, FILTERS["resource"]) == [row.id]
    assert stores.index.page(ALL, Filter(), Position("desc"), limit=5, seconds=None).events[0].seq == 2
    follower.close()


def test_a_fence_that_is_lost_stops_every_write(stores: PostgresStores, author: Author, plain: Any) -> None:
    """A batch, the counts that were kept back; nothing of it is stored."""
    lost = [False]

    def fence(session: Session) -> None:
        assert session.connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        if lost[0]:
            raise errors.LogMoved("another worker")

    now = [0.0]
    follower = PostgresFollower(stores.address, fence=fence, monotonic=lambda: now[0])
    stores.events.insert(some(author, Random(7), 5))
    seal(stores)
    assert follower.step() == 5
    stores.events.insert(some(author, Random(8), 5))
    seal(stores)
    lost[0], now[0] = True, 100.0
    for write in (follower.step, follower.tidy):
        with pytest.raises(errors.LogMoved):
            write()
    assert plain.execute("SELECT seq, counted FROM affidavit_index").fetchone() == (5, 0)
    follower.close()


def test_an_event_without_a_place_is_said_so(stores: PostgresStores, author: Author) -> None:
    """Until the sequencer gave it one."""
    stores.events.insert([author.row()])
    (event,) = stores.index.page(ALL, Filter(), Position("desc"), limit=5, seconds=None).events
    assert event.seq == UNPLACED
    seal(stores)
    (event,) = stores.index.page(ALL, Filter(), Position("desc"), limit=5, seconds=None).events
    assert event.seq == 1


SPELLINGS = (
    '{"actor":{"id":"ana","type":"user","email":"Ana@x.io"}}',
    '{ "actor" : { "type" : "user", "id" : "ana", "email" : "ana@x.io" } }',
    '{"actor":{"id":"\\u0061na","type":"user","email":"\\u0061na@x.io"}}',
)
CONTEXTS = (
    '{"ip":"10.1.2.3","location":{"country_code":"DE"},"request":{"id":"q/1"},"trace_id":"t1"}',
    '{ "trace_id": "t1", "request": {"id": "q\\/1"}, "location": {"country_code": "de"}, "ip": "10.1.2.3" }',
    '{"ip":"\\u00310.1.2.3","location":{"country_code":"\\u0044E"},"request":{"id":"q\\/1"},"trace_id":"t\\u0031"}',
)
RESOURCES = (
    '{"resources":[{"id":"r1","name":"Straße","type":"team"}]}',
    '{"resources": [ {"type": "team", "id": "r1", "name": "STRASSE"} ]}',
    '{"resources":[{"id":"\\u00721","name":"stra\\u00dfe","type":"t\\u0065am"}]}',
)
ASKED = (
    *("actor=ana", "actor=ANA@X.IO", "ip=10.1.2.3", "ip=10.1.2.0/24", "ip=10.1.0.0/16", "ip=0.0.0.0/0"),
    *(
        "country_code=de",
        "request_id=q/1",
        "trace_id=t1",
        "resource=r1",
        "resource=strasse",
        "resource_type=team",
    ),
)


@pytest.mark.parametrize("indexed", [False, True], ids=["walked", "indexed"])
def test_rows_that_came_by_sql_are_found_in_any_spelling(
    stores: PostgresStores, plain: Any, indexed: bool
) -> None:
    """White space, escapes, another order; a group that is none breaks no page and is in no answer."""
    insert = (
        "INSERT INTO affidavit_events (id, version, organization, action, outcome, severity, source,"
        " imported, actor_id, actor, resources, context, changes, details, secret, recorded_at)"
        " VALUES (%s, 1, 'acme', 'a.b', 'success', 'info', 'sql', false, %s, %s, %s, %s, '{}', '{}',"
        " decode(repeat('00', 32), 'hex'), %s)"
    )
    ids = [f"019b76da-a800-7000-8000-{number:012}" for number in range(6)]
    broken = ("not json", '{"actor":[]}', "\\u0061na")
    for number, event_id in enumerate(ids):
        groups = (SPELLINGS, RESOURCES, CONTEXTS) if number < 3 else (broken, broken, broken)
        texts = [group[number % 3] for group in groups]
        plain.execute(insert, [event_id, "ana" if number < 3 else None, *texts, NOW])
        plain.execute("INSERT INTO affidavit_pending (organization, id) VALUES ('acme', %s)", [event_id])
    if indexed:
        seal(stores)
        follow(stores)
    good = {bytes.fromhex(event_id.replace("-", "")) for event_id in ids[:3]}
    bad = {bytes.fromhex(event_id.replace("-", "")) for event_id in ids[3:]}
    for asked in ASKED:
        name, _, value = asked.partition("=")
        assert set(ids_of(stores, parse_params([(name, value)]))) == good, asked
        assert set(ids_of(stores, parse_params([(f"not_{name}", value)]))) == bad, asked


def test_an_export_in_recording_order_says_what_it_waits_for(
    stores: PostgresStores, author: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many events without a place for one piece: an error that names the way out, and no half of them."""
    monkeypatch.setattr(places, "MOST_PENDING", 4)
    stores.events.insert(some(author, Random(11), 5))
    with pytest.raises(errors.StorageBusy, match="newest first"):
        stores.index.page(ALL, Filter(), Position("asc"), limit=9, seconds=None, as_of=NOW)
    seal(stores)
    found = stores.index.page(ALL, Filter(), Position("asc"), limit=9, seconds=None, as_of=NOW)
    assert [event.seq for event in found.events] == [1, 2, 3, 4, 5]
    assert found.position is None
