"""What erases personal data: the task and the registry of copies, for the holder of the worker's lease."""

from __future__ import annotations

from pathlib import Path

from affidavit.access.events import AccessEvents
from affidavit.config import Settings
from affidavit.log.erasure.erase import Eraser
from affidavit.log.erasure.registry import EventCopies, Registry
from affidavit.log.erasure.requests import ERASE
from affidavit.log.tasks import TaskFunction
from affidavit.storage.log import ManifestStore
from affidavit.storage.redaction import Redactor
from affidavit.storage.sqlite.connect import connect
from affidavit.storage.sqlite.copies import SqliteNames, SqliteTaskCopies
from affidavit.storage.sqlite.database import SqliteDatabase
from affidavit.storage.sqlite.index_copies import SqliteIndexCopies
from affidavit.storage.sqlite.redaction import empty_wal
from affidavit.storage.sqlite.retention import SqliteHolds
from affidavit.storage.tasks import TaskStore
from affidavit.wiring.log import key_file
from affidavit.wiring.retention import GuardedManifests
from affidavit.wiring.store import clock

__all__ = ["erasure_kinds", "registry_of"]


def registry_of(database: SqliteDatabase, redactor: Redactor) -> Registry:
    """Every place of an SQLite store that may hold copies of personal data.

    A part that keeps values of events is added here.
    """
    index = SqliteIndexCopies(database.path, database.index_path)
    copies = (
        EventCopies(database.events, redactor),
        index,
        SqliteNames(database),
        SqliteTaskCopies(database),
    )
    return Registry(copies, (redactor.scrub, index.scrub, lambda: _scrub(database.log_path)))


def _scrub(path: Path) -> bool:
    connection = connect(path, writer=True)
    try:
        return empty_wal(path, connection)
    finally:
        connection.close()


def erasure_kinds(
    settings: Settings,
    database: SqliteDatabase,
    *,
    log: ManifestStore,
    redactor: Redactor,
    tasks: TaskStore,
    audit: AccessEvents,
) -> dict[str, TaskFunction]:
    """The function of the task ``erase``.

    Args:
        settings: of the program.
        database: opened.
        log: where the log keeps manifests; only the holder of the lease has one.
        redactor: takes groups away.
        tasks: where an erasure notes how far it is.
        audit: makes the events.
    """
    eraser = Eraser(
        events=database.events,
        log=database.log,
        position=database.log.position,
        manifests=log,
        guard=GuardedManifests(settings),
        keys=key_file(settings).load,
        holds=SqliteHolds(database).holds,
        tasks=tasks,
        audit=audit,
        registry=registry_of(database, redactor),
        clock=clock,
    )
    return {ERASE: eraser.run}
