"""SQLAlchemy's connections, blocking and async; its sessions are in :mod:`.sessions`."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy.engine import Connection, TwoPhaseTransaction
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from affidavit.core.event import Draft
from affidavit.core.row import Recorded, Row
from affidavit.core.statement import Answer, Statement, written
from affidavit.errors import WrongTransaction
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.adapters.mapped import mapped
from affidavit.recorder.adapters.refusals import refusal
from affidavit.recorder.fields import Said
from affidavit.recorder.recorder import Recorder

__all__ = [
    "AUTOCOMMIT",
    "AsyncConnectionAdapter",
    "ConnectionAdapter",
    "SqlalchemyDriver",
    "check",
    "mapped",
    "write",
]

AUTOCOMMIT = (
    "The isolation level is AUTOCOMMIT: there is no transaction that the event could belong to. Use another"
    " level, or audit.record_now()."
)


class SqlalchemyDriver:
    """A ``Connection`` of SQLAlchemy, whatever driver is below it.

    Args:
        connection: in a transaction, or beginning one with its first statement.
        schema: of our tables on PostgreSQL.

    Raises:
        WrongTransaction: the database is neither SQLite nor PostgreSQL.
    """

    def __init__(self, connection: Connection, schema: str) -> None:
        self._connection = connection
        name = connection.dialect.name
        if name not in ("sqlite", "postgresql"):
            raise WrongTransaction(
                f"Events cannot be recorded in a database of {name}; send them over HTTP with AuditClient."
            )
        self.dialect = name
        self._schema = schema if name == "postgresql" else None

    def run(self, statement: Statement) -> Answer:
        """Run one statement, with the driver's own parameter marks."""
        dialect = self._connection.dialect
        binary = dialect.driver in _PSYCOPG and statement.arrays
        sql = _written(statement.sql, "binary" if binary else dialect.paramstyle, self._schema)
        parameters: Any = statement.parameters
        parameters = [tuple(each) for each in parameters] if statement.many else tuple(parameters)
        try:
            with self._connection.exec_driver_sql(sql, parameters) as result:
                rows = [tuple(row) for row in result] if statement.returns else ()
                return Answer(rows, result.rowcount)
        except DBAPIError as error:
            if (ours := _explained(error)) is None:
                raise
            raise ours from error


_PSYCOPG = ("psycopg", "psycopg_async")
_MARKS = {"qmark": "?", "binary": "%b"}


@lru_cache(maxsize=256)
def _written(sql: str, style: str, schema: str | None) -> str:
    if not style.startswith("numeric"):
        return written(sql, _MARKS.get(style, "%s"), schema)
    mark = "$" if "dollar" in style else ":"
    first, *others = written(sql, "?", schema).split("?")
    return first + "".join(f"{mark}{number}{part}" for number, part in enumerate(others, 1))


def _explained(error: DBAPIError) -> Exception | None:
    """Our error for that of the driver below, ``None`` where SQLAlchemy's says enough."""
    original = error.orig
    if type(original).__module__.partition(".")[0] == "sqlite3":
        from affidavit.recorder.adapters import sqlite

        found = sqlite.explained(original)  # type: ignore[arg-type]
        return None if found is original else found
    diag = getattr(original, "diag", None)  # psycopg and psycopg2
    server = original.__cause__ if diag is None and original is not None else None  # asyncpg
    return refusal(
        getattr(original, "sqlstate", None) or getattr(original, "pgcode", None),
        getattr(diag, "message_primary", None) or getattr(server, "message", None) or str(original),
        field=getattr(diag, "column_name", None) or getattr(server, "column_name", None) or "",
        rule=getattr(diag, "constraint_name", None) or getattr(server, "constraint_name", None) or "",
    )


def write(
    connection: Connection,
    recorder: Recorder,
    drafts: Sequence[Draft],
    schema: str,
    made: Sequence[Row | None] = (),
) -> list[Recorded]:
    """Record within the transaction of a connection.

    Args:
        connection: in its transaction.
        recorder: makes the statements.
        drafts: at most 1,000.
        schema: of our tables on PostgreSQL.
        made: see :meth:`affidavit.recorder.recorder.Recorder.rows`.

    Raises:
        InvalidEvent: a rule is broken; nothing was written.
        WrongTransaction: the connection's transaction cannot keep the promise.
    """
    driver = SqlalchemyDriver(connection, schema)
    check(connection)
    return drive(driver, recorder.steps(drafts, driver.dialect, made))


def check(connection: Connection) -> None:
    """Raise where an event would not share the fate of the change.

    Raises:
        WrongTransaction: the connection is closed, or commits each statement by itself, or its transaction
            ends in two phases.
    """
    if connection.closed:
        raise WrongTransaction("The connection is closed; nothing was recorded.")
    if isinstance(connection.get_transaction(), TwoPhaseTransaction):
        raise WrongTransaction(
            "Events cannot be recorded in a two-phase transaction: its parts commit apart."
        )
    if not _is_alone(connection):
        return
    if not connection.in_transaction():
        # Nothing was executed yet. What the app does at the beginning of a transaction may say BEGIN.
        begun = connection.begin()
        if not _is_alone(connection):
            return
        begun.rollback()
    raise WrongTransaction(AUTOCOMMIT)


def _is_alone(connection: Connection) -> bool:
    """Whether each statement commits by itself."""
    below: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        return bool(getattr(below, "autocommit", False))
    # Without an isolation level, an app that says BEGIN itself has its transaction nevertheless.
    in_transaction = getattr(connection.connection.driver_connection, "in_transaction", False)
    return below.isolation_level is None and not in_transaction


class ConnectionAdapter:
    """``sqlalchemy.Connection``: written at once."""

    def record(
        self, recorder: Recorder, target: Connection, said: Sequence[Said], schema: str
    ) -> list[Recorded]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        return write(target, recorder, [recorder.draft(each) for each in said], schema)


class AsyncConnectionAdapter:
    """``sqlalchemy.ext.asyncio.AsyncConnection``: written when it is awaited."""

    def record(
        self, recorder: Recorder, target: AsyncConnection, said: Sequence[Said], schema: str
    ) -> Awaitable[list[Recorded]]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        drafts = [recorder.draft(each) for each in said]
        return target.run_sync(write, recorder, drafts, schema, recorder.check(drafts))
