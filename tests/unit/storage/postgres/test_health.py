"""What ``affidavit doctor`` says about a PostgreSQL server: each thing is brought about on a real one."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import ExecStatus

from affidavit.core.ids import make_id
from affidavit.errors import StorageError
from affidavit.storage.health import Finding, State
from affidavit.storage.postgres import health
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.health import examine
from affidavit.storage.postgres.health_limits import LIMITS
from affidavit.testing.postgres import PostgresEngine
from tests.e2e.program import Program
from tests.postgres import Server, server_on

SECOND = 1_000_000


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def findings(url: str, check: str | None = None, **given: Any) -> list[Finding]:
    """What is found, of one check or of all."""
    options: dict[str, Any] = {"pool": 2, "clock": now} | given
    return [each for each in examine(Address(url), **options) if check in (None, each.check)]


def the(url: str, check: str, **options: Any) -> Finding:
    """The only finding of a check."""
    (finding,) = findings(url, check, **options)
    return finding


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """A fresh database on a server whose fsync is off."""
    engine = PostgresEngine(postgres, clock=None)
    yield engine.create()
    engine.close()


@pytest.fixture(scope="module")
def careful() -> Iterator[Server]:
    """A server of the oldest version that is set up well, of which these tests change what they like."""
    with server_on("15", fsync="on", max_prepared_transactions="4", max_connections="40") as server:
        yield server


@pytest.fixture
def sound(careful: Server) -> Iterator[str]:
    """A fresh database on it."""
    engine = PostgresEngine(careful, clock=None)
    yield engine.create()
    engine.close()


def run(url: str, *statements: str) -> None:
    """Run statements of a superuser, each by itself."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def add(url: str, occurred_at: int, *, recorded_at: int | None = None, pending: bool = False) -> None:
    """One event that occurred at a moment, as a row."""
    event = make_id(occurred_at, 7).hex()
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO affidavit_events (id, version, organization, action, outcome, severity, source,"
            " imported, secret, recorded_at) VALUES (%s, 1, 'acme', 'a.b', 'success', 'info', 'api', false,"
            " decode(repeat('00', 32), 'hex'), %s)",
            (event, recorded_at or now()),
        )
        if pending:
            connection.execute(
                "INSERT INTO affidavit_pending (organization, id) VALUES ('acme', %s)", (event,)
            )


def test_nothing_is_said_against_a_server_that_is_set_up_well(sound: str) -> None:
    """Every check is there once and all is well; PostgreSQL 15 is among the versions that may be used."""
    found = findings(sound)
    assert [each for each in found if each.state != State.OK or each.advice] == []
    assert [each.check for each in found] == [
        *("PostgreSQL", "writing", "durability", "autovacuum", "clock of the database", "connections"),
        *("disk of the database", "grants", "months", "default partition", "queue", "queue bloat", "indexes"),
        "long transaction",
    ]


