"""Migrations while others work with the tables: they give way, and lose nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from affidavit import errors
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.migrate import available, migrate
from tests.postgres import VERSIONS, Server
from tests.unit.storage.postgres.places import RECORD, dump, migrated, step

NEXT = available()[-1].number + 1
LONGEST = 2.5
"""Seconds that nobody waits for: a step gives way after 0.2, the rest is what a crowded machine takes."""
REPORT = 4.0
"""Seconds for which somebody reads, again and again; a step that waited for it would keep the others out."""


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version in turn."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture
def place(server: Server) -> Address:
    """A database with the current schema."""
    return migrated(server)


class Recorder(threading.Thread):
    """Records one event after the other, some in long transactions, and notes how long each call took."""

    def __init__(self, place: Address, holds: float) -> None:
        super().__init__()
        self._place = place
        self._holds = holds
        self.over = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        with psycopg.connect(self._place.url) as connection:
            while not self.over.is_set():
                began = time.monotonic()
                connection.execute(RECORD)
                self.took.append(time.monotonic() - began)
                if len(self.took) % 10 == 0:
                    self.over.wait(self._holds)
                connection.commit()


class Report(Recorder):
    """Reads in one long transaction after the other."""

    def run(self) -> None:
        with psycopg.connect(self._place.url) as connection:
            while not self.over.is_set():
                connection.execute("SELECT count(*) FROM affidavit_events")
                self.over.wait(self._holds)
                connection.commit()


@contextmanager
def recording(place: Address, *others: Recorder) -> Iterator[list[Recorder]]:
    """Three recorders for the length of the block, two of them with open transactions."""
    running = [*(Recorder(place, holds) for holds in (0.0, 0.05, 0.1)), *others]
    for one in running:
        one.start()
    try:
        yield running
    finally:
        for one in running:
            one.over.set()
        for one in running:
            one.join()


def events(server: Server, place: Address) -> int:
    """How many events stand in the table."""
    with server.connect(place.url.rpartition("/")[2]) as connection:
        (found,) = connection.execute("SELECT count(*) FROM affidavit_events").fetchone() or (0,)
    return int(found)


LATER = step(
    NEXT,
    "ALTER TABLE affidavit_events ADD COLUMN later text;"
    "ALTER TABLE affidavit_pending ADD COLUMN later text;"
    "CREATE TABLE affidavit_later (id integer PRIMARY KEY)",
)
INDEX = step(
    NEXT + 1,
    "-- concurrently\nCREATE INDEX CONCURRENTLY affidavit_events_later ON affidavit_events (later, id)\n"
    "    WHERE later IS NOT NULL;",
    "index",
)


def test_a_migration_runs_beside_recorders(server: Server, place: Address) -> None:
    """Columns and an index come while three record and one reads: nobody waits longer than a try."""
    with recording(place, Report(place, REPORT)) as recorders:
        assert migrate(place, steps=[*available(), LATER, INDEX]) == [LATER, INDEX]
    took = [seconds for one in recorders for seconds in one.took]
    assert events(server, place) == len(took) > 100
    assert max(took) <= LONGEST


def test_an_open_transaction_is_named_and_nothing_is_half_done(server: Server, place: Address) -> None:
    """Who holds the lock, by number, role and application; the step that began is undone."""
    before = dump(server, place)
    half = step(
        NEXT, "CREATE TABLE affidavit_half (a integer); ALTER TABLE affidavit_events ADD COLUMN b text"
    )
    with psycopg.connect(place.url, application_name="night\nreport") as holder:
        holder.execute("SELECT count(*) FROM affidavit_events")
        with pytest.raises(errors.StorageBusy) as caught:
            migrate(place, steps=[*available(), half], patience=1)
        assert f"pid {holder.info.backend_pid} (role 'postgres', application 'night" in caught.value.message
        assert "idle in transaction" in caught.value.message
        assert f"migration {NEXT} (later)" in caught.value.message
        assert "\n" not in caught.value.message
    assert dump(server, place) == before
    assert migrate(place, steps=[*available(), half]) == [half]


def test_a_prepared_transaction_is_named(server: Server) -> None:
    """It has no process; the error says where it is found."""
    holder = server.connect()
    (allowed,) = holder.execute(
        "SELECT current_setting('max_prepared_transactions')::integer"
    ).fetchone() or (0,)
    assert allowed > 0
    place = migrated(server)
    name = f"held {place.url}"
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute(RECORD)
        connection.execute(f"PREPARE TRANSACTION '{name}'")
        with pytest.raises(errors.StorageBusy, match="prepared transaction"):
            migrate(place, steps=[*available(), LATER], patience=0.5)
        connection.execute(f"ROLLBACK PREPARED '{name}'")
    holder.close()


def test_a_step_that_keeps_others_waiting_gives_way(server: Server, place: Address) -> None:
    """It has its lock and works on: as soon as somebody waits for it, it is undone."""
    slow = step(NEXT, "LOCK TABLE affidavit_events IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(30)")
    with recording(place) as recorders, pytest.raises(errors.StorageBusy, match="nothing of it was done"):
        migrate(place, steps=[*available(), slow], patience=1)
    took = [seconds for one in recorders for seconds in one.took]
    assert events(server, place) == len(took)
    assert max(took) <= LONGEST


def test_a_step_may_take_its_time_while_nobody_waits(place: Address) -> None:
    """What is given way to is somebody, not the clock."""
    slow = step(NEXT, "LOCK TABLE affidavit_events IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.7)")
    assert migrate(place, steps=[*available(), slow], patience=0) == [slow]


def test_a_limit_on_statements_does_not_end_a_migration(server: Server, place: Address) -> None:
    """The role may have a statement_timeout for its everyday work."""
    name = place.url.rpartition("/")[2]
    with server.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET statement_timeout = '100ms'")
    slow = step(NEXT, "SELECT pg_sleep(0.3)")
    assert migrate(place, steps=[*available(), slow], patience=0) == [slow]


def test_who_migrates_waits_for_who_was_first(server: Server, place: Address) -> None:
    """The lock of a migration that does not end is told as that."""
    with psycopg.connect(place.url) as holder:
        holder.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ("affidavit migrate public",))
        with pytest.raises(errors.StorageBusy, match="Another process migrates"):
            migrate(place, steps=[*available(), LATER], patience=0.5)
    assert migrate(place, steps=[*available(), LATER]) == [LATER]
