"""SQLAlchemy's sessions: what waits, when it is written, where, and what the ORM's history gives it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, String, Table, create_engine, event, func, text, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import NullPool, QueuePool

from affidavit.core.catalog import Catalog, EventType
from affidavit.embed import Audit
from affidavit.errors import InvalidEvent, SchemaMissing, WrongTransaction
from tests.recorder.apps import App
from tests.recorder.ports import ME, AlchemyAsyncSession, proper

Changes = dict[str, dict[str, Any]]


class Base(DeclarativeBase):
    """Of the models below."""


badges = Table(
    "crew_badges",
    Base.metadata,
    Column("crew_id", ForeignKey("crews.id"), primary_key=True),
    Column("badge_id", ForeignKey("badges.id"), primary_key=True),
)


class Badge(Base):
    """Many crews have many of them."""

    __tablename__ = "badges"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Crew(Base):
    """With defaults of the program and of the database."""

    __tablename__ = "crews"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40), unique=True)
    plan: Mapped[str] = mapped_column(default="free")
    region: Mapped[str] = mapped_column(server_default="eu")
    seats: Mapped[int] = mapped_column(Integer, default=1)
    door_code: Mapped[str | None] = mapped_column()
    notes: Mapped[str | None] = mapped_column()
    kind: Mapped[str] = mapped_column(default="crew")
    badges: Mapped[list[Badge]] = relationship(secondary=badges)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "crew"}  # noqa: RUF012


class NightCrew(Crew):
    """Inherits over a table of its own."""

    __tablename__ = "night_crews"
    id: Mapped[int] = mapped_column(ForeignKey("crews.id"), primary_key=True)
    lamp: Mapped[str]
    __mapper_args__ = {"polymorphic_identity": "night"}  # noqa: RUF012


class Visitor(Base):
    """Nobody registers it."""

    __tablename__ = "visitors"
    code: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def engine(app: App) -> Iterator[Engine]:
    """Of the app, with its tables."""
    made = create_engine(app.sqlalchemy_url)
    proper(made)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def audit(app: App) -> Audit:
    """That knows crews."""
    made = Audit(app.url, organization="acme")
    made.register(Crew, type="crew", name="name", exclude=["notes"], mask=["door_code"])
    return made


def changes(app: App) -> list[Changes]:
    """Of each event, oldest first; empty where it has none."""
    return [json.loads(text).get("changes", {}) for (text,) in app.events("changes")]


def resources(app: App) -> list[tuple[str, str, str | None]]:
    """The first of each event."""
    found = [json.loads(text)["resources"][0] for (text,) in app.events("resources")]
    return [(one["type"], one["id"], one.get("name")) for one in found]


def crews(app: App) -> int:
    """How many there are, in plain SQL."""
    return int(app.ask("SELECT count(*) FROM crews")[0][0])


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is executed meanwhile."""
    seen: list[str] = []

    def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", listen)


def ours(seen: list[str]) -> list[str]:
    """Those that write events."""
    return [each for each in seen if "affidavit_" in each]


def undone(session: Session, change: Callable[[], object]) -> None:
    """Change something in a savepoint, flush it, and leave by an error."""
    with session.begin_nested():
        change()
        session.flush()
        raise KeyError


def crew(session: Session, **fields: Any) -> Crew:
    """One that is committed and loaded."""
    made = Crew(name="a", **fields)
    session.add(made)
    session.commit()
    assert made.name == "a"
    return made


def test_a_new_object_has_its_id_and_all_its_values(app: App, engine: Engine, audit: Audit) -> None:
    """Values of the caller, of the program's defaults and of the database's, without those left out."""
    with Session(engine) as session:
        made = Crew(name="a", door_code="1234", notes="private")
        session.add(made)
        audit.record(session, "crew.create", actor=ME, resource=made)
        session.commit()
        assert resources(app) == [("crew", str(made.id), "a")]
    assert changes(app) == [
        {
            "name": {"old": None, "new": "a"},
            "plan": {"old": None, "new": "free"},
            "region": {"old": None, "new": "eu"},
            "seats": {"old": None, "new": 1},
            "kind": {"old": None, "new": "crew"},
            "door_code": {"old": None, "new": "[masked]"},
        }
    ]


