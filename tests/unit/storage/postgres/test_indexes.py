"""Indexes that are built beside recording, taken up again after a kill."""

from __future__ import annotations

import subprocess
import sys
import time

import psycopg
import pytest

from affidavit import errors
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.indexes import parse
from affidavit.storage.postgres.migrate import available, migrate
from tests.pgbouncer import bouncer_on
from tests.postgres import VERSIONS, Server
from tests.unit.storage.postgres.places import RECORD, address, migrated, step

NEXT = available()[-1].number + 1
ON_EVENTS = (
    "-- concurrently\nCREATE INDEX CONCURRENTLY affidavit_events_source ON affidavit_events (source, id);"
)
ON_META = "-- concurrently\nCREATE UNIQUE INDEX CONCURRENTLY affidavit_meta_value ON affidavit_meta (value);"


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version in turn."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture
def place(server: Server) -> Address:
    """A database with the current schema and an event."""
    made = migrated(server)
    with psycopg.connect(made.url) as connection:
        connection.execute(RECORD)
    return made


def state(place: Address, like: str) -> dict[str, bool]:
    """Index to whether it is valid."""
    with psycopg.connect(place.url) as connection:
        rows = connection.execute(
            "SELECT indexrelid::regclass::text, indisvalid FROM pg_index"
            " WHERE indexrelid::regclass::text LIKE %s",
            (like,),
        )
        return dict(rows.fetchall())


def partitions(place: Address) -> set[str]:
    """The parts of the event table."""
    with psycopg.connect(place.url) as connection:
        rows = connection.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'affidavit_events'::regclass"
        )
        return {row[0] for row in rows.fetchall()}


def test_every_partition_gets_its_index(place: Address) -> None:
    """The index of the whole is valid, and made of one for each part."""
    migrate(place, steps=[*available(), step(NEXT, ON_EVENTS)])
    parts = partitions(place)
    assert len(parts) >= 2
    assert state(place, "affidavit_events%_source") == {
        "affidavit_events_source": True,
        **{f"{part}_source": True for part in parts},
    }


def test_a_month_that_comes_later_has_it_too(place: Address) -> None:
    """Months are made like the table."""
    migrate(place, steps=[*available(), step(NEXT, ON_EVENTS)])
    with psycopg.connect(place.url) as connection:
        connection.execute("SELECT affidavit_month_make('2024-01-01', 100)")
        (found,) = connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'affidavit_events_source'::regclass"
        ).fetchone() or (0,)
    assert found == len(partitions(place))
    assert "affidavit_events_202401" in partitions(place)


def test_everything_goes_through_pgbouncer(postgres: Server) -> None:
    """Tables, grants and indexes, over sessions that belong to nobody."""
    with bouncer_on(postgres) as port:
        place = address(postgres)
        through = place._replace(url=place.url.replace(f":{postgres.port}/", f":{port}/"))
        assert through != place
        steps = [*available(), step(NEXT, ON_EVENTS)]
        assert migrate(through, steps=steps) == steps
        assert migrate(through, steps=steps) == []
    assert set(state(place, "affidavit_events%_source").values()) == {True}


@pytest.mark.parametrize("text", [ON_EVENTS, ON_META], ids=["partitioned", "plain"])
def test_a_build_that_was_killed_is_taken_up_again(server: Server, place: Address, text: str) -> None:
    """Process and connection die within the build: the invalid index goes, a valid one comes."""
    name = "affidavit_events%_source" if text == ON_EVENTS else "affidavit_meta_value"
    steps = [*available(), step(NEXT, text)]
    program = (
        "import sys; from affidavit.storage.postgres.connect import Address;"
        " from affidavit.storage.postgres.migrate import Migration, available, migrate;"
        " migrate(Address(sys.argv[1]), steps=[*available(), Migration.of(*sys.argv[2:])])"
    )
    with psycopg.connect(place.url) as old, server.connect() as other:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")  # a snapshot, which the build waits for
        process = subprocess.Popen([sys.executable, "-c", program, place.url, f"{NEXT:04}_later.sql", text])
        deadline = time.monotonic() + 30
        while not (
            building := other.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND query LIKE 'CREATE%%INDEX%%'"
                " AND wait_event_type = 'Lock'",
                (place.url.rpartition("/")[2],),
            ).fetchone()
        ):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        process.wait()
        other.execute("SELECT pg_terminate_backend(%s, 10000)", building)
    assert False in state(place, name).values()
    assert migrate(place, steps=steps) == [steps[-1]]
    left = state(place, name)
    assert set(left.values()) == {True}
    assert len(left) == (1 + len(partitions(place)) if text == ON_EVENTS else 1)
    assert migrate(place, steps=steps) == []


def test_an_index_that_cannot_be_built_is_not_noted_as_built(place: Address) -> None:
    """Two equal values: the error goes out, and the next run tries again."""
    with psycopg.connect(place.url) as connection:
        connection.execute("INSERT INTO affidavit_meta VALUES ('a', 'same'), ('b', 'same')")
    steps = [*available(), step(NEXT, ON_META)]
    for _ in range(2):
        with pytest.raises(errors.StorageError, match="could not create unique index"):
            migrate(place, steps=steps)
    with psycopg.connect(place.url) as connection:
        connection.execute("DELETE FROM affidavit_meta WHERE key = 'b'")
    assert migrate(place, steps=steps) == [steps[-1]]
    assert state(place, "affidavit_meta_value") == {"affidavit_meta_value": True}


@pytest.mark.parametrize("text", ["CREATE TABLE a (b integer);", "CREATE INDEX a ON b (c);", "DROP INDEX a;"])
def test_nothing_else_stands_in_such_a_file(text: str) -> None:
    """Whatever is not such an index needs a transaction."""
    with pytest.raises(ValueError, match="CREATE INDEX CONCURRENTLY"):
        parse(f"-- concurrently\nCREATE INDEX CONCURRENTLY a ON b (c); -- why\n{text}")
