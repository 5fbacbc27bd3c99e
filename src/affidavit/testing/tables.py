"""Tables for the databases of tests: the product's own, without the triggers that keep events append-only.

A test suite empties its tables, which the triggers refuse. They are taken away from a database in which
nothing was recorded yet, and from no other: one that is in use stays as it is. Should somebody do this to a
new database of production, ``affidavit fsck`` names each trigger that is missing.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from affidavit.errors import ConfigError
from affidavit.tables import make_tables as _make_tables

__all__ = ["make_tables", "remove_triggers"]

_SQLITE = ("update", "delete", "update_held", "delete_held")
_ON_SQLITE = (
    "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name IN ("
    + ", ".join(f"'affidavit_events_{name}'" for name in _SQLITE)
    + ")"
)
_POSTGRES = ("affidavit_events_keep", "affidavit_events_held", "affidavit_events_truncate")
_ON_POSTGRES = """
SELECT t.tgrelid::regclass::text, t.tgname FROM pg_trigger t
WHERE t.tgname = ANY (?) AND t.tgparentid = 0
  AND (t.tgrelid = to_regclass('affidavit_events')
       OR t.tgrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('affidavit_events')))
"""


def make_tables(database: Any, schema: str = "public") -> None:
    """Make our tables in a database of tests, or bring them up to date, without the append-only triggers.

    Several processes may try at once, such as workers of pytest-xdist.

    Args:
        database: ``sqlite:///file.db``, ``postgresql://...``, an engine or connection of SQLAlchemy, of which
            SQLite may be in memory, or a ``sqlite3.Connection``. Of an async engine:
            ``await connection.run_sync(make_tables)``.
        schema: of our tables on PostgreSQL; it is made where it is missing.

    Raises:
        ConfigError: it is none of these; or events were recorded in it with the triggers in place, so that it
            is no database for tests.
    """
    raw = _sqlite_of(database)
    if raw is None:
        _make_tables(_url_of(database), schema)
    else:
        from affidavit.storage.sqlite.migrate import migrate

        migrate(raw, Path(":memory:"))
    remove_triggers(database, schema)


def remove_triggers(database: Any, schema: str = "public", *, in_use: bool = False) -> None:
    """Take the append-only triggers away, where a tool such as Alembic has made the tables.

    Args:
        database: see :func:`make_tables`.
        schema: of our tables on PostgreSQL.
        in_use: also where events were recorded already. Only whoever made the database itself for tests may
            say so.

    Raises:
        ConfigError: see :func:`make_tables`.
    """
    raw = _sqlite_of(database)
    if raw is not None:
        _remove_on_sqlite(raw, in_use=in_use)
        return
    url = _url_of(database)
    if url.startswith("sqlite"):
        from affidavit.recorder.adapters.own import path_of

        connection = sqlite3.connect(path_of(url), isolation_level=None, timeout=30.0)
        try:
            _remove_on_sqlite(connection, in_use=in_use)
        finally:
            connection.close()
    else:
        _remove_on_postgres(url, schema, in_use=in_use)


def _refuse(name: str) -> ConfigError:
    return ConfigError(
        f"{name} holds events that were recorded as append-only, so it is no database for tests; take a new"
        " one, or let tests record into it as they are."
    )


def _remove_on_sqlite(connection: Any, *, in_use: bool) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute(_ON_SQLITE).fetchone()[0]:
            used = connection.execute("SELECT EXISTS (SELECT 1 FROM affidavit_events)").fetchone()[0]
            if used and not in_use:
                raise _refuse("The SQLite database")
            for name in _SQLITE:
                connection.execute(f"DROP TRIGGER IF EXISTS affidavit_events_{name}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _remove_on_postgres(url: str, schema: str, *, in_use: bool) -> None:
    from affidavit.storage.postgres.connect import Address, connect
    from affidavit.storage.postgres.roles import become_owner

    address = Address(url, schema)
    session = connect(address, name="affidavit.testing")
    try:
        with session.transaction():
            become_owner(session)
            session.execute("LOCK TABLE affidavit_events IN ACCESS EXCLUSIVE MODE")
            found = session.execute(_ON_POSTGRES, (list(_POSTGRES),)).fetchall()
            used = "SELECT EXISTS (SELECT FROM affidavit_events) OR EXISTS (SELECT FROM affidavit_leaves)"
            if found and not in_use and (session.execute(used).fetchone() or (1,))[0]:
                raise _refuse(address.shown)
            for table, name in found:
                # Not by the session, which would give the trigger's name a schema.
                session.connection.execute(f"DROP TRIGGER {name} ON {table}".encode())
    finally:
        session.close()


def _sqlite_of(database: Any) -> Any:
    """The connection of the driver, where there is one to use; ``None``: connect by the URL."""
    if isinstance(database, sqlite3.Connection):
        return _in_autocommit(database)
    if not type(database).__module__.startswith("sqlalchemy."):
        return None
    from sqlalchemy.engine import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

    if isinstance(database, Connection):
        if database.dialect.name != "sqlite":
            return None
        return _in_autocommit(database.connection.dbapi_connection)
    if database.dialect.name != "sqlite" or database.url.database not in (None, "", ":memory:"):
        return None
    if isinstance(database, AsyncEngine):
        return _refused_awaited()
    return _in_autocommit(database.pool._do_get().dbapi_connection)


def _refused_awaited() -> None:
    raise ConfigError(
        "Of an async engine in memory: async with engine.connect() as connection:"
        " await connection.run_sync(make_tables)"
    )


def _in_autocommit(connection: Any) -> Any:
    """Transactions are written out, which the driver allows while it has begun none."""
    if getattr(connection, "in_transaction", False):
        raise ConfigError("The connection is in a transaction; make the tables before it begins.")
    return connection


def _url_of(database: Any) -> str:
    if isinstance(database, str):
        return database
    url = getattr(getattr(database, "engine", database), "url", None)
    if url is None:
        raise ConfigError(
            f"{type(database).__name__}: give a database URL, or an engine or connection of SQLAlchemy."
        )
    name = "sqlite" if database.dialect.name == "sqlite" else "postgresql"
    return str(url.set(drivername=name).render_as_string(hide_password=False))
