"""Copies of personal data in the small tables: names in settings, and tasks.

A credential that belongs to one organization alone carries names of its own: who it is for, who made it. A
task keeps who ordered it, and what it was asked. What is the subject there becomes :data:`ERASED`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import msgspec

from affidavit.core.credentials import pack_organizations
from affidavit.storage.copies import Erasure, Pieces, Places
from affidavit.storage.sql.database import Connection, Database

__all__ = ["ERASED", "SqlNames", "SqlTaskCopies"]

ERASED = "[erased]"
"""What stands instead of a name."""

_OF = "organization = ?"
_ALONE = "organizations = ?"
_NAMES = (
    ("affidavit_tokens", "name", _ALONE),
    ("affidavit_tokens", "created_by", _ALONE),
    ("affidavit_sessions", "name", _ALONE),
    ("affidavit_logins", "name", _ALONE),
    ("affidavit_holds", "created_by", _OF),
    ("affidavit_tasks", "created_by", _OF),
)
"""Table, column, and which rows are the organization's own."""

_decode = msgspec.json.Decoder().decode


class SqlNames:
    """Names in settings."""

    name = "settings"

    def __init__(self, database: Database) -> None:
        self._database = database

    def erase(self, erasure: Erasure) -> Pieces:
        """Replace the subject's name wherever it stands alone in a column."""
        for table, column, own in _NAMES:
            for value in self._found(table, column, own, erasure):
                self._replace(table, column, own, erasure, value)
            yield

    def search(self, erasure: Erasure) -> Places:
        """The columns in which it still stands."""
        left = []
        for table, column, own in _NAMES:
            if self._found(table, column, own, erasure):
                left.append(f"column {column} of {table}")
            yield
        return left

    def _found(self, table: str, column: str, own: str, erasure: Erasure) -> list[str]:
        def work(connection: Connection) -> list[str]:
            rows = connection.execute(
                f"SELECT DISTINCT {column} FROM {table} WHERE {own}", (_owner(own, erasure),)
            ).fetchall()
            return [value for (value,) in rows if erasure.holds(value)]

        return self._database.read(work)

    def _replace(self, table: str, column: str, own: str, erasure: Erasure, value: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(
                f"UPDATE {table} SET {column} = ? WHERE {own} AND {column} = ?",
                (ERASED, _owner(own, erasure), value),
            )

        self._database.change(work, lambda _: ())


def _owner(own: str, erasure: Erasure) -> str:
    return erasure.organization if own == _OF else pack_organizations((erasure.organization,))


class SqlTaskCopies:
    """What ended tasks keep of what they were asked and what came of them."""

    name = "tasks"
    _AT_ONCE = 200

    def __init__(self, database: Database) -> None:
        self._database = database

    def erase(self, erasure: Erasure) -> Pieces:
        """Replace the subject wherever it is a value in a request or an outcome."""
        for piece in self._walk(erasure):
            for task_id, request, outcome in piece:
                self._replace(task_id, _without(request, erasure.holds), _without(outcome, erasure.holds))
            yield

    def search(self, erasure: Erasure) -> Places:
        """The ids of the tasks that still hold it."""
        left: list[str] = []
        for piece in self._walk(erasure):
            left.extend(f"task {task_id}" for task_id, _, _ in piece)
            yield
        return left

    def _walk(self, erasure: Erasure) -> Generator[list[tuple[str, str, str | None]], None, None]:
        """Those of the organization's ended tasks that hold the subject, in pieces."""
        last = ""
        while rows := self._piece(erasure.organization, last):
            last = rows[-1][0]
            yield [
                row
                for row in rows
                if any(text is not None and _without(text, erasure.holds) != text for text in row[1:])
            ]

    def _piece(self, organization: str, after: str) -> list[tuple[str, str, str | None]]:
        return self._database.read(
            lambda connection: connection.execute(
                "SELECT id, request, outcome FROM affidavit_tasks WHERE organization = ? AND id > ?"
                " AND state IN ('done', 'failed') ORDER BY id LIMIT ?",
                (organization, after, self._AT_ONCE),
            ).fetchall()
        )

    def _replace(self, task_id: str, request: str | None, outcome: str | None) -> None:
        def work(connection: Connection) -> None:
            connection.execute(
                "UPDATE affidavit_tasks SET request = ?, outcome = ? WHERE id = ?",
                (request, outcome, task_id),
            )

        self._database.change(work, lambda _: ())


def _without(text: str | None, is_subject: Callable[[object], bool]) -> str | None:
    """A JSON text with every value that is the subject replaced; the same text where there is none."""
    if text is None:
        return None
    value = _decode(text)
    replaced = _replaced(value, is_subject)
    return text if replaced == value else msgspec.json.encode(replaced).decode()


def _replaced(value: Any, is_subject: Callable[[object], bool]) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(each, is_subject) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, is_subject) for each in value]
    return ERASED if is_subject(value) else value
