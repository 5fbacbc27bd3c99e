"""Captured models: each change that is committed is an event, and what no object shows is never silent."""
# ruff: noqa: PT012 - what is tried is what a whole block leaves behind

from __future__ import annotations

import asyncio
import copy
import json
import pickle
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import Group, User
from django.core import serializers
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, connections, models, transaction
from django.db.models import F, Value
from django.db.models.functions import Upper
from django.db.models.signals import post_save, pre_save
from django.test import Client
from django.test.utils import CaptureQueriesContext

from affidavit.core.row import COLUMNS
from affidavit.django import audit
from affidavit.django.capture import models as registry
from affidavit.errors import InvalidEvent
from affidavit.recorder.capture import uncaptured
from affidavit.recorder.capture.uncaptured import UncapturedChange
from affidavit.recorder.context import entered
from affidavit.recorder.fields import system
from tests.recorder.django.inside.transactions import cut, lost_in_the_commit
from tests.recorder.django.project.models import Bed, Herb, Kind, Plant, Plot, Row, Stake, Tag, Team, Tree

audit.capture(Plant, exclude=["seen_at", "changed_at"], mask=["shed_code"])
audit.capture(Stake, actions={"create": "stake.driven", "delete": "stake.pulled"})

CREATED = "project_plant.create"
UPDATED = "project_plant.update"
DELETED = "project_plant.delete"


class Seen(NamedTuple):
    """An event, as far as these tests look."""

    action: str
    id: str
    changes: dict[str, tuple[Any, Any]]
    metadata: dict[str, Any]


class Refused(Exception):
    """Of a test."""


def rows(alias: str, after: Any) -> list[dict[str, Any]]:
    """All events after a moment by plain SQL."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE recorded_at > %s"
            " ORDER BY recorded_at, id",
            [after],
        )
        return [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]


def last(alias: str) -> Any:
    """The moment of the last event."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT coalesce(max(recorded_at), 0) FROM affidavit_events")
        return cursor.fetchone()[0]


@pytest.fixture
def events() -> Callable[..., list[Seen]]:
    """The events of this test, in order."""
    before = {alias: last(alias) for alias in ("default", "other")}

    def new(alias: str = "default") -> list[Seen]:
        return [seen(row) for row in rows(alias, before[alias])]

    return new


def seen(row: dict[str, Any]) -> Seen:
    """An event."""
    resource = json.loads(row["resources"]).get("resources", [{"id": ""}])[0]
    pairs = json.loads(row["changes"]).get("changes", {})
    return Seen(
        row["action"],
        resource["id"],
        {name: (one["old"], one["new"]) for name, one in pairs.items()},
        json.loads(row["details"]).get("metadata", {}),
    )


