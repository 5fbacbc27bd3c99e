"""Connections of its own for an app that gave an SQLAlchemy engine: made alike, never from its pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.adapters.own_memory import MemorySource
from affidavit.recorder.adapters.own_sqlite import SqliteSource
from affidavit.recorder.adapters.sqlalchemy import SqlalchemyDriver
from affidavit.recorder.own import Source

__all__ = ["EngineSource", "engine_source"]


def engine_source(engine: Engine | AsyncEngine, schema: str, patience: float) -> Source:
    """The source for an engine.

    Args:
        engine: of the app.
        schema: of our tables on PostgreSQL.
        patience: seconds to wait for another writer of an SQLite file.

    Raises:
        ConfigError: each connection of the pool is an SQLite database in memory of its own; an async engine's
            driver cannot be used without a loop, and no other is installed.
    """
    inner = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if inner.dialect.name == "sqlite":
        path = inner.url.database
        if path in (None, "", ":memory:") or "mode=memory" in str(path):
            return MemorySource(inner)
        return SqliteSource(Path(str(path)), patience)
    if isinstance(engine, AsyncEngine):
        try:
            from affidavit.recorder.adapters.own_psycopg import PsycopgSource
        except ModuleNotFoundError as error:
            raise ConfigError(
                "record_now beside an async engine needs psycopg, too; install: affidavit[postgres]"
            ) from error
        url = inner.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return PsycopgSource(url, schema)
    return EngineSource(inner, schema)


class EngineSource:
    """See :class:`affidavit.recorder.own.Source`.

    Args:
        engine: whose driver and arguments are used; its pool is left alone.
        schema: of our tables.
    """

    dialect = "postgresql"
    keeps = True

    def __init__(self, engine: Engine, schema: str) -> None:
        # The creator that the app's pool was made with: its arguments, events and secrets, without its limit.
        pool = NullPool(engine.pool._creator, dialect=engine.dialect, _dispatch=engine.pool.dispatch)
        self._engine = Engine(pool, engine.dialect, engine.url)
        self._schema = schema

    def connect(self) -> Connection:
        """A new connection."""
        return self._engine.connect()

    def run(self, connection: Connection, steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own."""
        with connection.begin():
            return drive(SqlalchemyDriver(connection, self._schema), steps)

    def is_busy(self, error: BaseException) -> bool:
        """Somebody holds a lock."""
        return getattr(getattr(error, "orig", error), "sqlstate", None) in ("55P03", "53300")

    def is_away(self, error: BaseException) -> bool:
        """The server could not be reached, or hung up."""
        if isinstance(error, DBAPIError):
            state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
            return error.connection_invalidated or state is None or str(state)[:2] in ("08", "57")
        return isinstance(error, OSError)

    def close(self, connection: Any) -> None:
        """Close a connection."""
        connection.close()
