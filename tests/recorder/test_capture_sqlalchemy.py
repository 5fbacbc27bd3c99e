"""Captured models: each change that is committed is an event, and what no object shows is never silent."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    MetaData,
    Table,
    create_engine,
    delete,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from affidavit.embed import Audit
from affidavit.errors import InvalidEvent
from affidavit.recorder.capture import uncaptured
from affidavit.recorder.capture.uncaptured import UncapturedChange
from tests.recorder.apps import App
from tests.recorder.ports import ME, AlchemyAsyncSession, proper


class Base(DeclarativeBase):
    """Of the models below."""

    metadata = MetaData()


tags = Table(
    "plant_tags",
    Base.metadata,
    Column("plant_id", ForeignKey("plants.id"), primary_key=True),
    Column("tag_id", ForeignKey("tags.id"), primary_key=True),
)


class Tag(Base):
    """Many plants have many of them."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Leaf(Base):
    """Goes with its plant."""

    __tablename__ = "leaves"
    id: Mapped[int] = mapped_column(primary_key=True)
    plant_id: Mapped[int] = mapped_column(ForeignKey("plants.id"))


class Plant(Base):
    """The captured model."""

    __tablename__ = "plants"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    height: Mapped[int] = mapped_column(default=1)
    shed_code: Mapped[str | None]
    seen_at: Mapped[int | None]
    kind: Mapped[str] = mapped_column(default="plant")
    tags: Mapped[list[Tag]] = relationship(secondary=tags)
    leaves: Mapped[list[Leaf]] = relationship(cascade="all, delete-orphan")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plant"}  # noqa: RUF012


class Tree(Plant):
    """Inherits over a table of its own."""

    __tablename__ = "trees"
    id: Mapped[int] = mapped_column(ForeignKey("plants.id"), primary_key=True)
    rings: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "tree"}  # noqa: RUF012