def test_settings_that_lose_data_are_named(url: str, postgres: Server) -> None:
    """This server has fsync and full_page_writes off; synchronous_commit is then taken away for some."""
    off = findings(url, "durability")
    assert [each.found.split()[0] for each in off] == ["fsync", "full_page_writes"]
    assert {each.state for each in off} == {State.FAIL}
    assert "ALTER SYSTEM SET fsync = on" in off[0].advice
    name = url.rpartition("/")[2]
    run(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    third = findings(url, "durability")[2]
    assert third.state == State.FAIL
    assert "synchronous_commit is off" in third.found
    assert f"every role in {name}" in third.found


def test_another_role_that_commits_without_waiting_is_named(sound: str) -> None:
    """The setting of a role that is not ours: its events can be lost all the same."""
    run(sound, "CREATE ROLE hasty LOGIN", "ALTER ROLE hasty SET synchronous_commit = off")
    try:
        finding = the(sound, "durability")
    finally:
        run(sound, "DROP ROLE hasty")
    assert finding.state == State.FAIL
    assert "hasty in every database" in finding.found


def test_autovacuum_that_is_off_is_named(careful: Server, sound: str) -> None:
    """On the whole server, and for one of our tables."""
    run(sound, "ALTER TABLE affidavit_pending SET (autovacuum_enabled = off)")
    assert [each.state for each in findings(sound, "autovacuum")] == [State.OK, State.WARN]
    assert "affidavit_pending" in findings(sound, "autovacuum")[1].found
    settings = careful.settings
    careful.stop()
    careful.settings = settings | {"autovacuum": "off"}
    careful.start()
    try:
        first = findings(sound, "autovacuum")[0]
    finally:
        careful.stop()
        careful.settings = settings
        careful.start()
    assert first.state == State.WARN
    assert "autovacuum is off" in first.found


def test_missing_months_are_named(url: str) -> None:
    """The last of those made ahead warns, this month fails."""
    with psycopg.connect(url, autocommit=True) as connection:
        months = connection.execute("SELECT part FROM affidavit_months ORDER BY low").fetchall()
        ahead, this = months[3][0], months[0][0]
        connection.execute("SELECT affidavit_month_drop(%s)", (ahead,))
    warned = the(url, "months")
    assert warned.state == State.WARN
    assert f"{ahead[-6:-2]}-{ahead[-2:]}" in warned.found
    assert f"{this[-6:-2]}-{this[-2:]}" not in warned.found
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT affidavit_month_drop(%s)", (this,))
    failed = the(url, "months")
    assert failed.state == State.FAIL
    assert f"{this[-6:-2]}-{this[-2:]}" in failed.found


def test_rows_in_the_default_partition_are_counted(url: str) -> None:
    """With the days on which they occurred."""
    for occurred_at in (1_262_304_000, 1_293_840_000):  # 2010-01-01 and 2011-01-01
        add(url, occurred_at * SECOND)
    finding = the(url, "default partition")
    assert finding.state == State.WARN
    assert finding.found.startswith("2 events that occurred from 2010-01-01 to 2011-01-01 ")


def test_a_queue_that_ages_is_named(url: str) -> None:
    """One that is fresh is not."""
    add(url, now(), pending=True)
    assert the(url, "queue").state == State.OK
    run(url, "DELETE FROM affidavit_pending")
    add(url, now(), recorded_at=now() - 3600 * SECOND, pending=True)
    finding = the(url, "queue")
    assert finding.state == State.WARN
    assert "1 events wait for their leaf, the oldest since 3600 s" in finding.found


def test_a_queue_that_grew_is_named_with_whoever_holds_it(url: str) -> None:
    """Dead rows that an open transaction keeps: table and index, the transaction's pid and application."""
    small = LIMITS._replace(bloat_bytes=1 << 18, held_seconds=0)
    with psycopg.connect(url, application_name="nightly report") as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 'hush, a password', count(*) FROM affidavit_events")
        run(
            url,
            "INSERT INTO affidavit_pending (organization, id)"
            " SELECT 'acme', gen_random_uuid() FROM generate_series(1, 20000)",
            "DELETE FROM affidavit_pending",
            "VACUUM affidavit_pending",
        )
        bloated = the(url, "queue bloat", limits=small)
        holder = the(url, "long transaction", limits=small)
        assert the(url, "queue bloat").state == the(url, "long transaction").state == State.OK
        pid = reader.info.backend_pid
    assert bloated.state == holder.state == State.WARN
    assert "affidavit_pending takes 1 MiB and its index affidavit_pending_seq takes" in bloated.found
    assert f"(nightly report, pid {pid})" in holder.found
    assert "does nothing" in holder.found
    assert f"pg_terminate_backend({pid})" in holder.advice
    assert "hush" not in holder.found + holder.advice
    assert "VACUUM FULL affidavit_pending" in bloated.advice
    run(url, "VACUUM FULL affidavit_pending")
    assert the(url, "queue bloat", limits=small).state == State.OK
    assert the(url, "long transaction", limits=small).state == State.OK


def test_a_recorder_that_does_not_commit_is_named(url: str) -> None:
    """It has no snapshot between two statements, but a number of its own."""
    with psycopg.connect(url, application_name="shop") as recorder:
        recorder.execute("INSERT INTO affidavit_pending (organization, id) VALUES ('a', gen_random_uuid())")
        holder = the(url, "long transaction", limits=LIMITS._replace(held_seconds=0))
        recorder.rollback()
    assert "(shop, pid" in holder.found


def test_a_prepared_transaction_is_named(sound: str) -> None:
    """It has no session and no pid; its name says whose it is."""
    eager = LIMITS._replace(held_seconds=0)
    run(
        sound,
        "BEGIN; INSERT INTO affidavit_meta VALUES ('a', 'b'); PREPARE TRANSACTION 'order 7'",
    )
    assert findings(sound, "prepared transaction") == []
    finding = the(sound, "prepared transaction", limits=eager)
    run(sound, "ROLLBACK PREPARED 'order 7'")
    assert finding.state == State.WARN
    assert "'order 7' of postgres" in finding.found
    assert findings(sound, "prepared transaction", limits=eager) == []


def stream(url: str, slot: str, xmin: int) -> None:
    """Be a standby for a moment: say that rows as of a transaction are still needed."""
    with closing(psycopg.connect(f"{url}?replication=true", autocommit=True)) as standby:
        at = standby.pgconn.exec_(b"IDENTIFY_SYSTEM").get_value(0, 2)
        assert at is not None
        started = standby.pgconn.exec_(b"START_REPLICATION SLOT %s PHYSICAL %s" % (slot.encode(), at))
        assert started.status == ExecStatus.COPY_BOTH
        standby.pgconn.put_copy_data(b"h" + struct.pack("!QIIII", 0, xmin, 0, 0, 0))
        standby.pgconn.flush()
        _wait(url, "SELECT xmin IS NOT NULL FROM pg_replication_slots")
    _wait(url, "SELECT NOT active FROM pg_replication_slots")


def _wait(url: str, question: str) -> None:
    """Until the answer is yes."""
    deadline = time.monotonic() + 20
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(question.encode()).fetchone() != (True,):
            assert time.monotonic() < deadline, question


def test_a_slot_that_nobody_uses_is_named(sound: str) -> None:
    """A standby that is gone and had asked to keep its rows; a slot that keeps none is not named."""
    with psycopg.connect(sound, autocommit=True) as connection:
        connection.execute("SELECT pg_create_physical_replication_slot('gone', true)")
        try:
            assert findings(sound, "replication slot") == []
            row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
            assert row is not None
            stream(sound, "gone", int(row[0]))
            finding = the(sound, "replication slot")
        finally:
            connection.execute("SELECT pg_drop_replication_slot('gone')")
    assert finding.state == State.WARN
    assert "gone, that no standby uses" in finding.found
    assert finding.advice == "SELECT pg_drop_replication_slot('gone')"


@pytest.mark.parametrize(
    ("ours", "state", "words"),
    [
        (-3.0, State.WARN, "3.0 s ahead of ours"),
        (3.0, State.WARN, "3.0 s behind ours"),
        (3600.0, State.FAIL, "3600.0 s behind ours"),
        (0.3, State.OK, "0.3 s behind ours"),
    ],
)
def test_clocks_that_differ_are_named(url: str, ours: float, state: State, words: str) -> None:
    """By how much and in which direction; more than five minutes fail, because events are refused then."""
    finding = the(url, "clock of the database", clock=lambda: now() + int(ours * SECOND))
    assert finding.state == state
    assert words in finding.found


def test_too_few_connections_for_the_pool_are_named(url: str, postgres: Server) -> None:
    """Of the server, and of a role that may have only some."""
    assert the(url, "connections", pool=10).state == State.OK
    few = the(url, "connections", pool=120)
    assert few.state == State.WARN
    assert "database_pool = 120 open 250" in few.found
    run(url, "CREATE ROLE modest LOGIN SUPERUSER CONNECTION LIMIT 6")
    try:
        of_role = the(postgres.url(url.rpartition("/")[2], user="modest"), "connections", pool=10)
    finally:
        run(url, "DROP ROLE modest")
    assert of_role.state == State.WARN
    assert of_role.found.startswith("6 connections")


def test_missing_grants_are_named_and_how_they_are_given(url: str, postgres: Server) -> None:
    """A role without any, one with those for recording only, one that is a server."""
    as_role = postgres.url(url.rpartition("/")[2], user="newcomer")
    run(url, "CREATE ROLE newcomer LOGIN")
    try:
        none = the(as_role, "grants")
        run(
            url,
            "GRANT SELECT ON affidavit_migrations, affidavit_meta TO newcomer",
            "GRANT SELECT, INSERT ON affidavit_events TO newcomer",
            "GRANT SELECT, INSERT, DELETE ON affidavit_pending TO newcomer",
        )
        some = the(as_role, "grants")
        run(url, "GRANT affidavit_server TO newcomer")
        assert the(as_role, "grants").state == State.OK
        alone = the(as_role, "long transaction")
    finally:
        run(url, "DROP OWNED BY newcomer", "DROP ROLE newcomer")
    assert none.state == some.state == State.FAIL
    assert "newcomer lacks" in none.found
    assert "on affidavit_leaves" in some.found
    assert 'GRANT affidavit_server TO "newcomer"' in some.advice
    assert alone.state == State.OK
    assert "pg_read_all_stats" in alone.advice


def test_an_index_that_was_not_built_to_its_end_is_named(url: str) -> None:
    """As an interrupted concurrent build leaves it."""
    for _ in range(2):
        run(url, "INSERT INTO affidavit_pending (organization, id) VALUES ('acme', gen_random_uuid())")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(url, "CREATE UNIQUE INDEX CONCURRENTLY half_built ON affidavit_pending (organization)")
    finding = the(url, "indexes")
    assert finding.state == State.WARN
    assert "half_built of affidavit_pending" in finding.found
    run(url, "DELETE FROM affidavit_pending", "REINDEX INDEX CONCURRENTLY half_built")
    assert the(url, "indexes").state == State.OK


def test_a_standby_is_named(careful: Server, sound: str) -> None:
    """It answers questions and takes no writes."""
    careful.stop()
    signal = careful.data_dir / "standby.signal"
    signal.touch()
    careful.start()
    try:
        finding = the(sound, "writing")
    finally:
        careful.stop()
        signal.unlink()
        careful.start()
    assert finding.state == State.FAIL
    assert "standby or in recovery" in finding.found
    assert the(sound, "writing").state == State.OK


def test_another_encoding_is_named(postgres: Server) -> None:
    """A database that cannot hold every text."""
    name = sql.Identifier("in_latin")
    with postgres.connect() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0").format(name)
        )
        try:
            finding = the(postgres.url("in_latin"), "PostgreSQL")
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    assert finding.state == State.FAIL
    assert "LATIN1" in finding.found


