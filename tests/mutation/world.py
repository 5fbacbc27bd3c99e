"""A database in which every kind of row stands: events, leaves, settings, expired, pruned, guard and index.

Made by the program itself, as its users would make it; only what was recorded long ago is given its time by
hand, because nobody can wait for an expiry.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import cast

import msgspec

from affidavit.access.catalogs import CatalogSettings
from affidavit.access.operator import OPERATOR
from affidavit.catalogs.flow_platform import Flows, OauthClients
from affidavit.config import Settings
from affidavit.core.catalog import CatalogSet
from affidavit.core.event import Actor, Change, Draft, Request, Resource, Session
from affidavit.core.ids import format_id
from affidavit.core.times import DAY
from affidavit.ingest.importers import REGISTRY
from affidavit.ingest.rejects import RejectFile
from affidavit.ingest.run import ImportRun
from affidavit.log.retention.expire import EXPIRE
from affidavit.log.retention.orders import request_of
from affidavit.log.retention.prune import PRUNE_TASK
from affidavit.log.upkeep import LogParts
from affidavit.recorder.intake import Rights
from affidavit.storage.postgres.follower import PostgresFollower
from affidavit.storage.tasks import Task
from affidavit.wiring import Instance, clock, open_follower, open_store
from affidavit.wiring.engine import LogSide
from affidavit.wiring.log import open_signer
from affidavit.wiring.work import open_parts

__all__ = [
    "EVE",
    "OPERATOR",
    "ORGANIZATIONS",
    "by_person",
    "draft",
    "erase",
    "import_real",
    "insert",
    "opened",
    "populate",
    "run_task",
    "settings_in",
    "work",
]

ORGANIZATIONS = ("acme", "globex")


PATIENCE = 60.0
"""Seconds that a task may take on a busy machine: emptying a file waits for whoever reads it."""
EVE = "u-eve-7731"
"""The person that is erased."""


def settings_in(folder: Path, url: str | None = None) -> Settings:
    """The settings of a database whose files all stand in one folder, or of the one that a URL names."""
    return Settings(database=url or f"sqlite:///{folder}/app.db", data_dir=folder)


@contextmanager
def opened(settings: Settings) -> Iterator[Instance]:
    """The product on these files, made where they are missing."""
    instance = open_store(settings, migrate=True)
    try:
        yield instance
    finally:
        instance.close()


def draft(number: int, action: str = "document.update") -> Draft:
    """An event with a value in every group."""
    return Draft(
        action=action,
        actor=Actor(
            type="user",
            id=f"u-{number % 11}",
            name=f"Person {number % 11}",
            email=f"p{number % 11}@example.org",
        ),
        on_behalf_of=Actor(type="user", id="boss") if number % 5 == 0 else None,
        session=Session(type="web", id=f"s-{number % 3}"),
        resources=(Resource(type="document", id=f"doc-{number}", name=f"Document {number}"),),
        outcome="failure" if number % 7 == 0 else "success",
        source="api",
        project="website" if number % 2 else None,
        ip=f"192.0.2.{number % 200 + 1}",
        request=Request(id=f"req-{number}", method="PUT", endpoint="/documents"),
        changes={"title": Change(old=f"a{number}", new=f"b{number}")},
        description=f"Document {number} was changed",
        metadata={"number": number},
    )


def insert(instance: Instance, organization: str, drafts: Sequence[Draft], *, age: int = 0) -> list[str]:
    """Record events as if ``age`` microseconds ago; their ids."""
    moment = clock() - age
    if age:
        drafts = [msgspec.structs.replace(each, occurred_at=moment + at) for at, each in enumerate(drafts)]
    rights = Rights(may_import=bool(age))
    rows = instance.intake.prepare(drafts, organization=organization, by=None, rights=rights)
    if age:
        rows = [msgspec.structs.replace(row, recorded_at=moment + 1_000_000) for row in rows]
    return [format_id(recorded.id) for recorded in instance.insert(rows)]


def import_real(
    instance: Instance, folder: Path, organization: str, format_: str, files: Sequence[Path]
) -> int:
    """Import real audit logs; how many events were recorded."""
    importer = REGISTRY[format_](account=None)
    rights = Rights(may_import=True, may_set_id=True, compare=False, unmasked=importer.unmasked)

    def record(drafts: Sequence[Draft]) -> Sequence[object]:
        return instance.intake.record(drafts, organization=organization, by=None, rights=rights)

    run = ImportRun(record, importer, rejects=RejectFile(folder))  # type: ignore[arg-type]
    return run.run([str(file) for file in files]).recorded


def work(settings: Settings) -> None:
    """What the worker does until nothing waits: leaves, checkpoints, index, tasks."""
    parts, follower = open_parts(settings), open_follower(settings)
    if isinstance(follower, PostgresFollower):
        moments = count(step=1_000)
        follower._monotonic = lambda: float(next(moments))  # counts are not kept back for seconds
    try:
        idle, until = 0, time.monotonic() + PATIENCE
        while idle < 3 or (_open_tasks(settings) and time.monotonic() < until):
            moved = parts.sequencer.step() + _sign(settings, parts) + follower.step() + follower.tidy()
            idle = 0 if parts.tasks.step() or moved else idle + 1
    finally:
        parts.close()
        follower.close()


def _open_tasks(settings: Settings) -> int:
    with opened(settings) as instance:
        return len(instance.tasks.open())


def _sign(settings: Settings, parts: LogParts) -> int:
    """Sign what grew with a new signer, which does not wait for its second to come."""
    signer, store = open_signer(settings, cast(LogSide, parts.queue))
    try:
        return signer.step()
    finally:
        signer.close()
        store.close()


def run_task(
    settings: Settings, kind: str, organization: str, request: dict[str, object]
) -> dict[str, object]:
    """Order a task, do it, and give its outcome."""
    with opened(settings) as instance:
        task = new_task(kind, organization, request)
        instance.tasks.add(task)
    return _finished(settings, task.id)


def new_task(kind: str, organization: str, request: dict[str, object]) -> Task:
    """A task that waits."""
    task_id = f"task_{clock():016x}"
    return Task(task_id, kind, organization, request, "waiting", None, clock(), OPERATOR.name)


def erase(settings: Settings, organization: str, subject: str) -> dict[str, object]:
    """Erase a person; the outcome."""
    with opened(settings) as instance:
        task = instance.erasures.request(organization, subject=subject, basis="request 12", by=OPERATOR)
    return _finished(settings, task.id)


def _finished(settings: Settings, task_id: str) -> dict[str, object]:
    work(settings)
    with opened(settings) as instance:
        task = instance.tasks.get(task_id)
    assert task is not None
    assert task.state == "done", task
    return dict(task.outcome or {})


def populate(settings: Settings) -> None:
    """Change every setting, let events expire and prune some: a row of every kind stands afterwards."""
    with opened(settings) as instance:
        for organization in ORGANIZATIONS:
            instance.organizations.create(organization, OPERATOR)
        made = instance.tokens.create(
            name="ingest", organizations=("acme", "globex"), abilities=("events:write",), by=OPERATOR
        )
        reader = instance.tokens.create(
            name="reader", organizations=("acme",), abilities=("audit-log:list",), by=OPERATOR
        )
        instance.tokens.revoke(made.token.id, by=OPERATOR)
        instance.tokens.authenticate(reader.text)
        code = instance.logins.create(name="ada", organizations=("acme",), by=OPERATOR)
        instance.logins.create(name="grace", organizations=("globex",), by=OPERATOR)
        signed_in = instance.logins.consume(code)
        instance.sessions.end(signed_in.cookie)
        catalogs = CatalogSettings(instance.catalog_store, instance.access_events, clock=clock)
        catalogs.push("flows", CatalogSet.of(Flows, OauthClients), OPERATOR)
        hold = instance.holds.create(
            "globex", name="case 7", reason="the court asked", by=OPERATOR, class_="document.*"
        )
        instance.holds.create("acme", name="case 8", reason="the court asked", by=OPERATOR, class_="login.*")
        instance.holds.release("globex", hold.id, OPERATOR)
        instance.retention.set("acme", "session.*", 30, OPERATOR)
        instance.retention.set("acme", "document.*", None, OPERATOR)
        old = [draft(number, "session.begin") for number in range(9)]
        gone = insert(instance, "acme", old[:4], age=95 * DAY)
        insert(instance, "acme", old[4:], age=90 * DAY)
        insert(instance, "acme", [draft(number) for number in range(300)])
        insert(instance, "globex", [draft(number) for number in range(12)])
        insert(instance, "acme", [draft(number, "invoice.pay") for number in range(4)])
        insert(instance, "acme", [by_person(EVE, draft(number, "invoice.pay")) for number in range(3)])
    work(settings)
    run_task(settings, EXPIRE, "acme", request_of(OPERATOR))
    run_task(settings, PRUNE_TASK, "acme", request_of(OPERATOR, from_id=gone[0], to_id=gone[-1]))
    erase(settings, "acme", EVE)


def by_person(person: str, event: Draft) -> Draft:
    """The event as done by this person."""
    return msgspec.structs.replace(event, actor=Actor(type="user", id=person, name="Eve"))
