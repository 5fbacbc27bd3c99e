"""What does the tasks of each kind, for the holder of the worker's lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from affidavit.config import Settings
from affidavit.log.rebuild import IndexRebuild
from affidavit.log.tasks import TaskFunction, TaskRunner
from affidavit.storage.sqlite.index_file import discard
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.wiring.store import Instance, clock, open_store

__all__ = ["OpenTasks", "open_tasks"]


class OpenTasks(NamedTuple):
    """A runner and what closes its files."""

    runner: TaskRunner
    close: Callable[[], None]


def open_tasks(settings: Settings, writer: SqliteLogWriter) -> OpenTasks:  # noqa: ARG001
    """The runner of the worker, with a store of its own.

    Args:
        settings: of the program.
        writer: of the log, which only the holder of the lease has.
    """
    instance = open_store(settings, source="worker")
    try:
        runner = TaskRunner(instance.tasks, _kinds(instance), clock=clock, monotonic=time.monotonic)
    except BaseException:
        instance.close()
        raise

    def close() -> None:
        runner.close()
        instance.close()

    return OpenTasks(runner, close)


def _kinds(instance: Instance) -> dict[str, TaskFunction]:
    return {
        "index_rebuild": IndexRebuild(instance.reader.progress, lambda: discard(instance.index_path)),
    }
