"""The parts that sign: key file, guard, signer, built from the settings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence

from affidavit.access.events import AccessEvents
from affidavit.access.operator import local_credential
from affidavit.access.scope import Credential
from affidavit.config import Settings
from affidavit.core.row import StoredEvent
from affidavit.errors import GuardRefused, LogMismatch, StorageError
from affidavit.log.incarnation import Accepted, Record, Reopened, accept_heads, begin_anew, reopen
from affidavit.log.keys import FILE_NAME, KeyFile, LogKeys
from affidavit.log.prover import Prover
from affidavit.log.rotation import RecordAll, Statement
from affidavit.log.signer import Signer
from affidavit.log.standing import standing
from affidavit.log.tasks import TaskFunction, TaskSteps
from affidavit.log.witnessed import Witness, WitnessedGuard
from affidavit.storage.guard import Guard
from affidavit.storage.log import Alarm, Tree
from affidavit.storage.sqlite.guard_file import SqliteGuard, open_guard
from affidavit.storage.tasks import Task
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import EventsAndLog, LogReader, LogSide
from affidavit.wiring.engines import Where, engine_of

__all__ = [
    "ACCEPT_TASK",
    "REOPEN_TASK",
    "accept_guard",
    "accepted_document",
    "guard_for",
    "key_file",
    "log_kinds",
    "log_standing",
    "may_make_key",
    "may_make_log",
    "newest_trees",
    "open_signer",
    "record_all",
    "recorder",
    "reopen_log",
]

REOPEN_TASK, ACCEPT_TASK = "log_reopen", "guard_accept"
"""The kinds of tasks that are ordered with ``affidavit log reopen`` and ``affidavit log guard accept``."""


def key_file(settings: Settings) -> KeyFile:
    """The file of the log key; it is read when it is used."""
    return KeyFile(settings.data_dir / FILE_NAME, os.urandom, clock)


def guard_for(where: Where, *, make: bool = False, adopt: bool = False) -> SqliteGuard:
    """Open the guard of a database.

    Args:
        where: the database.
        make: whether a missing one is made.
        adopt: whether one of another database may guard this one from now on.

    Raises:
        GuardRefused: it is missing, or guards another database.
        StorageError: it cannot be used.
    """
    engine = engine_of(where)
    return open_guard(engine.settings.guard_path, engine.identity(), make=make, adopt=adopt)


def may_make_log(where: Where) -> bool:
    """Whether a missing log file is one that never was: the guard remembers no log of this database.

    Where a key exists there was a guard before it, so that without one both are lost.
    """
    engine = engine_of(where)
    if not engine.settings.guard_path.exists():
        return not key_file(engine.settings).exists()
    try:
        guard = guard_for(engine)
    except (GuardRefused, StorageError):
        return True
    try:
        return not remembers(guard)
    finally:
        guard.close()


def remembers(guard: Guard) -> bool:
    """Whether the guard knows any log."""
    return bool(guard.walk("", 1))


def open_signer(
    where: Where,
    writer: LogSide,
    *,
    now: Callable[[], int] = clock,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[Signer, LogReader]:
    """The signer of the holder of the worker's lease, and the store that it reads, which the caller closes.

    Guard and key are made only while no checkpoint exists: later a missing one is a loss that must be named.
    """
    engine = engine_of(where)
    settings = engine.settings
    store = engine.log_reader()
    keys = key_file(settings)

    prover = Prover(store)
    witness = (
        None
        if settings.guard_url is None
        else Witness(settings.guard_url, store, prover, keys=keys.load, monotonic=monotonic)
    )

    def open_the_guard() -> Guard:
        file = guard_for(engine, make=not writer.signed())
        return file if witness is None else WitnessedGuard(file, witness)

    def load_keys() -> LogKeys:
        if not keys.exists() and not writer.signed():
            guard = guard_for(engine)
            try:
                if not remembers(guard):
                    return keys.create()
            finally:
                guard.close()
        return keys.load()

    signer = Signer(
        writer,
        writer,
        writer,
        store,
        prover,
        guard=open_the_guard,
        keys=load_keys,
        clock=now,
        monotonic=monotonic,
    )
    return signer, store


def recorder(database: EventsAndLog, audit: AccessEvents, by: Credential) -> Record:
    """Records our own events about the log, under the name of the person who ordered it."""

    def record(action: str, organization: str, facts: Mapping[str, str | int]) -> StoredEvent:
        (row,) = audit.rows(action, by, (organization,), facts=dict(facts))
        database.events.insert([row])
        (event,) = database.events.fetch(organization, [row.id])
        return event

    return record


def record_all(database: EventsAndLog, audit: AccessEvents, by: Credential) -> RecordAll:
    """Records many of our own events about the log, some hundred in one transaction."""

    def record(statements: Sequence[Statement]) -> None:
        for at in range(0, len(statements), 500):
            rows = [
                row
                for each in statements[at : at + 500]
                for row in audit.rows(each.action, by, (each.organization,), facts=dict(each.facts))
            ]
            database.events.insert(rows)

    return record


def newest_trees(database: EventsAndLog) -> list[Tree]:
    """The newest incarnation of each organization that has a tree."""
    return list({tree.organization: tree for tree in database.log.all_trees()}.values())


def may_make_key(where: Where, database: EventsAndLog) -> bool:
    """Whether a missing key is one that never was: neither log nor guard know a checkpoint."""
    return may_make_log(where) and not any(tree.published for tree in database.log.all_trees())


def log_standing(where: Where, database: EventsAndLog, *, thorough: bool = True) -> list[Alarm]:
    """Everything that stands against the log; see :func:`affidavit.log.standing.standing`."""
    engine = engine_of(where)
    settings = engine.settings
    never = may_make_key(engine, database)

    def files() -> None:
        if not engine.log_exists() and not may_make_log(engine):
            raise LogMismatch(
                f"The {engine.log_name()} is missing although checkpoints were signed; restore"
                " it, or begin a new incarnation with: affidavit log reopen"
            )
        engine.check_history(database)

    def keys() -> None:
        if key_file(settings).exists() or not never:
            key_file(settings).load()

    def guard() -> Guard | None:
        return None if never and not settings.guard_path.exists() else guard_for(engine)

    return standing(
        alarms=database.log,
        log=database.log,
        files=files,
        guard=guard,
        keys=keys,
        now=clock(),
        thorough=thorough,
    )


def reopen_log(where: Where, database: EventsAndLog, record: Record) -> list[Reopened]:
    """Begin new incarnations where they are needed; see :func:`affidavit.log.incarnation.reopen`.

    The caller holds the worker's lease; whoever has the log file open opens it anew afterwards.
    """
    engine = engine_of(where)
    forgotten = not engine.log_exists() and not engine.settings.guard_path.exists()
    guard = guard_for(engine, make=forgotten, adopt=True)
    try:
        writer = engine.writer(make=True, adopt=True)
        try:
            if forgotten:
                return begin_anew(database.events.organizations(), record)
            return reopen(
                log=database.log,
                prover=Prover(database.log),
                repair=engine.repair(writer),
                guard=guard,
                manifests=writer,
                alarms=writer,
                record=record,
            )
        finally:
            writer.close()
    finally:
        guard.close()


def accept_guard(where: Where, database: EventsAndLog, record: Record) -> list[Accepted]:
    """Let the guard take the heads that were signed last; see :func:`affidavit.log.incarnation.accept_heads`.

    The caller holds the worker's lease.
    """
    engine = engine_of(where)
    writer = engine.writer(make=False)
    try:
        guard = guard_for(engine, make=True)
        try:
            return accept_heads(
                log=database.log,
                prover=Prover(database.log),
                guard=guard,
                manifests=writer,
                alarms=writer,
                record=record,
            )
        finally:
            guard.close()
    finally:
        writer.close()


def log_kinds(
    where: Where, database: EventsAndLog, audit: AccessEvents, renewed: Callable[[], None]
) -> dict[str, TaskFunction]:
    """The functions of the tasks ``log_reopen`` and ``guard_accept``, each done in one piece.

    Args:
        where: the database.
        database: opened.
        audit: makes the events.
        renewed: is told that log file and guard must be opened anew.
    """

    def reopen_task(task: Task) -> TaskSteps:
        yield None
        done = reopen_log(where, database, recorder(database, audit, local_credential(task.created_by)))
        renewed()
        return {"reopened": [each._asdict() for each in done]}

    def accept_task(task: Task) -> TaskSteps:
        yield None
        done = accept_guard(where, database, recorder(database, audit, local_credential(task.created_by)))
        renewed()
        return {"accepted": [accepted_document(each) for each in done]}

    return {REOPEN_TASK: reopen_task, ACCEPT_TASK: accept_task}


def accepted_document(each: Accepted) -> dict[str, str | int]:
    """A head that the guard took, for people."""
    return {
        "organization": each.organization,
        "origin": each.head.origin,
        "size": each.head.size,
        "root": each.head.root.hex(),
    }
