"""``psycopg`` connections, blocking and awaited."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from affidavit.core.statement import Answer, Statement, written
from affidavit.errors import (
    FieldError,
    IdConflict,
    InvalidEvent,
    SchemaMissing,
    StorageReadOnly,
)

__all__ = ["AsyncPsycopgDriver", "PsycopgDriver", "explained"]


def explained(error: psycopg.Error) -> Exception:
    """Our error where the function refused, or where the driver's says too little; else the same one."""
    diag = error.diag
    if error.sqlstate == "YA422":
        broken = FieldError(diag.column_name or "", diag.constraint_name or "", diag.message_primary or "")
        return InvalidEvent((broken,), diag.message_primary)
    if error.sqlstate == "YA409":
        broken = FieldError(diag.column_name or "", diag.constraint_name or "", diag.message_primary or "")
        return IdConflict(diag.message_primary, (broken,))
    if isinstance(error, psycopg.errors.UndefinedFunction | psycopg.errors.InvalidSchemaName):
        return SchemaMissing(
            "The database has no function affidavit_record_v1 in the schema of this Audit; run: affidavit"
            f" migrate ({diag.message_primary})"
        )
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return StorageReadOnly(
            f"The database role may not record ({diag.message_primary}); GRANT affidavit_writer TO it."
        )
    return error


class PsycopgDriver:
    """A ``psycopg.Connection``.

    Args:
        connection: in whatever transaction it is in.
        schema: that holds our functions.
    """

    dialect = "postgresql"

    def __init__(self, connection: psycopg.Connection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        try:
            with self._connection.cursor(row_factory=tuple_row) as cursor:
                cursor.execute(written(statement.sql, "%s", self._schema).encode(), statement.parameters)
                return Answer(cursor.fetchall() if statement.returns else (), cursor.rowcount)
        except psycopg.Error as error:
            raise explained(error) from error


class AsyncPsycopgDriver:
    """A ``psycopg.AsyncConnection``."""

    dialect = "postgresql"

    def __init__(self, connection: psycopg.AsyncConnection[Any], schema: str) -> None:
        self._connection = connection
        self._schema = schema

    async def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        try:
            async with self._connection.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(
                    written(statement.sql, "%s", self._schema).encode(), statement.parameters
                )
                return Answer(await cursor.fetchall() if statement.returns else (), cursor.rowcount)
        except psycopg.Error as error:
            raise explained(error) from error
