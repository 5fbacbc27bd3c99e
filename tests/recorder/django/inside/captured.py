"""Captured objects: each change that is committed is an event, and what was taken back was never so."""
# ruff: noqa: PT012 - what is tried is what a whole block leaves behind

from __future__ import annotations

import copy
import json
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.core import serializers
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Upper
from django.db.models.signals import post_save, pre_save
from django.test import Client

from affidavit.django import audit
from affidavit.django.capture import models as registry
from affidavit.errors import InvalidEvent
from affidavit.recorder.context import entered
from tests.recorder.django.inside.gardens import (
    CREATED,
    DELETED,
    UPDATED,
    Seen,
    events,
    last,
    rows,
    somebody,
    statements,
)
from tests.recorder.django.inside.transactions import cut, lost_in_the_commit
from tests.recorder.django.project.models import Herb, Kind, Plant, Plot, Stake, Tree

__all__ = ["events", "somebody"]


class Refused(Exception):
    """Of a test."""


def test_save_and_delete(name: str, events: Callable[..., list[Seen]]) -> None:
    """Each with its values; what is excluded is no change, what is masked shows that it changed."""
    plant = Plant.objects.create(name=name, shed_code="12", planted=date(2026, 3, 1))
    plant.seen_at = datetime.now(UTC)
    plant.save()
    plant.height, plant.shed_code = 2, "34"
    plant.save()
    key = str(plant.pk)
    plant.delete()
    made, changed, gone = events()
    values = {
        "name": (None, name),
        "height": (None, 1),
        "kind": (None, "herb"),
        "photo": (None, ""),
        "planted": (None, "2026-03-01"),
    }
    assert made == (CREATED, key, values | {"shed_code": (None, "[masked]")}, {})
    assert changed == (UPDATED, key, {"height": (1, 2), "shed_code": ("[masked]", "[masked]")}, {})
    assert gone[:2] == (DELETED, key)
    assert gone.changes == {
        **{field: (new, old) for field, (old, new) in values.items()},
        "height": (2, None),
        "shed_code": ("[masked]", None),
    }


def test_a_loaded_object(name: str, events: Callable[..., list[Seen]]) -> None:
    """What was loaded is the old value, of all kinds of fields; what only looks different is no change."""
    Plant.objects.create(name=name, price=Decimal("1.50"), notes={"soil": ["clay"]}, planted=date(2026, 1, 2))
    plant = Plant.objects.get(name=name)
    plant.price, plant.height, plant.planted, plant.kind = Decimal("1.5"), "1", "2026-01-02", "herb"
    plant.save()
    assert len(events()) == 1
    plant = Plant.objects.get(name=name)
    plant.notes["soil"].append("sand")
    plant.save()
    plant.kind, plant.plot = Kind.WOOD, Plot.objects.create(name="p")
    plant.save()
    assert [each.changes for each in events()[1:]] == [
        {"notes": ({"soil": ["clay"]}, {"soil": ["clay", "sand"]})},
        {"kind": ("herb", "wood"), "plot_id": (None, plant.plot.pk)},
    ]


def test_a_file(name: str, events: Callable[..., list[Seen]], tmp_path: Path, settings_media: None) -> None:
    """A file is its name."""
    plant = Plant.objects.create(name=name)
    plant.photo.save("fern.txt", ContentFile(b"x"))
    stored = plant.photo.name
    again = Plant.objects.get(pk=plant.pk)
    assert again.photo.name == stored
    again.save()
    assert [each.changes for each in events()[1:]] == [{"photo": ("", stored)}]


@pytest.fixture
def settings_media(tmp_path: Path) -> Iterator[None]:
    """Files go to a folder of the test."""
    from django.test import override_settings

    with override_settings(MEDIA_ROOT=str(tmp_path)):
        yield


def test_update_fields_and_deferred_fields(name: str, events: Callable[..., list[Seen]]) -> None:
    """Only what is written is told, and what was never loaded is neither loaded nor told."""
    Plant.objects.create(name=name, height=3, shed_code="1")
    plant = Plant.objects.get(name=name)
    plant.height, plant.price = 4, Decimal(2)
    plant.save(update_fields=["height"])
    plant.save()
    part = Plant.objects.only("name").get(name=name)
    part.name = f"{name}!"
    assert len(statements(part.save)) == 1
    later = Plant.objects.defer("height").get(pk=plant.pk)
    assert later.height == 4
    later.height = 5
    later.save()
    blind = Plant.objects.defer("height").get(pk=plant.pk)
    blind.height = 6
    blind.save()
    assert [each.changes for each in events()[1:]] == [
        {"height": (3, 4)},
        {"price": (None, "2")},
        {"name": (name, f"{name}!")},
        {"height": (4, 5)},
        {"height": (None, 6)},
    ]


