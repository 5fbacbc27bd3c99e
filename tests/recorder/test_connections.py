"""Every kind of connection and session: an event is there when its change is, and only then."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable

import aiosqlite
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from affidavit.embed import Audit
from affidavit.errors import InvalidEvent, SchemaMissing, StorageReadOnly, WrongTransaction
from tests.recorder.apps import App
from tests.recorder.ports import ME, PORTS, Port, changed, port_of, recorded, sound

Story = Callable[[Port], Awaitable[None]]

STORIES: dict[str, tuple[Story, tuple[int, ...]]] = {}
"""What is done, and which changes are there afterwards."""


def story(*kept: int) -> Callable[[Story], Story]:
    """A story, and the changes that it keeps."""

    def told(function: Story) -> Story:
        STORIES[function.__name__] = function, kept
        return function

    return told


@story(1, 2)
async def commit(port: Port) -> None:
    """Two changes."""
    await port.both(1)
    await port.both(2)
    await port.commit()


@story()
async def rollback(port: Port) -> None:
    """All undone."""
    await port.both(1)
    await port.rollback()


@story(2)
async def rollback_then_commit(port: Port) -> None:
    """The connection goes on after it."""
    await port.both(1)
    await port.rollback()
    await port.both(2)
    await port.commit()


@story()
async def closed_without_an_end(port: Port) -> None:
    """Nobody committed."""
    await port.both(1)


@story(1, 3)
async def savepoint_undone(port: Port) -> None:
    """Events around it stay."""
    await port.both(1)
    inner = await port.savepoint()
    await port.both(2)
    await port.undo(inner)
    await port.both(3)
    await port.commit()


@story(1, 2)
async def savepoint_released(port: Port) -> None:
    """It belongs to what is around it."""
    await port.both(1)
    inner = await port.savepoint()
    await port.both(2)
    await port.release(inner)
    await port.commit()


@story()
async def savepoint_released_and_all_undone(port: Port) -> None:
    """With what is around it."""
    inner = await port.savepoint()
    await port.both(1)
    await port.release(inner)
    await port.rollback()


@story(1)
async def recorded_before_the_savepoint_that_is_undone(port: Port) -> None:
    """It was no part of it."""
    await port.change(1)
    await port.record(1)
    inner = await port.savepoint()
    await port.change(2)
    await port.undo(inner)
    await port.commit()


@story(1)
async def recorded_after_the_savepoint_that_is_undone(port: Port) -> None:
    """Nor was this."""
    await port.change(1)
    inner = await port.savepoint()
    await port.both(2)
    await port.undo(inner)
    await port.record(1)
    await port.commit()


@story(1, 2)
async def recorded_in_a_savepoint_that_follows_one_undone(port: Port) -> None:
    """Each is its own."""
    inner = await port.savepoint()
    await port.both(9)
    await port.undo(inner)
    inner = await port.savepoint()
    await port.both(1)
    await port.release(inner)
    await port.both(2)
    await port.commit()


@story(1)
async def statement_alone_before_the_event(port: Port) -> None:
    """No object is flushed."""
    await port.change(1)
    await port.say("UPDATE teams SET name = 'b'")
    await port.record(1)
    await port.commit()


@story(1)
async def refused_event_changes_nothing(port: Port) -> None:
    """What was recorded before it stays."""
    await port.both(1)
    with pytest.raises(InvalidEvent, match="/changes/x"):
        await port.record(2, changes={"x": (object(), 1)})
    await port.commit()


each_port = pytest.mark.parametrize(
    ("app", "name"), [(engine, name) for name, (_port, engine) in PORTS.items()], indirect=["app"]
)


@each_port
def test_events_are_those_of_the_changes_that_were_committed(app: App, name: str) -> None:
    """Commit, rollback, savepoints undone and released, a refused event: the same ids on both sides."""

    async def told(tale: Story, base: int) -> None:
        port = port_of(name, app, base)
        await port.open()
        try:
            await tale(port)
        finally:
            await port.close()

    expected: list[str] = []
    for base, (title, (tale, kept)) in enumerate(STORIES.items(), 1):
        asyncio.run(told(tale, base * 100))
        expected += [str(base * 100 + number) for number in kept]
        assert (title, changed(app), recorded(app)) == (title, sorted(expected), sorted(expected))
    assert sound(app) == len(expected)


on_postgres = pytest.mark.parametrize(
    ("app", "name"),
    [(engine, name) for name, (_port, engine) in PORTS.items() if engine == "postgresql"],
    indirect=["app"],
)
LOST = (psycopg.Error, DBAPIError)


def end_backend(app: App, backend: int) -> None:
    """Let PostgreSQL end a connection, and return when it is gone."""
    connection = app.connect()
    connection.execute("SELECT pg_terminate_backend(%s, 10000)", (backend,))
    connection.close()


@on_postgres
def test_a_lost_connection_takes_both_or_leaves_both(app: App, name: str) -> None:
    """The server ends the connection before the event, before the commit, within it, and after it."""
    ends = app.connect()
    ends.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
    )
    ends.execute(
        "CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON teams DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW WHEN (NEW.name = 'lost in the commit') EXECUTE FUNCTION lose()"
    )
    ends.close()

    async def told(base: int, when: str) -> None:
        port = port_of(name, app, base)
        await port.open()
        backend = await port.backend()
        await port.change(1)
        try:
            if when == "before the event":
                end_backend(app, backend)
            await port.record(1)
            if when == "before the commit":
                end_backend(app, backend)
            if when == "within it":
                await port.say(f"INSERT INTO teams VALUES ({base + 2}, 'lost in the commit')")
                await port.record(2)
            await port.commit()
        except LOST:
            assert when != "after it"
        else:
            assert when == "after it"
            end_backend(app, backend)
        try:
            await port.close()
        except LOST:
            pass

    for base, when in enumerate(("before the event", "before the commit", "within it", "after it"), 1):
        asyncio.run(told(base * 100, when))
    assert changed(app) == recorded(app) == ["401"]
    assert sound(app) == 1


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_sqlite_connections_that_commit_apart_or_are_closed_are_refused(app: App) -> None:
    """In autocommit, and without a BEGIN, an event would not share the change's fate."""
    audit = Audit(app.url, organization="acme")
    connection = sqlite3.connect(app.file, isolation_level=None)
    with pytest.raises(WrongTransaction, match=r"autocommit mode.*BEGIN"):
        audit.record(connection, "team.update", actor=ME)
    connection.execute("BEGIN")
    audit.record(connection, "team.update", actor=ME)
    connection.execute("COMMIT")
    connection.close()
    with pytest.raises(WrongTransaction, match="cannot be used"):
        audit.record(connection, "team.update", actor=ME)

    async def awaited() -> None:
        opened = await aiosqlite.connect(app.file, isolation_level=None)
        with pytest.raises(WrongTransaction, match="autocommit mode"):
            audit.record(opened, "team.update", actor=ME)
        await opened.close()
        with pytest.raises(WrongTransaction, match="cannot be used"):
            audit.record(opened, "team.update", actor=ME)

    asyncio.run(awaited())
    assert app.count() == 1


