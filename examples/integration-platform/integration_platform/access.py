"""Who calls, and what they may do: people by a cookie of ours, programs by a token."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypedDict

from fastapi import Depends, Request
from sqlalchemy import delete, select
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from affidavit import Actor, Audit, Catalog, EventType, Viewer
from integration_platform import db
from integration_platform.models import ApiToken, SignIn, Team, User
from integration_platform.passwords import NOBODY, hash_of, matches, new_token

__all__ = [
    "COOKIE",
    "Caller",
    "Callers",
    "Forbidden",
    "NotSignedIn",
    "SignedIn",
    "WithToken",
    "demand",
    "signed_in",
]

COOKIE = "trellis"
LASTS = timedelta(days=14)


class Syncs(Catalog, prefix="sync", title="Syncs"):
    run = EventType("run", "Connection synchronized")


audit = Audit(db.engine, organization="trellis", catalogs=[Syncs])


class Person(TypedDict):
    """Somebody, or the token of a program."""

    id: str
    name: str
    email: str | None


@dataclass(frozen=True)
class Caller:
    """Who calls.

    Attributes:
        person: who it is.
        type: a person, or the token of a program.
        team_id: of the team that they belong to.
        team: its short name.
        permissions: what they may do.
        role: admins see the settings.
    """

    person: Person
    type: Literal["user", "api_token"]
    team_id: str
    team: str
    permissions: frozenset[str]
    role: Literal["admin", "viewer"]


class NotSignedIn(Exception):
    """Nobody knows who this is."""


class Forbidden(Exception):
    """Somebody tried what they may not do."""


class Callers:
    """Middleware that finds out who calls: ``request.state.who``, ``None`` where nobody knows."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            request = Request(scope)
            who = await run_in_threadpool(caller_of, request)
            request.state.who = who
            request.state.viewer = who and Viewer(**who.person, role=who.role, organizations=[who.team])
        await self._app(scope, receive, send)


def caller_of(request: Request) -> Caller | None:
    """Who calls; a token counts more than a cookie."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    with db.Session() as session:
        if kind.lower() == "bearer":
            found = session.scalar(select(ApiToken).where(ApiToken.secret == hash_of(token)))
            return None if found is None else _program(found)
        sign_in = session.get(SignIn, hash_of(request.cookies.get(COOKIE, "")))
        if sign_in is None or sign_in.until < datetime.now(UTC) or _is_forged(request):
            return None
        return _person(sign_in.user)


def _program(token: ApiToken) -> Caller:
    person = Person(id=token.id, name=token.name, email=None)
    return _caller(person, "api_token", token.team, token.abilities)


def _person(user: User) -> Caller:
    person = Person(id=user.id, name=user.name, email=user.email)
    return _caller(person, "user", user.team, user.role.permissions)


def _caller(
    person: Person, kind: Literal["user", "api_token"], team: Team, permissions: Collection[str]
) -> Caller:
    role: Literal["admin", "viewer"] = "admin" if "organization.update" in permissions else "viewer"
    audit.actor(**person, type=kind, organization=team.slug, source="web" if kind == "user" else "api")
    return Caller(person, kind, team.id, team.slug, frozenset(permissions), role)


def _is_forged(request: Request) -> bool:
    """Whether a page of somebody else makes the browser send this (Fetch Metadata, else ``Origin``)."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return False
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and origin.partition("://")[2] != request.url.netloc


def signed_in(request: Request) -> Caller:
    """The person who calls.

    Raises:
        NotSignedIn: nobody knows who that is, or it is a program.
    """
    who: Caller | None = request.state.who
    if who is None or who.type != "user":
        raise NotSignedIn("Sign in first.")
    return who


def _with_token(request: Request) -> Caller:
    who: Caller | None = request.state.who
    if who is None or who.type != "api_token":
        raise NotSignedIn("Show a token: Authorization: Bearer trl_...")
    return who


SignedIn = Annotated[Caller, Depends(signed_in)]
WithToken = Annotated[Caller, Depends(_with_token)]


def demand(who: Caller, permission: str) -> None:
    """Let nobody go on who may not.

    Raises:
        Forbidden: they may not.
    """
    if permission not in who.permissions:
        audit.denied(permission, reason=f"lacks the permission {permission}")
        raise Forbidden(f"{who.person['name']} lacks the permission {permission}.")


def sign_in(email: str, password: str) -> str:
    """Sign a person in.

    Returns:
        What the cookie is to hold.

    Raises:
        NotSignedIn: address or password is wrong.
    """
    with db.Session.begin() as session:
        user = session.scalar(select(User).where(User.email == email))
        if not matches(password, NOBODY if user is None else user.password) or user is None:
            audit.denied(
                "auth.login.failed",
                organization=user.team.slug if user else "trellis",
                actor=Actor("anonymous", "anonymous", email=email),
                reason="no such address" if user is None else "wrong password",
                metadata={"login_source": "password", "method": "password"},
            )
            raise NotSignedIn("Address or password is wrong.")
        who, token = _person(user), new_token()
        session.add(SignIn(id=hash_of(token), user_id=who.person["id"], until=datetime.now(UTC) + LASTS))
        audit.record(session, "auth.login.success", metadata={"login_source": "password"})
        return token


def sign_out(who: Caller, token: str) -> None:
    """Sign a person out of one browser."""
    with db.Session.begin() as session:
        audit.record(session, "auth.logout")
        session.execute(delete(SignIn).where(SignIn.id == hash_of(token), SignIn.user_id == who.person["id"]))
