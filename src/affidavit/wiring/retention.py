"""What does the tasks of retention: expiry and pruning, for the holder of the worker's lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from affidavit.access.events import AccessEvents
from affidavit.config import Settings
from affidavit.log.retention.expire import EXPIRE, Expiry
from affidavit.log.retention.past import Past
from affidavit.log.retention.previews import Previews
from affidavit.log.retention.prune import PRUNE_TASK, Prune
from affidavit.log.tasks import TaskFunction
from affidavit.storage.log import Manifest, ManifestStore
from affidavit.storage.redaction import Redactor
from affidavit.storage.sql.retention import SqlHolds, SqlPolicies
from affidavit.storage.sqlite.database import SqliteDatabase
from affidavit.storage.sqlite.index_copies import SqliteIndexCopies
from affidavit.storage.sqlite.retention import SqlitePast, SqliteRanges
from affidavit.storage.tasks import TaskStore
from affidavit.wiring.log import guard_for, key_file
from affidavit.wiring.store import clock

__all__ = ["GuardedManifests", "retention_kinds"]


class GuardedManifests:
    """The manifests of the guard, which is opened for each of them: only few are ever made.

    Args:
        settings: of the program.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def add(self, manifest: Manifest) -> None:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        guard = guard_for(self._settings)
        try:
            guard.add(manifest)
        finally:
            guard.close()

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        guard = guard_for(self._settings)
        try:
            return guard.manifests(organization)
        finally:
            guard.close()


class _Index(SqliteIndexCopies):
    """The copies in the search index, and how it is thrown away."""

    def __init__(self, database: SqliteDatabase, discard: Callable[[], None]) -> None:
        super().__init__(database.path, database.index_path)
        self.discard = discard


def retention_kinds(
    settings: Settings,
    database: SqliteDatabase,
    *,
    log: ManifestStore,
    redactor: Redactor,
    discard_index: Callable[[], None],
    tasks: TaskStore,
    audit: AccessEvents,
    clock: Callable[[], int] = clock,
) -> dict[str, TaskFunction]:
    """The functions of the tasks ``expire`` and ``prune``.

    Args:
        settings: of the program.
        database: opened.
        log: where the log keeps manifests; only the holder of the lease has one.
        redactor: empties rows.
        discard_index: throws the search index away; the worker makes it anew.
        tasks: where a run notes what it began with.
        audit: makes the events.
        clock: microseconds since 1970 UTC.
    """
    policies, past = SqlPolicies(database), SqlitePast(database)
    terms = Past(policies, SqlHolds(database), past)
    manifests: Sequence[ManifestStore] = (GuardedManifests(settings), log)
    expiry = Expiry(
        terms,
        policies,
        database.events,
        database.log,
        redactor,
        _Index(database, discard_index),
        tasks,
        audit,
        clock=clock,
    )
    prune = Prune(
        Previews(terms, past, database.log, clock=clock),
        past,
        SqliteRanges(database),
        database.log,
        manifests=manifests,
        keys=key_file(settings).load,
        rebuild=discard_index,
        audit=audit,
    )
    return {EXPIRE: expiry.run, PRUNE_TASK: prune.run}
