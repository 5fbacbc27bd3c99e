"""What the layer makes of Django's settings, and what it may know of the storage engines."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

import affidavit
from affidavit.core.database_url import masked, readable
from affidavit.django import steps
from affidavit.django.settings import database_url
from affidavit.errors import ConfigError

DJANGO = Path(affidavit.__file__).parent / "django"


def postgres(**parameters: Any) -> str:
    """The URL of a database that Django connects to with these parameters."""
    given = {"client_encoding": "UTF8", "cursor_factory": object, "prepare_threshold": None, **parameters}
    found = database_url(SimpleNamespace(vendor="postgresql", get_connection_params=lambda: given))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "parameters",
    [
        {"dbname": "app"},
        {
            "dbname": "app",
            "user": "ada",
            "password": "p@ss/w#rd?%:& ü",
            "host": "db.example.org",
            "port": 5433,
        },
        {"dbname": "a b/c", "user": "a@b", "host": "/var/run/postgresql", "sslmode": "require"},
        {"service": "app"},
    ],
)
def test_url_says_what_django_connects_with(parameters: dict[str, Any]) -> None:
    """Libpq reads the same out of the URL, whatever is in a password, and our programs take it."""
    url = postgres(**parameters)
    assert conninfo_to_dict(url) == {name: str(value) for name, value in parameters.items()}
    assert readable(url)
    assert "p%40ss" not in masked(url)


def test_other_databases() -> None:
    """MySQL is refused by name."""
    with pytest.raises(ConfigError, match="mysql"):
        database_url(SimpleNamespace(vendor="mysql", alias="default"))


def test_older_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """With psycopg 2 alone ``migrate`` says what to install."""
    monkeypatch.setattr(steps, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match="psycopg 3"):
        steps.Steps(sqlite=1, postgresql=1)._on_postgresql(None)


def test_of_the_engines_only_migrations_are_known() -> None:
    """Nothing of a storage engine is imported but how its schema is made, and where."""
    allowed = {
        ("affidavit.storage.sqlite", "migrate"),
        ("affidavit.storage.postgres", "migrate"),
        ("affidavit.storage.postgres.connect", "Address"),
        ("affidavit.storage.postgres.connect", "connect"),
    }
    found = {
        (node.module, alias.name)
        for path in DJANGO.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("affidavit.storage")
        for alias in node.names
    }
    assert found == allowed
