"""What erases personal data: the task and the registry of copies, for the holder of the worker's lease."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from affidavit.access.events import AccessEvents
from affidavit.access.operator import local_credential
from affidavit.core.cursor import Position
from affidavit.core.event import Actor
from affidavit.core.filter import Condition, Filter
from affidavit.core.manifest import CITED_BY, ERASURE, cites, parse_manifest
from affidavit.core.strict import json_of
from affidavit.errors import LogError, StorageError
from affidavit.log.erasure.account import ACCOUNT, Account, request_for
from affidavit.log.erasure.erase import Eraser, citing_facts
from affidavit.log.erasure.reapply import Reapplied, reapply
from affidavit.log.erasure.registry import Registry
from affidavit.log.erasure.requests import ERASE
from affidavit.log.signatures import check_signature
from affidavit.log.tasks import TaskFunction, new_task
from affidavit.storage.log import Alarm, Manifest, ManifestStore
from affidavit.storage.redaction import Redactor
from affidavit.storage.tasks import TaskStore
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Database, Engine, LogSide
from affidavit.wiring.engines import Where, engine_of
from affidavit.wiring.log import key_file, may_make_log
from affidavit.wiring.retention import GuardedManifests
from affidavit.wiring.spools import OpenSpools

__all__ = ["erasure_kinds", "reapply_manifests", "registry_of", "settle_manifests"]

log = logging.getLogger("affidavit.log")

SCRUB_SECONDS = 5.0
"""How long a program that starts waits until what was erased again is freed."""


def registry_of(engine: Engine, database: Database, redactor: Redactor) -> Registry:
    """Every place of a store, and of the apps beside it, that may hold copies of personal data."""
    copies, scrubs, close = engine.places(database, redactor)
    spools = OpenSpools(engine)

    def rest() -> None:
        close()
        spools.close()

    return Registry(
        (*copies, spools.copies),
        (*scrubs, *(spool.scrub for spool in spools.each)),
        rest,
        spools.copies.gather,
    )


def erasure_kinds(
    engine: Engine,
    database: Database,
    *,
    log: ManifestStore,
    redactor: Redactor,
    tasks: TaskStore,
    audit: AccessEvents,
) -> dict[str, TaskFunction]:
    """The function of the task ``erase``.

    Args:
        engine: of the database.
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
        guard=GuardedManifests(engine),
        keys=key_file(engine.settings).load,
        holds=database.holds.holds,
        tasks=tasks,
        audit=audit,
        registry=registry_of(engine, database, redactor),
        clock=clock,
    )
    account = Account(
        database.events,
        database.log,
        manifests=(GuardedManifests(engine), log),
        keys=key_file(engine.settings).load,
        audit=audit,
    )
    return {ERASE: eraser.run, ACCOUNT: account.run}


def reapply_manifests(where: Where, database: Database) -> list[Reapplied]:
    """Apply again what the guard remembers as erased, before anything is served.

    Called by every program that serves or works, when it starts, and after a restore. Where guard or key is
    missing nothing is applied: the signer says so in an alarm.

    Args:
        where: the database.
        database: its stores.
    """
    engine = engine_of(where)
    settings = engine.settings
    if not settings.guard_path.exists() and may_make_log(engine):
        return []  # nothing was ever signed here
    try:
        manifests = _unfinished(GuardedManifests(engine).manifests(), database.tasks)
        keys = key_file(settings).load() if manifests else None
    except (LogError, StorageError) as error:
        log.warning("What the guard keeps could not be applied: %s", error.message)
        return []
    if keys is None:
        return []
    redactor = engine.redactor()
    try:
        answers = reapply(
            manifests,
            events=database.events,
            log=database.log,
            queued=database.queued,
            redactor=redactor,
            keys=keys,
            check=check_signature,
        )
        if any(answer.events for answer in answers):
            engine.discard_index()  # it may come from the same backup
            _scrub(redactor)
    finally:
        redactor.close()
    for answer in answers:
        if answer.events:
            log.warning("%d events from a backup were erased again.", answer.events)
        if answer.problem is not None:
            log.error("A manifest of the guard could not be applied: %s.", answer.problem)
    return answers


def _scrub(redactor: Redactor) -> None:
    """Free what was taken away, unless somebody is in the way for long: the worker tries again then."""
    until = time.monotonic() + SCRUB_SECONDS
    while not redactor.scrub() and time.monotonic() < until:
        pass


def _unfinished(manifests: Sequence[Manifest], tasks: TaskStore) -> list[Manifest]:
    """Without those of erasures under way, which go on by themselves and announce first."""
    own = {shown for task in tasks.open() for shown in (task.outcome or {}).get("manifests", ())}
    return [manifest for manifest in manifests if manifest.hash.hex() not in own]


def settle_manifests(
    answers: Sequence[Reapplied], database: Database, writer: LogSide, audit: AccessEvents
) -> None:
    """Give a restored log what it lost: manifests, events that cite them, alarms for what was not applied.

    Args:
        answers: of :func:`reapply_manifests`.
        database: opened.
        writer: of the log, which only the holder of the lease has.
        audit: makes the events.
    """
    stored = {manifest.hash for manifest in writer.manifests()}
    citing: dict[str, list[Mapping[str, Any]]] = {}
    for manifest, changed, problem, waiting in answers:
        shown = manifest.hash.hex()
        if waiting:
            _account_for(manifest, waiting, database.tasks)
        if problem is not None:
            text = f"A manifest of the guard could not be applied: {problem}."
            writer.sound(Alarm("manifest_not_applied", shown, clock(), text))
            continue
        if manifest.hash not in stored:
            writer.add(manifest)
        organization = manifest.organization
        if organization not in citing:
            citing[organization] = _citing(database, organization)
        known = citing[organization]
        if not any(cites(CITED_BY[ERASURE], facts, ERASURE, manifest.hash) for facts in known):
            facts = citing_facts([manifest], database.log.trees(organization))
            database.events.insert(
                audit.rows(
                    CITED_BY[ERASURE],
                    local_credential("affidavit"),
                    (organization,),
                    actor=Actor(type="system", id="affidavit"),
                    metadata={"reapplied": True, "events": changed},
                    facts=facts,
                )
            )


def _account_for(manifest: Manifest, waiting: Mapping[bytes, Sequence[str]], tasks: TaskStore) -> None:
    """Have it looked at, once these rows have their leaves, whether the manifest explains them there."""
    request = request_for(parse_manifest(manifest.body).origin, waiting)
    if any(task.kind == ACCOUNT and task.request == request for task in tasks.open()):
        return
    tasks.add(
        new_task(ACCOUNT, manifest.organization, request, by="affidavit", now=clock(), entropy=os.urandom)
    )


def _citing(database: Database, organization: str) -> list[Mapping[str, Any]]:
    """The facts of every event of an organization that may cite a manifest of an erasure."""
    filter_ = Filter((Condition("action", (CITED_BY[ERASURE],)),))
    position: Position | None = Position("desc")
    facts: list[Mapping[str, Any]] = []
    while position is not None:
        found = database.index.page((organization,), filter_, position, limit=500, seconds=None)
        facts.extend(json_of(event.facts, "facts") for event in found.events if event.facts is not None)
        position = found.position
    return facts
