"""What does the tasks of each kind, for the holder of the worker's lease."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from affidavit.log.rebuild import IndexRebuild
from affidavit.log.tasks import TaskFunction, TaskRunner
from affidavit.storage.redaction import Redactor
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine, LogSide
from affidavit.wiring.erasure import erasure_kinds, reapply_manifests, settle_manifests
from affidavit.wiring.log import log_kinds
from affidavit.wiring.retention import retention_kinds
from affidavit.wiring.store import Instance, open_store

__all__ = ["OpenTasks", "open_tasks"]


class OpenTasks(NamedTuple):
    """A runner and what closes its files."""

    runner: TaskRunner
    close: Callable[[], None]


def open_tasks(engine: Engine, writer: LogSide, renewed: Callable[[], None]) -> OpenTasks:
    """The runner of the worker, with a store of its own.

    Args:
        engine: of the database.
        writer: of the log, which only the holder of the lease has.
        renewed: is told that log and guard must be opened anew.
    """
    instance = open_store(engine, source="worker")
    try:
        answers = reapply_manifests(engine, instance.database)
        settle_manifests(answers, instance.database, writer, instance.access_events)
        redactor = engine.redactor()
    except BaseException:
        instance.close()
        raise
    kinds = _kinds(instance, writer, redactor)
    kinds |= log_kinds(engine, instance.database, instance.access_events, renewed)
    runner = TaskRunner(instance.tasks, kinds, clock=clock, monotonic=time.monotonic)

    def close() -> None:
        runner.close()
        redactor.close()
        instance.close()

    return OpenTasks(runner, close)


def _kinds(instance: Instance, writer: LogSide, redactor: Redactor) -> dict[str, TaskFunction]:
    engine, database = instance.engine, instance.database
    return {
        "index_rebuild": IndexRebuild(instance.reader.progress, engine.discard_index),
        **retention_kinds(
            engine,
            database,
            log=writer,
            redactor=redactor,
            tasks=instance.tasks,
            audit=instance.access_events,
        ),
        **erasure_kinds(
            engine,
            database,
            log=writer,
            redactor=redactor,
            tasks=instance.tasks,
            audit=instance.access_events,
        ),
    }
