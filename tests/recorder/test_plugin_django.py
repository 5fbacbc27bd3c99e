"""The pytest plugin in Django projects: in memory with two workers, in a file, and on PostgreSQL."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from affidavit.storage.sqlite.database import migrate_file
from tests.postgres import Server
from tests.recorder.test_plugin import run


def database(kind: str, folder: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The setting; of the databases for tests that follow from it none is there yet."""
    if kind == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        name = f"plugin_{uuid4().hex}"
        place = {"HOST": "127.0.0.1", "PORT": str(server.port), "USER": "postgres", "NAME": name}
        return {"ENGINE": "django.db.backends.postgresql", **place}
    found: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "app.db")}
    if kind == "file":
        found |= {"TEST": {"NAME": str(folder / "test.db")}, "OPTIONS": {"transaction_mode": "IMMEDIATE"}}
    return found


@pytest.mark.parametrize("kind", ["in memory, two workers", "file", "postgresql"])
def test_inside(tmp_path: Path, request: pytest.FixtureRequest, kind: str) -> None:
    """What ``plugin/django_cases.py`` promises holds."""
    done = run(
        "django_cases.py",
        options=("--numprocesses", "2") if kind.endswith("two workers") else ("-p", "no:xdist"),
        PROJECT_DATABASE=json.dumps(database(kind, tmp_path, request)),
        DJANGO_SETTINGS_MODULE="tests.recorder.plugin.django_settings",
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def test_a_database_that_was_there(tmp_path: Path) -> None:
    """It keeps its triggers, and the events that tests record in it."""
    path = tmp_path / "app.db"
    migrate_file(path)
    done = run(
        "django_existing.py",
        options=("-p", "no:xdist"),
        PROJECT_DATABASE=json.dumps({"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}),
        DJANGO_SETTINGS_MODULE="tests.recorder.plugin.django_settings",
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT action FROM affidavit_events").fetchall() == [("group.seen",)]
