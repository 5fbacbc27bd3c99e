"""What a type checker knows of ``Audit`` beside ``record``; nobody runs this."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, assert_type
from uuid import UUID

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from affidavit import Actor, Audit, Catalog, EventType, Resource, Viewer, anonymous, system
from affidavit import Session as AuditSession
from affidavit.core.row import Recorded
from affidavit.recorder.context import Context


class Billing(Catalog, prefix="billing"):
    """Of an app."""

    refund = EventType("invoice.refund", "Refund an invoice", severity="warning", requires=["reason"])


class Team:
    """Of an app."""

    id: int
    name: str


def made() -> None:
    """What an ``Audit`` is made of."""
    Audit("sqlite:///app.db", organization="acme", source="web", catalogs=[Billing], spool="app-spool.db")
    Audit(lambda: psycopg.connect("postgresql://h/d"), schema="audit", allow_import=True, clock=lambda: 1)
    Audit("sqlite:///app.db", organisation="acme")  # type: ignore[call-arg]
    Audit("sqlite:///app.db", catalogs=[Billing()])  # type: ignore[list-item]
    Audit("sqlite:///app.db", clock=lambda: "now")  # type: ignore[arg-type, return-value]
    Audit()  # type: ignore[call-arg]


def own_transactions(audit: Audit) -> None:
    """``record_now`` and ``denied`` say what became of the event."""
    assert_type(audit.record_now("team.update", actor=system("job")), Recorded)
    assert_type(audit.denied(Billing.refund, actor=anonymous, reason="not an owner"), Recorded)
    audit.record_now("team.update", resource=Resource(type="team", id="7"), resources=[("team", 8), Team()])
    audit.record_now("team.update", changes={"name": ("a", "b"), "plan": {"old": None, "new": "pro"}})
    audit.record_now("team.update", actor="ana")  # type: ignore[arg-type]
    audit.record_now("team.update", severity="bad")  # type: ignore[arg-type]
    audit.record_now("team.update", outcome=True)  # type: ignore[arg-type]
    audit.record_now("team.update", changes=["name"])  # type: ignore[arg-type]
    audit.record_now("team.update", changes={"name": "b"})  # type: ignore[dict-item]
    audit.record_now("team.update", parent_id="7")  # type: ignore[arg-type]
    audit.record_now("team.update", id=UUID(int=7))  # type: ignore[call-arg]
    audit.record_now(Billing)  # type: ignore[arg-type]
    audit.denied()  # type: ignore[call-arg]


def attempts(audit: Audit, session: Session, pg: psycopg.Connection[Any]) -> None:
    """A block, or a function whose arguments and result stay as they were."""
    block: AbstractContextManager[None] = audit.attempt(session, "team.archive")
    with block as nothing:
        assert_type(nothing, None)
    with audit.attempt(pg, Billing.refund, reason="asked for"):
        pass
    audit.attempt(session)  # type: ignore[call-arg]
    audit.attempt(session, "team.archive", reson="typed wrong")  # type: ignore[call-arg]

    @audit.audited("report.export", resource=lambda number: ("report", number), actor=system("job"))
    def export(number: int, *, fast: bool = False) -> bytes:
        return bytes(number)

    assert_type(export(7, fast=True), bytes)
    export("7")  # type: ignore[arg-type]
    export(7, slow=True)  # type: ignore[call-arg]
    audit.audited("report.export", outcome="failure")  # type: ignore[call-arg]


async def awaited(audit: Audit, session: AsyncSession) -> None:
    """The async forms give the same, once they are awaited."""
    assert_type(await audit.aio.record_now("team.update"), Recorded)
    assert_type(await audit.aio.denied("team.update", reason="no"), Recorded)
    block: AbstractAsyncContextManager[None] = audit.aio.attempt(session, "team.archive")
    async with block as nothing:
        assert_type(nothing, None)

    @audit.aio.audited("report.export")
    async def export(number: int) -> bytes:
        return bytes(number)

    assert_type(await export(7), bytes)
    await export("7")  # type: ignore[arg-type]
    await audit.aio.record_now("team.update", what=1)  # type: ignore[call-arg]
    audit.aio.audited("report.export")(lambda: 7)  # type: ignore[arg-type, return-value]


def contexts(audit: Audit) -> None:
    """Who and where."""
    known = audit.context(actor=Actor(type="user", id="7", name="Ana"), source="cli", ip="192.0.2.1")
    assert_type(known, AbstractContextManager[Context])
    with known as context:
        context.update(session=AuditSession(type="web"), organization="acme")
        context.update(sesion=None)  # type: ignore[call-arg]
    audit.actor(7, name="Ana", email="ana@example.org")
    audit.actor(UUID(int=7), type="api_token")
    audit.actor(Actor(type="user", id="7"))
    audit.context(actor="ana")  # type: ignore[arg-type]
    audit.context(changes={})  # type: ignore[call-arg]
    audit.actor(7.5)  # type: ignore[arg-type]
    audit.actor()  # type: ignore[call-arg]
    Actor(type="robot", id="7")  # type: ignore[arg-type]


def classes(audit: Audit) -> None:
    """What the app's objects are, and what of them is recorded by itself."""
    audit.register(Team, type="team", id=lambda team: team.id, name="name", exclude=["search"], mask={"pin"})
    audit.capture(Team, actions={"create": "team.add", "delete": Billing.refund}, exclude=["search"])
    audit.register(Team)  # type: ignore[call-arg]
    audit.register(Team(), type="team")  # type: ignore[arg-type]
    audit.register(Team, type="team", id=7)  # type: ignore[arg-type]
    audit.capture(Team, actions={"insert": "team.add"})  # type: ignore[dict-item]
    audit.capture("teams")  # type: ignore[arg-type]


def ends(audit: Audit) -> None:
    """Tables, and the end."""
    assert_type(audit.migrate(), list[tuple[int, str]])
    audit.close()
    audit.migrate("postgresql://h/d")  # type: ignore[call-arg]


async def beside(audit: Audit, session: Session, awaited: psycopg.AsyncConnection[Any]) -> None:
    """The worker beside the app, and what triggers are told."""
    with audit.start():
        audit.stop()
    assert_type(audit.carry(session.connection()), None)
    await audit.carry(awaited)
    audit.start("data")  # type: ignore[call-arg]
    audit.carry()  # type: ignore[call-overload]


def page(audit: Audit) -> None:
    """Who may look, and where it is mounted."""

    async def who(_request: Any) -> Viewer | None:
        return Viewer(7, name="Ana", role="admin", organizations=["acme"])

    audit.ui(authorize=who, login_url="/login")
    audit.ui(authorize=lambda request: Viewer(request.user.id) if request.user else None)
    audit.ui(login_url="/login")  # type: ignore[call-arg]
    audit.ui(authorize=lambda _request: "ana")  # type: ignore[arg-type, return-value]
    Viewer(7, "Ana")  # type: ignore[call-arg]
    Viewer(7, organizations=[7])  # type: ignore[list-item]
    Viewer()  # type: ignore[call-arg]
