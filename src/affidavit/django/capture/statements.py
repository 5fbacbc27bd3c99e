"""Every statement of a connection: counts what changes a captured table and comes from nothing recorded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from django.core import mail
from django.db import connections
from django.db.backends.signals import connection_created

from affidavit.django.capture.layers import layers_of
from affidavit.django.capture.marks import is_shown
from affidavit.django.capture.models import is_counted, watched
from affidavit.recorder.capture.uncaptured import count

__all__ = ["follow", "follow_all", "text_of"]

_NAME = r'(?:"[^"]+"|[\w$]+)(?:\.(?:"[^"]+"|[\w$]+))?'
_VERBS = "insert|replace|merge|update|delete|truncate"
_CHANGE = re.compile(
    rf"\b({_VERBS})\s+(?:or\s+\w+\s+)?(?:(?:into|from|only|table)\s+)*({_NAME}(?:\s*,\s*{_NAME})*)",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|\()*", re.DOTALL)
_LITERAL = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_KINDS = {"replace": "insert", "merge": "update", "truncate": "delete"}
_KEY = "_affidavit_followed"
_flushing: ContextVar[bool] = ContextVar("affidavit_flushing", default=False)


def follow_all() -> None:
    """Follow every connection: those that are open in this thread, and those that will be."""
    connection_created.connect(_opened, dispatch_uid="affidavit.capture")
    for connection in connections.all(initialized_only=True):
        follow(connection)


def follow(connection: Any) -> None:
    """Follow one connection, once."""
    if _KEY not in vars(connection):
        vars(connection)[_KEY] = True
        layers_of(connection)
        # First, so that no block that adds a wrapper of its own and takes the last one away takes ours.
        connection.execute_wrappers.insert(0, _executed)
        _leave_flushes_of_tests(connection)


def _opened(connection: Any, **_more: Any) -> None:
    follow(connection)


def _leave_flushes_of_tests(connection: Any) -> None:
    """A ``TransactionTestCase`` empties all tables after each test: nothing to warn of."""
    flush = connection.ops.execute_sql_flush

    def emptied(statements: Any) -> None:
        token = _flushing.set(hasattr(mail, "outbox"))
        try:
            flush(statements)
        finally:
            _flushing.reset(token)

    connection.ops.execute_sql_flush = emptied


def _executed(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    result = execute(sql, params, many, context)
    connection = context["connection"]
    text = text_of(sql, connection)
    layers = layers_of(connection)
    if not layers.executed(text):
        for operation, table, rows in _changed(text, context["cursor"], connection.vendor):
            if connection.in_atomic_block:
                layers.current()  # what is loaded from now on may be undone
            shown = is_shown(connection, (operation, table), rows)
            if not shown and is_counted(table) and not _flushing.get():
                count(table, operation, rows)
    return result


def text_of(sql: Any, connection: Any) -> str:
    """A statement as text; psycopg takes bytes and objects of its own as well."""
    if isinstance(sql, bytes):
        return sql.decode("utf-8", "replace")
    return str(sql.as_string(connection.connection)) if hasattr(sql, "as_string") else str(sql)


def _changed(sql: str, cursor: Any, vendor: str) -> Iterator[tuple[str, str, int]]:
    """The tables beside captured models that a statement changes: how, which, and how many rows.

    Less than 0 stands for a number that is not known: of several statements, and of one on SQLite whose
    rows are not fetched yet.
    """
    begin = _BEFORE.match(sql).end()  # type: ignore[union-attr]
    if ";" in sql.rstrip("; \n") or sql[begin : begin + 4].lower() == "with":
        found, rows = list(_CHANGE.finditer(_LITERAL.sub(" ", sql))), -1
    else:
        one = _CHANGE.match(sql, begin)
        found, rows = [] if one is None else [one], cursor.rowcount
        if vendor == "sqlite" and "returning" in sql.lower():
            rows = -1
    for each in found:
        verb, names = each[1].lower(), re.findall(_NAME, each[2])
        for name in names if verb == "truncate" else names[:1]:
            table = watched(name.rpartition(".")[2].strip('"'))
            if table is not None:
                yield _KINDS.get(verb, verb), table, rows
