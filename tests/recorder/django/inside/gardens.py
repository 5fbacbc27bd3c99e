"""What tests of captured models share: the models, captured once, and the events of a test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from django.db import connections, transaction
from django.test.utils import CaptureQueriesContext

from affidavit.core.row import COLUMNS
from affidavit.django import audit
from affidavit.recorder.capture import uncaptured
from affidavit.recorder.fields import system
from tests.recorder.django.project.models import Plant, Stake

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
