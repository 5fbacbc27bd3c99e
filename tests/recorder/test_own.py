"""Connections of its own: at most two, never the app's, replaced when they die, the parent's left alone."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from affidavit.embed import Audit
from affidavit.errors import ConfigError, SchemaMissing, StorageError
from affidavit.recorder.fields import system
from affidavit.recorder.own import MOST
from affidavit.storage.sqlite.database import migrate_file
from affidavit.testing import make_tables
from tests.recorder.apps import App

ME = system("tests")


def audit_on(database: Any, **options: Any) -> Audit:
    """One that has an organization."""
    return Audit(database, organization="acme", **options)


def forms(app: App) -> dict[str, Callable[[], Any]]:
    """Everything that an ``Audit`` may be given for this database."""
    found: dict[str, Callable[[], Any]] = {
        "url": lambda: app.url,
        "engine": lambda: create_engine(app.sqlalchemy_url),
        "factory": lambda: app.connect,
    }
    if app.engine == "postgresql":
        found["async engine"] = lambda: create_async_engine(app.sqlalchemy_url)
    else:
        found["async engine"] = lambda: create_async_engine(app.url.replace("://", "+aiosqlite://"))
    return found


@pytest.mark.parametrize("form", ["url", "engine", "factory", "async engine"])
def test_each_way_to_name_the_database_records(app: App, form: str) -> None:
    """A URL, an engine, an async engine and a function: the event is in the database on return."""
    audit = audit_on(forms(app)[form]())
    for number in range(3):
        audit.record_now("team.update", actor=ME, resource=("team", number))
    assert app.count() == 3
    audit.close()


@contextmanager
def only_connection(app: App, **more: Any) -> Iterator[Any]:
    """A session that holds the only connection of its engine's pool."""
    engine = create_engine(app.sqlalchemy_url, poolclass=QueuePool, pool_size=1, max_overflow=0, **more)
    with closing(engine.connect()) as held:
        held.execute(text("SELECT 1"))
        yield engine
    engine.dispose()


