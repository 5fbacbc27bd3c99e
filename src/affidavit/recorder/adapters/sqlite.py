"""``sqlite3`` and ``aiosqlite`` connections."""

from __future__ import annotations

import sqlite3
from typing import Any

from affidavit.core.statement import Answer, Statement
from affidavit.errors import SchemaMissing, WrongTransaction

__all__ = ["AiosqliteDriver", "Sqlite3Driver", "check_transaction", "explained"]


def explained(error: sqlite3.Error) -> Exception:
    """Our error where the driver's says too little about what to do; else the same one."""
    if "no such table" in str(error):
        return SchemaMissing(f"The database has no Affidavit tables ({error}); run: affidavit migrate")
    return error


def check_transaction(connection: Any) -> None:
    """Raise where an event would not share the fate of the change.

    Args:
        connection: of ``sqlite3`` or ``aiosqlite``.

    Raises:
        WrongTransaction: the connection is closed, or commits each statement by itself.
    """
    try:
        # Python 3.12 has two ways to say it; -1 is its LEGACY_TRANSACTION_CONTROL.
        autocommit = getattr(connection, "autocommit", -1)
        alone = autocommit is True or (autocommit == -1 and connection.isolation_level is None)
        if not alone or connection.in_transaction:
            return
    except (sqlite3.ProgrammingError, ValueError) as error:
        raise WrongTransaction(f"The connection cannot be used ({error}); nothing was recorded.") from error
    raise WrongTransaction(
        "The connection is in autocommit mode and in no transaction that the event could belong to: execute"
        " BEGIN first, or use audit.record_now()."
    )


class Sqlite3Driver:
    """A connection of the standard library."""

    dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        try:
            if statement.many:
                cursor.executemany(statement.sql, statement.parameters)
            else:
                cursor.execute(statement.sql, statement.parameters)
            return Answer(cursor.fetchall() if statement.returns else (), cursor.rowcount)
        except sqlite3.Error as error:
            if (ours := explained(error)) is error:
                raise
            raise ours from error
        finally:
            cursor.close()


class AiosqliteDriver:
    """A connection of ``aiosqlite``."""

    dialect = "sqlite"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        cursor = await self._connection.cursor()
        try:
            if statement.many:
                await cursor.executemany(statement.sql, statement.parameters)
            else:
                await cursor.execute(statement.sql, statement.parameters)
            rows = [tuple(row) for row in await cursor.fetchall()] if statement.returns else ()
            return Answer(rows, cursor.rowcount)
        except sqlite3.Error as error:
            if (ours := explained(error)) is error:
                raise
            raise ours from error
        finally:
            await cursor.close()