def test_expressions(name: str, events: Callable[..., list[Seen]]) -> None:
    """What SQL computes is the text of its expression; its value is known again when it was loaded."""
    plant = Plant.objects.create(name=name, height=3)
    plant.height = F("height") + 1
    plant.save()
    plant.refresh_from_db()
    plant.height += 1
    plant.save()
    assert [each.changes for each in events()[1:]] == [
        {"height": (3, "F(height) + Value(1)")},
        {"height": (4, 5)},
    ]


def test_refresh(name: str, events: Callable[..., list[Seen]]) -> None:
    """What others have written is the old value once it was loaded again: all of it, or one field."""
    plant = Plant.objects.create(name=name)
    other = Plant.objects.get(pk=plant.pk)
    other.height, other.notes = 7, {"a": 1}
    other.save()
    plant.refresh_from_db(fields=["height"])
    plant.height = 8
    plant.save(update_fields=["height"])
    with transaction.atomic():
        locked = Plant.objects.select_for_update().get(pk=plant.pk)
        locked.refresh_from_db()
        locked.notes["a"] = 2
        locked.save()
    assert [each.changes for each in events()[2:]] == [
        {"height": (7, 8)},
        {"notes": ({"a": 1}, {"a": 2})},
    ]


def test_objects_that_were_never_loaded(name: str, events: Callable[..., list[Seen]]) -> None:
    """Nothing is known of the row of an object made by hand, with another key, or in another database."""
    plant = Plant.objects.create(name=name, height=3)
    by_hand = Plant(pk=plant.pk, name=name, height=3)
    by_hand.save()
    assert events()[1].action == UPDATED
    assert events()[1].changes["height"] == (None, 3)
    second = Plant.objects.create(name=f"{name}2", height=3)
    plant.pk, plant.name = second.pk, f"{name}3"
    plant.save(force_update=True)
    assert events()[3][:2] == (UPDATED, str(second.pk))
    assert events()[3].changes["height"] == (None, 3)
    plant.pk = None
    plant._state.adding = True
    plant.name = f"{name}4"
    plant.save()
    assert events()[4].action == CREATED
    plant.save(using="other", force_insert=True)
    (elsewhere,) = events("other")
    assert (elsewhere.action, elsewhere.changes["name"]) == (CREATED, (None, f"{name}4"))
    here = Plant.objects.get(pk=plant.pk)
    here.save(using="other", force_update=True)
    assert events("other")[1].action == UPDATED
    assert events("other")[1].changes["height"] == (None, 3)
    assert len(events()) == 5


def test_copies(name: str, events: Callable[..., list[Seen]]) -> None:
    """A copy of an object knows what the object knew: one that was pickled, too."""
    plant = Plant.objects.create(name=name, height=3)
    for number, twin in enumerate(
        [copy.copy(plant), copy.deepcopy(plant), pickle.loads(pickle.dumps(plant))]
    ):
        twin.height = 10 + number
        twin.save()
    assert [each.changes["height"] for each in events()[1:]] == [(3, 10), (3, 11), (3, 12)]


def test_get_or_create_and_update_or_create(name: str, events: Callable[..., list[Seen]]) -> None:
    """One event where something was written."""
    for _ in range(2):
        Plant.objects.get_or_create(name=name, defaults={"height": 2})
    Plant.objects.update_or_create(name=name, defaults={"height": 3})
    assert [(each.action, each.changes["height"]) for each in events()] == [
        (CREATED, (None, 2)),
        (UPDATED, (2, 3)),
    ]


