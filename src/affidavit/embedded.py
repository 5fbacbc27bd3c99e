"""The settings of what an app runs beside its own code: the worker that it starts, the page that it mounts.

They are the settings of the server (``docs/reference/settings.md``): environment and ``affidavit.toml``
count, so that the command line beside the app sees the same. The database is that of the app's ``Audit``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from affidavit.config import Settings, describe, load
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.own import file_of, path_of, source_of

__all__ = ["address_of", "settings_of"]

_NOT_OF_LIBPQ = frozenset(("async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func"))

FOLDER = "affidavit-data"
"""Beside the file of an SQLite database, where no other data directory is named."""


def address_of(database: Any, schema: str) -> str | None:
    """The URL of what an ``Audit`` was given; ``None`` where it cannot be known.

    A function that opens a connection is asked for one, which tells where it leads. So is the ``creator`` of
    an engine, whose own URL may say anything.

    Args:
        database: a URL, an SQLAlchemy engine, or a function that opens a connection.
        schema: of our tables on PostgreSQL.

    Raises:
        ConfigError: it is none of these, or a database in memory.
    """
    if isinstance(database, str) and database.partition("://")[0] in ("postgresql", "postgres"):
        return database
    if isinstance(database, str) and database.startswith("sqlite://"):
        return _url_of(path_of(database))
    source = source_of(database, schema)
    file = file_of(source)
    if file is not None:
        return _url_of(file)
    if source.dialect == "sqlite":
        raise ConfigError("A database in memory has no log, no worker and no page; use a file.")
    engine = getattr(database, "sync_engine", database)
    pool = getattr(engine, "pool", None)
    if pool is None:
        return _asked(database)
    is_own = str(getattr(pool._creator, "__module__", "")).startswith("sqlalchemy.")
    return _engine_url(engine) if is_own else _asked(pool._creator)


def _url_of(file: Path) -> str:
    return f"sqlite:///{file.absolute()}"


def _engine_url(engine: Any) -> str:
    """Of an SQLAlchemy engine, for libpq: another driver's name and parameters say nothing there."""
    query = {name: value for name, value in engine.url.query.items() if name not in _NOT_OF_LIBPQ}
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    url = engine.url.set(drivername="postgresql", query=query)
    return str(url.render_as_string(hide_password=False))


def _asked(function: Callable[[], Any]) -> str | None:
    """Where a function's connections of psycopg lead; ``None`` where it opens others."""
    connection = function()
    try:
        if type(connection).__module__.partition(".")[0] != "psycopg":
            return None
        given = {**connection.info.get_parameters(), "password": connection.info.password}
    finally:
        connection.close()
    user, password, name = (quote(given.pop(key, ""), safe="") for key in ("user", "password", "dbname"))
    account = f"{user}:{password}@" if password else f"{user}@" if user else ""
    rest = "&".join(f"{key}={quote(value, safe='')}" for key, value in given.items())
    return f"postgresql://{account}/{name}{'?' if rest else ''}{rest}"


def settings_of(address: str | None, schema: str, given: Mapping[str, Any]) -> Settings:
    """Settings for a database of an app.

    Args:
        address: of :func:`address_of`.
        schema: of our tables on PostgreSQL.
        given: settings that the app names itself; ``None`` is not given. They win over the environment, and
            that over the file.

    Raises:
        ConfigError: a setting is unknown or breaks its rule; nothing says where keys and guard are kept.
    """
    said = {name: _text(value) for name, value in given.items() if value is not None}
    for name in said:
        if name not in describe():
            raise ConfigError(f"unknown setting {name!r}; there are: {', '.join(describe())}")
    if address is None and "database" not in said:
        raise ConfigError(
            "The address of the database cannot be found out from what opens its connections;"
            " give it as database=..., such as postgresql://user@host/name"
        )
    own = {"database": address, "schema": schema} | said
    loaded = load(own, os.environ, folder=Path.cwd(), said="argument {}")
    settings = _from_anywhere(loaded.settings)
    if loaded.sources["data_dir"] != "default":
        return settings
    file = settings.database_path
    if file is None:
        raise ConfigError(
            "Nothing says where the log key and the guard of this PostgreSQL database are kept: give"
            " data_dir=... or set AFFIDAVIT_DATA_DIR. It is a folder that survives a restart, the same for"
            " every process."
        )
    return msgspec.structs.replace(settings, data_dir=file.parent / FOLDER)


def _from_anywhere(settings: Settings) -> Settings:
    """With absolute paths: an app may change its folder before the worker is started again."""
    named = msgspec.structs.asdict(settings)
    paths: dict[str, Any] = {name: each.absolute() for name, each in named.items() if isinstance(each, Path)}
    paths["spools"] = tuple(each.absolute() for each in settings.spools)
    if settings.database_path is not None:
        paths["database"] = _url_of(settings.database_path)
    if settings.guard and settings.guard_url is None:
        paths["guard"] = str(settings.guard_path.absolute())
    return msgspec.structs.replace(settings, **paths)


def _text(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_text(each) for each in value]
    return str(value) if isinstance(value, Path) else value
