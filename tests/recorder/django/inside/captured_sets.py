"""Captured models in sets: bulk operations, querysets, relations, raw SQL. Nothing is silent."""

from __future__ import annotations

import asyncio
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, models
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from affidavit.django import audit
from affidavit.django.capture import models as registry
from affidavit.recorder.capture import uncaptured
from affidavit.recorder.capture.uncaptured import UncapturedChange
from tests.recorder.django.inside.gardens import (
    CREATED,
    DELETED,
    UPDATED,
    Seen,
    events,
    somebody,
    statements,
    told,
)
from tests.recorder.django.project.models import Bed, Kind, Plant, Plot, Row, Stake, Tag, Team, Tree

__all__ = ["events", "somebody"]


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