@pytest.fixture(autouse=True)
def somebody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Acts in each test, beside whom nothing was counted before."""
    monkeypatch.setattr(uncaptured, "_counts", Counter())
    with audit.context(actor=system("test")):
        yield
    assert uncaptured.counted() == {}


def told(*expected: tuple[str, str, int]) -> None:
    """What was counted, which the end of the test does not wonder at."""
    found = {(table, kind): number for table, kind, number in expected}
    assert uncaptured.counted() == found
    uncaptured._counts.clear()


def statements(work: Callable[[], object], alias: str = "default") -> list[str]:
    """What the database is asked in an open block, without the events."""
    with transaction.atomic(using=alias), CaptureQueriesContext(connections[alias]) as found:
        work()
    return [each["sql"] for each in found.captured_queries if "affidavit_" not in each["sql"]]


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


def test_bulk_create(name: str, events: Callable[..., list[Seen]]) -> None:
    """One event for each object, all in one statement; rows that were there already are not told of."""
    plants = [Plant(name=f"{name}-{number}") for number in range(30)]
    with CaptureQueriesContext(connection) as asked:
        Plant.objects.bulk_create(plants, batch_size=10)
    assert sum("affidavit_" in each["sql"] for each in asked.captured_queries) == 1
    assert [each.changes["name"][1] for each in events()] == [plant.name for plant in plants]
    assert [each.id for each in events()] == [str(plant.pk) for plant in plants]
    plants[0].height = 9
    plants[0].save()
    assert events()[30].changes == {"height": (1, 9)}
    Plant.objects.bulk_create([Plant(name=f"{name}-0"), Plant(name=f"{name}-x")], ignore_conflicts=True)
    assert events()[31:] == [(CREATED, "*", {}, {"statement": "insert", "rows": 1})]
    Plant.objects.bulk_create(
        [Plant(name=f"{name}-0", height=5), Plant(name=f"{name}-y")],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["height"],
    )
    assert events()[32:] == [(CREATED, "*", {}, {"statement": "insert", "rows": 2})]


def test_more_than_fit_one_statement(name: str, events: Callable[..., list[Seen]]) -> None:
    """Events go in by the thousand."""
    Plant.objects.bulk_create([Plant(name=f"{name}-{number}") for number in range(1_001)])
    assert len(events()) == 1_001


def test_bulk_update(name: str, events: Callable[..., list[Seen]]) -> None:
    """One event for each object that was changed, with what it was."""
    plants = Plant.objects.bulk_create([Plant(name=f"{name}-{number}", height=number) for number in range(4)])
    for plant in plants[1:]:
        plant.height *= 10
    plants[0].shed_code = "not written"
    assert Plant.objects.bulk_update(plants, ["height"], batch_size=2) == 4
    assert [(each.id, each.changes) for each in events()[4:]] == [
        (str(plant.pk), {"height": (number, number * 10)}) for number, plant in enumerate(plants) if number
    ]
    plants[1].save()
    assert len(events()) == 7
    Plant.objects.filter(pk=plants[0].pk).delete()
    plants[1].height = 11
    Plant.objects.bulk_update(plants, ["height"])
    assert events()[8:] == [(UPDATED, "*", {"height": (None, None)}, {"statement": "update", "rows": 3})]


def test_queryset_update(name: str, events: Callable[..., list[Seen]]) -> None:
    """One event with the number of rows, or one for each row where the statement names just those keys."""
    first, second, _third = (Plant.objects.create(name=f"{name}{letter}") for letter in "abc")
    mine = Plant.objects.filter(name__startswith=name)
    plot = Plot.objects.create(name="p")
    assert mine.update(height=F("height") + 2, shed_code="9") == 3
    assert mine.filter(pk=first.pk).update(plot=plot) == 1
    assert mine.filter(pk__in=[first.pk, second.pk]).update(kind=Kind.WOOD, plot_id=None) == 2
    assert mine.filter(pk__in=[first.pk, 10**6]).update(height=1) == 1
    assert mine.filter(name="nobody").update(height=1) == 0
    assert mine.filter(models.Q(pk=first.pk) | models.Q(name=second.name)).update(height=1) == 2
    assert mine.exclude(pk=first.pk).update(seen_at=None) == 2
    found = events()[3:]
    assert found == [
        (
            UPDATED,
            "*",
            {"height": (None, "F(height) + Value(2)"), "shed_code": (None, "[masked]")},
            {"statement": "update", "rows": 3},
        ),
        (UPDATED, str(first.pk), {"plot_id": (None, plot.pk)}, {}),
        (UPDATED, str(first.pk), {"kind": (None, "wood"), "plot_id": (None, None)}, {}),
        (UPDATED, str(second.pk), {"kind": (None, "wood"), "plot_id": (None, None)}, {}),
        (UPDATED, "*", {"height": (None, 1)}, {"statement": "update", "rows": 1}),
        (UPDATED, "*", {"height": (None, 1)}, {"statement": "update", "rows": 2}),
    ]


def test_queryset_delete_and_cascades(name: str, events: Callable[..., list[Seen]]) -> None:
    """Each object that goes is an event, whoever takes it along; what is set to null is one, too."""
    plot, tag = Plot.objects.create(name=name), Tag.objects.create(name=name)
    plants = [Plant.objects.create(name=f"{name}{n}", plot=plot, guard=tag) for n in range(3)]
    for plant in plants:
        Stake.objects.create(plant=plant)
    plants[0].tags.add(Tag.objects.create(name="x"))
    done = len(events())
    Plant.objects.filter(pk=plants[0].pk).delete()
    tag.delete()
    plot.delete()
    found = [(each.action, each.id) for each in events()[done:]]
    assert found[2] == (UPDATED, "*")
    assert events()[done + 2].changes == {"guard_id": (None, None)}
    assert Counter(action for action, _id in found) == {DELETED: 3, "stake.pulled": 3, UPDATED: 1}
    assert [key for action, key in found if action == DELETED] == [
        str(plant.pk or key)
        for plant, key in zip(plants, [key for action, key in found if action == DELETED], strict=True)
    ]
    assert not Plant.objects.filter(name__startswith=name).exists()


def test_what_was_deleted_already(name: str, events: Callable[..., list[Seen]]) -> None:
    """Who comes too late deletes nothing, and is told of nothing."""
    plant = Plant.objects.create(name=name)
    twin = Plant.objects.get(pk=plant.pk)
    plant.delete()
    twin.delete()
    assert [each.action for each in events()] == [CREATED, DELETED]


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


def test_many_to_many(name: str, events: Callable[..., list[Seen]]) -> None:
    """Those that come and go, from both sides; what changes nothing is no event."""
    plant, other = Plant.objects.create(name=name), Plant.objects.create(name=f"{name}2")
    a, b, c = (Tag.objects.create(name=letter) for letter in "abc")
    done = len(events())
    plant.tags.add(a, b)
    plant.tags.add(a)
    plant.tags.set([b, c])
    plant.tags.remove(a)
    plant.tags.remove(a, c)
    c.plants.add(plant, other)
    c.plants.remove(other)
    plant.tags.clear()
    plant.tags.clear()
    plant.friends.add(other)
    other.friends.remove(plant)
    keys = [str(tag.pk) for tag in (a, b, c)]
    one, two = str(plant.pk), str(other.pk)
    assert events()[done:] == [
        (UPDATED, one, {"tags": (None, keys[:2])}, {}),
        (UPDATED, one, {"tags": (keys[:1], None)}, {}),
        (UPDATED, one, {"tags": (None, keys[2:])}, {}),
        (UPDATED, one, {"tags": ([keys[0], keys[2]], None)}, {"statement": "delete", "rows": 1}),
        (UPDATED, one, {"tags": (None, keys[2:])}, {}),
        (UPDATED, two, {"tags": (None, keys[2:])}, {}),
        (UPDATED, two, {"tags": (keys[2:], None)}, {}),
        (UPDATED, one, {"tags": (["*"], None)}, {"statement": "delete", "rows": 2}),
        (UPDATED, one, {"friends": (None, [two])}, {}),
        (UPDATED, two, {"friends": ([one], None)}, {}),
    ]


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


def test_no_query_is_made_for_it(
    name: str, events: Callable[..., list[Seen]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statements are those without capture, beside the events."""
    audit.register(Plant, type="plant", name="name")
    try:
        numbers = iter(range(100))

        def work() -> None:
            prefix = f"{name}-{next(numbers)}"
            plant = Plant.objects.create(name=prefix)
            plant.height = 2
            plant.save()
            part = Plant.objects.only("height").get(pk=plant.pk)
            part.height = 3
            part.save()
            Tree.objects.create(name=f"{prefix}t").save()
            made = Plant.objects.bulk_create([Plant(name=f"{prefix}b")])
            Plant.objects.bulk_update(made, ["height"])
            Plant.objects.filter(pk=made[0].pk).update(height=8)
            part.delete()

        first = statements(work)
        count = len(events())
        monkeypatch.setattr(registry, "_captured", {})
        registry.forget()
        second = statements(work)
    finally:
        monkeypatch.undo()
        registry.forget()
        audit.recorder.registered._classes.pop(Plant)
    assert [each.split('"')[0] for each in first] == [each.split('"')[0] for each in second]
    assert count == len(events()) == 7


