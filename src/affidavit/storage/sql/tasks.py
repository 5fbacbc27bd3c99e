"""The ``TaskStore`` in SQL: short transactions."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from affidavit.storage.sql.database import Connection, Database
from affidavit.storage.tasks import SUBJECT, Task

__all__ = ["SqlTasks"]

_SELECT = (
    "SELECT id, kind, organization, request, state, outcome, created_at, created_by, started_at, ended_at"
    " FROM affidavit_tasks"
)
_OPEN = "state IN ('waiting', 'running')"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SqlTasks:
    """:class:`~affidavit.storage.tasks.TaskStore` in SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, task: Task) -> None:
        """See the role."""
        self._run(
            "INSERT INTO affidavit_tasks (id, kind, organization, request, state, created_at, created_by)"
            " VALUES (?, ?, ?, ?, 'waiting', ?, ?)",
            task.id,
            task.kind,
            task.organization,
            _encode(task.request),
            task.created_at,
            task.created_by,
        )

    def get(self, task_id: str) -> Task | None:
        """See the role."""
        found = self._tasks(f"{_SELECT} WHERE id = ?", task_id)
        return found[0] if found else None

    def open(self) -> list[Task]:
        """See the role."""
        return self._tasks(f"{_SELECT} WHERE {_OPEN} ORDER BY created_at, id")

    def list(self, kind: str, organization: str | None = None, *, limit: int = 1_000) -> builtins.list[Task]:
        """See the role."""
        return self._tasks(
            f"{_SELECT} WHERE kind = ? AND organization = coalesce(?, organization)"
            " ORDER BY created_at DESC, id DESC LIMIT ?",
            kind,
            organization,
            limit,
        )

    def begin(self, task_id: str, now: int) -> None:
        """See the role."""
        self._run(
            "UPDATE affidavit_tasks SET state = 'running', started_at = ? WHERE id = ? AND state = 'waiting'",
            now,
            task_id,
        )

    def note(self, task_id: str, progress: Mapping[str, Any]) -> None:
        """See the role."""
        self._run(
            "UPDATE affidavit_tasks SET outcome = ? WHERE id = ? AND state = 'running'",
            _encode(progress),
            task_id,
        )

    def forget(self, task_id: str) -> None:
        """See the role."""
        self._change(task_id, lambda connection: _forget_subject(connection, task_id))

    def end(
        self, task_id: str, state: Literal["done", "failed"], outcome: Mapping[str, Any], now: int
    ) -> None:
        """See the role."""

        def work(connection: Connection) -> None:
            ended = connection.execute(
                f"UPDATE affidavit_tasks SET state = ?, outcome = ?, ended_at = ? WHERE id = ? AND {_OPEN}",
                (state, _encode(outcome), now, task_id),
            )
            if ended.rowcount == 1:
                _forget_subject(connection, task_id)

        self._change(task_id, work)

    def _change(self, task_id: str, work: Callable[[Connection], None]) -> None:
        """A change of the request, which is read and written again."""
        self._database.change(work, lambda _: (), alone=f"task {task_id}")

    def _run(self, statement: str, *values: object) -> None:
        def work(connection: Connection) -> None:
            connection.execute(statement, values)

        self._database.change(work, lambda _: ())

    def _tasks(self, statement: str, *values: object) -> builtins.list[Task]:
        rows = self._database.read(lambda connection: connection.execute(statement, values).fetchall())
        return [_task(row) for row in rows]


def _forget_subject(connection: Connection, task_id: str) -> None:
    row = connection.execute("SELECT request FROM affidavit_tasks WHERE id = ?", (task_id,)).fetchone()
    request = {} if row is None else _decode(row[0])
    if SUBJECT in request:
        del request[SUBJECT]
        connection.execute("UPDATE affidavit_tasks SET request = ? WHERE id = ?", (_encode(request), task_id))


def _task(row: tuple[Any, ...]) -> Task:
    task_id, kind, organization, request, state, outcome, created_at, created_by, started_at, ended_at = row
    progress = None if outcome is None else _decode(outcome)
    return Task(
        task_id,
        kind,
        organization,
        _decode(request),
        state,
        progress,
        created_at,
        created_by,
        started_at,
        ended_at,
    )


def _encode(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()