def test_changes_of_several_flushes_are_one(app: App, engine: Engine, audit: Audit) -> None:
    """From the first old value to the last new one; what came back to what it was is no change."""
    with Session(engine) as session:
        one = crew(session)
        one.plan, one.seats = "pro", 5
        session.execute(text("SELECT 1"))
        assert session.query(Crew).count() == 1  # an autoflush
        one.plan, one.seats = "team", 1
        audit.record(session, "crew.update", actor=ME, resource=one)
        session.commit()
    assert changes(app) == [{"plan": {"old": "free", "new": "team"}}]


def test_history_of_a_savepoint_that_was_undone_is_gone(app: App, engine: Engine, audit: Audit) -> None:
    """What was flushed before it stays, and what an inner one changed joins the outer on its release."""
    with Session(engine) as session:
        one = crew(session)
        one.plan = "pro"
        with pytest.raises(KeyError):
            undone(session, lambda: setattr(one, "seats", 9))
        assert one.region == "eu"
        with session.begin_nested():
            one.region = "us"
        audit.record(session, "crew.update", actor=ME, resource=one)
        session.commit()
    assert changes(app) == [{"plan": {"old": "free", "new": "pro"}, "region": {"old": "eu", "new": "us"}}]


def test_a_transaction_begins_with_no_history(app: App, engine: Engine, audit: Audit) -> None:
    """Neither after a commit nor after a rollback is anything left of what was before."""
    with Session(engine) as session:
        one = crew(session)
        one.plan = "pro"
        session.commit()
        assert one.seats == 1
        one.seats = 2
        session.flush()
        session.rollback()
        audit.record(session, "crew.view", actor=ME, resource=one)
        session.commit()
    assert changes(app) == [{}]


def test_an_expired_object_is_not_loaded(app: App, engine: Engine, audit: Audit) -> None:
    """Nothing is asked: the id is known from the ORM's identity, the name is not known and stays absent."""
    with Session(engine) as session:
        one = crew(session)
        number = one.id
        session.commit()
        with statements(engine) as seen:
            audit.record(session, "crew.view", actor=ME, resource=one)
            session.commit()
        assert [each for each in seen if not each.startswith("BEGIN")] == ours(seen)
        assert len(ours(seen)) == 1
    assert resources(app) == [("crew", str(number), None)]


def test_an_expired_object_is_not_loaded_by_an_async_session(app: App, audit: Audit) -> None:
    """Where a lazy load would raise MissingGreenlet."""

    async def told() -> None:
        port = AlchemyAsyncSession(app, audit)
        await port.open()
        session: AsyncSession = port.target
        await session.run_sync(lambda inner: Base.metadata.create_all(inner.connection()))
        one = Crew(name="a")
        session.add(one)
        audit.record(session, "crew.create", actor=ME, resource=one)
        await session.commit()
        audit.record(session, "crew.view", actor=ME, resource=one)
        one.plan = "pro"
        async with session.begin_nested():
            audit.record(session, "crew.update", actor=ME, resource=one)
        await session.commit()
        await session.close()

    asyncio.run(told())
    assert [action for (action,) in app.events("action")] == ["crew.create", "crew.view", "crew.update"]
    assert crews(app) == 1


def test_deletes_inheritance_and_many_to_many(app: App, engine: Engine, audit: Audit) -> None:
    """The last values of what is gone; attributes of both tables; ids that left and that came."""
    with Session(engine) as session:
        first, second, third = (Badge(name=name) for name in "abc")
        one = NightCrew(name="owls", lamp="red", badges=[first, second])
        session.add_all([one, third])
        session.commit()
        assert (one.lamp, len(one.badges)) == ("red", 2)
        one.lamp, one.plan = "green", "pro"
        one.badges.remove(first)
        one.badges.append(third)
        audit.record(session, "crew.update", actor=ME, resource=one)
        session.commit()
        assert (one.lamp, one.door_code) == ("green", None)
        session.delete(one)
        audit.record(session, "crew.delete", actor=ME, resource=one)
        session.commit()
    assert [kind for kind, _id, _name in resources(app)] == ["crew", "crew"]
    updated, deleted = changes(app)
    assert updated == {
        "lamp": {"old": "red", "new": "green"},
        "plan": {"old": "free", "new": "pro"},
        "badges": {"old": ["1"], "new": ["3"]},
    }
    assert (deleted["lamp"], deleted["name"]) == (
        {"old": "green", "new": None},
        {"old": "owls", "new": None},
    )


