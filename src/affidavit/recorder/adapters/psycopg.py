"""``psycopg`` connections, blocking and awaited."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from affidavit.core.statement import Answer, Statement, written
from affidavit.errors import WrongTransaction
from affidavit.recorder.adapters.refusals import refusal

__all__ = ["AsyncPsycopgDriver", "PsycopgDriver", "check_transaction", "driver_of", "explained"]


def explained(error: psycopg.Error) -> Exception:
    """Our error where the function refused, or where the driver's says too little; else the same one."""
    diag = error.diag
    ours = refusal(
        error.sqlstate,
        diag.message_primary or str(error),
        field=diag.column_name or "",
        rule=diag.constraint_name or "",
    )
    return error if ours is None else ours


def check_transaction(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    """Raise where an event would not share the fate of the change.

    Raises:
        WrongTransaction: the connection is closed, or commits each statement by itself, or its transaction
            ends in two phases.
    """
    if connection.closed:
        raise WrongTransaction("The connection is closed; nothing was recorded.")
    if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
        raise WrongTransaction(
            "The connection is in autocommit mode and in no transaction that the event could belong to: use"
            " connection.transaction() or audit.record_now()."
        )
    if getattr(connection, "_tpc", None) is not None:  # psycopg has no public way to ask
        raise WrongTransaction(
            "Events cannot be recorded in a two-phase transaction: its parts commit apart."
        )


def _written(statement: Statement, schema: str) -> bytes:
    return written(statement.sql, "%b" if statement.arrays else "%s", schema).encode()


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
                cursor.execute(_written(statement, self._schema), statement.parameters)
                return Answer(cursor.fetchall() if statement.returns else (), cursor.rowcount)
        except psycopg.Error as error:
            if (ours := explained(error)) is error:
                raise
            raise ours from error


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
                await cursor.execute(_written(statement, self._schema), statement.parameters)
                return Answer(await cursor.fetchall() if statement.returns else (), cursor.rowcount)
        except psycopg.Error as error:
            if (ours := explained(error)) is error:
                raise
            raise ours from error


def driver_of(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], schema: str
) -> PsycopgDriver | AsyncPsycopgDriver:
    """What runs statements on a connection, blocking or awaited."""
    if isinstance(connection, psycopg.AsyncConnection):
        return AsyncPsycopgDriver(connection, schema)
    return PsycopgDriver(connection, schema)
