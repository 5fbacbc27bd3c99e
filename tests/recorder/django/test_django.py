"""Django on both engines; in processes of their own, as Django can be set up once in a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pytest
from psycopg import sql

from tests.postgres import Server

ROOT = Path(__file__).resolve().parents[3]
Databases = dict[str, dict[str, Any]]


def _sqlite(folder: Path) -> Databases:
    return {
        alias: {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(folder / f"{alias}.db"),
            "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
        }
        for alias in ("default", "other")
    }


def _postgres(server: Server) -> Databases:
    found: Databases = {}
    for alias in ("default", "other"):
        name = f"django_{uuid4().hex}"
        with server.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        found[alias] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": str(server.port),
        }
    return found


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Two empty databases of one engine."""
    if request.param == "sqlite":
        yield _sqlite(tmp_path)
        return
    server: Server = request.getfixturevalue("postgres")
    made = _postgres(server)
    yield made
    for one in made.values():
        with server.connect() as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(one["NAME"]))
            )


def run(databases: Databases, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that finds the project."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PROJECT_DATABASES": json.dumps(databases),
            "DJANGO_SETTINGS_MODULE": "tests.recorder.django.project.settings",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )


Part = Literal["transactions", "requests", "schema", "commands"]


@pytest.mark.parametrize("part", ["transactions", "requests"])
def test_inside(databases: Databases, part: Part) -> None:
    """What ``inside/PART.py`` promises holds."""
    done = run(
        databases,
        *("-m", "pytest", "-q", "-p", "no:django", "-p", "no:xdist", "-p", "no:cacheprovider"),
        *("-p", "tests.recorder.django.inside.plugin", f"tests/recorder/django/inside/{part}.py"),
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