def test_inheritance(name: str, events: Callable[..., list[Seen]]) -> None:
    """An object over two tables is one event, whichever of its sides is touched."""
    tree = Tree.objects.create(name=name, rings=3)
    tree.rings, tree.height = 4, 5
    tree.save()
    tree = Tree.objects.get(pk=tree.pk)
    tree.height = 6
    tree.save(update_fields=["height"])
    Tree.objects.filter(pk=tree.pk).update(rings=5, height=7)
    Plant.objects.get(pk=tree.pk).delete()
    second = Tree.objects.create(name=name)
    second.delete()
    key = str(tree.pk)
    found = events()
    assert [(each.action, each.id) for each in found[:5]] == [
        (CREATED, key),
        (UPDATED, key),
        (UPDATED, key),
        (UPDATED, key),
        (DELETED, key),
    ]
    assert found[0].changes["rings"] == (None, 3)
    assert found[0].changes["height"] == (None, 1)
    assert [each.changes for each in found[1:4]] == [
        {"height": (1, 5), "rings": (3, 4)},
        {"height": (5, 6)},
        {"rings": (None, 5), "height": (None, 7)},
    ]
    assert found[4].changes["rings"] == (5, None)
    assert [each.action for each in found[5:]] == [CREATED, DELETED]


def test_a_proxy(name: str, events: Callable[..., list[Seen]]) -> None:
    """What is done through a proxy is done to the model."""
    herb = Herb.objects.create(name=name)
    herb.height = 2
    herb.save()
    key = str(herb.pk)
    Herb.objects.filter(pk=herb.pk).update(height=3)
    Herb.objects.filter(pk=herb.pk).delete()
    assert [(each.action, each.id) for each in events()] == [
        (action, key) for action in (CREATED, UPDATED, UPDATED, DELETED)
    ]


def test_a_class_that_comes_later(name: str, events: Callable[..., list[Seen]]) -> None:
    """A class that is made when its model is captured already is captured with it, its deletes as well."""
    meta = type("Meta", (), {"proxy": True, "app_label": "project"})
    late: Any = type(f"Late{uuid4().hex}", (Plant,), {"__module__": __name__, "Meta": meta})
    late.objects.create(name=name)
    late.objects.filter(name=name).delete()
    assert [each.action for each in events()] == [CREATED, DELETED]


def test_what_is_rolled_back(name: str, events: Callable[..., list[Seen]]) -> None:
    """A block, a nested one, a failed statement: events and rows are those that were committed."""
    with suppress(Refused), transaction.atomic():
        Plant.objects.create(name=f"{name}-gone")
        raise Refused
    with transaction.atomic():
        Plant.objects.create(name=name)
        with suppress(Refused), transaction.atomic():
            Plant.objects.create(name=f"{name}-gone")
            raise Refused
        with suppress(IntegrityError), transaction.atomic():
            Plant.objects.create(name=name)
        with suppress(IntegrityError), transaction.atomic():
            Plant.objects.bulk_create([Plant(name=f"{name}-gone"), Plant(name=name)])
    with suppress(IntegrityError):
        Plant.objects.create(name=name)
    assert [each.changes["name"] for each in events()] == [(None, name)]
    assert [plant.name for plant in Plant.objects.filter(name__startswith=name)] == [name]


def test_an_object_after_a_rollback(name: str, events: Callable[..., list[Seen]]) -> None:
    """What was rolled back was never so: the next save tells the change from what is in the database."""
    plant = Plant.objects.create(name=name, height=1)
    plant.height = 2
    with suppress(Refused), transaction.atomic():
        plant.save()
        raise Refused
    plant.save()
    with transaction.atomic():
        plant.height = 3
        plant.save()
        with suppress(Refused), transaction.atomic():
            plant.height = 4
            plant.save()
            loaded = Plant.objects.get(pk=plant.pk)
            with transaction.atomic():
                plant.height = 5
                plant.save()
            raise Refused
        plant.save()
        loaded.save(update_fields=["height"])
    mark = transaction.savepoint  # of a block without one of its own
    with transaction.atomic():
        sid = mark()
        plant.height = 6
        plant.save()
        transaction.savepoint_rollback(sid)
        plant.save()
    heights = [each.changes["height"] for each in events()]
    assert heights == [(None, 1), (1, 2), (2, 3), (3, 5), (None, 4), (5, 6)]


