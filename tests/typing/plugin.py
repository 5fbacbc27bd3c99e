"""What a type checker knows of the pytest plugin; nobody runs this."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from affidavit import Actor, EventType, Resource
from affidavit.testing import AuditCoverage, AuditLog, RecordedEvent, make_tables, remove_triggers
from affidavit.testing.audit_log.events import Events
from affidavit.testing.coverage.report import Silence


def asked(audit_log: AuditLog, refund: EventType) -> None:
    """The questions, and what an event shows."""
    event = audit_log.one(
        "team.*", actor="ana", resource=("team", 7), resource_type="team", outcome="failure"
    )
    assert_type(event, RecordedEvent)
    assert_type(event.changes, dict[str, tuple[Any, Any]])
    assert_type(event.actor, Actor | None)
    assert_type(event.resource, Resource | None)
    assert_type(event.occurred_at, datetime)
    assert_type(audit_log.all(refund, actor=Actor(type="user", id="7")), list[RecordedEvent])
    assert_type(len(audit_log), int)
    assert_type([each.action for each in audit_log], list[str])
    assert_type(audit_log[0], RecordedEvent)
    assert_type(audit_log[1:], list[RecordedEvent])
    audit_log.none("team.delete")
    audit_log.clear()
    audit_log.one(team="core")  # type: ignore[call-arg]
    audit_log.one("team.*", outcome="maybe")  # type: ignore[arg-type]
    audit_log.all("team.*", actor=7)  # type: ignore[arg-type]
    audit_log.all("team.*", resource=7)  # type: ignore[arg-type]
    audit_log.none(7)  # type: ignore[arg-type]
    event.action = "team.update"  # type: ignore[misc]
    event.chnges  # type: ignore[attr-defined]  # noqa: B018
    audit_log.none("team.delete").changes  # type: ignore[attr-defined, func-returns-value]  # noqa: B018


async def awaited(audit_log: AuditLog) -> None:
    """What has to be awaited gives the same questions."""
    log = await audit_log.look()
    assert_type(log, Events)
    assert_type(log.one("team.update"), RecordedEvent)
    audit_log.look().one()  # type: ignore[attr-defined]


def silent(audit_coverage: AuditCoverage, app: object) -> None:
    """What recorded nothing."""
    found = audit_coverage(app=app, allow=["POST /login"])
    assert_type(found, Silence)
    assert_type(found.routes, dict[str, int])
    assert_type(found.models, list[str])
    audit_coverage(app)  # type: ignore[call-arg]
    audit_coverage(app=app, allow=7)  # type: ignore[arg-type]


def tables() -> None:
    """Tables for tests."""
    make_tables("sqlite:///app.db", schema="audit")
    remove_triggers("sqlite:///app.db", in_use=True)
    make_tables()  # type: ignore[call-arg]
    remove_triggers("sqlite:///app.db", "public", True)  # type: ignore[call-arg]