def test_raw_sql_is_counted_and_warned_about_once(name: str, events: Callable[..., list[Seen]]) -> None:
    """What shows no objects is never silent: any statement, on any table of a captured model."""
    plant = Plant.objects.create(name=name)
    tag = Tag.objects.create(name=name)
    done = len(events())
    with connection.cursor() as cursor:
        with pytest.warns(UncapturedChange, match="update of project_plant"):
            cursor.execute("UPDATE project_plant SET height = 3 WHERE name = %s", [name])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cursor.execute("/* of us */ update Project_Plant SET height = 4 WHERE name = %s", [name])
            cursor.execute("UPDATE project_plant SET height = 5 WHERE name = 'nobody'")
            cursor.execute("SELECT 'UPDATE project_plant SET height = 5'")
            cursor.execute("UPDATE project_tag SET name = %s WHERE id = %s", [name, tag.pk])
            Team.objects.filter(name="nobody").update(plan="x")
        with pytest.warns(UncapturedChange, match="insert of project_plant_tags"):
            cursor.executemany(
                'INSERT INTO "project_plant_tags" (plant_id, tag_id) VALUES (%s, %s)', [(plant.pk, tag.pk)]
            )
        with pytest.warns(UncapturedChange, match="delete of project_plant_tags"):
            tag.delete()
        uncaptured._counts.clear()
        second = Tag.objects.create(name=name)
        with pytest.warns(UncapturedChange, match="insert of project_plant_tags"):
            Plant.tags.through.objects.create(plant=plant, tag=second)
    assert events()[done:] == []
    told(("project_plant_tags", "insert", 1))


