"""Who acts, told to the triggers of PostgreSQL by every transaction of a database of the project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections, transaction
from django.db.backends.signals import connection_created

from affidavit.django.capture.layers import layers_of
from affidavit.django.capture.models import captured_tables
from affidavit.django.capture.statements import follow, text_of
from affidavit.recorder.adapters.django import DjangoDriver
from affidavit.recorder.capture.carried import WRITES, statement
from affidavit.recorder.context import current
from affidavit.recorder.recorder import Recorder

__all__ = ["carry_always"]

_KEY = "_affidavit_told"
_recorders: dict[str, Recorder] = {}


def carry_always(recorder: Recorder, alias: str) -> None:
    """Tell each transaction before its first statement that may change something, and when that is old.

    Such a statement outside of a block gets one: what a transaction is told ends with it.

    Args:
        recorder: knows organization and source where the context does not.
        alias: of the database.
    """
    _recorders[alias] = recorder
    connection_created.connect(_opened, dispatch_uid="affidavit.carried")
    for connection in connections.all(initialized_only=True):
        _opened(connection)


def _opened(connection: Any, **_more: Any) -> None:
    if connection.alias in _recorders and connection.vendor == "postgresql" and _KEY not in vars(connection):
        vars(connection)[_KEY] = None
        follow(connection)
        connection.execute_wrappers.insert(0, _before)


def _before(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    connection = context["connection"]
    if not WRITES.match(text_of(sql, connection)):
        return execute(sql, params, many, context)
    if connection.in_atomic_block or not connection.get_autocommit():
        _tell(connection)
        return execute(sql, params, many, context)
    with transaction.atomic(using=connection.alias):
        _tell(connection)
        return execute(sql, params, many, context)


def _tell(connection: Any) -> None:
    here = current()
    now = (dict(here.known()) if here is not None else None, captured_tables())
    told = vars(connection)[_KEY]
    # What a savepoint was told goes when it is rolled back.
    if told is not None and told[1] == now and not (told[0].is_undone or told[0].is_over):
        return
    DjangoDriver(connection, "public").run(statement(_recorders[connection.alias], now[1]))
    vars(connection)[_KEY] = (layers_of(connection).current(), now)