def test_a_pool_of_one_connection_that_is_taken_stops_nobody(app: App) -> None:
    """The app's pool is left alone: two threads record at once while the app holds its only connection."""
    with only_connection(app, pool_timeout=0.1) as engine:
        audit = audit_on(engine)
        threads = [
            threading.Thread(target=lambda: [audit.record_now("team.update", actor=ME) for _ in range(5)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    audit.now.drain()
    assert app.count() == 20


def test_there_are_never_more_than_two(app: App) -> None:
    """Eight threads record; at most two connections are opened, and both are used again."""
    audit = audit_on(app.url)
    source = audit.now._own.source
    opened: list[Any] = []
    connect = source.connect

    def counted() -> Any:
        opened.append(connect())
        return opened[-1]

    source.connect = counted  # type: ignore[method-assign]
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(4):
            audit.record_now("team.update", actor=ME)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    audit.now.drain()
    assert app.count() == 32
    assert app.engine == "sqlite" or len(opened) <= MOST
    audit.close()


def test_the_arguments_of_the_apps_engine_are_kept(postgres_engine: Any) -> None:
    """What the app's listeners and connect_args do to a connection is done to ours, too."""
    url = postgres_engine.create().replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, connect_args={"application_name": "the app"})
    seen: list[str] = []
    event.listen(
        engine, "connect", lambda made, _record: seen.append(made.info.get_parameters()["application_name"])
    )
    audit = audit_on(engine)
    audit.record_now("team.update", actor=ME)
    assert seen == ["the app"]
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    audit.close()


def test_a_connection_that_died_while_idle_is_replaced(postgres_engine: Any) -> None:
    """After the server closed every session the next event is recorded, once."""
    url = postgres_engine.create()
    audit = audit_on(url)
    audit.record_now("team.update", actor=ME)
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        audit.record_now("team.update", actor=ME)
        assert other.execute("SELECT count(*) FROM affidavit_events").fetchall() == [(2,)]
    audit.close()


def test_parent_and_child_record_after_a_fork(app: App) -> None:
    """Each with connections of its own: the child's end closes nothing of the parent's."""
    for form in ("url", "engine"):
        audit = audit_on(forms(app)[form]())
        before = app.count()
        audit.record_now("team.update", actor=ME)
        process = os.fork()
        if process == 0:
            try:
                audit.record_now("team.delete", actor=ME)
                audit.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
        audit.record_now("team.update", actor=ME)
        assert app.count() == before + 3
        audit.close()


def test_a_parent_that_closes_takes_nothing_from_its_child(tmp_path: Path) -> None:
    """On SQLite the last one to close deletes the WAL: not while a child that was forked writes into it."""
    migrate_file(tmp_path / "app.db")
    app = App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path)
    audit = audit_on(app.url)
    audit.record_now("team.create", actor=ME)
    ready, go = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        try:
            audit.record_now("team.update", actor=ME)
            os.write(ready[1], b"!")
            os.read(go[0], 1)
            audit.record_now("team.delete", actor=ME)
            os._exit(0)
        finally:
            os._exit(1)
    os.read(ready[0], 1)
    audit.record_now("team.archive", actor=ME)
    audit.close()
    os.write(go[1], b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    for descriptor in (*ready, *go):
        os.close(descriptor)
    stored = [action for (action,) in app.events("action")]
    assert sorted(stored) == ["team.archive", "team.create", "team.delete", "team.update"]


@pytest.mark.parametrize(
    ("database", "said"),
    [
        ("mysql://x/y", "mysql://"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        (7, "int"),
        (object, "object"),
        (create_engine("sqlite://", poolclass=NullPool), "in memory"),
    ],
)
def test_what_is_no_database_is_named(database: Any, said: str) -> None:
    """At the first use, in words that say what to give instead."""
    with pytest.raises(ConfigError, match=said):
        audit_on(database).record_now("team.update", actor=ME)


def test_a_database_without_our_tables_names_the_command(tmp_path: Any, postgres_engine: Any) -> None:
    """Nothing is spooled for a database that was never migrated: waiting would not help."""
    path = tmp_path / "empty.db"
    sqlite3.connect(path).close()
    audit = audit_on(f"sqlite:///{path}")
    with pytest.raises(SchemaMissing, match="affidavit migrate"):
        audit.record_now("team.update", actor=ME)
    assert not (tmp_path / "empty-spool.db").exists()
    with pytest.raises(SchemaMissing, match="affidavit migrate"):
        audit_on(postgres_engine.create(), schema="nowhere").record_now("team.update", actor=ME)


def test_a_url_that_cannot_be_read_does_not_show_its_password() -> None:
    """The driver would quote it."""
    with pytest.raises(StorageError) as raised:
        audit_on("postgresql://app:hunter2@h/d?nonsense=1").record_now("team.update", actor=ME)
    assert "hunter2" not in repr(raised.value)
    assert "hunter2" not in str(raised.value.__cause__)


def test_a_relative_file_stays_where_it_was(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that changes its folder after the start goes on recording into the same file."""
    migrate_file(tmp_path / "app.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    audit = audit_on("sqlite:///app.db")
    audit.record_now("team.update", actor=ME)
    audit.close()
    monkeypatch.chdir(tmp_path / "elsewhere")
    audit.record_now("team.update", actor=ME)
    audit.close()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert App("sqlite", f"sqlite:///{tmp_path}/app.db", tmp_path).count() == 2


def test_a_session_is_no_place_to_look_for_a_connection(app: App) -> None:
    """An event of its own survives the rollback of the session that was open beside it."""
    engine = create_engine(app.sqlalchemy_url)
    audit = audit_on(engine)
    with Session(engine) as session:
        session.execute(text("SELECT count(*) FROM teams"))
        audit.record_now("team.update", actor=ME)
        session.rollback()
    engine.dispose()
    assert app.count() == 1
    audit.close()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_in_memory_the_event_waits_for_the_end_of_the_transaction(end: str) -> None:
    """There is one connection: what is denied meanwhile is stored when the transaction ends, either way."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    make_tables(engine)
    audit = audit_on(engine)
    stored = text("SELECT action FROM affidavit_events ORDER BY action")
    audit.record_now("team.seen", actor=ME)
    with Session(engine) as session:
        session.execute(text("CREATE TABLE teams (id INTEGER)"))
        session.execute(text("INSERT INTO teams VALUES (1)"))
        audit.denied("team.delete", actor=ME)
        assert session.execute(stored).all() == [("team.seen",)]
        getattr(session, end)()
    with engine.connect() as connection:
        assert connection.execute(stored).all() == [("team.delete",), ("team.seen",)]
        assert connection.execute(text("SELECT count(*) FROM teams")).scalar() == (end == "commit")
    audit.close()
    engine.dispose()


def test_in_memory_awaited() -> None:
    """The same of an async engine, from the thread that waits for it."""

    async def story() -> list[tuple[str]]:
        engine = create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool)
        async with engine.connect() as connection:
            await connection.run_sync(make_tables)
        audit = audit_on(engine)
        await audit.aio.record_now("team.seen", actor=ME)
        async with engine.connect() as connection:
            await connection.execute(text("CREATE TABLE teams (id INTEGER)"))
            await connection.execute(text("INSERT INTO teams VALUES (1)"))
            await audit.aio.denied("team.delete", actor=ME)
            await connection.rollback()
        await asyncio.to_thread(audit.close)
        async with engine.connect() as connection:
            found = await connection.execute(text("SELECT action FROM affidavit_events ORDER BY action"))
            rows = [(row[0],) for row in found]
        await engine.dispose()
        return rows

    assert asyncio.run(story()) == [("team.delete",), ("team.seen",)]
