"""Months of the event table: made, filled and dropped while recording goes on; nothing is lost or doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from affidavit.core.ids import first_id, microseconds_of
from affidavit.core.row import Row
from affidavit.errors import InvalidEvent, StorageBusy
from affidavit.storage.postgres.connect import connect, uid
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.partitions import FIRST, Partitions, months
from affidavit.storage.retention import PrunedRange
from affidavit.testing.author import NOW, Author, Clock, draft
from affidavit.testing.postgres import PostgresEngine, PostgresStores
from affidavit.wiring.postgres import OpenedPostgres
from tests.postgres import Server

DAY = 86_400_000_000
EVENTS = "SELECT id FROM affidavit_events ORDER BY id"
IN_DEFAULT = "SELECT count(*) FROM affidavit_events_default"
LONGEST = 0.2
"""Seconds that somebody who records waits for one try, the work of that try and the machine apart."""
NOISE = 2.5
"""What the rest of a busy machine adds."""


@pytest.fixture(params=["15", "18"])
def engine(request: pytest.FixtureRequest) -> Iterator[PostgresEngine]:
    """Databases on the oldest and the newest version."""
    server: Server = request.getfixturevalue(f"postgres{request.param}")
    made = PostgresEngine(server, clock=None)
    yield made
    made.close()


@pytest.fixture
def stores(engine: PostgresEngine) -> PostgresStores:
    """An empty database; no month of :data:`NOW` is made."""
    return engine.open(engine.create())


@pytest.fixture
def partitions(stores: PostgresStores) -> Iterator[Partitions]:
    """As the worker has them."""
    made = Partitions(stores.address)
    yield made
    made.close()


def ask(stores: PostgresStores, statement: str) -> list[tuple[Any, ...]]:
    """Read in SQL."""
    return stores.database.read(lambda session: session.execute(statement).fetchall())


def count(stores: PostgresStores, statement: str) -> int:
    """One number."""
    return int(ask(stores, statement)[0][0])


def rows_of(month_days: Sequence[int], each: int, seed: int = 0) -> list[Row]:
    """Rows, so many of each of these days after :data:`NOW`."""
    author = Author(Clock(NOW + 400 * DAY), seed)
    moments = [NOW + day * DAY + number * 60_000_000 for day in month_days for number in range(each)]
    return [row for moment in moments for row in author.rows(draft(occurred_at=moment))]


def record(stores: PostgresStores, rows: Sequence[Row]) -> None:
    """Store rows in batches."""
    for start in range(0, len(rows), 1_000):
        stores.events.insert(rows[start : start + 1_000])


def settle(partitions: Partitions) -> None:
    """Step until there is nothing to do now."""
    for _ in range(500):
        if not partitions.step():
            return
    raise AssertionError("it does not come to an end")


def attached(stores: PostgresStores) -> dict[str, str]:
    """Partition to its bounds, as the catalog has them."""
    return dict(
        ask(
            stores,
            "SELECT c.relname::text, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'affidavit_events'::regclass",
        )
    )


def naive_bounds(name: str) -> tuple[bytes, bytes]:
    """Of the partition ``affidavit_events_YYYYMM``."""
    year, month = int(name[-6:-2]), int(name[-2:])
    ends = (datetime(year, month, 1, tzinfo=UTC), datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC))
    low, high = (int(end.timestamp()) * 1000 for end in ends)
    return low.to_bytes(6, "big") + bytes(10), high.to_bytes(6, "big") + bytes(10)


def test_this_month_and_three_ahead_are_made_by_migrate(stores: PostgresStores) -> None:
    """With the bounds of their months, listed as they are attached, each with every trigger."""
    with closing(connect(stores.address)) as session:
        made = months(session)
    today = datetime.now(UTC)
    wanted = [
        f"affidavit_events_{today.year + (today.month - 1 + step) // 12}"
        f"{(today.month - 1 + step) % 12 + 1:02}"
        for step in range(4)
    ]
    assert [month.part for month in made.each] == wanted
    assert [(month.low, month.high) for month in made.each] == [naive_bounds(name) for name in wanted]
    assert attached(stores).keys() == {*wanted, "affidavit_events_default"}
    for part in wanted:
        triggers = ask(
            stores, f"SELECT tgname::text FROM pg_trigger WHERE tgrelid = '{part}'::regclass ORDER BY 1"
        )
        assert [name for (name,) in triggers] == [
            "affidavit_events_held",
            "affidavit_events_keep",
            "affidavit_events_truncate",
        ]


def test_a_missing_month_is_made_by_the_worker(stores: PostgresStores, partitions: Partitions) -> None:
    """The next step makes it anew, with its own refusal of TRUNCATE."""
    name = partitions.made().each[-1].part
    version = partitions.made().version
    with psycopg.connect(stores.address.url, autocommit=True) as session:
        session.execute(f"DROP TABLE {name}".encode())
        session.execute("DELETE FROM affidavit_months WHERE part = %s", (name,))
    settle(partitions)
    assert name in attached(stores)
    assert partitions.made().version > version
    refused = pytest.raises(psycopg.errors.RestrictViolation, match="append-only")
    with psycopg.connect(stores.address.url, autocommit=True) as session, refused:
        session.execute(f"TRUNCATE {name}".encode())


def test_the_default_partition_is_emptied_into_its_months(
    stores: PostgresStores, partitions: Partitions
) -> None:
    """Three months, in pieces: each row as it was, in the month of its id; what has no month stays."""
    record(stores, rows_of([2, 20, 35, 70], 300))
    ancient = Author(Clock(NOW)).rows(draft(occurred_at=86_400_000_000))
    stores.events.insert(ancient)
    before = ask(stores, "SELECT * FROM affidavit_events ORDER BY id")
    assert count(stores, IN_DEFAULT) == 1_201
    partitions._rows = 100
    settle(partitions)
    assert ask(stores, "SELECT * FROM affidavit_events ORDER BY id") == before
    assert count(stores, IN_DEFAULT) == 1
    assert microseconds_of(ancient[0].id) < datetime(FIRST.year, 1, 1, tzinfo=UTC).timestamp() * 1e6
    for part, events in (("202601", 600), ("202602", 300), ("202603", 300)):
        name = f"affidavit_events_{part}"
        assert count(stores, f"SELECT count(*) FROM {name}") == events
        low, high = naive_bounds(name)
        assert attached(stores)[name] == f"FOR VALUES FROM ('{uid(low)}') TO ('{uid(high)}')"
    assert count(stores, "SELECT count(*) FROM affidavit_permit") == 0


def test_a_row_leaves_the_default_partition_only_for_its_month(stores: PostgresStores) -> None:
    """With the permit alone nothing can be deleted, nor when another row stands in the month."""
    (row,) = rows_of([2], 1)
    stores.events.insert([row])
    low, high = naive_bounds("affidavit_events_202601")
    permit = f"INSERT INTO affidavit_permit VALUES ('*', 'move', 'x', '{uid(low)}', '{uid(high)}')"
    arriving = "CREATE TABLE affidavit_events_arriving (LIKE affidavit_events INCLUDING ALL)"
    copied = "INSERT INTO affidavit_events_arriving SELECT * FROM affidavit_events"
    edits: tuple[list[str], ...] = (
        [],
        [arriving],
        [arriving, copied, "UPDATE affidavit_events_arriving SET recorded_at = recorded_at + 1"],
        [arriving, copied, "UPDATE affidavit_events_arriving SET details = details || ' '"],
    )
    for edit in edits:
        with psycopg.connect(stores.address.url) as session:
            for statement in (permit, *edit):
                session.execute(statement.encode())
            with pytest.raises(psycopg.Error, match=r"append-only|does not exist"):
                session.execute("DELETE FROM affidavit_events_default")
            session.rollback()
    with psycopg.connect(stores.address.url) as session:
        for statement in (permit, arriving, copied):
            session.execute(statement.encode())
        assert session.execute("DELETE FROM affidavit_events_default").rowcount == 1
        session.rollback()


class Crowd:
    """Threads that record one event after the other, and one that keeps its transaction open a while."""

    def __init__(self, stores: PostgresStores, days: Sequence[int], *, held: float) -> None:
        self._stores = stores
        self._days = days
        self._held = held
        self._stop = threading.Event()
        self.ids: list[bytes] = []
        self.waits: list[float] = []
        self.errors: list[BaseException] = []

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let them work for the length of the block."""
        works = [lambda n=n: self._record(n) for n in range(3)] + [self._hold]
        threads = [threading.Thread(target=self._run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _run(self, work: Any) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.errors.append(error)

    def _rows(self, author: Author, random: Random) -> list[Row]:
        moment = NOW + random.choice(self._days) * DAY + random.randrange(DAY)
        return author.rows(draft(occurred_at=moment))

    def _record(self, number: int) -> None:
        author, random = Author(Clock(NOW + 400 * DAY), seed=number + 100), Random(number)
        while not self._stop.is_set():
            rows = self._rows(author, random)
            begun = time.monotonic()
            self._stores.events.insert(rows)
            self.waits.append(time.monotonic() - begun)
            self.ids.append(rows[0].id)

    def _hold(self) -> None:
        author, random = Author(Clock(NOW + 400 * DAY), seed=99), Random(99)
        while not self._stop.is_set():
            rows = self._rows(author, random)

            def slowly(_: object, rows: list[Row] = rows) -> list[Row]:
                self._stop.wait(self._held)
                return rows

            # Its transaction has read and is open; then it records.
            self._stores.database.change(lambda s: s.execute(EVENTS).fetchone(), slowly)
            self.ids.append(rows[0].id)
            self._stop.wait(self._held / 4)


def test_the_default_partition_is_emptied_beside_recorders_of_the_same_month(
    stores: PostgresStores, partitions: Partitions
) -> None:
    """Three record into the month that is made, a fourth holds a transaction open: all is there, once."""
    first = rows_of([3], 1_500)
    record(stores, first)
    partitions._rows = 200
    crowd = Crowd(stores, [1, 3, 5], held=0.15)
    with crowd.at_work():
        until = time.monotonic() + 30
        while time.monotonic() < until and (not crowd.waits or count(stores, IN_DEFAULT)):
            partitions.step()
    settle(partitions)
    assert crowd.errors == []
    found = [event_id for (event_id,) in ask(stores, EVENTS)]
    assert found == sorted([*(row.id for row in first), *crowd.ids])
    assert len(crowd.ids) > 20
    assert count(stores, IN_DEFAULT) == 0
    assert count(stores, "SELECT count(*) FROM affidavit_pending") == len(found)
    assert max(crowd.waits) < LONGEST + NOISE


def test_months_of_an_import_are_made_by_two_at_once(stores: PostgresStores) -> None:
    """24 old months, by two importers and beside recorders: each once, and nothing goes to DEFAULT."""
    days = [-31 * month for month in range(24)]
    ids = [first_id(NOW + day * DAY) for day in days]
    crowd = Crowd(stores, [400 - 31 * 12], held=0.1)
    made = [Partitions(stores.address) for _ in range(2)]
    with ExitStack() as opened, crowd.at_work():
        for each in made:
            opened.callback(each.close)
        threads = [threading.Thread(target=each.make_for, args=(ids,)) for each in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert crowd.errors == []
    names = {datetime.fromtimestamp((NOW + day * DAY) / 1e6, UTC).strftime("%Y%m") for day in days}
    assert len(names) == 24
    assert {f"affidavit_events_{name}" for name in names} <= attached(stores).keys()
    stores.events.insert(rows_of(days, 2))
    old = f"SELECT count(*) FROM affidavit_events_default WHERE id < '{uid(first_id(NOW + DAY))}'"
    assert count(stores, old) == 0
    assert max(crowd.waits) < LONGEST + NOISE


def test_an_import_goes_on_where_months_cannot_be_made(
    stores: PostgresStores, partitions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the table: after some tries the events go to the default partition, and move later."""
    monkeypatch.setattr("affidavit.storage.postgres.partitions.PAUSE", 0.0)
    monkeypatch.setattr("affidavit.storage.postgres.partitions.TRIES", 2)
    rows = rows_of([2], 3)
    with psycopg.connect(stores.address.url) as holder:
        holder.execute("LOCK TABLE affidavit_events IN ROW EXCLUSIVE MODE")
        partitions.make_for([row.id for row in rows])
        stores.events.insert(rows)
        assert not partitions.step()
    assert count(stores, IN_DEFAULT) == 3
    partitions._look_at = 0.0
    settle(partitions)
    assert count(stores, IN_DEFAULT) == 0


def test_an_import_makes_its_months_first(stores: PostgresStores) -> None:
    """Through the stores that every program opens: nothing of it goes to the default partition."""
    opened = OpenedPostgres(PostgresDatabase(stores.address))
    opened.events.insert(rows_of([-31 * month for month in range(5)], 20))
    opened.close()
    assert count(stores, IN_DEFAULT) == 0
    assert count(stores, "SELECT count(*) FROM affidavit_events") == 100


def test_remembered_months_hide_no_row(stores: PostgresStores, partitions: Partitions) -> None:
    """Within one moment the months, the default partition and the version belong together."""
    stores.events.insert(rows_of([2], 5))
    with closing(connect(stores.address)) as session, session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        before = months(session)
        settle(partitions)
        assert months(session) == before
        (left,) = session.execute(IN_DEFAULT).fetchone() or (0,)
        assert left == 5
    after = partitions.made()
    assert after.version > before.version
    assert count(stores, IN_DEFAULT) == 0


def test_a_month_that_was_pruned_is_dropped(stores: PostgresStores, partitions: Partitions) -> None:
    """Not while a row stands in it; what was in its closed range is refused by name ever after."""
    rows = rows_of([2], 4)
    partitions.make_for([row.id for row in rows])
    stores.events.insert(rows)
    closed = PrunedRange("acme", rows[0].id, rows[-1].id, b"m" * 32)
    stores.ranges.close(closed, 4, ())
    assert stores.ranges.delete(closed, [row.id for row in rows[1:]]) == 3
    settle(partitions)
    assert "affidavit_events_202601" in attached(stores)
    stores.ranges.delete(closed, [rows[0].id])
    partitions._drop_at = partitions._look_at = 0.0
    settle(partitions)
    assert "affidavit_events_202601" not in attached(stores)
    assert "affidavit_events_202601" not in [month.part for month in partitions.made().each]
    for _ in range(2):
        with pytest.raises(InvalidEvent, match="pruned"):
            stores.events.insert(
                [Author(Clock(NOW + 400 * DAY), 9).row(occurred_at=microseconds_of(rows[1].id))]
            )
        made = Partitions(stores.address)  # a month that is made anew refuses, too
        made.make_for([rows[1].id])
        made.close()


def test_a_closed_range_waits_for_those_who_have_recorded_in_it(stores: PostgresStores) -> None:
    """A transaction that is open keeps it from being closed; one whose snapshot is older fails by itself."""
    rows = rows_of([2], 6)
    stores.events.insert(rows[:2])
    closed = PrunedRange("acme", rows[0].id, rows[3].id, b"m" * 32)
    late = _insert(rows[2])
    with psycopg.connect(stores.address.url) as writer:
        writer.execute(late.encode())
        with pytest.raises(StorageBusy):
            stores.ranges.close(closed, 2, ())
        writer.rollback()
    assert stores.ranges.ranges("acme") == []
    with psycopg.connect(stores.address.url) as writer:
        writer.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        writer.execute("SELECT count(*) FROM affidavit_events")
        stores.ranges.close(closed, 2, ())
        with pytest.raises(psycopg.errors.SerializationFailure):
            writer.execute(late.encode())
        writer.rollback()
        with pytest.raises(psycopg.errors.RestrictViolation, match="pruned range"):
            writer.execute(late.encode())
        writer.rollback()
    with psycopg.connect(stores.address.url) as writer:  # a further range of the same partition
        writer.execute(_insert(rows[4]).encode())
        with pytest.raises(StorageBusy):
            stores.ranges.close(PrunedRange("acme", rows[4].id, rows[5].id, b"n" * 32), 0, ())
        writer.rollback()
    assert count(stores, "SELECT count(*) FROM affidavit_events") == 2


def _insert(row: Row) -> str:
    """A row as somebody with SQL would write it."""
    return (
        "INSERT INTO affidavit_events (id, version, organization, action, outcome, severity, source,"
        f" imported, secret) VALUES ('{uid(row.id)}', 1, 'acme', 'a.b', 'success', 'info', 'sql', false,"
        f" '{'x' * 32}')"
    )


MOVER = """
import sys
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.partitions import Partitions
partitions = Partitions(Address(sys.argv[1]))
partitions._rows = 400
print("begun", flush=True)
while True:
    partitions.step()
"""


def test_a_move_that_is_killed_loses_and_doubles_nothing(
    stores: PostgresStores, partitions: Partitions, tmp_path: Path
) -> None:
    """SIGKILL of the worker in the middle of its moves, five times, at random moments; then it ends."""
    (tmp_path / "mover.py").write_text(MOVER)
    random = Random(4)
    expected: list[bytes] = []
    for kill in range(5):
        rows = rows_of([31 * kill + 2], 800, seed=kill)
        stores.events.insert(rows)
        expected += [row.id for row in rows]
        process = subprocess.Popen(
            [sys.executable, str(tmp_path / "mover.py"), stores.address.url], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(random.uniform(0.02, 0.3))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert [event_id for (event_id,) in ask(stores, EVENTS)] == sorted(expected)
    partitions._rows = 400
    settle(partitions)
    assert [event_id for (event_id,) in ask(stores, EVENTS)] == sorted(expected)
    assert count(stores, IN_DEFAULT) == 0
    assert count(stores, "SELECT count(*) FROM affidavit_permit") == 0


def test_what_was_moved_is_freed_in_time(stores: PostgresStores, partitions: Partitions) -> None:
    """The default partition is noted when rows leave it, and vacuumed at one of the next looks."""
    record(stores, rows_of([2], 50))
    settle(partitions)
    noted = "SELECT part FROM affidavit_unfreed"
    assert ask(stores, noted) == [("affidavit_events_default",)]
    partitions._free_at = 0.0
    until = time.monotonic() + 20
    while ask(stores, noted):
        partitions._look_at = 0.0
        partitions.step()
        assert time.monotonic() < until
    dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'affidavit_events_default'"
    assert count(stores, dead) == 0


def test_bad_months_are_refused(stores: PostgresStores) -> None:
    """The function makes months of sensible times only, and no month from the middle of one."""
    with psycopg.connect(stores.address.url, autocommit=True) as session:
        for statement in ("'1999-12-01', 9", "'2026-01-02', 9", "'2099-01-01', 9", "'2026-01-01', 0"):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                session.execute(f"SELECT affidavit_month_make({statement})".encode())
        found = session.execute("SELECT affidavit_month_drop('affidavit_pending; DROP TABLE x')").fetchone()
        assert found == (False,)
