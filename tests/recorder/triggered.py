"""Databases whose tables have triggers that record, on each version of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from affidavit.core.event import Actor
from affidavit.recorder.capture.triggers import trigger_sql
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import VERSIONS, Server
from tests.recorder.apps import App

__all__ = ["ANA", "BEN", "SAID", "acting", "app", "engine", "server", "watch"]

ANA = Actor(type="user", id="ana")
BEN = Actor(type="user", id="ben")
SAID = """SELECT set_config('affidavit.actor', '{"actor":{"type":"user","id":"ana"}}', true)"""
COLUMNS = """(id bigint PRIMARY KEY, name text, place text, price numeric, born date, note jsonb, raw json,
    spot point, door text, api_token text, seen timestamptz,
    shout text GENERATED ALWAYS AS (upper(coalesce(door, '') || name)) STORED)"""


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each version of PostgreSQL."""
    found: Server = request.getfixturevalue(f"postgres{request.param}")
    return found


@pytest.fixture(scope="module")
def engine(server: Server) -> Iterator[PostgresEngine]:
    """Makes databases there."""
    made = PostgresEngine(server, clock=None)
    yield made
    made.close()


@pytest.fixture
def app(engine: PostgresEngine, tmp_path: Any) -> App:
    """A database with our tables and the app's table ``plants``."""
    made = App("postgresql", engine.create(), tmp_path)
    with closing(made.connect()) as connection:
        connection.execute(f"CREATE TABLE plants {COLUMNS}")
    return made


@contextmanager
def acting(app: App) -> Iterator[psycopg.Connection[Any]]:
    """A transaction of somebody who says who she is."""
    with psycopg.connect(app.url) as connection:
        connection.execute(SAID)
        yield connection


def watch(app: App, table: str = "plants", **wanted: Any) -> str:
    """Put triggers on a table; returns their SQL."""
    with closing(app.connect()) as connection:
        sql = trigger_sql(connection, table, **{"organization": "acme", **wanted})
        connection.execute(sql)
    return sql