def test_a_version_that_nobody_has_tried_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is newer than those of the tests; PostgreSQL 18 is among them."""
    assert the(url, "PostgreSQL").state == State.OK
    monkeypatch.setattr(health, "NEWEST", 17)
    finding = the(url, "PostgreSQL")
    assert finding.state == State.WARN
    assert "runs 18" in finding.found


@pytest.mark.parametrize(
    ("free", "state"), [(99 << 20, State.FAIL), (1023 << 20, State.WARN), (1 << 31, State.OK)]
)
def test_a_disk_that_is_nearly_full_is_named(url: str, postgres: Server, free: int, state: State) -> None:
    """That of the database, where it is on this machine."""
    asked: list[Path] = []

    def disk(folder: Path) -> int:
        asked.append(folder)
        return free

    assert the(url, "disk of the database", disk=disk).state == state
    assert asked == [postgres.data_dir]


def test_a_disk_that_cannot_be_seen_is_no_finding(url: str) -> None:
    """A container's folder is not on this machine."""

    def disk(_folder: Path) -> int:
        raise FileNotFoundError

    assert findings(url, "disk of the database", disk=disk) == []


def test_a_server_that_does_not_answer_is_an_error(careful: Server) -> None:
    """Without a password in it."""
    hidden: Callable[[], object] = lambda: findings("postgresql://a:hush@127.0.0.1:1/none")  # noqa: E731
    with pytest.raises(StorageError) as raised:
        hidden()
    assert "127.0.0.1:1" in raised.value.message
    assert "hush" not in raised.value.message


