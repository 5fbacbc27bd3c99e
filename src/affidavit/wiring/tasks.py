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
from affidavit.storage.sqlite.redaction import SqliteRedactor
from affidavit.wiring.erasure import erasure_kinds, reapply_manifests, settle_manifests
from affidavit.wiring.log import log_kinds
from affidavit.wiring.retention import retention_kinds
from affidavit.wiring.store import Instance, clock, database_path, open_store

__all__ = ["OpenTasks", "open_tasks"]


class OpenTasks(NamedTuple):
    """A runner and what closes its files."""

    runner: TaskRunner
    close: Callable[[], None]


def open_tasks(settings: Settings, writer: SqliteLogWriter, renewed: Callable[[], None]) -> OpenTasks:
    """The runner of the worker, with a store of its own.

    Args:
        settings: of the program.
        writer: of the log, which only the holder of the lease has.
        renewed: is told that log and guard must be opened anew.
    """
    instance = open_store(settings, source="worker")
    try:
        answers = reapply_manifests(settings, instance.database)
        settle_manifests(answers, instance.database, writer, instance.access_events)
        redactor = SqliteRedactor(database_path(settings))
    except BaseException:
        instance.close()
        raise
    kinds = _kinds(instance, settings, writer, redactor)
    kinds |= log_kinds(settings, instance.database, instance.access_events, renewed)
    runner = TaskRunner(instance.tasks, kinds, clock=clock, monotonic=time.monotonic)

    def close() -> None:
        runner.close()
        redactor.close()
        instance.close()

    return OpenTasks(runner, close)


def _kinds(
    instance: Instance, settings: Settings, writer: SqliteLogWriter, redactor: SqliteRedactor
) -> dict[str, TaskFunction]:
    def discard_index() -> None:
        discard(instance.index_path)

    return {
        "index_rebuild": IndexRebuild(instance.reader.progress, discard_index),
        **retention_kinds(
            settings,
            instance.database,
            log=writer,
            redactor=redactor,
            discard_index=discard_index,
            tasks=instance.tasks,
            audit=instance.access_events,
        ),
        **erasure_kinds(
            settings,
            instance.database,
            log=writer,
            redactor=redactor,
            tasks=instance.tasks,
            audit=instance.access_events,
        ),
    }