def test_save_without_a_block(name: str, events: Callable[..., list[Seen]]) -> None:
    """In autocommit a save that cannot be recorded does not happen, and one that can is committed at once."""
    inside: list[bool] = []

    def heard(**_more: Any) -> None:
        inside.append(connection.in_atomic_block)

    post_save.connect(heard, sender=Plant)
    pre_save.connect(heard, sender=Plant)
    try:
        plant = Plant.objects.create(name=name)
    finally:
        post_save.disconnect(heard, sender=Plant)
        pre_save.disconnect(heard, sender=Plant)
    assert inside == [False, False]
    plant.height = 5
    with entered(None):
        for work in (
            plant.save,
            plant.delete,
            lambda: Plant.objects.filter(pk=plant.pk).update(height=9),
            lambda: Plant.objects.bulk_update([plant], ["height"]),
            lambda: Plant.objects.bulk_create([Plant(name=f"{name}-x")]),
            lambda: Plant.objects.filter(pk=plant.pk).delete(),
            lambda: plant.tags.create(name="t"),
        ):
            with pytest.raises(InvalidEvent, match="actor"):
                work()
    assert Plant.objects.get(name__startswith=name).height == 1
    assert not Plant.objects.get(name=name).tags.exists()
    plant.save()
    assert [each.changes.get("height") for each in events()] == [(None, 1), (1, 5)]


def test_a_block_whose_event_failed_cannot_commit(name: str, events: Callable[..., list[Seen]]) -> None:
    """Who swallows the error of an event does not get his change committed without it."""
    with transaction.atomic():
        with entered(None), suppress(InvalidEvent):
            Plant.objects.create(name=name)
        with pytest.raises(transaction.TransactionManagementError):
            Plant.objects.count()
    assert not Plant.objects.filter(name=name).exists()
    assert events() == []


def test_autocommit_off(name: str, events: Callable[..., list[Seen]]) -> None:
    """In transactions by hand, too, events go with their changes."""
    transaction.set_autocommit(False)
    try:
        plant = Plant.objects.create(name=f"{name}-gone")
        transaction.rollback()
        plant.name = name
        plant.save(force_insert=True)
        transaction.commit()
        plant.height = 2
        plant.save()
        transaction.rollback()
        plant.save()
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert [each.changes["height"] for each in events()] == [(None, 1), (1, 2)]


@pytest.mark.parametrize("in_block", [True, False])
def test_connection_lost_before_the_commit(
    name: str, events: Callable[..., list[Seen]], in_block: bool
) -> None:
    """What was not committed is gone, change and event, and the object knows that."""
    plant = Plant.objects.create(name=name)
    plant.height = 2

    def lose(execute: Callable[..., Any], sql: str, *more: Any) -> Any:
        result = execute(sql, *more)
        if sql.startswith('UPDATE "project_plant"'):
            cut()
        return result

    if in_block:
        with pytest.raises(DatabaseError), transaction.atomic():
            plant.save()
            cut()
    else:
        # Django closes a cursor of SQLite without translating its errors.
        with pytest.raises((DatabaseError, sqlite3.Error)), connection.execute_wrapper(lose):
            plant.save()
    connection.close()
    assert len(events()) == 1
    plant.save()
    assert events()[1].changes == {"height": (1, 2)}
    assert Plant.objects.get(name=name).height == 2


@pytest.mark.skipif(connection.vendor != "postgresql", reason="there is no connection that could be lost")
@pytest.mark.parametrize("in_block", [True, False])
def test_connection_lost_during_the_commit(
    name: str, events: Callable[..., list[Seen]], in_block: bool
) -> None:
    """When the connection goes in the middle of the commit, there are as many events as changes."""
    block = transaction.atomic() if in_block else nullcontext()
    with lost_in_the_commit("project_plant"), pytest.raises(DatabaseError), block:
        Plant.objects.create(name=name)
    assert events() == []
    assert not Plant.objects.filter(name=name).exists()


def test_connection_lost_after_the_commit(name: str, events: Callable[..., list[Seen]]) -> None:
    """What was committed stays, and the object knows that, too."""
    plant = Plant.objects.create(name=name)
    cut()
    connection.close()
    plant.height = 2
    plant.save()
    assert [each.changes["height"] for each in events()] == [(None, 1), (1, 2)]


def test_two_databases(name: str, events: Callable[..., list[Seen]]) -> None:
    """The event is in the database of its change."""
    with transaction.atomic(using="other"):
        plant = Plant.objects.using("other").create(name=name)
    plant.height = 2
    plant.save()
    Plant.objects.using("other").filter(pk=plant.pk).update(height=3)
    plant.delete()
    assert [each.action for each in events("other")] == [CREATED, UPDATED, UPDATED, DELETED]
    assert events() == []


