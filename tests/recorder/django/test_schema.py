"""``manage.py migrate`` makes the schema that ``affidavit migrate`` makes, on both engines."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

from affidavit.storage.postgres import migrate as on_postgres
from affidavit.storage.postgres.connect import Address
from affidavit.storage.sqlite import migrate as on_sqlite
from affidavit.storage.sqlite.database import migrate_file
from tests.postgres import Server
from tests.recorder.django.processes import Databases, databases_on, dropped, manage

STEPS = "SELECT number, name, checksum FROM affidavit_migrations ORDER BY number"


class Place:
    """The databases of one engine, and what stands in them by plain SQL or the engine's own tools."""

    def __init__(self, engine: str, databases: Databases, server: Server | None) -> None:
        self.engine = engine
        self.databases = databases
        self.server = server

    def query(self, statement: str, alias: str = "default") -> list[tuple[Any, ...]]:
        """Run one statement."""
        name = self.databases[alias]["NAME"]
        if self.server is None:
            with sqlite3.connect(name) as connection:
                found = connection.execute(statement).fetchall()
            connection.close()
            return found
        with psycopg.connect(self.server.url(name), autocommit=True) as connected:
            cursor = connected.execute(statement.encode())
            return cursor.fetchall() if cursor.description is not None else []

    def migrate_ours(self, alias: str) -> None:
        """What ``affidavit migrate`` does."""
        name = self.databases[alias]["NAME"]
        if self.server is None:
            migrate_file(Path(name))
        else:
            on_postgres.migrate(Address(self.server.url(name)))

    def schema(self, alias: str) -> list[str]:
        """Everything that defines our tables: the file's own text, or a dump."""
        if self.server is None:
            statement = (
                "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'django%'"
                " AND name <> 'sqlite_sequence' ORDER BY 1, 2"
            )
            return [str(row) for row in self.query(statement, alias)]
        dump = self.server.run(
            *("pg_dump", "--schema-only", "--exclude-table=django_migrations*"),
            *("--host=127.0.0.1", f"--port={self.server.port}", "--username=postgres"),
            self.databases[alias]["NAME"],
        )
        return [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Two empty databases of one engine."""
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    databases = databases_on(server, tmp_path)
    yield Place(request.param, databases, server)
    dropped(server, databases)


def migrated(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """``manage.py migrate`` of our app alone, which must work."""
    done = manage(place.databases, "migrate", "affidavit", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_from_empty(place: Place) -> None:
    """From an empty database both ways lead to the same schema and the same notes of what was applied."""
    migrated(place)
    place.migrate_ours("other")
    ours = place.schema("other")
    assert sum("affidavit_events" in line for line in ours) > 5
    assert place.schema("default") == ours
    assert place.query(STEPS) == place.query(STEPS, "other")


def test_beside_affidavit_migrate(place: Place) -> None:
    """Tables that ``affidavit migrate`` made are left as they are, and the other way round."""
    place.migrate_ours("default")
    before = place.schema("default"), place.query("SELECT * FROM affidavit_migrations ORDER BY 1")
    migrated(place)
    assert (place.schema("default"), place.query("SELECT * FROM affidavit_migrations ORDER BY 1")) == before
    place.migrate_ours("default")
    assert place.schema("default") == before[0]


def test_upgrade(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an earlier version gets what it lacks."""
    if place.server is not None:
        address = Address(place.server.url(place.databases["default"]["NAME"]))
        on_postgres.migrate(address, steps=on_postgres.available()[:2])
    else:
        with monkeypatch.context() as older:
            steps = on_sqlite.available()[:2]
            older.setattr(on_sqlite, "available", lambda *_folder: steps)
            place.migrate_ours("default")
    assert len(place.query(STEPS)) == 2
    place.migrate_ours("other")
    migrated(place)
    assert place.schema("default") == place.schema("other")
    assert place.query(STEPS) == place.query(STEPS, "other")


def test_newer_database(place: Place) -> None:
    """A server may be upgraded before its apps: what is newer is left alone."""
    place.migrate_ours("default")
    place.query("INSERT INTO affidavit_migrations VALUES (99, 'later', 'x', 0)")
    migrated(place)
    assert place.query(STEPS)[-1] == (99, "later", "x")


def test_commands_of_migrations(place: Place) -> None:
    """``makemigrations`` finds nothing to do, ``migrate --check`` neither; a log is not unmade."""
    migrated(place)
    for words in (("makemigrations", "affidavit", "--check"), ("migrate", "affidavit", "--check")):
        done = manage(place.databases, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    before = place.schema("default")
    undone = manage(place.databases, "migrate", "affidavit", "zero")
    assert undone.returncode != 0
    assert "Irreversible" in undone.stderr
    assert place.schema("default") == before
    shown = manage(place.databases, "sqlmigrate", "affidavit", "0001")
    assert "CANNOT BE WRITTEN AS SQL" in shown.stdout


def test_test_databases(place: Place) -> None:
    """Django's own test runner makes its databases, in which events are recorded and rolled back."""
    if place.server is None:
        for one in place.databases.values():
            del one["OPTIONS"]["transaction_mode"]
    done = manage(place.databases, "test", "--noinput", "tests.recorder.django.inside.runner")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ran 11 tests" in done.stderr


def test_every_step_has_a_django_migration() -> None:
    """The newest Django migration names the newest step of each engine; without one nobody would apply it."""
    folder = Path(import_module("affidavit.django.migrations").__path__[0])
    newest = max(path.stem for path in folder.glob("0*.py"))
    (operation,) = import_module(f"affidavit.django.migrations.{newest}").Migration.operations
    assert operation.sqlite == on_sqlite.available()[-1].number
    assert operation.postgresql == on_postgres.available()[-1].number
