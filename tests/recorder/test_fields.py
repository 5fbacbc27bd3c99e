"""What ``record`` takes: handy forms in, one draft out, and a clear error for everything else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from affidavit.core.catalog import EventType
from affidavit.core.event import Change, Resource
from affidavit.embed import Audit, anonymous, system
from affidavit.errors import InvalidEvent, WrongTransaction
from affidavit.recorder.fields import person, plain
from affidavit.storage.sqlite.database import migrate_file

ME = system("tests")


class Colour(Enum):
    """Stands for itself by its value."""

    RED = "red"


@dataclass
class Team:
    """An object of the app, of no ORM."""

    id: int | None
    name: str


def draft(**fields: Any) -> Any:
    """The draft of one call."""
    audit = Audit("sqlite:///unused.db", organization="acme")
    audit.register(Team, type="team", name="name")
    return audit.recorder.draft(audit.recorder.said("team.update", {"actor": ME, **fields}))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("team", 7), Resource(type="team", id="7")),
        (("team", "7", "Core"), Resource(type="team", id="7", name="Core")),
        (Resource(type="a", id="b"), Resource(type="a", id="b")),
        (Team(7, "Core"), Resource(type="team", id="7", name="Core")),
    ],
)
def test_each_form_of_a_resource(given: object, expected: Resource) -> None:
    """A pair, a triple, ours, and an object of a registered class; the single one goes first."""
    assert draft(resource=given).resources == (expected,)
    assert draft(resource=("x", 1), resources=[given]).resources == (Resource(type="x", id="1"), expected)


def test_each_form_of_changes() -> None:
    """A pair, a list of two, a mapping, and ours."""
    found = draft(
        changes={"a": (1, 2), "b": [None, "x"], "c": {"new": 3}, "d": Change(old=1, new=None)}
    ).changes
    assert found == {
        "a": Change(old=1, new=2),
        "b": Change(old=None, new="x"),
        "c": Change(old=None, new=3),
        "d": Change(old=1, new=None),
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
        (date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        ((1, 2), [1, 2]),
        ({1: {2: (3,)}}, {"1": {"2": [3]}}),
        (Team(1, "a"), {"id": 1, "name": "a"}),
    ],
)
def test_values_as_json_has_them(given: object, expected: object) -> None:
    """Times, decimals, UUIDs and enums as text, tuples as lists, keys as text."""
    assert json.loads(json.dumps(plain(given, "metadata"))) == expected


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"actor": None}, "/actor"),
        ({"resource": ("team",)}, "/resource"),
        ({"resource": "team:7"}, "/resource"),
        ({"resource": Team(None, "new")}, "/resource"),
        ({"resources": [object()]}, "/resources"),
        ({"changes": [("a", 1, 2)]}, "/changes"),
        ({"changes": {"a": 1}}, "/changes/a"),
        ({"changes": {"a": (1, 2, 3)}}, "/changes/a"),
        ({"changes": {"a": {"old": 1, "later": 2}}}, "/changes/a"),
        ({"changes": {"a": (1, object())}}, "/changes/a/new"),
        ({"metadata": {"a": object()}}, "/metadata"),
        ({"metadata": {"a": {1, object()}}}, "/metadata"),
    ],
)
def test_what_has_no_form_is_refused_by_its_field(fields: dict[str, Any], pointer: str) -> None:
    """The error names the field."""
    with pytest.raises(InvalidEvent) as found:
        draft(**fields)
    assert [error.pointer for error in found.value.errors] == [pointer]


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": "\ud800"}},
        {"metadata": {"a": "\x00"}},
        {"description": "x" * 1_001},
        {"changes": {"a": ("", "x" * 300_000)}},
        {"resource": ("team", "")},
        {"outcome": "maybe"},
        {"occurred_at": "yesterday"},
        {"organization": "../etc"},
        {"metadata": [1]},
    ],
)
def test_what_breaks_a_rule_is_refused_before_the_write(fields: dict[str, Any], tmp_path: Path) -> None:
    """NaN, broken text, huge text, wrong words: an error of ours, and nothing is in the database."""
    path = tmp_path / "a.db"
    migrate_file(path)
    audit = Audit(f"sqlite:///{path}", organization="acme")
    connection = sqlite3.connect(path)
    with pytest.raises(InvalidEvent):
        audit.record(connection, "team.update", actor=ME, **fields)
    assert connection.execute("SELECT count(*) FROM affidavit_events").fetchone() == (0,)
    assert not connection.in_transaction
    connection.close()


@pytest.mark.parametrize(
    "action", ["audit.token.create", "log.pruned", "access.x", "detection.y", "Team", "team", ""]
)
def test_reserved_and_broken_actions_are_refused(action: str, tmp_path: Path) -> None:
    """Ours are ours; a name has two parts at least."""
    path = tmp_path / "a.db"
    migrate_file(path)
    connection = sqlite3.connect(path)
    with pytest.raises(InvalidEvent, match="/action"):
        Audit(f"sqlite:///{path}", organization="acme").record(connection, action, actor=ME)
    connection.close()


def test_mistakes_of_the_program_are_type_errors() -> None:
    """The action first, a field that there is not, and something that is no connection."""
    audit = Audit("sqlite:///unused.db", organization="acme")
    record: Callable[..., Any] = audit.record
    with pytest.raises(TypeError, match="pass the session or connection first"):
        record("team.update", actor=ME)
    with pytest.raises(TypeError, match="pass the session or connection first"):
        record(EventType("team.update", title="A team changed"), actor=ME)
    with pytest.raises(TypeError, match="action is missing"):
        record(sqlite3.connect(":memory:"), actor=ME)
    with pytest.raises(TypeError, match="'who' is no field"):
        record(sqlite3.connect(":memory:"), "team.update", who=ME)
    with pytest.raises(WrongTransaction, match=r"builtins\.int is no connection"):
        record(7, "team.update", actor=ME)


def test_actors() -> None:
    """Explicit ones for nobody and for programs, and no type that there is not."""
    assert (anonymous.type, system("cron").id) == ("anonymous", "cron")
    assert person("user", "7", "Ada").name == "Ada"
    with pytest.raises(InvalidEvent, match="/actor/type"):
        person("robot", "7")
