"""``record_now``, ``denied``, ``attempt``, ``audited`` and their async forms: transactions of their own."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from affidavit.core.catalog import Catalog, EventType
from affidavit.embed import Audit
from affidavit.errors import InvalidEvent, SpoolFull, StorageBusy, WrongTransaction
from affidavit.recorder.fields import system
from affidavit.recorder.spool import Spool
from tests.recorder.apps import App

ME = system("tests")


class Base(DeclarativeBase):
    """Tables of the app."""


class Team(Base):
    """One team."""

    __tablename__ = "teams"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def audit(app: App) -> Iterator[Audit]:
    """On the database of the app."""
    made = Audit(app.url, organization="acme")
    made.register(Team, type="team", name="name")
    yield made
    made.now._own.close()


def said(app: App) -> list[tuple[str, str, str | None]]:
    """Action, outcome and reason of each event, oldest first."""
    return [
        (action, outcome, msgspec.json.decode(details).get("reason"))
        for action, outcome, details in app.events("action", "outcome", "details")
    ]


def resources(app: App) -> list[list[tuple[str, str]]]:
    """Type and id of the resources of each event."""
    found = []
    for (group,) in app.events("resources"):
        listed = msgspec.json.decode(group)
        entries = listed["resources"] if isinstance(listed, dict) and "resources" in listed else listed or []
        found.append([(entry["type"], entry["id"]) for entry in entries])
    return found


def test_an_event_of_its_own_stays_when_the_app_rolls_back(app: App, audit: Audit) -> None:
    """The change goes, the denial stays."""
    with closing(app.connect()) as connection:
        connection.execute("BEGIN")
        audit.denied("invoice.refund", actor=ME, resource=("invoice", 7), reason="not an owner")
        connection.execute("ROLLBACK")
    assert said(app) == [("invoice.refund", "failure", "not an owner")]
    assert resources(app) == [[("invoice", "7")]]


class Quiet(Catalog, prefix="quiet"):
    """What the classifier has no say on."""

    peek = EventType("peek", "Looked", severity="info", classified=False)


@pytest.mark.parametrize(
    ("action", "fields", "severity"),
    [
        ("invoice.refund", {}, "critical"),
        ("invoice.refund", {"severity": "warning"}, "warning"),
        (Quiet.peek, {}, "info"),
        ("quiet.peek", {}, "info"),
    ],
)
def test_what_somebody_may_not_is_critical(
    tmp_path: Path, action: str | EventType, fields: Any, severity: str
) -> None:
    """Unauthorized access, unless the caller or the catalog says something else; awaited, too."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme", catalogs=[Quiet])
    audit.denied(action, actor=ME, **fields)
    asyncio.run(audit.aio.denied(action, actor=ME, **fields))
    audit.close()
    assert app.events("severity", "outcome") == [(severity, "failure")] * 2


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_while_the_app_holds_the_write_lock_the_event_is_on_the_disk(tmp_path: Path, end: str) -> None:
    """Not stored and not lost: a second program finds it in the spool; it is stored once the lock is free."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme")
    with closing(app.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO teams VALUES (1, 'red')")
        first = audit.record_now("team.update", actor=ME)
        second = audit.record_now("team.delete", actor=ME)
        assert len(Spool(tmp_path / "app-spool.db").take(9)) == 2
        connection.execute(end)
    assert app.count() == 0
    audit.record_now("user.login", actor=ME)
    assert [row[0] for row in app.events("action")] == ["team.update", "team.delete", "user.login"]
    assert [row[0] for row in app.events("id")][:2] == [first.id, second.id]
    assert app.ask("SELECT count(*) FROM teams") == [(int(end == "COMMIT"),)]


def sqlite_app(folder: Path) -> App:
    """An app's database on SQLite alone."""
    from affidavit.storage.sqlite.database import migrate_file

    migrate_file(folder / "app.db")
    made = App("sqlite", f"sqlite:///{folder}/app.db", folder)
    with closing(made.connect()) as connection:
        connection.execute("CREATE TABLE teams (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    return made


@pytest.mark.parametrize("end", ["commit", "rollback", "close", "exception"])
def test_a_session_that_ends_lets_the_event_in(tmp_path: Path, end: str) -> None:
    """Commit, rollback, a plain close and a raise: after each the event is stored, with no further call."""
    app = sqlite_app(tmp_path)
    engine = create_engine(app.url)
    audit = Audit(engine, organization="acme")
    session = Session(engine)
    session.execute(text("INSERT INTO teams VALUES (1, 'red')"))
    audit.denied("team.delete", actor=ME)
    assert app.count() == 0
    if end == "exception":
        with pytest.raises(ZeroDivisionError), session:
            raise ZeroDivisionError
    else:
        getattr(session, end)()
    assert said(app) == [("team.delete", "failure", None)]
    assert app.ask("SELECT count(*) FROM teams") == [(int(end == "commit"),)]
    session.close()
    engine.dispose()


def test_an_attempt_within_the_sessions_own_transaction_fails_with_its_reason(app: App) -> None:
    """What the block wrote is rolled back; the failure is stored when that transaction has ended."""
    engine = create_engine(app.sqlalchemy_url)
    audit = Audit(engine, organization="acme")
    with pytest.raises(ValueError, match="too late"), Session(engine) as session, session.begin():  # noqa: PT012
        session.add(Team(id=1, name="red"))
        session.flush()
        with audit.attempt(session, "team.update", actor=ME, resource=("team", 1)):
            raise ValueError("too late")
    with Session(engine) as session, session.begin():
        session.add(Team(id=2, name="blue"))
        with audit.attempt(session, "team.update", actor=ME, resource=("team", 2)):
            session.flush()
    engine.dispose()
    assert said(app) == [
        ("team.update", "failure", "ValueError: too late"),
        ("team.update", "success", None),
    ]
    assert app.ask("SELECT id FROM teams") == [(2,)]
    audit.close()


def test_the_resource_of_a_failed_attempt_is_that_of_its_beginning(app: App) -> None:
    """After the rollback the object is expired: nothing is loaded, and its name is the one from before."""
    engine = create_engine(app.sqlalchemy_url)
    audit = Audit(engine, organization="acme")
    audit.register(Team, type="team", name="name")
    with Session(engine) as session:
        session.add(Team(id=1, name="red"))
        session.commit()
        team = session.get_one(Team, 1)
        with (  # noqa: PT012
            pytest.raises(ValueError, match="no"),
            audit.attempt(session, "team.update", actor=ME, resource=team),
        ):
            team.name = "blue"
            session.flush()
            session.rollback()
            session.expunge(team)
            raise ValueError("no")
    engine.dispose()
    assert resources(app) == [[("team", "1")]]
    assert app.ask("SELECT count(*) FROM affidavit_events WHERE resources LIKE '%red%'") == [(1,)]
    audit.close()


def test_a_new_object_whose_creation_failed_is_left_out(app: App) -> None:
    """It has no id and never gets one; the attempt itself is recorded."""
    engine = create_engine(app.sqlalchemy_url)
    audit = Audit(engine, organization="acme")
    audit.register(Team, type="team")
    with (
        Session(engine) as session,
        pytest.raises(ValueError, match="no"),
        audit.attempt(session, "team.create", actor=ME, resource=Team(name="x")),
    ):
        raise ValueError("no")
    engine.dispose()
    assert said(app) == [("team.create", "failure", "ValueError: no")]
    assert resources(app) == [[]]
    audit.close()


def test_a_missing_actor_is_an_error_before_anything_is_stored(app: App, audit: Audit) -> None:
    """Sync and awaited; neither database nor spool has anything afterwards."""
    with pytest.raises(InvalidEvent, match="actor"):
        audit.record_now("team.update")
    with pytest.raises(InvalidEvent, match="actor"):
        asyncio.run(audit.aio.denied("team.update"))
    with pytest.raises(TypeError, match="colour"):
        audit.record_now("team.update", actor=ME, colour="red")  # type: ignore[call-arg]
    assert app.count() == 0
    assert not list(app.folder.glob("*spool*"))


def test_a_failure_that_cannot_be_recorded_is_noted_on_what_was_raised(
    app: App, audit: Audit, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller's handlers see the error of the block; what is missing is named on it and in the log."""
    with (
        closing(app.connect()) as connection,
        pytest.raises(KeyError) as raised,
        audit.attempt(connection, "team.update"),
    ):
        raise KeyError("x")
    (note,) = raised.value.__notes__
    assert "could not be recorded" in note
    assert "actor" in note
    assert [record.name for record in caplog.records] == ["affidavit.recorder"]


def test_what_an_exception_says_can_be_anything(app: App, audit: Audit) -> None:
    """A NUL, a lone surrogate and ten thousand characters: the attempt is recorded all the same."""
    with closing(app.connect()) as connection:
        for words in ("a\x00b", "\ud800", "x" * 10_000, ""):
            with pytest.raises(RuntimeError), audit.attempt(connection, "team.update", actor=ME):
                raise RuntimeError(words)
    assert said(app) == [
        ("team.update", "failure", "RuntimeError"),
        ("team.update", "failure", "RuntimeError"),
        ("team.update", "failure", f"RuntimeError: {'x' * 10_000}"[:1_000]),
        ("team.update", "failure", "RuntimeError"),
    ]


def test_audited_records_returns_and_raises(app: App, audit: Audit) -> None:
    """With the resource that its arguments name, whatever way they were passed."""

    @audit.audited("report.export", resource=lambda report_id: ("report", report_id), actor=ME)
    def export(kind: str, report_id: int = 3) -> str:
        if kind == "bad":
            raise PermissionError("not yours")
        return kind * report_id

    assert export("a") == "aaa"
    assert export(report_id=2, kind="b") == "bb"
    with pytest.raises(PermissionError, match="not yours"):
        export("bad", 9)
    assert said(app) == [
        ("report.export", "success", None),
        ("report.export", "success", None),
        ("report.export", "failure", "PermissionError: not yours"),
    ]
    assert resources(app) == [[("report", "3")], [("report", "2")], [("report", "9")]]
    assert export.__name__ == "export"


def test_audited_methods_and_coroutines(app: App, audit: Audit) -> None:
    """``self`` may be named by the resource; a coroutine function stays one, and a cancelled call failed."""

    class Reports:
        kind = "report"

        @audit.audited("report.export", resource=lambda self, number: (self.kind, number), actor=ME)
        async def export(self, number: int) -> int:
            if number == 0:
                raise ValueError("zero")
            await asyncio.sleep(60 if number > 5 else 0)
            return number

    assert inspect.iscoroutinefunction(Reports.export)

    async def use() -> None:
        assert await Reports().export(4) == 4
        with pytest.raises(ValueError, match="zero"):
            await Reports().export(0)
        task = asyncio.create_task(Reports().export(8))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(use())
    assert said(app) == [
        ("report.export", "success", None),
        ("report.export", "failure", "ValueError: zero"),
        ("report.export", "failure", "CancelledError"),
    ]
    assert resources(app) == [[("report", "4")], [("report", "0")], [("report", "8")]]


def test_what_cannot_be_audited_is_named_where_it_is_decorated(audit: Audit) -> None:
    """A generator, and a resource that wants a parameter which the function has not."""
    with pytest.raises(TypeError, match="generator"):

        @audit.audited("report.export", actor=ME)
        def rows() -> Iterator[int]:
            yield 1

    with pytest.raises(TypeError, match="wants report_id; the function has number"):

        @audit.audited("report.export", resource=lambda report_id: ("r", report_id), actor=ME)
        def export(number: int) -> int:
            return number


def test_the_blocking_forms_refuse_to_stop_a_loop(app: App, audit: Audit) -> None:
    """In a running loop each says what to await instead; nothing is stored."""

    @audit.audited("report.export", actor=ME)
    def export() -> None:
        raise AssertionError("must not run")

    async def use() -> None:
        for name, call in (
            ("record_now", lambda: audit.record_now("a.b", actor=ME)),
            ("denied", lambda: audit.denied("a.b", actor=ME)),
            ("attempt", lambda: audit.attempt(None, "a.b", actor=ME).__enter__()),
            ("audited", export),
        ):
            with pytest.raises(WrongTransaction, match=rf"audit\.aio\.{name}"):
                call()

    asyncio.run(use())
    assert app.count() == 0


def test_the_awaited_forms_keep_the_context_of_their_task(app: App, audit: Audit) -> None:
    """Twenty tasks at once, each with an actor of its own, recorded from threads: nobody is mixed up."""

    async def one(number: int) -> None:
        with audit.context(actor=system(f"task-{number}")):
            await asyncio.sleep(0)
            await audit.aio.record_now("team.update", resource=("team", number))
            await audit.aio.denied("team.delete", resource=("team", number))

    async def use() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(use())
    audit.now.drain()
    pairs = [
        (msgspec.json.decode(actor), listed)
        for (actor,), listed in zip(app.events("actor"), resources(app), strict=True)
    ]
    assert len(pairs) == 40
    for actor, listed in pairs:
        who = actor.get("actor", actor)["id"]
        assert listed == [("team", who.removeprefix("task-"))]


def test_an_awaited_attempt_on_an_async_session(app: App) -> None:
    """Success with the session's commit, failure after its rollback, each once."""
    url = app.sqlalchemy_url.replace("sqlite:", "sqlite+aiosqlite:")

    async def use() -> None:
        engine = create_async_engine(url)
        audit = Audit(engine, organization="acme")
        async with AsyncSession(engine) as session, session.begin():
            session.add(Team(id=1, name="red"))
            async with audit.aio.attempt(session, "team.create", actor=ME, resource=("team", 1)):
                await session.flush()
        with pytest.raises(ValueError, match="no"):  # noqa: PT012
            async with AsyncSession(engine) as session, session.begin():
                session.add(Team(id=2, name="blue"))
                await session.flush()
                async with audit.aio.attempt(session, "team.create", actor=ME, resource=("team", 2)):
                    raise ValueError("no")
        await engine.dispose()
        audit.now._own.close()
        # A session's end lets events in by a thread of the loop's own; asyncio.run waits for these.

    asyncio.run(use())
    assert said(app) == [("team.create", "success", None), ("team.create", "failure", "ValueError: no")]
    assert app.ask("SELECT id FROM teams") == [(1,)]


def test_an_awaited_attempt_on_an_async_connection(postgres_engine: Any) -> None:
    """psycopg's: what is recorded on success is awaited within the connection's transaction."""
    url = postgres_engine.create()

    async def use() -> None:
        audit = Audit(url, organization="acme")
        async with await psycopg.AsyncConnection.connect(url) as connection:
            async with audit.aio.attempt(connection, "team.update", actor=ME):
                await connection.execute("SELECT 1")
            with pytest.raises(ValueError, match="no"):
                async with audit.aio.attempt(connection, "team.delete", actor=ME):
                    raise ValueError("no")
            await connection.rollback()
        audit.close()

    asyncio.run(use())
    app = App("postgresql", url, Path())
    assert said(app) == [("team.delete", "failure", "ValueError: no")]


class Lost:
    """A source whose connections break after the commit, as seen by the app: the outcome is unknown."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.lose = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def run(self, connection: Any, steps: Any) -> Any:
        recorded = self._source.run(connection, steps)
        if self.lose:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return recorded

    def is_away(self, error: BaseException) -> bool:
        return isinstance(error, psycopg.OperationalError) or bool(self._source.is_away(error))


@pytest.mark.parametrize("fields", [{}, {"occurred_at": "2026-11-20T10:00:00Z"}])
def test_a_commit_of_unknown_outcome_is_stored_once(app: App, fields: dict[str, Any]) -> None:
    """The event waits in the spool under the id it was committed with, and is found to be there already."""
    audit = Audit(app.url, organization="acme", spool=app.folder / "spool.db")
    lost = Lost(audit.now._own._source)
    audit.now._own._source = lost
    recorded = audit.record_now("team.update", actor=ME, **fields)
    assert audit.now.spool is not None
    assert audit.now.spool.waiting() == 1
    lost.lose = False
    assert audit.now.drain() == 1
    assert [bytes(row[0]) if app.engine == "sqlite" else row[0].bytes for row in app.events("id")] == [
        recorded.id
    ]
    audit.close()


def test_a_server_that_is_away_is_waited_for_in_the_spool(postgres_engine: Any, tmp_path: Path) -> None:
    """With a spool the event waits on the disk, without one the driver's error is the caller's."""
    nowhere = "postgresql://postgres@127.0.0.1:1/none"
    with pytest.raises(psycopg.OperationalError):
        Audit(nowhere, organization="acme").record_now("team.update", actor=ME)
    audit = Audit(nowhere, organization="acme", spool=tmp_path / "spool.db")
    first = audit.record_now("team.update", actor=ME)
    assert audit.now.spool is not None
    audit.now.spool.close()
    url = postgres_engine.create()
    later = Audit(url, organization="acme", spool=tmp_path / "spool.db")
    later.record_now("team.delete", actor=ME)
    app = App("postgresql", url, tmp_path)
    assert app.events("action") == [("team.update",), ("team.delete",)]
    assert app.events("id")[0][0].bytes == first.id
    later.close()


def test_a_spool_without_room_is_the_callers_error(tmp_path: Path) -> None:
    """Neither stored nor waiting: the caller is told."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme")
    audit.now.spool = Spool(tmp_path / "small.db", limit=10)
    with closing(app.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolFull):
            audit.record_now("team.update", actor=ME)
    assert app.count() == 0


def test_an_event_with_a_key_cannot_wait(tmp_path: Path) -> None:
    """Its id needs a secret of the database: a clear error while the lock is held, recorded afterwards."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme")
    keyed = {"idempotency_key": "k", "occurred_at": "2026-11-20T10:00:00Z"}
    with closing(app.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match="idempotency_key"):
            audit.record_now("team.update", actor=ME, **keyed)  # type: ignore[arg-type]
        connection.execute("ROLLBACK")
    first = audit.record_now("team.update", actor=ME, **keyed)  # type: ignore[arg-type]
    again = audit.record_now("team.update", actor=ME, **keyed)  # type: ignore[arg-type]
    assert (first.duplicate, again.duplicate, first.id) == (False, True, again.id)
    assert app.count() == 1


def test_what_the_database_refuses_for_good_stops_nobody_else(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes that are no row, between good ones, become dead letters; the others are stored."""
    audit = Audit(app.url, organization="acme", spool=app.folder / "spool.db")
    spool = audit.now.spool
    assert spool is not None
    lost = Lost(audit.now._own._source)
    audit.now._own._source = lost
    audit.record_now("team.update", actor=ME)
    (bad,) = spool.put([b"no row at all"])
    audit.record_now("team.delete", actor=ME)
    lost.lose = False
    assert audit.now.drain() == 2
    assert [letter.number for letter in spool.dead_letters()] == [bad]
    assert app.count() == 2
    assert "refused for good" in caplog.text
    audit.close()


def test_a_missing_table_parks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That the database is not migrated is no fault of the events: they wait on, and the log says so."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme")
    with closing(app.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        audit.record_now("team.update", actor=ME)
        connection.execute("ALTER TABLE affidavit_events RENAME TO away")
        connection.execute("COMMIT")
        audit.now.drain_if_possible()
        assert audit.now.spool is not None
        assert (audit.now.spool.waiting(), audit.now.spool.dead_letters()) == (1, [])
        assert caplog.records[-1].levelno == logging.ERROR
        connection.execute("ALTER TABLE away RENAME TO affidavit_events")
    assert audit.now.drain() == 1
    assert app.count() == 1


def test_a_broken_spool_does_not_take_back_what_was_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The event is in the database: the call succeeds, and the log names the file."""
    app = sqlite_app(tmp_path)
    (tmp_path / "app-spool.db").write_bytes(b"no database" * 100)
    audit = Audit(app.url, organization="acme")
    audit.record_now("team.update", actor=ME)
    assert app.count() == 1
    assert "app-spool.db" in caplog.text


def test_no_secret_reaches_the_spool(tmp_path: Path) -> None:
    """Masked before it is on the disk, as it would be in the database."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme")
    with closing(app.connect()) as connection:
        connection.execute("BEGIN IMMEDIATE")
        audit.record_now(
            "user.update",
            actor=ME,
            changes={"password": ("hunter2-old", "hunter2-new")},
            metadata={"deep": {"api_key": "hunter2-key"}, "seen": "visible"},
        )
        written = b"".join(path.read_bytes() for path in tmp_path.glob("app-spool.db*"))
    assert b"visible" in written
    assert b"hunter2" not in written