@pytest.mark.parametrize("app", ["postgresql"], indirect=True)
def test_psycopg_connections_that_commit_apart_or_are_closed_are_refused(app: App) -> None:
    """In autocommit outside of a transaction, in two phases, and when it is closed."""
    audit = Audit(app.url, organization="acme")
    connection = psycopg.connect(app.url, autocommit=True)
    with pytest.raises(WrongTransaction, match="autocommit mode"):
        audit.record(connection, "team.update", actor=ME)
    with connection.transaction():
        audit.record(connection, "team.update", actor=ME)
    connection.autocommit = False
    connection.tpc_begin("two")
    with pytest.raises(WrongTransaction, match="two-phase"):
        audit.record(connection, "team.update", actor=ME)
    connection.tpc_rollback()
    connection.close()
    with pytest.raises(WrongTransaction, match="closed"):
        audit.record(connection, "team.update", actor=ME)
    assert app.count() == 1


def test_sqlalchemy_connections_that_commit_apart_or_are_closed_are_refused(app: App) -> None:
    """AUTOCOMMIT by the engine or by the connection, two phases, and when it is closed."""
    audit = Audit(app.url, organization="acme")
    engine = create_engine(app.sqlalchemy_url, poolclass=NullPool)
    by_engine = create_engine(app.sqlalchemy_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    for connection in (engine.connect().execution_options(isolation_level="AUTOCOMMIT"), by_engine.connect()):
        connection.execute(text("SELECT 1"))
        with pytest.raises(WrongTransaction, match="AUTOCOMMIT"):
            audit.record(connection, "team.update", actor=ME)
        connection.close()
        with pytest.raises(WrongTransaction, match="closed"):
            audit.record(connection, "team.update", actor=ME)
    if app.engine == "postgresql":
        connection = engine.connect()
        connection.begin_twophase()
        with pytest.raises(WrongTransaction, match="two-phase"):
            audit.record(connection, "team.update", actor=ME)
        connection.close()
    assert app.count() == 0


@each_port
def test_a_database_without_the_tables_says_what_to_run(app: App, name: str) -> None:
    """The error names the command, and neither change nor event is there."""
    connection = app.connect()
    if app.engine == "sqlite":
        connection.execute("DROP TABLE affidavit_events")
    else:
        connection.execute("DROP FUNCTION affidavit_record_v1")
    connection.close()

    async def told() -> None:
        port = port_of(name, app)
        await port.open()
        await port.change(1)
        with pytest.raises(SchemaMissing, match="affidavit migrate"):
            await port.record_and_commit(1)
        await port.rollback()
        await port.close()

    asyncio.run(told())
    assert changed(app) == []


@on_postgres
def test_what_the_database_refuses_is_our_error(app: App, name: str) -> None:
    """A role that may not record, and a name that is reserved for the product itself."""
    connection = app.connect()
    connection.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
    connection.execute("DROP ROLE IF EXISTS stranger")
    connection.execute("CREATE ROLE stranger")

    async def told() -> None:
        port = port_of(name, app)
        await port.open()
        await port.say("SET ROLE stranger")
        with pytest.raises(StorageReadOnly, match="GRANT affidavit_writer"):
            await port.record_and_commit(1)
        await port.rollback()
        await port.close()

    asyncio.run(told())
    connection.execute("DROP ROLE stranger")
    connection.close()
    assert app.count() == 0


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
def test_a_full_disk_is_an_error_before_the_commit(app: App) -> None:
    """The event that finds no room raises the driver's error, and the change is undone with it."""
    audit = Audit(app.url, organization="acme")
    connection = sqlite3.connect(app.file)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    connection.execute("INSERT INTO teams VALUES (1, 'a')")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        audit.record(connection, "team.create", actor=ME, metadata={"text": "x" * 100_000})
    connection.rollback()
    connection.close()
    assert (changed(app), recorded(app)) == ([], [])