def test_a_value_that_the_database_computes_is_its_expression(app: App, engine: Engine, audit: Audit) -> None:
    """It is not asked for, and an attribute that SQL set does not break the transaction."""
    with Session(engine) as session:
        one = crew(session)
        one.seats = Crew.seats + 1
        one.plan = func.lower("PRO")
        audit.record(session, "crew.update", actor=ME, resource=one)
        session.commit()
        assert one.seats == 2
    (found,) = changes(app)
    assert found["seats"]["old"] == 1
    assert "crews.seats" in found["seats"]["new"]
    assert "lower" in found["plan"]["new"]


def test_an_object_of_a_class_that_nobody_registered(app: App, engine: Engine) -> None:
    """Its table and key stand for it, and the flush that follows gives its changes."""
    audit = Audit(app.url, organization="acme")
    with Session(engine) as session:
        one = Visitor(code="v1", name="a")
        session.add(one)
        audit.record(session, "visitor.create", actor=ME, resource=one)
        session.commit()
    assert resources(app) == [("visitors", "v1", None)]
    assert changes(app) == [{"name": {"old": None, "new": "a"}}]


def test_an_event_that_requires_changes_takes_those_of_the_orm(
    app: App, engine: Engine, audit: Audit
) -> None:
    """They are not known when it is recorded; where the flush has none, the commit is stopped."""

    class Crews(Catalog, prefix="crews"):
        plan = EventType("plan.change", title="The plan changed", requires=["changes"])

    strict = Audit(app.url, organization="acme", catalogs=[Crews])
    strict.register(Crew, type="crew")
    with Session(engine) as session:
        one = crew(session)
        one.plan = "pro"
        strict.record(session, Crews.plan, actor=ME, resource=one)
        session.commit()
        strict.record(session, Crews.plan, actor=ME, resource=one)
        with pytest.raises(InvalidEvent, match="/changes"):
            session.commit()
        session.rollback()
        with pytest.raises(InvalidEvent, match="/changes"):
            strict.record(session, Crews.plan, actor=ME, resource=("crew", 1))
    assert changes(app) == [{"plan": {"old": "free", "new": "pro"}}]


def test_given_changes_win(app: App, engine: Engine, audit: Audit) -> None:
    """What the caller says of the changes is not touched."""
    with Session(engine) as session:
        one = crew(session)
        one.plan = "pro"
        audit.record(session, "crew.update", actor=ME, resource=one, changes={"tier": (1, 2)})
        session.commit()
    assert changes(app) == [{"tier": {"old": 1, "new": 2}}]


def test_many_events_of_one_flush_are_one_statement(app: App, engine: Engine, audit: Audit) -> None:
    """A hundred objects, a hundred events, each with the id of its own, by one round trip."""
    with Session(engine) as session:
        for number in range(100):
            one = Crew(name=f"crew {number:03}")
            session.add(one)
            audit.record(session, "crew.create", actor=ME, resource=one)
        with statements(engine) as seen:
            session.commit()
    assert len(ours(seen)) == 1
    assert resources(app) == [
        ("crew", str(number), name) for number, name in app.ask("SELECT id, name FROM crews ORDER BY name")
    ]


def test_more_events_than_a_batch_may_have(app: App, engine: Engine, audit: Audit) -> None:
    """A transaction with 2,001 events: three statements."""
    with Session(engine) as session:
        for number in range(2_001):
            audit.record(session, "crew.view", actor=ME, resource=("crew", number))
        with statements(engine) as seen:
            session.commit()
    assert len(ours(seen)) == 3
    assert app.count() == 2_001


def test_an_object_that_comes_into_the_session_later(app: App, engine: Engine, audit: Audit) -> None:
    """Its event waits through flushes of others; one that never comes stops the commit."""
    with Session(engine) as session:
        late = Crew(name="late")
        audit.record(session, "crew.create", actor=ME, resource=late)
        session.add(Crew(name="early"))
        session.flush()
        session.add(late)
        session.commit()
        assert resources(app) == [("crew", str(late.id), "late")]
        session.add(Crew(name="other"))
        audit.record(session, "crew.create", actor=ME, resource=Crew(name="never"))
        with pytest.raises(InvalidEvent, match="not added to the session"):
            session.commit()
        with pytest.raises(InvalidEvent, match="not added to the session"):
            session.commit()
        session.rollback()
    assert (crews(app), app.count()) == (2, 1)


