"""Redaction on PostgreSQL: short transactions behind the fence, and old versions that are really freed."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import count as counting
from pathlib import Path

import psycopg
import pytest

from affidavit import errors
from affidavit.core.event import GROUPS, Actor
from affidavit.storage.postgres.connect import Address, Session
from affidavit.storage.postgres.redaction import PostgresRedactor
from affidavit.storage.redaction import Redaction
from affidavit.testing.author import Author, Clock
from affidavit.testing.postgres import PostgresEngine, PostgresStores
from tests.postgres import Server

CANARY = "canary-q7x"


@pytest.fixture(params=["15", "18"])
def server(request: pytest.FixtureRequest) -> Server:
    """The oldest and the newest version."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture
def engine(server: Server) -> Iterator[PostgresEngine]:
    """Databases on it."""
    made = PostgresEngine(server, clock=None)
    yield made
    made.close()


@pytest.fixture
def stores(engine: PostgresEngine) -> PostgresStores:
    """An empty database."""
    return engine.open(engine.create())


@pytest.fixture
def redactor(stores: PostgresStores) -> Iterator[PostgresRedactor]:
    """As the worker has it."""
    made = PostgresRedactor(stores.address)
    yield made
    made.close()


@pytest.fixture
def redactions(stores: PostgresStores) -> list[Redaction]:
    """Of every tenth of 400 events; some of them have values that are kept out of their row."""
    now = time.time_ns() // 1_000
    author = Author(Clock(now))
    rows = []
    for number in range(400):
        who = f"{CANARY}-{number}" if number % 10 == 0 else f"user-{number}"
        words = {str(each): f"{each * 7_919**9:x}" for each in range(number, number + 900)}
        rows.append(
            author.row(
                "a.b",
                occurred_at=now - number * 1_000 - 1_000_000,
                actor=Actor(type="user", id=who, email=f"{who}@x.io"),
                metadata={"who": who, "long": words if number % 50 == 0 else None},
            )
        )
    stores.events.insert(rows)
    return [Redaction("acme", row.id, GROUPS) for row in rows[::10]]


def scrub(redactor: PostgresRedactor) -> int:
    """Scrub to the end; how many calls that took."""
    until = time.monotonic() + 30
    for calls in counting(1):
        if redactor.scrub():
            return calls
        assert time.monotonic() < until, "it does not come to an end"
    raise AssertionError("unreachable")


def part_of(stores: PostgresStores) -> str:
    """The partition in which the events stand."""
    with psycopg.connect(stores.address.url) as session:
        found = session.execute("SELECT DISTINCT tableoid::regclass::text FROM affidavit_events").fetchall()
    ((part,),) = found
    return str(part)


def versions(stores: PostgresStores, part: str) -> tuple[int, int]:
    """Versions of rows that stand in the pages of a table or of what is kept out of its rows, and rows."""
    with psycopg.connect(stores.address.url, autocommit=True) as session:
        session.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
        (toast,) = session.execute(
            f"SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = '{part}'::regclass".encode()
        ).fetchone() or ("",)
        standing = alive = 0
        for table in (part, toast):
            (items,) = session.execute(
                f"SELECT count(*) FROM generate_series(0, pg_relation_size('{table}') / 8192 - 1) page,"
                f" heap_page_items(get_raw_page('{table}', page::int)) WHERE t_data IS NOT NULL".encode()
            ).fetchone() or (0,)
            (rows,) = session.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() or (0,)
            standing += items
            alive += rows
        return standing, alive


def test_scrubbing_frees_every_old_version(
    stores: PostgresStores, redactor: PostgresRedactor, redactions: Sequence[Redaction]
) -> None:
    """Counted in the pages themselves: as many versions as rows, in the table and in its long values."""
    assert redactor.redact("erasure", "m", redactions) == 40
    part = part_of(stores)
    standing, alive = versions(stores, part)
    assert standing > alive
    scrub(redactor)
    standing, alive = versions(stores, part)
    assert standing == alive
    assert alive >= 400


def test_what_an_earlier_worker_took_away_is_freed_by_the_next_one(
    stores: PostgresStores, redactor: PostgresRedactor, redactions: Sequence[Redaction]
) -> None:
    """A worker that died before it scrubbed has left word which partitions it touched."""
    dead = PostgresRedactor(stores.address)
    dead.redact("expiry", "e", redactions)
    dead.close()
    scrub(redactor)
    standing, alive = versions(stores, part_of(stores))
    assert standing == alive
    with psycopg.connect(stores.address.url) as session:
        assert session.execute("SELECT count(*) FROM affidavit_unfreed").fetchone() == (0,)


