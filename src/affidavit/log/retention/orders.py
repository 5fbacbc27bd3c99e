"""Orders for the worker: who ordered a task of retention, and what has become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from affidavit.access.scope import Credential
from affidavit.errors import NotFound
from affidavit.log.tasks import Task, new_task
from affidavit.storage.tasks import TaskStore

__all__ = ["EXPIRE", "ExpiryOrders", "credential_of", "request_of"]

EXPIRE = "expire"
"""The kind of the tasks that let values expire."""

_BY = "by"


def request_of(by: Credential, **more: Any) -> dict[str, Any]:
    """The request of a task, with the name of whoever ordered it."""
    return {**more, _BY: {"kind": by.kind, "id": by.id, "name": by.name}}


def credential_of(task: Task) -> Credential:
    """Whoever ordered a task, as its events name them; it reaches nothing."""
    by: Mapping[str, Any] = task.request[_BY]
    return Credential(kind=by["kind"], id=by["id"], name=by["name"], organizations=(), abilities=frozenset())


class ExpiryOrders:
    """Orders runs of expiry, for those who do not wait for them.

    Args:
        tasks: where they are kept.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self, tasks: TaskStore, *, clock: Callable[[], int], entropy: Callable[[int], bytes]
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._entropy = entropy

    def order(self, organization: str, by: Credential) -> Task:
        """A run for an organization; the one that is open where there is one."""
        for task in self._tasks.open():
            if task.kind == EXPIRE and task.organization == organization:
                return task
        task = new_task(
            EXPIRE,
            organization,
            request_of(by),
            by=by.name,
            now=self._clock(),
            entropy=self._entropy,
        )
        self._tasks.add(task)
        return task

    def get(self, organization: str, task_id: str) -> Task:
        """What has become of a run.

        Raises:
            NotFound: the organization has no such run.
        """
        task = self._tasks.get(task_id)
        if task is None or task.kind != EXPIRE or task.organization != organization:
            raise NotFound()
        return task