def test_raw_sql_in_parts(name: str) -> None:
    """A change is found behind a WITH, and in one of several statements."""
    Plant.objects.create(name=name)
    parts = [
        f"WITH one AS (SELECT 1) UPDATE project_plant SET height = 3 WHERE name = '{name}'",
        f"DELETE FROM project_plant WHERE name = '{name}' RETURNING id",
    ]
    if connection.vendor == "postgresql":
        parts.append("SELECT 1; DELETE FROM public.project_plant WHERE name = 'nobody'")
        parts.append('TRUNCATE TABLE project_tag, "project_plant_tags" CASCADE')
    with warnings.catch_warnings(record=True), connection.cursor() as cursor:
        warnings.simplefilter("always")
        for each in parts:
            cursor.execute(each)
    counted = uncaptured.counted()
    assert counted["project_plant", "update"] == 1
    assert counted["project_plant", "delete"] >= 1
    assert ("project_plant_tags", "delete") in counted or connection.vendor == "sqlite"
    uncaptured._counts.clear()


def test_a_historical_model_is_counted(name: str) -> None:
    """What a data migration does with models of its own is a change that nobody recorded."""
    from django.db.migrations.state import ProjectState

    past = ProjectState.from_apps(models_of_now()).apps.get_model("project", "Plant")
    with pytest.warns(UncapturedChange, match="insert of project_plant"):
        past.objects.create(name=name)
    told(("project_plant", "insert", 1))


def models_of_now() -> Any:
    """The registry of apps."""
    from django.apps import apps

    return apps


def test_awaited(name: str, events: Callable[..., list[Seen]]) -> None:
    """The awaited forms are captured like any other."""

    async def work() -> None:
        plant = await Plant.objects.acreate(name=name)
        plant.height = 2
        await plant.asave()
        await Plant.objects.filter(pk=plant.pk).aupdate(height=3)
        await plant.arefresh_from_db()
        plant.height = 4
        await Plant.objects.abulk_update([plant], ["height"])
        await plant.tags.aadd(await Tag.objects.acreate(name=name))
        await plant.adelete()

    asyncio.run(work())
    found = events()
    assert [each.action for each in found] == [CREATED, *[UPDATED] * 4, DELETED]
    assert [each.changes["height"] for each in found[1:4]] == [(1, 2), (None, 3), (3, 4)]


def test_captured_below_the_class(name: str, events: Callable[..., list[Seen]]) -> None:
    """A model may be captured before all models are loaded: its relations are known when they are needed."""
    bed = Bed.objects.create(name=name, plot=Plot.objects.create(name=name))
    bed.plot = None
    bed.save()
    plant, other = Plant.objects.create(name=name), Plant.objects.create(name=f"{name}2")
    done = len(events())
    bed.plants.add(plant, other, through_defaults={"depth": 3})
    bed.plants.remove(other)
    Row.objects.create(bed=bed, plant=other)
    bed.delete()
    assert events()[0] == ("project_bed.create", str(bed_key := events()[0].id), {"name": (None, name)}, {})
    assert events()[done:] == [
        ("project_bed.update", bed_key, {"plants": (None, [str(plant.pk), str(other.pk)])}, {}),
        ("project_bed.update", bed_key, {"plants": ([str(other.pk)], None)}, {}),
        ("project_bed.delete", bed_key, {"name": (name, None)}, {}),
    ]


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