def test_an_open_transaction_is_waited_for_and_named(
    stores: PostgresStores,
    redactor: PostgresRedactor,
    redactions: Sequence[Redaction],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While somebody can still read the old versions nothing is called done; the log says who that is."""
    with psycopg.connect(stores.address.url, application_name="report 7") as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        before = reader.execute("SELECT actor FROM affidavit_events WHERE secret IS NOT NULL").fetchall()
        redactor.redact("erasure", "m", redactions)
        with caplog.at_level(logging.WARNING, "affidavit.log"):
            until = time.monotonic() + 10
            while not caplog.records:
                assert not redactor.scrub()
                assert time.monotonic() < until
        assert not any(redactor.scrub() for _ in range(20))
        (said,) = [record.getMessage() for record in caplog.records]
        assert f"process {reader.info.backend_pid} (report 7)" in said
        after = reader.execute("SELECT actor FROM affidavit_events WHERE secret IS NOT NULL").fetchall()
        assert after == before
        reader.rollback()
        scrub(redactor)
    standing, alive = versions(stores, part_of(stores))
    assert standing == alive


def test_the_recipe_of_the_guide_leaves_nothing_in_the_files(
    server: Server, stores: PostgresStores, redactor: PostgresRedactor, redactions: Sequence[Redaction]
) -> None:
    """VACUUM FULL of the month and a checkpoint: no file of the database holds the person any more."""
    with psycopg.connect(stores.address.url, autocommit=True) as session:
        (oid,) = session.execute(
            "SELECT oid::text FROM pg_database WHERE datname = current_database()"
        ).fetchone() or ("",)
        session.execute("CHECKPOINT")
        assert files_with(server.data_dir / "base" / oid) > 0
        redactor.redact("erasure", "m", redactions)
        scrub(redactor)
        session.execute(f"VACUUM FULL {part_of(stores)}".encode())
        session.execute("CHECKPOINT")
        assert files_with(server.data_dir / "base" / oid) == 0


def files_with(folder: Path) -> int:
    """How many files hold the canary."""
    return sum(CANARY.encode() in path.read_bytes() for path in folder.iterdir() if path.is_file())


def test_a_transaction_ends_when_its_time_is_over(
    stores: PostgresStores, redactions: Sequence[Redaction]
) -> None:
    """By a clock that goes on 6 ms with each look: one event a transaction, and no permit stays behind."""
    ticks = counting(0, 0.006)
    redactor = PostgresRedactor(stores.address, monotonic=lambda: next(ticks))
    assert redactor.redact("erasure", "m", redactions) == 40
    redactor.close()
    with psycopg.connect(stores.address.url) as session:
        found = session.execute(
            "SELECT count(DISTINCT xmin::text) FROM affidavit_events WHERE secret IS NULL"
        ).fetchone()
        assert found == (40,)
        assert session.execute("SELECT count(*) FROM affidavit_permit").fetchone() == (0,)


def test_nothing_goes_once_another_worker_has_taken_over(
    stores: PostgresStores, redactions: Sequence[Redaction]
) -> None:
    """The fence is asked within each transaction, before its first change."""
    asked: list[int] = []

    def fence(session: Session) -> None:
        asked.append(session.connection.info.transaction_status)
        raise errors.LogMoved("somebody else's")

    redactor = PostgresRedactor(stores.address, fence=fence)
    with pytest.raises(errors.LogMoved):
        redactor.redact("erasure", "m", redactions)
    redactor.close()
    assert asked == [psycopg.pq.TransactionStatus.INTRANS]
    with psycopg.connect(stores.address.url) as session:
        gone = session.execute("SELECT count(*) FROM affidavit_events WHERE secret IS NULL").fetchone()
    assert gone == (0,)


def test_a_hold_stops_expiry_and_lets_erasure_pass(
    stores: PostgresStores, redactor: PostgresRedactor, redactions: Sequence[Redaction]
) -> None:
    """The database itself looks at the holds, within the transaction."""
    with psycopg.connect(stores.address.url, autocommit=True) as session:
        session.execute("INSERT INTO affidavit_holds VALUES ('h', 'acme', 'n', 'r', 'a.*', 1, 'kim', NULL)")
    with pytest.raises(errors.StorageError, match="legal hold"):
        redactor.redact("expiry", "e", redactions)
    assert redactor.redact("erasure", "m", redactions) == 40


def test_a_role_that_may_not_vacuum_is_told(stores: PostgresStores, redactions: Sequence[Redaction]) -> None:
    """Instead of a scrub that skips the table and says it is done; the role goes with the database."""
    url = stores.address.url
    role = f"weak_{time.time_ns()}"
    with psycopg.connect(url, autocommit=True) as session:
        session.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE"):
                session.execute(f"GRANT {right} ON ALL TABLES IN SCHEMA public TO {role}".encode())
            redactor = PostgresRedactor(Address(url.replace("postgres@", f"{role}@", 1)))
            assert redactor.redact("erasure", "m", redactions) == 40
            with pytest.raises(errors.StorageReadOnly, match="may not vacuum"):
                scrub(redactor)
            redactor.close()
        finally:
            session.execute(f"DROP OWNED BY {role}".encode())
            session.execute(f"DROP ROLE {role}".encode())
