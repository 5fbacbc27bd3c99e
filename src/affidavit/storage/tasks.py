"""Storage role of the tasks: work that somebody ordered and the holder of the worker's lease does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

__all__ = ["SUBJECT", "Task", "TaskState", "TaskStore"]

TaskState = Literal["waiting", "running", "done", "failed"]

SUBJECT = "subject"
"""The member of a request that holds personal data; it goes when the task ends, however it ends."""


class Task(NamedTuple):
    """Work that somebody ordered.

    Attributes:
        id: its public name.
        kind: what is to be done, such as ``erase``.
        organization: whose.
        request: what was asked; without its member :data:`SUBJECT` once the task has ended.
        state: ``waiting``, ``running``, ``done`` or ``failed``.
        outcome: while it runs, what it has noted of its progress; then what came of it. A failed one has a
            member ``error``.
        created_at, started_at, ended_at: microseconds since 1970 UTC.
        created_by: who ordered it.
    """

    id: str
    kind: str
    organization: str
    request: Mapping[str, Any]
    state: TaskState
    outcome: Mapping[str, Any] | None
    created_at: int
    created_by: str
    started_at: int | None = None
    ended_at: int | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it."""
        return self.state in ("done", "failed")


class TaskStore(Protocol):
    """Keeps tasks. Every change is durable on return."""

    def add(self, task: Task) -> None:
        """Store a new task in state ``waiting``."""
        ...

    def get(self, task_id: str) -> Task | None:
        """The task, whatever its state."""
        ...

    def open(self) -> list[Task]:
        """Those that wait or run, oldest first."""
        ...

    def list(self, kind: str, organization: str | None = None, *, limit: int = 1_000) -> list[Task]:
        """Those of a kind, of one organization or all, newest first."""
        ...

    def begin(self, task_id: str, now: int) -> None:
        """Set a waiting task running; one that runs already keeps its time."""
        ...

    def note(self, task_id: str, progress: Mapping[str, Any]) -> None:
        """Keep what a running task must know when it is started again."""
        ...

    def forget(self, task_id: str) -> None:
        """Take the member :data:`SUBJECT` out of a task's request, before it ends."""
        ...

    def end(
        self, task_id: str, state: Literal["done", "failed"], outcome: Mapping[str, Any], now: int
    ) -> None:
        """End an open task; the member :data:`SUBJECT` of its request is taken out. An ended one stays."""
        ...
