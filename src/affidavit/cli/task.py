"""Tasks from the command line: handed to the worker, or done here where no worker runs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from affidavit.cli.exits import Failed
from affidavit.cli.instance import credential, private_files
from affidavit.log.tasks import Task, new_task

if TYPE_CHECKING:
    from affidavit.wiring import Instance

__all__ = ["finish_task", "run_task"]

_LOOK = 0.05
"""Seconds between two looks at a task that somebody else does."""


def run_task(
    instance: Instance,
    kind: str,
    organization: str,
    request: Mapping[str, Any],
    *,
    wait: bool = True,
) -> Mapping[str, Any]:
    """Order a task; see :func:`finish_task`.

    Args:
        instance: opened.
        kind: what is to be done.
        organization: whose.
        request: what the task needs to know.
        wait: until it has ended; else it is left to the worker.
    """
    from affidavit.wiring import clock

    task = new_task(kind, organization, request, by=credential().name, now=clock(), entropy=os.urandom)
    instance.tasks.add(task)
    return finish_task(instance, task.id, wait=wait)


def finish_task(instance: Instance, task_id: str, *, wait: bool = True) -> Mapping[str, Any]:
    """Wait until a task has ended, and do it here where nobody holds the worker's lease.

    Returns:
        Its outcome; without waiting ``{"task": id, "state": "waiting"}``.

    Raises:
        Failed: it failed; the message says why.
    """
    if not wait:
        return {"task": task_id, "state": "waiting"}
    lease = instance.engine.lease()
    while not (task := _found(instance, task_id)).ended:
        if lease.take():
            try:
                _work(instance, task_id)
            finally:
                lease.release()
        else:
            time.sleep(_LOOK)
    outcome = dict(task.outcome or {})
    if task.state == "failed":
        raise Failed(str(outcome.get("error") or "the task failed"))
    return outcome


def _work(instance: Instance, task_id: str) -> None:
    """Be the worker until this task has ended. What stops the log is raised here and not only logged."""
    from affidavit.wiring import open_follower, open_upkeep
    from affidavit.worker import follow

    def ended(seconds: float) -> bool:
        if not _found(instance, task_id).ended:
            time.sleep(min(seconds, _LOOK))
            return False
        return True

    with private_files():
        upkeep = open_upkeep(instance.engine, at_once=True)
        try:
            upkeep.step()
            follower = open_follower(instance.engine)
            try:
                follow(follower, ended, upkeep=upkeep)
            finally:
                follower.close()
        finally:
            upkeep.close()


def _found(instance: Instance, task_id: str) -> Task:
    task = instance.tasks.get(task_id)
    if task is None:
        raise Failed(f"there is no task {task_id}")
    return task
