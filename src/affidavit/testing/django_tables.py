"""Takes the append-only triggers out of the databases that Django's test runner makes."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connections

from affidavit.django.settings import database_url, schema
from affidavit.testing.tables import remove_triggers

__all__ = ["names_of", "remove_from_tests"]


def names_of() -> Mapping[str, str]:
    """The name of each database of ``DATABASES``."""
    return {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}


def remove_from_tests(before: Mapping[str, str]) -> None:
    """Take the triggers away wherever a runner has put a database for tests in the place of another.

    Args:
        before: the names before it did. A database that kept its name is none for tests.
    """
    for alias, name in names_of().items():
        connection = connections[alias]
        if name == before.get(alias) or connection.vendor not in ("sqlite", "postgresql"):
            continue
        if "affidavit_events" not in connection.introspection.table_names():
            continue
        connection.ensure_connection()
        raw = connection.connection if connection.vendor == "sqlite" else None
        remove_triggers(raw or database_url(connection) or "", schema(), in_use=True)
