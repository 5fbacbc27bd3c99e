"""Tables that record their own changes learn from Django who acts."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction

from affidavit.django import audit
from affidavit.recorder.capture.triggers import trigger_sql
from affidavit.recorder.context import entered
from affidavit.recorder.fields import system
from tests.recorder.django.inside.plugin import every_event, teams
from tests.recorder.django.project.models import Bed, Team

pytestmark = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has none of these triggers")

audit.carry()


@pytest.fixture(autouse=True, scope="module")
def triggers(tables: None) -> None:
    """On the table of teams, and on one that is captured as well."""
    with connection.cursor() as cursor:
        for table in ("project_team", "project_bed"):
            cursor.execute(trigger_sql(connection, table, organization="acme"))


def actors(name: str) -> list[tuple[str, str]]:
    """Action and actor of the events of teams of a name."""
    found = []
    for row in every_event():
        changes: dict[str, Any] = row["changes"].get("changes", {})
        if changes.get("name", {}).get("new") == name:
            found.append((row["action"], row["actor"]["actor"]["id"]))
    return found


def test_with_and_without_a_block(name: str) -> None:
    """Each change names who made it: by the ORM, in one statement for many, in raw SQL."""
    with audit.context(actor=system("ana")):
        Team.objects.create(name=name)
        Team.objects.bulk_create([Team(name=name), Team(name=name)])
    with transaction.atomic():
        with audit.context(actor=system("ben")):
            Team.objects.create(name=name)
        with audit.context(actor=system("cleo")), connection.cursor() as cursor:
            cursor.execute("INSERT INTO project_team (name, plan) VALUES (%s, 'x')", [name])
    created = "project_team.create"
    assert actors(name) == [(created, "ana")] * 3 + [(created, "ben"), (created, "cleo")]


def test_what_was_told_in_a_savepoint(name: str) -> None:
    """It goes with the savepoint, and is told again; nobody acts for somebody of an earlier transaction."""
    with audit.context(actor=system("ana")), transaction.atomic():
        with suppress(ValueError), transaction.atomic():
            Team.objects.create(name=name)
            raise ValueError
        Team.objects.create(name=name)
        with transaction.atomic():
            Team.objects.create(name=name)
        Team.objects.create(name=name)
    assert actors(name) == [("project_team.create", "ana")] * 3
    with entered(None), pytest.raises(DatabaseError, match="actor"):
        Team.objects.create(name=name)
    assert teams(name) == 3


def test_the_statements(name: str) -> None:
    """One statement more for a transaction that writes, none for one that reads."""
    from django.test.utils import CaptureQueriesContext

    with audit.context(actor=system("ana")), CaptureQueriesContext(connection) as asked, transaction.atomic():
        Team.objects.filter(name=name).count()
        Team.objects.create(name=name)
        Team.objects.create(name=name)
    assert sum("set_config" in each["sql"] for each in asked.captured_queries) == 1
    with CaptureQueriesContext(connection) as asked, transaction.atomic():
        Team.objects.filter(name=name).count()
    assert sum("set_config" in each["sql"] for each in asked.captured_queries) == 0


def test_a_model_that_is_captured_as_well(name: str) -> None:
    """What both would record is refused by name rather than recorded twice."""
    with audit.context(actor=system("ana")), pytest.raises(DatabaseError, match="project_bed"):
        Bed.objects.create(name=name)
    assert not Bed.objects.filter(name=name).exists()


def test_another_database(name: str) -> None:
    """Only the databases that were named are told."""
    with audit.context(actor=system("ana")):
        Team.objects.using("other").create(name=name)
    assert "_affidavit_told" not in vars(connections["other"])
