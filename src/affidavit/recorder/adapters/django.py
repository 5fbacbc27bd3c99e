"""Django's connections: the event is written at once, within the current atomic block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError
from django.db.models import Model

from affidavit.core.event import Resource
from affidavit.core.row import Recorded
from affidavit.core.statement import Answer, Statement, written
from affidavit.errors import WrongTransaction
from affidavit.recorder.adapters.driver import drive
from affidavit.recorder.context import current
from affidavit.recorder.fields import Said
from affidavit.recorder.recorder import Recorder

__all__ = ["DjangoAdapter", "DjangoDriver", "model_resource", "peek"]


class DjangoDriver:
    """A connection of ``django.db``.

    Args:
        connection: of ``django.db.connections``.
        schema: of our tables on PostgreSQL.

    Raises:
        WrongTransaction: the database is neither SQLite nor PostgreSQL.
    """

    def __init__(self, connection: Any, schema: str) -> None:
        if connection.vendor not in ("sqlite", "postgresql"):
            raise WrongTransaction(
                f"Events cannot be recorded in a database of {connection.vendor}; send them over HTTP with"
                " AuditClient."
            )
        self._connection = connection
        self.dialect: str = connection.vendor
        self._schema = schema if connection.vendor == "postgresql" else None

    def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        sql = written(statement.sql, "%s", self._schema)
        try:
            with self._connection.cursor() as cursor:
                if statement.many:
                    cursor.executemany(sql, statement.parameters)
                else:
                    cursor.execute(sql, statement.parameters)
                return Answer(cursor.fetchall() if statement.returns else (), cursor.rowcount)
        except DatabaseError as error:
            raise _explained(error) from error


def _explained(error: Exception) -> Exception:
    """Our error for that of the driver below, where ours says more; else Django's."""
    original: Any = error.__cause__
    found: Exception = error
    module = type(original).__module__.partition(".")[0]
    if module == "sqlite3":
        from affidavit.recorder.adapters import sqlite

        found = sqlite.explained(original)
    elif module == "psycopg":
        from affidavit.recorder.adapters import psycopg

        found = psycopg.explained(original)
    return error if found is original else found


class DjangoAdapter:
    """``django.db`` connections, in the block that they are in."""

    def record(self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str) -> list[Recorded]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`.

        Raises:
            WrongTransaction: there is no atomic block: the event would commit without the change.
        """
        if not _in_transaction(target):
            raise WrongTransaction(
                "There is no transaction that the event could belong to: use transaction.atomic(),"
                " ATOMIC_REQUESTS or audit.record_now()."
            )
        driver = DjangoDriver(target, schema)
        return drive(driver, recorder.steps([recorder.draft(each) for each in said], driver.dialect))


def _in_transaction(connection: Any) -> bool:
    """Whether there is a transaction; to a request those around the tests of a ``TestCase`` are none.

    As with ``atomic(durable=True)``, a view that fails in production must not pass in its tests. What a test
    itself calls is in the transaction of the test.
    """
    if connection.in_atomic_block:
        return not _in_request() or any(
            not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks
        )
    return not connection.get_autocommit()


def _in_request() -> bool:
    context = current()
    return context is not None and context.has("request")


def model_resource(value: object) -> Resource | None:
    """The resource that an instance of a model is: its table and its key; ``None`` while it has none."""
    if not isinstance(value, Model) or not value._is_pk_set():
        return None
    key = ",".join(map(str, value.pk)) if isinstance(value.pk, tuple) else str(value.pk)
    return Resource(type=value._meta.db_table, id=key)


def peek(value: object, name: str) -> tuple[object] | None:
    """A field of an object as it is in memory: see :data:`affidavit.recorder.registered.Reader`.

    Returns:
        The value in a tuple, ``None`` in it for one that is not loaded; ``None`` where it is no field.
    """
    if not isinstance(value, Model):
        return None
    for field in value._meta.concrete_fields:
        if name == field.attname:
            return (value.__dict__.get(name),)
        if name == field.name:  # a relation
            return (field.get_cached_value(value, default=None),)
    return None
