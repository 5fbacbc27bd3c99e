"""Where connections of drivers and of SQLAlchemy write."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affidavit.testing.audit_log.forget import forgetting, found_by
from affidavit.testing.audit_log.place import NotAwaited, forget_by, found, ids_in

__all__ = ["AiosqlitePlace", "EnginePlace", "PsycopgPlace", "Sqlite3Place"]


class Sqlite3Place:
    """A ``sqlite3.Connection``.

    Args:
        connection: used in the thread that recorded.
    """

    sure = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        cursor = connection.cursor()
        cursor.row_factory = None
        files = [row[2] for row in cursor.execute("PRAGMA database_list") if row[1] == "main"]
        cursor.close()
        self._file = Path(files[0]) if files and files[0] else None
        self.in_memory = self._file is None

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """On the connection, or on a new one where it is closed or belongs to another thread."""
        from affidavit.recorder.adapters.sqlite import Sqlite3Driver

        try:
            self._connection.total_changes  # noqa: B018 - it raises where the connection is closed
            return found(Sqlite3Driver(self._connection), ids)
        except sqlite3.ProgrammingError:
            pass
        if self._file is None or not self._file.exists():
            return set()
        connection = sqlite3.connect(self._file)
        try:
            return found(Sqlite3Driver(connection), ids)
        finally:
            connection.close()

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """At once."""
        return self.look(ids)

    def forget(self, ids: Sequence[bytes]) -> None:
        """In the file, or in the memory of this connection."""
        from affidavit.recorder.adapters.own_sqlite import SqliteSource

        if self._file is not None:
            if self._file.exists():
                forget_by(SqliteSource(self._file, 1.0), ids, "")
            return
        try:
            if not self._connection.in_transaction:
                SqliteSource(Path(":memory:"), 0.0).run(self._connection, forgetting(ids, "sqlite", ""))
        except sqlite3.ProgrammingError:
            return  # it is closed, and the database gone; or another thread's, which knows when it ends


class AiosqlitePlace:
    """An ``aiosqlite.Connection``."""

    sure = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """It can only be awaited."""
        raise NotAwaited

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """On the connection."""
        from affidavit.recorder.adapters.sqlite import AiosqliteDriver

        driver = AiosqliteDriver(self._connection)
        return ids_in([await driver.run(each) for each in found_by(ids, "sqlite")])

    def forget(self, ids: Sequence[bytes]) -> None:
        """Nothing: it is not known where its database is."""


class PsycopgPlace:
    """A ``psycopg.Connection`` or ``AsyncConnection``.

    Args:
        connection: open.
        schema: of our tables.
    """

    sure = True

    def __init__(self, connection: Any, schema: str) -> None:
        from psycopg import AsyncConnection
        from psycopg.conninfo import make_conninfo

        from affidavit.recorder.adapters.own_psycopg import PsycopgSource

        self._connection = connection
        self._schema = schema
        self._awaited = isinstance(connection, AsyncConnection)
        info = connection.info
        known = make_conninfo(info.dsn, **({"password": info.password} if info.password else {}))
        self._source = PsycopgSource(known, schema)

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """On the connection while it is in a transaction, else on a new one: the question would begin one."""
        from affidavit.recorder.adapters.psycopg import PsycopgDriver

        if not self._in_transaction():
            connection = self._source.connect()
            try:
                return found(PsycopgDriver(connection, self._schema), ids)
            finally:
                connection.close()
        if self._awaited:
            raise NotAwaited
        with self._connection.transaction():
            return found(PsycopgDriver(self._connection, self._schema), ids)

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """The same, awaited where the connection is."""
        from affidavit.recorder.adapters.psycopg import AsyncPsycopgDriver

        if not self._awaited or not self._in_transaction():
            return self.look(ids)
        async with self._connection.transaction():
            driver = AsyncPsycopgDriver(self._connection, self._schema)
            return ids_in([await driver.run(each) for each in found_by(ids, "postgresql")])

    def _in_transaction(self) -> bool:
        from psycopg.pq import TransactionStatus

        if self._connection.closed:
            return False
        return bool(self._connection.info.transaction_status != TransactionStatus.IDLE)

    def forget(self, ids: Sequence[bytes]) -> None:
        """Over a connection of its own."""
        forget_by(self._source, ids, self._schema)


class EnginePlace:
    """An engine of SQLAlchemy, whose transactions are followed: there is nothing to ask.

    Args:
        engine: of the connection that recorded.
        schema: of our tables on PostgreSQL.
    """

    def __init__(self, engine: Any, schema: str) -> None:
        self._engine = engine
        self._schema = schema
        self.sure = engine.dialect.name != "sqlite"

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """All that was not undone."""
        return set(ids)

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """The same."""
        return set(ids)

    def forget(self, ids: Sequence[bytes]) -> None:
        """Over a connection of its own; in memory on the one that there is, unless it is gone."""
        from sqlalchemy.ext.asyncio import AsyncEngine

        from affidavit.recorder.adapters.own_memory import MemorySource
        from affidavit.recorder.adapters.own_sqlalchemy import engine_source

        engine = self._engine
        source = engine_source(AsyncEngine(engine) if engine.dialect.is_async else engine, self._schema, 1.0)
        gone = engine.dialect.is_async or "connection" not in vars(engine.pool)
        if not (isinstance(source, MemorySource) and gone):
            forget_by(source, ids, self._schema)
