"""Makes our tables in an app's own database, or brings them up to date, without the server's dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from affidavit.errors import ConfigError

__all__ = ["make_tables"]


def make_tables(database: Any, schema: str = "public") -> list[tuple[int, str]]:
    """Apply the migrations that a database lacks; several processes may try at once.

    Args:
        database: ``sqlite:///file.db``, ``postgresql://...`` or an SQLAlchemy engine of one of the two.
        schema: of our tables on PostgreSQL; it is made where it is missing.

    Returns:
        Number and name of each step that was applied, in order.

    Raises:
        ConfigError: it is neither, or a database in memory.
        StorageError: it cannot be used; the message says what to do.
    """
    url = _url_of(database)
    scheme, _, rest = url.partition("://")
    dialect = scheme.partition("+")[0]
    if dialect == "sqlite":
        from affidavit.storage.sqlite.database import migrate_file

        path = unquote(urlsplit(url).path).removeprefix("/")
        if path in ("", ":memory:"):
            raise ConfigError("A database in memory cannot be migrated from outside; use a file.")
        return [(step.number, step.name) for step in migrate_file(Path(path))]
    if dialect in ("postgresql", "postgres"):
        from affidavit.storage.postgres import migrate
        from affidavit.storage.postgres.connect import Address

        steps = migrate.migrate(Address(f"postgresql://{rest}", schema))
        return [(step.number, step.name) for step in steps]
    raise ConfigError("Give a database URL, sqlite:///file.db or postgresql://, or an SQLAlchemy engine.")


def _url_of(database: Any) -> str:
    if isinstance(database, str):
        return database
    url = getattr(database, "url", None)
    render = getattr(url, "render_as_string", None)
    return str(render(hide_password=False)) if render is not None else ""
