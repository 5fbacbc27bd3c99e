"""Who acts is carried from the app to the triggers of its database, transaction by transaction."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from affidavit.embed import Audit
from affidavit.errors import ConfigError, InvalidEvent, WrongTransaction
from affidavit.recorder.capture.triggers import drop_sql
from affidavit.recorder.fields import system
from tests.pgbouncer import bouncer_on
from tests.postgres import Server
from tests.recorder.apps import App
from tests.recorder.triggered import ANA, BEN, app, engine, watch

__all__ = ["app", "engine", "server"]


@pytest.fixture(scope="module")
def server(postgres: Server) -> Server:
    """The version does not matter here."""
    return postgres


def audit_of(app: App) -> Audit:
    """The app's recorder."""
    return Audit(app.url, organization="acme", source="shop")


def test_an_engine_carries_who_acts(app: App) -> None:
    """Each transaction has the actor and the rest of its context, whatever connection the pool hands out.

    After a savepoint was rolled back, too, and where the actor becomes known in its middle.
    """
    watch(app)
    audit = audit_of(app)
    engine = create_engine(app.sqlalchemy_url, pool_size=1, max_overflow=0)
    audit.carry(engine)
    insert = text("INSERT INTO plants (id) VALUES (:id)")
    with (
        audit.context(actor=ANA, ip="203.0.113.7", trace_id="0" * 31 + "1", project="east"),
        engine.begin() as one,
    ):
        one.execute(insert, {"id": 1})
        inner = one.begin_nested()
        one.execute(insert, {"id": 2})
        inner.rollback()
        one.execute(insert, {"id": 3})
    with audit.context() as context, engine.begin() as one:
        one.execute(text("SELECT count(*) FROM plants"))
        context.update(actor=BEN)
        one.execute(insert, {"id": 4})
        one.exec_driver_sql("SAVEPOINT inner_part")
        with audit.context(actor=ANA):
            one.execute(insert, {"id": 5})
        one.exec_driver_sql("ROLLBACK TO SAVEPOINT inner_part")
        one.exec_driver_sql("/* a comment */ INSERT INTO plants (id) VALUES (6)")
    with pytest.raises(DBAPIError, match="say who changes it"), engine.begin() as one:
        one.execute(insert, {"id": 7})
    with audit.context(actor=ANA), engine.begin() as one:
        inner = one.begin_nested()
        one.execute(insert, {"id": 10})
        inner.rollback()
        one.execute(insert, {"id": 11})
        one.exec_driver_sql("COMMIT")
        one.exec_driver_sql("BEGIN")
        one.execute(insert, {"id": 12})
    with audit.context(actor=BEN), Session(engine) as session:
        session.execute(insert, {"id": 8})
        session.commit()
        session.execute(insert, {"id": 9})
        session.commit()
    engine.dispose()
    found = [
        (json.loads(resources)["resources"][0]["id"], actor, source, json.loads(context).get("ip"), project)
        for resources, actor, source, context, project in app.events(
            "resources", "actor_id", "source", "context", "project"
        )
    ]
    assert found == [
        ("1", "ana", "shop", "203.0.113.7", "east"),
        ("3", "ana", "shop", "203.0.113.7", "east"),
        ("4", "ben", "shop", None, None),
        ("6", "ben", "shop", None, None),
        ("11", "ana", "shop", None, None),
        ("12", "ana", "shop", None, None),
        ("8", "ben", "shop", None, None),
        ("9", "ben", "shop", None, None),
    ]


def test_a_transaction_without_writes_is_told_nothing(app: App) -> None:
    """Reading costs no round trip more, and a second write of a transaction neither."""
    watch(app)
    audit = audit_of(app)
    engine = create_engine(app.sqlalchemy_url)
    audit.carry(engine)
    seen: list[str] = []
    event.listen(engine, "after_cursor_execute", lambda _c, _k, sql, *_more: seen.append(sql.split()[0]))
    with audit.context(actor=ANA), engine.begin() as one:
        one.exec_driver_sql("SELECT 1")
        one.exec_driver_sql("INSERT INTO plants (id) VALUES (1)")
        one.exec_driver_sql("UPDATE plants SET name = 'x'")
    engine.dispose()
    assert [each for each in seen if each in ("SELECT", "INSERT", "UPDATE")] == [
        "SELECT",
        "SELECT",
        "INSERT",
        "UPDATE",
    ]


