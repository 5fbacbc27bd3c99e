"""Connections of its own from a function of the app that opens one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.own_sqlite import SqliteSource
from affidavit.recorder.own import BUSY_SECONDS, Source

__all__ = ["FactorySource"]


class FactorySource:
    """See :class:`affidavit.recorder.own.Source`; what kind of connection it is shows with the first one.

    Args:
        factory: opens a ``sqlite3.Connection`` or a ``psycopg.Connection``.
        schema: of our tables on PostgreSQL.
    """

    def __init__(self, factory: Callable[[], Any], schema: str) -> None:
        self._factory = factory
        self._schema = schema
        self._source: Source | None = None
        self._file: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; asked of the first connection."""
        self._of()
        return self._file

    @property
    def keeps(self) -> bool:
        """Not on SQLite: a connection of the app's own making belongs to the thread that opened it."""
        return self.dialect != "sqlite"

    @property
    def dialect(self) -> str:
        """Of the first connection."""
        return self._of().dialect

    def _of(self, connection: Any = None) -> Source:
        if self._source is None:
            own = connection is None
            connection = self._factory() if own else connection
            self._source = self._found(connection)
            if own:
                connection.close()
        return self._source

    def _found(self, connection: Any) -> Source:
        if isinstance(connection, sqlite3.Connection):
            files = [row[2] for row in connection.execute("PRAGMA database_list") if row[1] == "main"]
            self._file = Path(files[0]) if files and files[0] else None
            return SqliteSource(Path(":never:"), 0.0)
        if type(connection).__module__.partition(".")[0] == "psycopg":
            from affidavit.recorder.adapters.own_psycopg import PsycopgSource

            return PsycopgSource("", self._schema)
        raise ConfigError(
            f"The function gave a {type(connection).__name__}; it must open one of sqlite3 or psycopg."
        )

    def connect(self) -> Any:
        """A new connection, out of any transaction of its driver's own making."""
        connection = self._factory()
        self._of(connection)
        if isinstance(connection, sqlite3.Connection):
            connection.isolation_level = None
            connection.execute(f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1_000)}")
            connection.execute("PRAGMA synchronous = FULL")
        else:
            connection.autocommit = True
        return connection

    def run(self, connection: Any, steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own."""
        return self._of(connection).run(connection, steps)

    def is_busy(self, error: BaseException) -> bool:
        """See the source of that kind."""
        return self._source is not None and self._source.is_busy(error)

    def is_away(self, error: BaseException) -> bool:
        """See the source of that kind."""
        return self._source is not None and self._source.is_away(error)

    def close(self, connection: Any) -> None:
        """Close a connection."""
        connection.close()