def test_an_event_of_an_outer_part_is_not_lost_in_an_inner_one(
    app: App, engine: Engine, audit: Audit
) -> None:
    """Its object comes within a savepoint that is undone: the event waits for the part that it belongs to."""
    with Session(engine) as session:
        one = Crew(name="late")
        audit.record(session, "crew.create", actor=ME, resource=one)
        with pytest.raises(KeyError):
            undone(session, lambda: session.add(one))
        assert app.count() == 0
        session.add(one)
        session.commit()
    assert (crews(app), app.count()) == (1, 1)


def test_order_of_recording_is_order_of_events(app: App, engine: Engine, audit: Audit) -> None:
    """What was recorded before a savepoint stands before what was recorded in it, that before the rest."""
    with Session(engine) as session:
        audit.record(session, "crew.first", actor=ME)
        with session.begin_nested():
            audit.record(session, "crew.second", actor=ME)
        audit.record(session, "crew.third", actor=ME)
        session.commit()
    assert [action for (action,) in app.events("action")] == ["crew.first", "crew.second", "crew.third"]


def test_what_fails_in_a_flush_takes_its_event_along(app: App, engine: Engine, audit: Audit) -> None:
    """A constraint, with and without a savepoint, and an end after the flush; what follows is not touched."""
    with Session(engine) as session:
        crew(session)
        session.add(Crew(name="a"))
        audit.record(session, "crew.create", actor=ME, resource=("crew", "twice"))
        with pytest.raises(IntegrityError):
            session.flush()
        with pytest.raises(WrongTransaction, match="roll it back first"):
            audit.record(session, "crew.view", actor=ME)
        session.rollback()

        audit.record(session, "crew.view", actor=ME, resource=("crew", "outer"))
        inner = session.begin_nested()
        session.add(Crew(name="a"))
        audit.record(session, "crew.create", actor=ME, resource=("crew", "inner"))
        with pytest.raises(IntegrityError):
            session.flush()
        inner.rollback()
        session.commit()

        session.add(Crew(name="b"))
        audit.record(session, "crew.create", actor=ME, resource=("crew", "undone"))
        session.flush()
        session.rollback()
    assert [number for _type, number, _name in resources(app)] == ["outer"]


def test_a_session_that_is_closed_forgets_what_waited(app: App, engine: Engine, audit: Audit) -> None:
    """Nothing of it is written with the next transaction."""
    session = Session(engine)
    audit.record(session, "crew.view", actor=ME, resource=("crew", "old"))
    session.close()
    session.add(Crew(name="a"))
    audit.record(session, "crew.create", actor=ME, resource=("crew", "new"))
    session.commit()
    session.close()
    assert [number for _type, number, _name in resources(app)] == ["new"]


def test_a_commit_whose_event_fails_stays_undone(app: App, engine: Engine, audit: Audit) -> None:
    """Trying again does not commit the change alone: the event is still in its way."""
    connection = app.connect()
    gone = "TABLE affidavit_events" if app.engine == "sqlite" else "FUNCTION affidavit_record_v1"
    connection.execute(f"DROP {gone}")
    connection.close()
    with Session(engine) as session:
        session.execute(text("INSERT INTO badges (id, name) VALUES (1, 'a')"))
        audit.record(session, "badge.create", actor=ME)
        with pytest.raises(SchemaMissing):
            session.commit()
        with pytest.raises((SchemaMissing, DBAPIError)):
            session.commit()
    assert app.ask("SELECT count(*) FROM badges") == [(0,)]


