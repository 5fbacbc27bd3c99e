"""Databases of an app that records: empty, with our tables and one table of its own, on either engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from affidavit.storage.sqlite.database import migrate_file
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server

__all__ = ["App", "app", "postgres_engine"]


@dataclass(frozen=True)
class App:
    """One app's database.

    Attributes:
        engine: ``sqlite`` or ``postgresql``.
        url: as an ``Audit`` takes it.
        folder: of the test.
    """

    engine: str
    url: str
    folder: Path

    @property
    def sqlalchemy_url(self) -> str:
        """As ``create_engine`` takes it."""
        return self.url.replace("postgresql://", "postgresql+psycopg://")

    @property
    def file(self) -> Path:
        """Of SQLite."""
        return Path(self.url.removeprefix("sqlite:///"))

    def connect(self) -> Any:
        """A plain connection of the driver, in autocommit."""
        if self.engine == "sqlite":
            return sqlite3.connect(self.file, isolation_level=None, timeout=0.0)
        return psycopg.connect(self.url, autocommit=True)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Read in plain SQL."""
        connection = self.connect()
        try:
            return [tuple(row) for row in connection.execute(statement).fetchall()]
        finally:
            connection.close()

    def count(self) -> int:
        """Events that are stored."""
        return int(self.ask("SELECT count(*) FROM affidavit_events")[0][0])

    def events(self, *columns: str) -> list[tuple[Any, ...]]:
        """Columns of the events, oldest first."""
        return self.ask(f"SELECT {', '.join(columns)} FROM affidavit_events ORDER BY id")


@pytest.fixture(scope="module")
def postgres_engine(postgres: Server) -> Iterator[PostgresEngine]:
    """Makes databases with a current schema."""
    engine = PostgresEngine(postgres, clock=None)
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    """An app's database on each engine."""
    if request.param == "sqlite":
        path = tmp_path / "app.db"
        migrate_file(path)
        made = App("sqlite", f"sqlite:///{path}", tmp_path)
    else:
        engine: PostgresEngine = request.getfixturevalue("postgres_engine")
        made = App("postgresql", engine.create(), tmp_path)
    connection = made.connect()
    connection.execute("CREATE TABLE teams (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
    connection.close()
    return made
