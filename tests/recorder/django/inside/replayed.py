"""Whatever is done to captured objects in whatever blocks: the events, played in order, are the rows."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from affidavit.core.row import COLUMNS
from affidavit.django import audit
from affidavit.recorder.fields import system
from tests.recorder.django.project.models import Plant, Tag, Tree

audit.capture(Plant, exclude=["changed_at"])

SEEDS = int(os.environ.get("GARDENERS", "6"))
FIELDS = ("name", "height", "kind", "notes", "guard_id")


class Undone(Exception):
    """Takes a block back."""


class Gardener:
    """Does what an app might do, by chance, and keeps its objects whatever becomes of its transactions.

    Args:
        seed: of the chance.
        name: that the names of plants begin with.
    """

    def __init__(self, seed: int, name: str) -> None:
        self.chance = random.Random(seed)
        self.name = name
        self.plants: list[Plant] = []
        self.tag = Tag.objects.create(name=name)
        self.number = 0

    def work(self, depth: int = 0) -> None:
        """Some steps, each perhaps in a block, which is perhaps taken back."""
        for _ in range(self.chance.randrange(3, 9)):
            if depth < 3 and self.chance.random() < 0.35:
                with suppress(Undone), transaction.atomic():
                    self.work(depth + 1)
                    if self.chance.random() < 0.5:
                        raise Undone
            else:
                with suppress(IntegrityError), transaction.atomic():
                    self.chance.choice(self.steps)()

    @property
    def steps(self) -> list[Callable[[], object]]:
        """What may be done."""
        return [
            self.create,
            self.bulk_create,
            *[self.save] * 4,
            self.save_some,
            self.change_in_place,
            self.reload,
            self.refresh,
            self.bulk_update,
            self.update,
            self.twice,
            self.delete,
            self.delete_all_of,
        ]

    def made(self) -> Plant:
        """A new object; now and then of a name that is taken."""
        self.number += self.chance.random() < 0.9
        kind = Tree if self.chance.random() < 0.3 else Plant
        return kind(name=f"{self.name}-{self.number}", height=self.chance.randrange(9))

    def change(self, plant: Plant) -> None:
        """One field gets another value, or the same."""
        field = self.chance.choice(FIELDS)
        values: dict[str, Callable[[], object]] = {
            "name": lambda: f"{self.name}-{self.chance.randrange(30)}",
            "height": lambda: self.chance.randrange(3),
            "kind": lambda: self.chance.choice(["herb", "wood"]),
            "notes": lambda: self.chance.choice([None, {"a": [1]}, {"a": [1, 2]}]),
            "guard_id": lambda: self.chance.choice([None, self.tag.pk]),
        }
        setattr(plant, field, values[field]())

    def one(self) -> Plant:
        """An object that the app has."""
        if not self.plants:
            self.create()
        return self.chance.choice(self.plants)

    def keep(self, *plants: Plant) -> None:
        """Have these, and no second object of their rows, which would write what it has not seen change.

        A key that was taken back is given out again on SQLite.
        """
        keys = {plant.pk for plant in plants}
        self.plants = [each for each in self.plants if each.pk not in keys] + list(plants)

    def create(self) -> None:
        plant = self.made()
        plant.save()
        self.keep(plant)

    def bulk_create(self) -> None:
        self.number += 1
        plants = [Plant(name=f"{self.name}-{self.number}-{letter}") for letter in "ab"]
        self.keep(*Plant.objects.bulk_create(plants))

    def save(self) -> None:
        plant = self.one()
        self.change(plant)
        plant.save()

    def save_some(self) -> None:
        plant = self.one()
        self.change(plant)
        self.change(plant)
        if Plant.objects.filter(pk=plant.pk).exists():
            plant.save(update_fields=["height", "notes"])

    def change_in_place(self) -> None:
        plant = self.one()
        if isinstance(plant.notes, dict):
            plant.notes["a"].append(self.chance.randrange(9))
        plant.save()

    def reload(self) -> None:
        found = list(Plant.objects.filter(name__startswith=self.name).order_by("pk"))
        if found:
            self.keep(self.chance.choice(found))

    def refresh(self) -> None:
        plant = self.one()
        with suppress(Plant.DoesNotExist):
            plant.refresh_from_db(fields=self.chance.choice([None, ["height", "kind"]]))

    def bulk_update(self) -> None:
        self.plants = list({each.pk: each for each in self.plants}.values())
        there = set(Plant.objects.filter(name__startswith=self.name).values_list("pk", flat=True))
        plants = [each for each in self.plants if each.pk in there]
        for plant in plants:
            plant.height += self.chance.randrange(2)
        Plant.objects.bulk_update(plants, ["height"])

    def update(self) -> None:
        plant = self.one()
        Plant.objects.filter(pk=plant.pk).update(height=self.chance.randrange(9))
        with suppress(Plant.DoesNotExist):
            plant.refresh_from_db()

    def twice(self) -> None:
        plant = self.one()
        plant.save()
        plant.height += 1
        plant.save()

    def delete(self) -> None:
        plant = self.one()
        self.plants = [each for each in self.plants if each is not plant]
        if plant.pk is not None:
            plant.delete()

    def delete_all_of(self) -> None:
        Plant.objects.filter(name__startswith=self.name, height=self.chance.randrange(9)).delete()


def replayed(after: Any) -> dict[str, dict[str, Any]]:
    """The rows that events tell of, by their keys; each old value is what the event before it has left."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE recorded_at > %s"
            " ORDER BY recorded_at, id",
            [after],
        )
        events = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    rows: dict[str, dict[str, Any]] = {}
    for event in events:
        (resource,) = json.loads(event["resources"])["resources"]
        changes = json.loads(event["changes"]).get("changes", {})
        kind, key = event["action"].rpartition(".")[2], resource["id"]
        if kind == "create":
            assert key not in rows
            rows[key] = {}
        for field, change in changes.items():
            known = rows[key].get(field)
            assert change["old"] in (None, known), (field, change, known)
            rows[key][field] = change["new"]
        if kind == "delete":
            gone = rows.pop(key)
            assert all(value is None for field, value in gone.items() if field in changes)
    return rows


def stored(name: str) -> dict[str, dict[str, Any]]:
    """The rows, by plain SQL."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, {', '.join(FIELDS)} FROM project_plant WHERE name LIKE %s", [f"{name}%"])
        found = [dict(zip(("id", *FIELDS), row, strict=True)) for row in cursor.fetchall()]
    for row in found:
        row["notes"] = json.loads(row["notes"]) if row["notes"] is not None else None
    return {str(row.pop("id")): row for row in found}


@pytest.fixture
def hasty() -> None:
    """Commits do not wait for the disk: there are many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "PRAGMA synchronous = OFF" if connection.vendor == "sqlite" else "SET synchronous_commit = off"
        )


@pytest.mark.parametrize("seed", range(SEEDS))
def test_events_are_the_rows(hasty: None, name: str, seed: int) -> None:
    """Nothing was missed, nothing told twice, nothing told that was taken back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(recorded_at), 0) FROM affidavit_events")
        (before,) = cursor.fetchone()
    with audit.context(actor=system("test")):
        gardener = Gardener(seed, name)
        for _ in range(4):
            gardener.work()
    told = replayed(before)
    rows = stored(name)
    assert len(rows) > 0
    assert {key: {field: each.get(field) for field in FIELDS} for key, each in told.items()} == rows
