"""Connections of drivers, blocking and awaited: there the log asks the database."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiosqlite
import psycopg
import pytest

from affidavit import Audit
from affidavit.errors import ConfigError
from affidavit.recorder.client import AsyncAuditClient, AuditClient
from affidavit.testing import AuditLog, make_tables, remove_triggers
from affidavit.testing.audit_log.place import NotAwaited
from tests.recorder.plugin.app import ME, OURS


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An SQLite database for tests."""
    make_tables(f"sqlite:///{tmp_path}/app.db")
    return tmp_path / "app.db"


@pytest.fixture
def audit(file: Path) -> Iterator[Audit]:
    """On the file; a connection is passed where the database is another."""
    made = Audit(f"sqlite:///{file}", organization=OURS, carry_into_threads=False)
    yield made
    made.close()


@pytest.fixture
def url() -> str:
    """A PostgreSQL database for tests."""
    make_tables(os.environ["APP_URL"])
    return os.environ["APP_URL"]


@pytest.mark.parametrize("where", ["file", "memory"])
def test_sqlite3(audit: Audit, file: Path, audit_log: AuditLog, where: str) -> None:
    """Open, committed, rolled back, and in memory as well."""
    with closing(sqlite3.connect(file if where == "file" else ":memory:")) as connection:
        if where == "memory":
            make_tables(connection)
        audit.record(connection, "team.create", actor=ME)
        assert audit_log.one().action == "team.create"
        connection.rollback()
        audit_log.none()
        audit.record(connection, "team.update", actor=ME)
        connection.commit()
        audit_log.one("team.update")
    assert len(audit_log) == (1 if where == "file" else 0)


def test_busy(audit: Audit, file: Path, audit_log: AuditLog) -> None:
    """What waits in the spool because the test itself writes is there for good."""
    with closing(sqlite3.connect(file)) as connection:
        audit.record(connection, "team.create", actor=ME)
        audit.denied("team.delete", actor=ME, reason="not an owner")
        assert [each.action for each in audit_log] == ["team.create", "team.delete"]
        connection.rollback()
    assert audit_log.one().reason == "not an owner"
    audit.record_now("team.seen", actor=ME)
    assert [each.action for each in audit_log] == ["team.delete", "team.seen"]


def test_client(tmp_path: Path, audit_log: AuditLog) -> None:
    """What a client has on its disk is recorded, though no server is there."""
    client = AuditClient("http://127.0.0.1:9", "token", spool=tmp_path / "client.db", organization="acme")
    client.record("team.update", actor=ME, changes={"name": ("Core", "Edge"), "password": ("a", "b")})
    changes = {"name": ("Core", "Edge"), "password": ("[masked]", "[masked]")}
    assert audit_log.one("team.update").changes == changes
    asyncio.run(AsyncAuditClient(client).record("team.delete", actor=ME))
    assert [each.action for each in audit_log] == ["team.update", "team.delete"]
    client.close(0.0)


ELSEWHERE = """
import sqlite3, sys
from affidavit import Audit, system
audit = Audit(f"sqlite:///{sys.argv[1]}", organization="acme")
holder = sqlite3.connect(sys.argv[1])
holder.execute("BEGIN IMMEDIATE")
audit.record_now("team.left", actor=system("elsewhere"))
assert audit.now.spool.waiting() == 1
import os
os._exit(0)
"""


def test_what_another_process_left_in_the_spool(audit: Audit, file: Path, audit_log: AuditLog) -> None:
    """It is stored when this one records, and is none of its events."""
    subprocess.run([sys.executable, "-c", ELSEWHERE, str(file)], check=True)
    audit.record_now("team.seen", actor=ME)
    assert [each.action for each in audit_log] == ["team.seen"]
    with closing(sqlite3.connect(file)) as connection:
        stored = connection.execute("SELECT action FROM affidavit_events ORDER BY action").fetchall()
    assert stored == [("team.left",), ("team.seen",)]


def test_psycopg(audit: Audit, url: str, audit_log: AuditLog) -> None:
    """Asked within its transaction; out of one the question does not begin a new one."""
    with psycopg.connect(url) as connection:
        audit.record(connection, "team.create", actor=ME)
        assert audit_log.one().occurred_at.tzinfo is not None
        connection.rollback()
        audit_log.none()
        audit.record(connection, "team.update", actor=ME)
        connection.commit()
        audit_log.one("team.update")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert audit_log.one().organization == OURS


def test_psycopg_awaited(audit: Audit, url: str, audit_log: AuditLog) -> None:
    """In an open transaction the log must be awaited, and says so; after it it need not be."""

    async def work() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await audit.record(connection, "team.create", actor=ME)
            with pytest.raises(NotAwaited, match=r"await audit_log\.look\(\)"):
                len(audit_log)
            assert (await audit_log.look()).one().action == "team.create"
            await connection.rollback()
            audit_log.none()
            await audit.record(connection, "team.update", actor=ME)
            await connection.commit()
            audit_log.one("team.update")

    asyncio.run(work())


def test_aiosqlite(audit: Audit, file: Path, audit_log: AuditLog) -> None:
    """It is awaited always."""

    async def work() -> None:
        async with aiosqlite.connect(file) as connection:
            await audit.record(connection, "team.create", actor=ME)
            (await audit_log.look()).one("team.create")
            await connection.rollback()
            (await audit_log.look()).none()

    asyncio.run(work())


def test_left_by_psycopg(url: str, audit_log: AuditLog) -> None:
    """What connections committed was taken away."""
    with psycopg.connect(url) as connection:
        ours = "SELECT count(*) FROM affidavit_events WHERE organization = %s AND action NOT LIKE 'app.%%'"
        assert connection.execute(ours, (OURS,)).fetchone() == (0,)
        connection.execute("TRUNCATE affidavit_events")
        connection.rollback()


def test_a_database_in_use_keeps_its_triggers(tmp_path: Path) -> None:
    """Where something was recorded as append-only, nobody takes that away."""
    url = f"sqlite:///{tmp_path}/app.db"
    audit = Audit(url, organization=OURS, carry_into_threads=False)
    audit.migrate()
    audit.record_now("team.create", actor=ME)
    audit.close()
    for work in (make_tables, remove_triggers):
        with pytest.raises(ConfigError, match="no database for tests"):
            work(url)
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute("DELETE FROM affidavit_events")
        assert connection.execute("SELECT count(*) FROM affidavit_events").fetchone() == (1,)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that keeps its triggers."""
    path = tmp_path_factory.mktemp("kept") / "app.db"
    Audit(f"sqlite:///{path}").migrate()
    return path


@pytest.mark.parametrize("before", [0, 1])
def test_what_is_append_only_is_left_alone(kept: Path, before: int) -> None:
    """There the events of a test stay, as those of anybody."""
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT count(*) FROM affidavit_events").fetchone() == (before,)
    audit = Audit(f"sqlite:///{kept}", organization=OURS, carry_into_threads=False)
    audit.record_now("team.create", actor=ME)
    audit.close()