def test_sessions_that_cannot_keep_the_promise_are_refused(app: App, engine: Engine, audit: Audit) -> None:
    """Two phases, AUTOCOMMIT, closed for good, and none begun where it does not begin by itself."""
    refused = {
        "two-phase": Session(engine, twophase=True),
        "AUTOCOMMIT": Session(engine.execution_options(isolation_level="AUTOCOMMIT")),
        "closed": Session(engine, close_resets_only=False),
        "begin": Session(engine, autobegin=False),
    }
    refused["closed"].close()
    for match, session in refused.items():
        with pytest.raises(WrongTransaction, match=match):
            audit.record(session, "crew.view", actor=ME)
        session.close()
    by_dialect = create_engine(app.sqlalchemy_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with Session(by_dialect) as session, pytest.raises(WrongTransaction, match="AUTOCOMMIT"):
        audit.record(session, "crew.view", actor=ME)
    assert app.count() == 0


def test_several_databases_in_one_session(app: App, engine: Engine, audit: Audit) -> None:
    """The event goes where its object is; where nothing says where that is, the commit is refused."""
    other = create_engine("sqlite://")
    Visitor.metadata.create_all(other)
    with Session(binds={Crew: engine, Badge: engine, Visitor: other}) as session:
        one = Crew(name="a")
        session.add_all([one, Visitor(code="v", name="b")])
        audit.record(session, "crew.create", actor=ME, resource=one)
        session.commit()
        assert app.count() == 1
        session.add_all([Crew(name="c"), Visitor(code="w", name="d")])
        audit.record(session, "crew.view", actor=ME, resource=("crew", 7))
        with pytest.raises(WrongTransaction, match="several databases"):
            session.commit()
        session.rollback()
        session.add(Crew(name="c"))
        session.expunge_all()
        session.add(Crew(name="e"))
        audit.record(session, "crew.create", actor=ME, resource=("crew", 7))
        session.commit()
    other.dispose()
    assert (crews(app), app.count()) == (2, 2)


def test_a_pool_of_one_connection_is_enough(app: App, audit: Audit) -> None:
    """The event takes the connection of the session and no other."""
    engine = create_engine(
        app.sqlalchemy_url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1
    )
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        one = crew(session)
        one.plan = "pro"
        audit.record(session, "crew.update", actor=ME, resource=one)
        session.commit()
    engine.dispose()
    assert app.count() == 1


def test_listeners_of_the_app_may_record(app: App, engine: Engine, audit: Audit) -> None:
    """In the flush of a row, after a flush, and before a commit, whoever listened first."""
    with Session(engine) as session:

        @event.listens_for(session, "before_commit")
        def before(inner: Session) -> None:
            audit.record(inner, "crew.before", actor=ME)

        @event.listens_for(session, "after_flush")
        def after(inner: Session, _context: object) -> None:
            audit.record(inner, "crew.flushed", actor=ME)

        session.add(Crew(name="a"))
        session.commit()
    assert sorted(action for (action,) in app.events("action")) == ["crew.before", "crew.flushed"]


def test_a_statement_alone_is_enough(app: App, engine: Engine, audit: Audit) -> None:
    """No object is in the session: the event is written at the commit."""
    with Session(engine) as session:
        crew(session)
    with Session(engine) as session, session.begin():
        session.execute(update(Crew).values(plan="pro"))
        audit.record(session, "crew.update", actor=ME)
    assert (app.count(), app.ask("SELECT plan FROM crews")) == (1, [("pro",)])


def test_an_outer_transaction_of_a_test_takes_all_back(app: App, engine: Engine, audit: Audit) -> None:
    """A session joined to a connection by savepoints, as suites do it: commits within are undone with it."""
    with engine.connect() as connection:
        outer = connection.begin()
        session = Session(connection, join_transaction_mode="create_savepoint")
        session.add(Crew(name="a"))
        audit.record(session, "crew.create", actor=ME)
        session.commit()
        assert connection.execute(text("SELECT count(*) FROM affidavit_events")).scalar() == 1
        session.close()
        outer.rollback()
    assert (crews(app), app.count()) == (0, 0)


def test_a_value_that_is_no_json_stops_the_commit(app: App, engine: Engine, audit: Audit) -> None:
    """The error names the field, nothing was committed; what nobody may see is never looked at."""
    with Session(engine) as session:
        crew(session)
        audit.record(session, "crew.update", actor=ME, resource=("crew", 1), metadata={"n": 1})
        with pytest.raises(InvalidEvent, match="metadata"):
            audit.record(session, "crew.update", actor=ME, metadata={"n": object()})
        with pytest.raises(InvalidEvent, match="actor"):
            audit.record(session, "crew.update")
        session.rollback()
    assert app.count() == 0
