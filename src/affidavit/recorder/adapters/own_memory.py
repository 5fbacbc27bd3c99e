"""SQLite in memory, behind an engine of SQLAlchemy: there can be no connection but the app's.

An event of its own is written on that connection when it is in no transaction. While it is in one, the event
waits in memory, as it waits in a file beside a database on the disk, and goes in when that ends, either way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import SingletonThreadPool, StaticPool
from sqlalchemy.util import greenlet_spawn

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.errors import ConfigError, StorageBusy
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.adapters.sqlite import Sqlite3Driver
from affidavit.recorder.spool import Spool, set_up

__all__ = ["MemorySource", "MemorySpool"]


class _InTransaction(StorageBusy):
    """The app has a transaction on the only connection."""


class MemorySpool(Spool):
    """A spool that lives as long as the database that its entries are for."""

    def __init__(self) -> None:
        super().__init__(Path(":memory:"))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        set_up(connection)
        return connection

    def close(self) -> None:
        """Let go of what is empty; a file's entries would stay, so these do, too."""
        if self._connection is not None and not self.has_entries():
            super().close()


class MemorySource:
    """See :class:`affidavit.recorder.own.Source`.

    Args:
        engine: whose pool has one connection, or one for each thread.

    Raises:
        ConfigError: it has another pool, so that each connection is another database.
    """

    dialect = "sqlite"
    keeps = False

    def __init__(self, engine: Engine) -> None:
        if not isinstance(engine.pool, StaticPool | SingletonThreadPool):
            raise ConfigError(
                "A database in memory is one connection: record_now, denied and attempt need"
                " create_engine(..., poolclass=StaticPool), or a file."
            )
        self._engine = engine

    def make_spool(self) -> MemorySpool:
        """Where events wait for the end of the app's transaction."""
        return MemorySpool()

    def connect(self) -> Any:
        """The pool itself: to check a connection out would end the transaction when it is given back."""
        return self._engine.pool

    def run(self, connection: Any, steps: Steps) -> list[Recorded]:
        """Run a recording in a transaction of its own, where the app has none."""
        if self._engine.dialect.is_async:
            return asyncio.run(_awaited(connection, lambda raw: _run(raw, steps)))
        return _run(connection._do_get().dbapi_connection, steps)

    def is_busy(self, error: BaseException) -> bool:
        """Whether the app has a transaction on the connection."""
        return isinstance(error, _InTransaction)

    def is_away(self, error: BaseException) -> bool:  # noqa: ARG002 - it is in this process
        """Never."""
        return False

    def close(self, connection: Any) -> None:
        """It is the app's."""


async def _awaited(pool: Any, work: Callable[[sqlite3.Connection], list[Recorded]]) -> list[Recorded]:
    """In the thread of the connection and in one go: nothing of the app's comes between."""
    entry = await greenlet_spawn(pool._do_get)
    connection = entry.driver_connection
    found: list[Recorded] = await connection._execute(lambda: work(connection._conn))
    return found


def _run(connection: sqlite3.Connection, steps: Steps) -> list[Recorded]:
    if connection.in_transaction:
        raise _InTransaction("The app has a transaction on the only connection of a database in memory.")
    connection.execute("BEGIN IMMEDIATE")
    try:
        recorded = drive(Sqlite3Driver(connection), steps)
        connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise
    return recorded
