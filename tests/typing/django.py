"""What a type checker knows of ``audit`` in a Django project; nobody runs this."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, assert_type

from affidavit import Viewer, system
from affidavit.core.row import Recorded
from affidavit.django import AuditMiddleware, audit

ME = system("tests")


class Team:
    """A model of the project."""


def recorded(team: Team) -> None:
    """No session is passed, and the event is written at once."""
    assert_type(audit.record("team.update", resource=team, actor=ME), Recorded)
    audit.record("team.update", using="other", changes={"name": ("a", "b")})
    assert_type(audit.record_now("team.update"), Recorded)
    assert_type(audit.denied("team.update", reason="no"), Recorded)
    block: AbstractContextManager[None] = audit.attempt("team.archive", using="other")
    with block as nothing:
        assert_type(nothing, None)
    audit.record("team.update", outcome="maybe")  # type: ignore[arg-type]
    audit.record("team.update", who=ME)  # type: ignore[call-arg]
    audit.record(team, "team.update")  # type: ignore[arg-type, call-arg]
    audit.record("team.update", using=7)  # type: ignore[arg-type]
    audit.attempt("team.archive", session=ME)  # type: ignore[arg-type]


async def awaited() -> None:
    """What is awaited records in transactions of its own."""
    assert_type(await audit.aio.record_now("team.update"), Recorded)
    assert_type(await audit.aio.denied("team.update"), Recorded)
    block: AbstractAsyncContextManager[None] = audit.aio.attempt("team.archive")
    async with block as nothing:
        assert_type(nothing, None)
    await audit.aio.denied("team.update", who=ME)  # type: ignore[call-arg]


def project() -> None:
    """Classes, middleware and page."""
    audit.register(Team, type="team", name="name")
    audit.capture(Team, actions={"update": "team.change"})
    AuditMiddleware(lambda request: request)
    assert_type(audit.urls(authorize=lambda _request: Viewer(7)), tuple[list[Any], str, str])
    audit.capture(Team, actions={"insert": "team.add"})  # type: ignore[dict-item]
    audit.urls(login_url="/login/")  # type: ignore[call-arg]
    AuditMiddleware()  # type: ignore[call-arg]