@pytest.fixture
def engine(app: App) -> Iterator[Engine]:
    """Of the app, with its tables."""
    made = create_engine(app.sqlalchemy_url)
    proper(made)
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def audit(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[Audit]:
    """That captures plants and leaves, and nothing when the test is over."""
    from affidavit.recorder.capture import sqlalchemy

    monkeypatch.setattr(sqlalchemy, "_captured", {})
    monkeypatch.setattr(uncaptured, "_counts", Counter())
    made = Audit(app.url, organization="acme")
    made.capture(Plant, exclude=["seen_at"], mask=["shed_code"])
    made.capture(Leaf, actions={"create": "leaf.grown", "delete": "leaf.fallen"})
    with made.context(actor=ME):
        yield made
    sqlalchemy._tables.clear()


def events(app: App) -> list[tuple[str, str, dict[str, Any]]]:
    """Action, id of the resource and changes as pairs."""
    return [
        (
            action,
            json.loads(resources)["resources"][0]["id"],
            {name: (one["old"], one["new"]) for name, one in json.loads(changes).get("changes", {}).items()},
        )
        for action, resources, changes in app.events("action", "resources", "changes")
    ]


def test_insert_update_and_delete(app: App, engine: Engine, audit: Audit) -> None:
    """Each with its values; what is excluded is no change, what is masked shows that it changed."""
    with Session(engine) as session:
        one = Plant(name="fern", shed_code="12")
        session.add(one)
        session.commit()
        assert (one.height, one.shed_code, one.seen_at) == (1, "12", None)
        one.seen_at = 5
        session.commit()
        assert (one.height, one.shed_code) == (1, "12")
        one.height, one.shed_code, one.seen_at = 2, "34", 6
        session.commit()
        assert one.name == "fern"
        session.delete(one)
        session.commit()
    made, changed, gone = events(app)
    values = {"name": (None, "fern"), "height": (None, 1), "kind": (None, "plant")}
    assert made == ("plants.create", "1", values | {"shed_code": (None, "[masked]")})
    assert changed == ("plants.update", "1", {"height": (1, 2), "shed_code": ("[masked]", "[masked]")})
    assert gone[:2] == ("plants.delete", "1")
    assert gone[2]["name"] == ("fern", None)


def test_orphans_cascades_inheritance_and_many_to_many(app: App, engine: Engine, audit: Audit) -> None:
    """What the ORM deletes by itself is seen; an object over two tables is one event."""
    with Session(engine) as session:
        first, second = Tag(name="a"), Tag(name="b")
        one = Tree(name="oak", rings=3, tags=[first], leaves=[Leaf(), Leaf()])
        session.add_all([one, second])
        session.commit()
        assert len(one.tags) == 1
        one.tags = [second]
        session.commit()
        one.leaves.pop()
        session.commit()
        assert one.rings == 3
        session.delete(one)
        session.commit()
    found = events(app)
    assert sorted(action for action, _id, _changes in found) == [
        *["leaf.fallen"] * 2,
        *["leaf.grown"] * 2,
        *["plants.create", "plants.delete", "plants.update"],
    ]
    by_action = {action: changes for action, _id, changes in found}
    assert by_action["plants.create"]["rings"] == (None, 3)
    assert by_action["plants.create"]["tags"] == (None, ["1"])
    assert by_action["plants.update"] == {"tags": (["1"], ["2"])}
    assert uncaptured.counted() == {}


def test_what_is_rolled_back_makes_no_event(app: App, engine: Engine, audit: Audit) -> None:
    """A transaction, a savepoint, a flush that fails: events and rows are those that were committed."""
    with Session(engine) as session:
        session.add(Plant(name="fern"))
        session.flush()
        session.rollback()
        session.add(Plant(name="moss"))
        inner = session.begin_nested()
        session.add(Plant(name="gone"))
        session.flush()
        inner.rollback()
        session.commit()
        session.add(Plant(name="moss"))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
    assert [changes["name"] for _action, _id, changes in events(app)] == [(None, "moss")]
    assert app.ask("SELECT name FROM plants") == [("moss",)]


def test_no_query_is_made_for_it(
    app: App, engine: Engine, audit: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty expired objects: the statements are those without capture, and one for all their events."""
    from affidavit.recorder.capture import sqlalchemy

    def told(height: int) -> list[str]:
        seen: list[str] = []

        def listen(_c: object, _cursor: object, statement: str, *_more: object) -> None:
            seen.append(statement)

        with Session(engine) as session:
            plants = session.scalars(select(Plant)).all()
            session.commit()  # expires them
            event.listen(engine, "before_cursor_execute", listen)
            for plant in plants:
                plant.height = height
            session.commit()
            event.remove(engine, "before_cursor_execute", listen)
        return seen

    with Session(engine) as session:
        session.add_all([Plant(name=f"p{number}") for number in range(20)])
        session.commit()
    captured = told(7)
    monkeypatch.setattr(sqlalchemy, "_captured", {})
    assert [each for each in captured if "affidavit" not in each] == told(8)
    assert len([each for each in captured if "affidavit" in each]) == 1
    assert app.count() == 40


def test_statements_for_many_rows(app: App, engine: Engine, audit: Audit) -> None:
    """Through a session: one event with the number of rows, or one for each row whose key is named."""
    with Session(engine) as session:
        session.add_all([Plant(name="a"), Plant(name="b")])
        session.commit()
        session.execute(update(Plant).where(Plant.name != "z").values(height=Plant.height + 1, shed_code="9"))
        session.execute(update(Plant), [{"id": 1, "name": "c"}, {"id": 2, "name": "d"}])
        session.execute(insert(Plant), [{"name": "e", "kind": "plant"}, {"name": "f", "kind": "plant"}])
        session.execute(delete(Plant).where(Plant.name == "nobody"))
        session.execute(delete(Plant).where(Plant.name == "f"))
        session.commit()
        session.execute(delete(Plant))
        session.rollback()
    found = events(app)[2:]
    assert [(action, number) for action, number, _changes in found] == [
        ("plants.update", "*"),
        ("plants.update", "1"),
        ("plants.update", "2"),
        ("plants.create", "*"),
        ("plants.delete", "*"),
    ]
    assert found[0][2]["shed_code"] == (None, "[masked]")
    assert "height" in found[0][2]
    assert found[1][2] == {"name": (None, "c")}
    rows = [json.loads(details)["metadata"] for (details,) in app.events("details") if "rows" in details]
    assert [(one["statement"], one["rows"]) for one in rows] == [("update", 2), ("insert", 2), ("delete", 1)]
    assert uncaptured.counted() == {}


def test_what_shows_no_objects_is_counted_and_warned_about_once(
    app: App, engine: Engine, audit: Audit
) -> None:
    """Bulk operations, text, a connection, the table between two models: never silent."""
    with Session(engine) as session:
        with pytest.warns(UncapturedChange, match="insert of plants"):
            session.bulk_save_objects([Plant(name="a"), Plant(name="b")])
        with pytest.warns(UncapturedChange, match="update of plants"):
            session.execute(text("UPDATE plants SET height = 3"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.connection().execute(update(Base.metadata.tables["plants"]).values(height=4))
            session.execute(text("UPDATE plants SET height = 3 WHERE name = 'nobody'"))
            session.execute(text("UPDATE tags SET name = 'x'"))
        session.add(Tag(name="t"))
        session.flush()
        with pytest.warns(UncapturedChange, match="insert of plant_tags"):
            session.connection().execute(insert(tags).values(plant_id=1, tag_id=1))
        session.commit()
    assert uncaptured.counted() == {
        ("plants", "insert"): 2,
        ("plants", "update"): 4,
        ("plant_tags", "insert"): 1,
    }
    assert 'affidavit_uncaptured_total{table="plants",operation="update"} 4\n' in uncaptured.exposition()
    assert app.count() == 0


def test_a_change_by_nobody_is_stopped(app: App, engine: Engine, audit: Audit) -> None:
    """Without an actor neither the row nor an event is there."""
    from affidavit.recorder.context import entered

    with Session(engine) as session, entered(None):
        session.add(Plant(name="a"))
        with pytest.raises(InvalidEvent, match="actor"):
            session.commit()
    assert app.ask("SELECT count(*) FROM plants") == [(0,)]


def test_only_the_kinds_that_are_named(audit: Audit) -> None:
    """A kind that there is not is an error at once, and so is a class that is not mapped."""
    with pytest.raises(TypeError, match="'changed' is none of"):
        audit.capture(Plant, actions={"changed": "plant.changed"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="int"):
        audit.capture(int)


def test_an_async_session_is_captured_like_any_other(app: App, engine: Engine, audit: Audit) -> None:
    """Insert, update of an expired object, a statement for many rows and a bulk operation, all awaited."""

    async def told() -> None:
        port = AlchemyAsyncSession(app, audit)
        await port.open()
        session = port.target
        one = Plant(name="fern")
        session.add(one)
        await session.commit()
        one.height = 3
        await session.commit()
        await session.execute(update(Plant).values(height=5))
        await session.commit()
        with pytest.warns(UncapturedChange, match="insert of plants"):
            await session.run_sync(lambda inner: inner.bulk_save_objects([Plant(name="moss")]))
        await session.rollback()
        await session.close()

    asyncio.run(told())
    assert [(action, number) for action, number, _changes in events(app)] == [
        ("plants.create", "1"),
        ("plants.update", "1"),
        ("plants.update", "*"),
    ]
