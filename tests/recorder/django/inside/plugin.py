"""Sets Django up before anything is collected, and makes the tables of both databases."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import django
import pytest
from django.core.management import call_command
from django.db import connections

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.recorder.django.project.settings"
django.setup()

from affidavit.core.leaf import Leaf, encode_leaf, parse_leaf  # noqa: E402
from affidavit.core.row import COLUMNS  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def tables() -> Iterator[None]:
    """``manage.py migrate`` of both databases."""
    for alias in ("default", "other"):
        call_command("migrate", database=alias, run_syncdb=True, verbosity=0)
    yield
    connections.close_all()


@pytest.fixture
def name() -> str:
    """Of this test's team and the reason of its events: counts start at nothing."""
    return f"t-{uuid4()}"


def teams(name: str, alias: str = "default") -> int:
    """Teams of a name, by plain SQL."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM project_team WHERE name = %s", [name])
        return int(cursor.fetchone()[0])


def stored(name: str, alias: str = "default") -> list[dict[str, Any]]:
    """The events of a reason, by plain SQL, in order, their groups parsed."""
    return [row for row in every_event(alias) if row["details"].get("reason") == name]


def every_event(alias: str = "default") -> list[dict[str, Any]]:
    """All events by plain SQL, in order, their groups parsed."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM affidavit_events ORDER BY recorded_at, id")
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in cursor.fetchall()]
    for row in rows:
        for group in ("actor", "resources", "context", "changes", "details"):
            row[group] = json.loads(row[group])
    return rows


def leaves(name: str, alias: str = "default") -> list[Leaf]:
    """The leaf of each event of a reason, as the sequencer makes it."""
    found = []
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM affidavit_events")
        for row in cursor.fetchall():
            values = dict(zip(COLUMNS, map(_plain, row), strict=True))
            if json.loads(values["details"]).get("reason") == name:
                found.append(parse_leaf(encode_leaf(tuple(values.values()), "00" * 16)))
    return found


def _plain(value: Any) -> Any:
    """As the log reads it: texts as UTF-8, ids as bytes, truth as a number."""
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, bool):
        return int(value)
    return (
        value.encode() if isinstance(value, str) else bytes(value) if isinstance(value, memoryview) else value
    )
