"""An organization whose events are old, with its log, its signatures and everything that retention does.

All parts are the product's own, on real files, under a clock that the test holds; the worker is a loop here.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affidavit.access.events import AccessEvents
from affidavit.access.scope import Credential
from affidavit.catalogs import ready_made
from affidavit.config import Settings
from affidavit.core.event import Draft, RecordedBy
from affidavit.core.row import Row, StoredEvent
from affidavit.log.prover import Prover
from affidavit.log.retention.holds import LegalHolds
from affidavit.log.retention.orders import request_of
from affidavit.log.retention.past import Past
from affidavit.log.retention.policies import RetentionSettings
from affidavit.log.retention.previews import Previews
from affidavit.log.sequencer import Sequencer
from affidavit.log.signer import Signer
from affidavit.log.tasks import Task, TaskRunner, new_task
from affidavit.recorder.intake import Intake, Rights
from affidavit.storage.sql.retention import SqlHolds, SqlPolicies
from affidavit.storage.sql.tasks import SqlTasks
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.log_file import log_path
from affidavit.storage.sqlite.log_store import SqliteLog
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.storage.sqlite.redaction import SqliteRedactor
from affidavit.storage.sqlite.retention import SqlitePast
from affidavit.testing.author import Clock, draft
from affidavit.wiring.log import guard_for, key_file
from affidavit.wiring.retention import retention_kinds
from affidavit.wiring.sqlite import OpenedSqlite, SqliteEngine

__all__ = ["ACME", "BY", "DAY", "NOW", "Retained"]

DAY = 86_400_000_000
NOW = 1_790_000_000_000_000
ACME = "acme"
BY = Credential(
    kind="local", id="kim", name="kim", organizations=(), abilities=frozenset({"retention:manage"})
)


class Retained:
    """One database with its log, from the first event to the last prune.

    Args:
        folder: of all files.
    """

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder)
        assert self.settings.database_path is not None
        self.path = self.settings.database_path
        self.clock = Clock(NOW)
        self._monotonic = itertools.count(0, 10)
        folder.mkdir(exist_ok=True)
        migrate_file(self.path)
        self._open()

    def _open(self) -> None:
        self.database = SqliteDatabase(self.path, clock=self.clock)
        self.writer = SqliteLogWriter(self.path, log_path(self.path))
        self.log = SqliteLog(log_path(self.path))
        self.sequencer = Sequencer(
            self.writer, self.writer, self.writer, host="localhost", clock=self.clock, entropy=os.urandom
        )
        keys = key_file(self.settings)
        self.signer = Signer(
            self.writer,
            self.writer,
            self.writer,
            self.log,
            Prover(self.log),
            guard=lambda: guard_for(self.settings, make=True),
            keys=keys.create,
            clock=self.clock,
            monotonic=lambda: float(next(self._monotonic)),
        )
        self.intake = Intake(
            self.database.events.insert,
            clock=self.clock,
            entropy=os.urandom,
            catalogs=ready_made,
            organization_secret=lambda name: name.encode().ljust(32, b"\0"),
        )
        self.audit = AccessEvents(self._ours)
        policies, holds, past = (
            SqlPolicies(self.database),
            SqlHolds(self.database),
            SqlitePast(self.database),
        )
        self.policies = RetentionSettings(policies, self.audit)
        self.holds = LegalHolds(holds, self.audit, clock=self.clock, entropy=os.urandom)
        self.previews = Previews(Past(policies, holds, past), past, self.database.log, clock=self.clock)
        self.tasks = SqlTasks(self.database)
        self.redactor = SqliteRedactor(self.path)
        self.discarded = 0
        self.runner = self._runner()

    def _runner(self) -> TaskRunner:
        kinds = retention_kinds(
            _Engine(self),
            OpenedSqlite(self.database),
            log=self.writer,
            redactor=self.redactor,
            tasks=self.tasks,
            audit=self.audit,
            clock=self.clock,
        )
        return TaskRunner(self.tasks, kinds, clock=self.clock, monotonic=time.monotonic)

    def _ours(self, drafts: Sequence[Draft], organization: str, by: RecordedBy | None) -> list[Row]:
        return self.intake.prepare(drafts, organization=organization, by=by, rights=Rights(reserved=True))

    def record(
        self, *actions: str, days_ago: float = 0, organization: str = ACME, **fields: Any
    ) -> list[bytes]:
        """Record events so many days before now, as they were recorded then."""
        now, self.clock.now = self.clock.now, self.clock.now - int(days_ago * DAY)
        try:
            rights = Rights(may_import=True, may_set_id=True)
            made = [draft(action, **fields) for action in actions]
            return [one.id for one in self.intake.record(made, organization=organization, rights=rights)]
        finally:
            self.clock.now = now

    def seal(self) -> None:
        """Sequence and sign everything that waits."""
        while self.sequencer.step():
            pass
        self.signer.step()

    def order(self, kind: str, organization: str = ACME, **request: Any) -> Task:
        """Order a task."""
        task = new_task(
            kind, organization, request_of(BY, **request), by=BY.name, now=self.clock(), entropy=os.urandom
        )
        self.tasks.add(task)
        return task

    def step(self) -> bool:
        """One round of the worker; whether it must come again."""
        self.seal()
        return self.runner.step()

    def run(self, kind: str, organization: str = ACME, **request: Any) -> Task:
        """Order a task and do it to its end."""
        return self.finish(self.order(kind, organization, **request))

    def finish(self, task: Task) -> Task:
        """Work until a task has ended."""
        for _ in range(100_000):
            self.step()
            stands = self.tasks.get(task.id)
            assert stands is not None
            if stands.ended:
                return stands
        raise AssertionError("the task did not end")

    def restart(self) -> None:
        """The worker dies and another one takes over."""
        self.runner.close()
        self.sequencer.forget()
        self.runner = self._runner()

    def events(self, organization: str = ACME) -> list[StoredEvent]:
        """Every event of an organization in recording order."""
        return [
            event for event in self.database.events.after(0, 100_000) if event.organization == organization
        ]

    def event(self, event_id: bytes) -> StoredEvent | None:
        """One event of acme."""
        found = self.database.events.fetch(ACME, [event_id])
        return found[0] if found else None

    def actions(self) -> list[str]:
        """The actions of acme in recording order."""
        return [event.action for event in self.events()]

    def close(self) -> None:
        """Close every file."""
        self.runner.close()
        self.redactor.close()
        self.signer.close()
        self.log.close()
        self.writer.close()
        self.database.close()


class _Engine(SqliteEngine):
    """Counts how often the index was thrown away; there is no follower that would make it anew."""

    def __init__(self, world: Retained) -> None:
        super().__init__(world.settings)
        self._world = world

    def discard_index(self) -> None:
        self._world.discarded += 1
