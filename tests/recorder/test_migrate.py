"""``audit.migrate()``: the tables of an app's own database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from affidavit import Audit, system
from affidavit.errors import ConfigError
from affidavit.storage.sqlite import migrate as sqlite_migrate
from tests.postgres import Server


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_sqlite_file_gets_all_tables_and_records(tmp_path: Path, *, wrapped: bool) -> None:
    """From nothing to a recorded event, by URL and by engine; a second time nothing is left to do."""
    url = f"sqlite:///{tmp_path}/app.db"
    audit = Audit(sqlalchemy.create_engine(url) if wrapped else url, organization="acme")
    wanted = [(step.number, step.name) for step in sqlite_migrate.available()]
    assert audit.migrate() == wanted
    assert audit.migrate() == []
    with sqlite3.connect(tmp_path / "app.db") as connection:
        audit.record(connection, "team.update", actor=system("nightly"))
    assert connection.execute("SELECT action FROM affidavit_events").fetchall() == [("team.update",)]
    connection.close()


def test_a_schema_of_postgresql_gets_them_too(postgres: Server) -> None:
    """In a schema of its own beside the app's tables."""
    with postgres.connect() as session:
        session.execute("CREATE DATABASE migrated_by_app")
    url = postgres.url("migrated_by_app")
    audit = Audit(url, organization="acme", schema="audit log")
    assert audit.migrate()
    assert audit.migrate() == []
    with psycopg.connect(url) as connection:
        audit.record(connection, "team.update", actor=system("nightly"))
        found = connection.execute('SELECT action FROM "audit log".affidavit_events').fetchall()
    assert found == [("team.update",)]


@pytest.mark.parametrize("database", ["mysql://x/y", "sqlite:///:memory:", "sqlite://", object()])
def test_what_is_no_database_of_ours_is_refused(database: object) -> None:
    """Named before anything is made."""
    with pytest.raises(ConfigError):
        Audit(database).migrate()
