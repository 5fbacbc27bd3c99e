"""What does the tasks of retention: expiry and pruning, for the holder of the worker's lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from affidavit.access.events import AccessEvents
from affidavit.log.retention.expire import EXPIRE, Expiry
from affidavit.log.retention.past import Past
from affidavit.log.retention.previews import Previews
from affidavit.log.retention.prune import PRUNE_TASK, Prune
from affidavit.log.tasks import TaskFunction
from affidavit.storage.log import Manifest, ManifestStore
from affidavit.storage.redaction import Redactor
from affidavit.storage.tasks import TaskStore
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Database, Engine
from affidavit.wiring.engines import Where
from affidavit.wiring.log import guard_for, key_file

__all__ = ["GuardedManifests", "retention_kinds"]


class GuardedManifests:
    """The manifests of the guard, which is opened for each of them: only few are ever made.

    Args:
        where: the database.
    """

    def __init__(self, where: Where) -> None:
        self._where = where

    def add(self, manifest: Manifest) -> None:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        guard = guard_for(self._where)
        try:
            guard.add(manifest)
        finally:
            guard.close()

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        guard = guard_for(self._where)
        try:
            return guard.manifests(organization)
        finally:
            guard.close()


def retention_kinds(
    engine: Engine,
    database: Database,
    *,
    log: ManifestStore,
    redactor: Redactor,
    tasks: TaskStore,
    audit: AccessEvents,
    clock: Callable[[], int] = clock,
) -> dict[str, TaskFunction]:
    """The functions of the tasks ``expire`` and ``prune``.

    Args:
        engine: of the database.
        database: opened.
        log: where the log keeps manifests; only the holder of the lease has one.
        redactor: empties rows.
        tasks: where a run notes what it began with.
        audit: makes the events.
        clock: microseconds since 1970 UTC.
    """
    policies, past = database.policies, database.past
    terms = Past(policies, database.holds, past)
    manifests: Sequence[ManifestStore] = (GuardedManifests(engine), log)
    expiry = Expiry(
        terms,
        policies,
        database.events,
        database.log,
        redactor,
        engine.index_copies(),
        tasks,
        audit,
        clock=clock,
    )
    prune = Prune(
        Previews(terms, past, database.log, clock=clock),
        past,
        database.ranges,
        database.log,
        manifests=manifests,
        keys=key_file(engine.settings).load,
        rebuild=engine.discard_index,
        audit=audit,
    )
    return {EXPIRE: expiry.run, PRUNE_TASK: prune.run}