def test_sqlite3_and_its_savepoints_are_none_of_its_business(tmp_path: Path) -> None:
    """A lock that is freed by a rollback to the outermost savepoint frees the event, too."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="acme")
    connection = sqlite3.connect(app.file, isolation_level=None)
    connection.execute("SAVEPOINT one")
    connection.execute("INSERT INTO teams VALUES (1, 'red')")
    audit.record_now("team.update", actor=ME)
    connection.execute("ROLLBACK TO one")
    connection.execute("RELEASE one")
    connection.close()
    assert audit.now.drain() == 1
    assert app.count() == 1


SCRIPT = """
import sqlite3, sys
from affidavit.embed import Audit
from affidavit.recorder.fields import system
audit = Audit(f"sqlite:///{sys.argv[1]}", organization="acme")
app = sqlite3.connect(sys.argv[1], isolation_level=None)
app.execute("BEGIN IMMEDIATE")
audit.denied("team.delete", actor=system("script"))
app.execute("ROLLBACK")
"""


def test_a_script_that_ends_leaves_nothing_in_the_spool(tmp_path: Path) -> None:
    """Nothing told the recorder that the transaction was over; the end of the program does."""
    app = sqlite_app(tmp_path)
    subprocess.run([sys.executable, "-c", SCRIPT, str(app.file)], check=True, timeout=60)
    assert said(app) == [("team.delete", "failure", None)]
    assert not Spool(tmp_path / "app-spool.db").has_entries()
