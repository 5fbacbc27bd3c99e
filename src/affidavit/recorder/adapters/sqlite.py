"""``sqlite3`` and ``aiosqlite`` connections."""

from __future__ import annotations

import sqlite3
from typing import Any

from affidavit.core.statement import Answer, Statement
from affidavit.errors import SchemaMissing

__all__ = ["AiosqliteDriver", "Sqlite3Driver", "explained"]


def explained(error: sqlite3.Error) -> Exception:
    """Our error where the driver's says too little about what to do; else the same one."""
    if "no such table" in str(error):
        return SchemaMissing(f"The database has no Affidavit tables ({error}); run: affidavit migrate")
    return error


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
            raise explained(error) from error
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
            raise explained(error) from error
        finally:
            await cursor.close()
