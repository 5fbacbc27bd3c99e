"""Runs tasks piece by piece beside sequencing; see :mod:`affidavit.storage.tasks`.

A task's function is a generator: it yields after each bounded piece (``None``: go on, :data:`WAITING`: there
is nothing to do until something else has happened) and returns its outcome. Several run in turn, so that one
that waits for a signature does not hold up the one that makes signing possible again. After a crash, and
after an error of storage, a task starts again from its beginning: every function must be able to repeat what
it did.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, Literal, TypeAlias

from affidavit.errors import AffidavitError, StorageError
from affidavit.storage.tasks import Task, TaskStore

__all__ = ["WAITING", "Task", "TaskFunction", "TaskRunner", "TaskSteps", "new_task"]

log = logging.getLogger("affidavit.tasks")

WAITING: Final = "waiting"
RETRY = 2.0
"""Seconds after an error of storage until a task is started again."""

TaskSteps: TypeAlias = Generator[Literal["waiting"] | None, None, Mapping[str, Any]]
TaskFunction: TypeAlias = Callable[[Task], TaskSteps]


def new_task(
    kind: str,
    organization: str,
    request: Mapping[str, Any],
    *,
    by: str,
    now: int,
    entropy: Callable[[int], bytes],
) -> Task:
    """A task that nobody has begun.

    Args:
        kind: what is to be done.
        organization: whose.
        request: what it needs to know.
        by: name of the credential that orders it.
        now: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """
    return Task(f"task_{entropy(8).hex()}", kind, organization, request, "waiting", None, now, by)


class TaskRunner:
    """Does the open tasks of one store; only the holder of the worker's lease has one.

    Args:
        store: of the tasks.
        kinds: what does a task of each kind.
        clock: microseconds since 1970 UTC.
        monotonic: seconds.
    """

    def __init__(
        self,
        store: TaskStore,
        kinds: Mapping[str, TaskFunction],
        *,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._clock = clock
        self._monotonic = monotonic
        self._running: deque[tuple[str, TaskSteps]] = deque()
        self._rest: dict[str, float] = {}

    def step(self) -> bool:
        """Do one bounded piece of one task.

        Returns:
            Whether to come again at once; false where nothing is to be done, or every task waits.
        """
        self._take_up()
        for _ in range(len(self._running)):
            task_id, steps = self._running.popleft()
            try:
                waits = next(steps) == WAITING
            except StopIteration as stop:
                self._store.end(task_id, "done", stop.value or {}, self._clock())
                return True
            except StorageError as error:
                log.error("task %s: %s; it is started again.", task_id, error.message)
                self._rest[task_id] = self._monotonic() + RETRY
                return False
            except Exception as error:  # noqa: BLE001 - one bad task must not stop the others
                self._fail(task_id, error)
                return True
            self._running.append((task_id, steps))
            if not waits:
                return True
        return False

    def _take_up(self) -> None:
        running = {task_id for task_id, _ in self._running}
        now = self._monotonic()
        for task in self._store.open():
            if task.id in running or self._rest.get(task.id, now) > now:
                continue
            self._rest.pop(task.id, None)
            function = self._kinds.get(task.kind)
            if function is None:
                outcome = {"error": f"This version knows no task of the kind {task.kind}."}
                self._store.end(task.id, "failed", outcome, self._clock())
                continue
            self._store.begin(task.id, self._clock())
            self._running.append((task.id, function(task)))

    def _fail(self, task_id: str, error: Exception) -> None:
        if isinstance(error, AffidavitError):
            text = error.message
            log.error("task %s failed: %s", task_id, text)
        else:
            # Its text may quote an event or the subject of an erasure.
            text = f"A defect of the program: {type(error).__name__}."
            places = "".join(traceback.format_tb(error.__traceback__))
            log.error("task %s failed: %s\n%s", task_id, type(error).__name__, places)
        self._store.end(task_id, "failed", {**_noted(self._store.get(task_id)), "error": text}, self._clock())

    def close(self) -> None:
        """Stop in the middle; what is open starts again with the next runner."""
        while self._running:
            self._running.pop()[1].close()


def _noted(task: Task | None) -> Mapping[str, Any]:
    """What a task had noted before it failed: what it did so far stays known."""
    return task.outcome if task is not None and task.outcome is not None else {}
