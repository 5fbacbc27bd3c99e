"""The settings of what an app runs beside its own code: the worker that it starts, the page that it mounts.

They are the settings of the server (``docs/reference/settings.md``): environment and ``affidavit.toml``
count, so that the command line beside the app sees the same. The database is that of the app's ``Audit``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from affidavit.config import Settings, describe, load
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.own import file_of, path_of, source_of

__all__ = ["address_of", "settings_of"]

FOLDER = "affidavit-data"
"""Beside the file of an SQLite database, where no other data directory is named."""


def address_of(database: Any, schema: str) -> str | None:
    """The URL of what an ``Audit`` was given; ``None`` where it cannot be known: a function on PostgreSQL.

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
    file = file_of(source_of(database, schema))
    if file is not None:
        return _url_of(file)
    return _engine_url(database)


def _url_of(file: Path) -> str:
    return f"sqlite:///{file.absolute()}"


def _engine_url(engine: Any) -> str | None:
    """Of an SQLAlchemy engine, for libpq: another driver's name in it says nothing there."""
    render = getattr(getattr(engine, "url", None), "render_as_string", None)
    if render is None:
        return None
    scheme, _, rest = str(render(hide_password=False)).partition("://")
    return f"postgresql://{rest}" if scheme.partition("+")[0] in ("postgresql", "postgres") else None


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
            "The address of the database cannot be found out from a function that opens a connection;"
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