def test_fixtures(name: str, events: Callable[..., list[Seen]], tmp_path: Path) -> None:
    """What ``loaddata`` writes is told by the tables that it writes."""
    before = last("default")
    tree = Tree.objects.create(name=name, rings=2)
    fixture = tmp_path / "trees.json"
    fixture.write_text(serializers.serialize("json", [tree.plant_ptr, tree]))
    tree.delete()
    done = len(events())
    with entered(None):
        call_command("loaddata", str(fixture), verbosity=0)
    mine = events()[done:]
    assert [each.action for each in mine] == [CREATED, CREATED]
    assert "rings" not in mine[0].changes
    assert mine[1].changes == {"rings": (None, 2)}
    assert Tree.objects.get(name=name).height == 1
    call_command("loaddata", str(fixture), verbosity=0)
    actors = [json.loads(row["actor"])["actor"]["id"] for row in rows("default", before)]
    assert actors[done:] == ["loaddata"] * 2 + ["test"] * 2


def test_users_that_sign_in(name: str, events: Callable[..., list[Seen]]) -> None:
    """A captured user signs in by himself; his password is never shown."""
    audit.capture(User, exclude=["last_login"])
    try:
        user = User.objects.create_user(name, password="s3cret")
        with entered(None):
            assert Client().get(f"/sign-in/{name}").status_code == 200
        user.set_password("other")
        user.save()
        user.groups.add(Group.objects.create(name=name))
    finally:
        registry._captured.pop((id(audit.recorder), User))
        registry.forget()
    made, changed, related = (each for each in events() if each.action.startswith("auth_user."))
    assert made.changes["password"] == (None, "[masked]")
    assert changed.changes == {"password": ("[masked]", "[masked]")}
    assert related.changes == {"groups": (None, [str(Group.objects.get(name=name).pk)])}


def test_only_the_kinds_that_are_named(name: str, events: Callable[..., list[Seen]]) -> None:
    """A kind that was left out makes no event and is not counted."""
    plant = Plant.objects.create(name=name)
    stake = Stake.objects.create(plant=plant)
    stake.size = 2
    stake.save()
    stake.delete()
    assert [each.action for each in events()] == [CREATED, "stake.driven", "stake.pulled"]


def test_what_cannot_be_captured() -> None:
    """Mistakes are errors at once: a kind, a field, a class, a table that is another's."""
    with pytest.raises(TypeError, match="'changed' is none of"):
        audit.capture(Plant, actions={"changed": "plant.changed"})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="no field 'shedcode'"):
        audit.capture(Plant, mask=["shedcode"])
    with pytest.raises(TypeError, match="int"):
        audit.capture(int)
    with pytest.raises(TypeError, match="Plant_tags"):
        audit.capture(Plant.tags.through)


def test_values_that_json_cannot_say(name: str, events: Callable[..., list[Seen]]) -> None:
    """What a field holds never keeps a change from being recorded: its text is."""
    plant = Plant(name=name)
    plant.notes = Value({"a": 1}, models.JSONField())
    plant.save()
    plant.refresh_from_db()
    plant.name = Upper(Value(name))
    plant.save()
    assert events()[0].changes["notes"] == (None, "Value({'a': 1})")
    assert events()[1].changes == {"name": (name, f"Upper(Value({name!r}))")}


def test_resources_as_registered(name: str, events: Callable[..., list[Seen]]) -> None:
    """A registered model gives type and name of its events; a name that was not loaded stays away."""
    audit.register(Plant, type="plant", name="name", exclude=["plot"])
    before = last("default")
    try:
        plant = Plant.objects.create(name=name, plot=Plot.objects.create(name="p"))
        part = Plant.objects.only("height").get(pk=plant.pk)
        part.height = 3
        assert len(statements(part.save)) == 1
        Plant.objects.filter(pk=plant.pk).update(height=4)
    finally:
        audit.recorder.registered._classes.pop(Plant)
    found = [json.loads(row["resources"])["resources"][0] for row in rows("default", before)]
    key = str(plant.pk)
    assert found == [
        {"type": "plant", "id": key, "name": name},
        {"type": "plant", "id": key},
        {"type": "plant", "id": key},
    ]
    assert "plot_id" not in events()[0].changes


def test_an_id_that_is_not_the_key(name: str, events: Callable[..., list[Seen]]) -> None:
    """Where the id of a resource is another field, a key alone is not taken for it."""
    audit.register(Plant, type="plant", id="name")
    try:
        plant = Plant.objects.create(name=name)
        Plant.objects.filter(pk=plant.pk).update(height=4)
    finally:
        audit.recorder.registered._classes.pop(Plant)
    assert [(each.id, each.metadata) for each in events()] == [(name, {}), ("*", {"key": str(plant.pk)})]
