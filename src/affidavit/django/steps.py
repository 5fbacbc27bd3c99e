"""Affidavit's own numbered SQL as an operation of a Django migration."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.db import router
from django.db.migrations.operations.base import Operation

from affidavit.django.settings import database_url, schema
from affidavit.errors import ConfigError, WrongTransaction

__all__ = ["Steps"]


class Steps(Operation):  # type: ignore[misc]
    """Bring our tables at least to these steps of the storage engines.

    What was applied is noted beside the tables, so a database that ``affidavit migrate`` has made or upgraded
    is left alone, also where it is newer. The steps go in by the product's own way: each in a transaction of
    its own that holds nobody up, with the roles and grants of PostgreSQL. A log cannot be unmade.

    Args:
        sqlite: number of the last step on SQLite.
        postgresql: number of the last step on PostgreSQL.
    """

    reduces_to_sql = False
    reversible = False

    def __init__(self, *, sqlite: int, postgresql: int) -> None:
        self.sqlite = sqlite
        self.postgresql = postgresql

    def state_forwards(self, app_label: str, state: Any) -> None:
        """There are no models."""

    def database_forwards(self, app_label: str, schema_editor: Any, *_states: Any) -> None:
        """Apply what is missing.

        Raises:
            ConfigError: psycopg 3 is missing on PostgreSQL.
            WrongTransaction: within an atomic block, as the steps could not be undone with it.
        """
        connection = schema_editor.connection
        if not router.allow_migrate(connection.alias, app_label):
            return
        apply = {"sqlite": self._on_sqlite, "postgresql": self._on_postgresql}.get(connection.vendor)
        if apply is None:
            return
        if connection.in_atomic_block:
            raise WrongTransaction("The tables of Affidavit are not made within transaction.atomic().")
        apply(connection)

    def describe(self) -> str:
        """For the output of ``migrate``."""
        return f"Steps of Affidavit's own schema: {self.sqlite} on SQLite, {self.postgresql} on PostgreSQL"

    def _on_sqlite(self, connection: Any) -> None:
        from affidavit.storage.sqlite import migrate

        connection.ensure_connection()
        path = Path(str(connection.settings_dict["NAME"]))
        if max(migrate.applied(connection.connection, path), default=0) < self.sqlite:
            migrate.migrate(connection.connection, path)

    def _on_postgresql(self, connection: Any) -> None:
        if find_spec("psycopg") is None:
            raise ConfigError("Affidavit on PostgreSQL needs psycopg 3: pip install 'affidavit[postgres]'")
        from affidavit.storage.postgres import migrate
        from affidavit.storage.postgres.connect import Address, connect

        address = Address(database_url(connection) or "", schema())
        session = connect(address, name="manage.py migrate")
        try:
            stands = max(migrate.applied(session), default=0)
        finally:
            session.close()
        if stands < self.postgresql:
            migrate.migrate(address)
