"""Processes of the small project, and databases for them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from psycopg import sql

from tests.postgres import Server

__all__ = ["Databases", "databases_on", "dropped", "manage", "run"]

ROOT = Path(__file__).resolve().parents[3]
ALIASES = ("default", "other")

Databases = dict[str, dict[str, Any]]
"""The setting ``DATABASES``."""


def databases_on(server: Server | None, folder: Path) -> Databases:
    """Two empty databases: on a PostgreSQL server, else SQLite files in a folder."""
    if server is None:
        return {
            alias: {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / f"{alias}.db"),
                "OPTIONS": {"timeout": 30, "transaction_mode": "IMMEDIATE"},
                "CONN_MAX_AGE": None,
            }
            for alias in ALIASES
        }
    found: Databases = {}
    for alias in ALIASES:
        name = f"django_{uuid4().hex}"
        with server.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        found[alias] = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "USER": "postgres",
            "HOST": "127.0.0.1",
            "PORT": str(server.port),
            "CONN_MAX_AGE": None,
        }
    return found


def dropped(server: Server | None, databases: Databases) -> None:
    """Drop the databases of a server."""
    if server is not None:
        with server.connect() as connection:
            for one in databases.values():
                name = sql.Identifier(one["NAME"])
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))


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


def manage(databases: Databases, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py``."""
    return run(databases, "-m", "django", *words, **variables)