def test_a_database_without_tables_is_asked_what_it_can_answer(postgres: Server) -> None:
    """The server's checks are there, those of the tables are not."""
    checks = {each.check for each in findings(postgres.url("postgres"))}
    assert {"PostgreSQL", "writing", "connections"} <= checks
    assert not {"months", "queue", "grants"} & checks


def test_the_command_shows_them_beside_its_own(tmp_path: Path, url: str, postgres: Server) -> None:
    """What the engine found stands between the other checks; one that fails ends with 1."""
    program = Program(tmp_path, database=url)
    done = program.run("doctor", "--json")
    assert done.code == 1
    found = {each["check"]: each["state"] for each in done.documents}
    assert (found["schema"], found["durability"], found["months"]) == ("ok", "fail", "ok")
    assert (found["worker"], found["log"], found["demo"]) == ("warn", "ok", "ok")
    assert "WAL" not in found


def test_the_command_says_why_a_database_cannot_be_opened(tmp_path: Path, postgres: Server) -> None:
    """The tables are missing; what the server can be asked is asked all the same."""
    done = Program(tmp_path, database=postgres.url("postgres")).run("doctor", "--json")
    assert done.code == 1
    first, *others = done.documents
    assert (first["check"], first["state"]) == ("database", "fail")
    assert "affidavit migrate" in first["found"]
    assert {each["check"] for each in others} == {"durability"}
