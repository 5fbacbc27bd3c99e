"""Which engine a database URL names."""

from __future__ import annotations

from affidavit.config import Settings
from affidavit.errors import ConfigError
from affidavit.wiring.engine import Engine
from affidavit.wiring.sqlite import SqliteEngine

__all__ = ["Where", "engine_of"]

Where = Settings | Engine
"""A database: by its settings, or the engine that was made of them. Where a lease is held, that engine."""


def engine_of(where: Where) -> Engine:
    """The engine that the database URL names; nothing is opened.

    Raises:
        ConfigError: it names none, or its driver is not installed.
    """
    if not isinstance(where, Settings):
        return where
    if where.database.startswith("postgresql://"):
        try:
            from affidavit.wiring.postgres import PostgresEngine
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("psycopg"):
                raise
            raise ConfigError("PostgreSQL needs its driver; install: affidavit[postgres]") from error
        return PostgresEngine(where)
    return SqliteEngine(where)
