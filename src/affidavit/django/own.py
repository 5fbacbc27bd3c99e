"""Connections of its own to a database of ``DATABASES``: never Django's, so no thread waits for us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core import mail
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.django.settings import database_url
from affidavit.django.within import run_within, runs_within
from affidavit.recorder.adapters.own import file_of, source_of

__all__ = ["OwnSource"]


class OwnSource:
    """See :class:`affidavit.recorder.own.Source`.

    Args:
        wrapper: of ``django.db.connections``; only its settings are used.
        schema: of our tables on PostgreSQL.
    """

    def __init__(self, wrapper: Any, schema: str) -> None:
        self._alias = wrapper.alias
        self._schema = schema
        made = wrapper.__class__({**wrapper.settings_dict}, alias=wrapper.alias)

        def open_in_memory() -> Any:
            """A database in memory has no URL: it is shared by the connections of this process."""
            return made.get_new_connection(made.get_connection_params())

        self.dialect: str = made.vendor
        self._source = source_of(database_url(made) or open_in_memory, schema)

    @property
    def spool(self) -> Path | None:
        """Beside an SQLite file, as everywhere."""
        file = file_of(self._source)
        return None if file is None else file.with_name(f"{file.with_suffix('').name}-spool.db")

    @property
    def keeps(self) -> bool:
        """Not in tests: their runner drops the database, which PostgreSQL refuses while we are connected."""
        return self._source.keeps and not hasattr(mail, "outbox")

    def connect(self) -> Any:
        """A new connection; that of Django, where there can be no other."""
        ours = connections[self._alias]
        return ours if runs_within(ours) else self._source.connect()

    def run(self, connection: Any, steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own."""
        if isinstance(connection, BaseDatabaseWrapper):
            return run_within(connection, self._schema, steps)
        return self._source.run(connection, steps)

    def is_busy(self, error: BaseException) -> bool:
        """Whether another writer holds the database."""
        return self._source.is_busy(error)

    def is_away(self, error: BaseException) -> bool:
        """Whether the database could not be reached."""
        return self._source.is_away(error)

    def close(self, connection: Any) -> None:
        """Close a connection, unless it is Django's."""
        if not isinstance(connection, BaseDatabaseWrapper):
            self._source.close(connection)
