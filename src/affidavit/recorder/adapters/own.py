"""Where an ``Audit`` gets connections of its own from, by what it was given."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from affidavit.errors import ConfigError
from affidavit.recorder.own import BUSY_SECONDS, Source
from affidavit.recorder.recorder import Recorder

__all__ = ["file_of", "find_mapped", "path_of", "source_of"]


def find_mapped(recorder: Recorder) -> None:
    """Where the app has SQLAlchemy, know its mapped objects, and when its sessions end a transaction."""
    if "sqlalchemy.orm" in sys.modules:
        from affidavit.recorder.adapters.mapped import mapped
        from affidavit.recorder.adapters.own_ends import listen_to_sessions

        recorder.registered.find_by(mapped)
        listen_to_sessions()


def source_of(database: Any, schema: str) -> Source:
    """The source for what an ``Audit`` was given.

    Args:
        database: a URL, an SQLAlchemy engine, or a function that opens a connection.
        schema: of our tables on PostgreSQL.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(database, str):
        scheme = database.partition("://")[0]
        if scheme == "sqlite":
            from affidavit.recorder.adapters.own_sqlite import SqliteSource

            return SqliteSource(path_of(database), BUSY_SECONDS)
        if scheme in ("postgresql", "postgres"):
            from affidavit.recorder.adapters.own_psycopg import PsycopgSource

            return PsycopgSource(database, schema)
        raise ConfigError(f"{scheme}:// is no database of ours; use sqlite:///file.db or postgresql://")
    module = type(database).__module__.partition(".")[0]
    if module == "sqlalchemy":
        from affidavit.recorder.adapters.own_sqlalchemy import engine_source

        return engine_source(database, schema, BUSY_SECONDS)
    if callable(database):
        from affidavit.recorder.adapters.own_factory import FactorySource

        return FactorySource(database, schema)
    raise ConfigError(
        f"Audit({type(database).__name__}): give a database URL, an SQLAlchemy engine, or a function that"
        " opens a connection"
    )


def file_of(source: Source) -> Path | None:
    """The SQLite file that a source writes to; ``None`` on PostgreSQL, and for a database in memory."""
    file = getattr(source, "path", None)
    return file if isinstance(file, Path) else None


def path_of(url: str) -> Path:
    """The file of an SQLite URL: three slashes for a relative path, four for an absolute one.

    Raises:
        ConfigError: it names no file.
    """
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix("/")
    if parts.netloc or path in ("", ":memory:"):
        raise ConfigError(f"{url!r} names no file; write sqlite:///file.db or sqlite:////dir/file.db")
    return Path(path)