def test_connections_carry_who_acts(app: App) -> None:
    """A connection of psycopg is told for its transaction only, and not at all where it has none."""
    watch(app)
    audit = audit_of(app)
    with audit.context(actor=ANA), psycopg.connect(app.url) as connection:
        audit.carry(connection)
        connection.execute("INSERT INTO plants (id) VALUES (1)")
        connection.commit()
        with pytest.raises(psycopg.Error, match="say who changes it"):
            connection.execute("INSERT INTO plants (id) VALUES (2)")
    with audit.context(actor=ANA), closing(app.connect()) as connection:
        with pytest.raises(WrongTransaction, match="autocommit"):
            audit.carry(connection)
        with connection.transaction():
            audit.carry(connection)
            connection.execute("INSERT INTO plants (id) VALUES (3)")
    assert app.count() == 2
    with pytest.raises(ConfigError, match="no engine or connection"):
        audit.carry(object())
    with pytest.raises(ConfigError, match="PostgreSQL"):
        audit.carry(create_engine("sqlite://"))
    with (
        pytest.raises(InvalidEvent, match="ip"),
        audit.context(actor=ANA, ip="nowhere"),
        psycopg.connect(app.url) as connection,
    ):
        audit.carry(connection)


def test_what_is_awaited_carries_who_acts(app: App) -> None:
    """Async engines over psycopg and asyncpg, and an awaited connection of psycopg."""
    watch(app)
    audit = audit_of(app)

    async def story() -> None:
        for number, driver in enumerate(("psycopg", "asyncpg"), 1):
            engine = create_async_engine(app.url.replace("://", f"+{driver}://"))
            audit.carry(engine)
            with audit.context(actor=ANA):
                async with engine.begin() as connection:
                    await connection.execute(text(f"INSERT INTO plants (id) VALUES ({number})"))
            await engine.dispose()
        with audit.context(actor=BEN):
            async with await psycopg.AsyncConnection.connect(app.url) as connection:
                await audit.carry(connection)
                await connection.execute("INSERT INTO plants (id) VALUES (3)")

    asyncio.run(story())
    assert [actor for (actor,) in app.events("actor_id")] == ["ana", "ana", "ben"]


def test_through_pgbouncer(app: App, server: Server) -> None:
    """Two people share one connection to the server, transaction by transaction: each has her own changes."""
    watch(app)
    audit = audit_of(app)
    name = app.url.rpartition("/")[2]
    with bouncer_on(server, size=1) as port:
        address = f"postgresql://postgres@127.0.0.1:{port}/{name}"
        with (
            psycopg.connect(address, prepare_threshold=None) as one,
            psycopg.connect(address, prepare_threshold=None) as other,
        ):
            for number in range(10):
                for who, connection, base in ((ANA, one, 0), (BEN, other, 100)):
                    with audit.context(actor=who):
                        audit.carry(connection)
                        connection.execute("INSERT INTO plants (id) VALUES (%s)", (base + number,))
                        connection.commit()
            with pytest.raises(psycopg.Error, match="say who changes it"):
                one.execute("INSERT INTO plants (id) VALUES (77)")
    found = {
        (actor, int(json.loads(resources)["resources"][0]["id"]) >= 100)
        for actor, resources in app.events("actor_id", "resources")
    }
    assert found == {("ana", False), ("ben", True)}
    assert app.count() == 20


class Base(DeclarativeBase):
    """Of the model below."""


class Shrub(Base):
    """A model whose objects record themselves."""

    __tablename__ = "shrubs"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def test_a_model_and_a_trigger_do_not_both_record(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a captured model's table has triggers, the change is refused by name, not recorded twice."""
    monkeypatch.setattr("affidavit.recorder.capture.sqlalchemy._captured", {})
    audit = audit_of(app)
    engine = create_engine(app.sqlalchemy_url)
    Base.metadata.create_all(engine)
    watch(app, "shrubs")
    audit.carry(engine)
    with audit.context(actor=system("tests")), Session(engine) as session:
        session.add(Shrub(name="rose"))
        session.commit()
    assert app.count() == 1
    audit.capture(Shrub)
    with audit.context(actor=system("tests")), Session(engine) as session:
        session.add(Shrub(name="lilac"))
        with pytest.raises(DBAPIError, match="is captured by triggers and by audit"):
            session.commit()
        session.rollback()
        session.execute(text("DELETE FROM plants"))
        session.commit()
    with closing(app.connect()) as connection:
        connection.execute(drop_sql(connection, "shrubs"))
    with audit.context(actor=system("tests")), Session(engine) as session:
        session.add(Shrub(name="lilac"))
        session.commit()
    engine.dispose()
    assert app.events("action") == [("shrubs.create",)] * 2
