"""The pages for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy import select

from integration_platform import access, api, changes, db
from integration_platform.access import COOKIE, Caller, SignedIn, signed_in
from integration_platform.forms import Address, Chosen, Line, Password, Secret
from integration_platform.models import ApiToken, Connection, Role, User
from integration_platform.permissions import ABILITIES, PERMISSIONS
from integration_platform.views import shown

__all__ = ["router"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
_Owned = TypeVar("_Owned", ApiToken, Connection, Role, User)


def _all(who: Caller, kind: type[_Owned]) -> Sequence[_Owned]:
    with db.Session() as session:
        return session.scalars(select(kind).where(kind.team_id == who.team_id).order_by(kind.name)).all()


def _see(path: str) -> RedirectResponse:
    return RedirectResponse(path, 303)


@router.get("/login")
def login(request: Request, after: Annotated[str, Query(alias="next")] = "/") -> Any:
    """Where people sign in."""
    return shown(request, "login", after=after)


@router.post("/login")
def sign_in(
    request: Request,
    email: Address,
    password: Annotated[str, Form(max_length=200)],
    after: Annotated[str, Form(alias="next")] = "/",
) -> Any:
    """Sign in, and go where one wanted to go."""
    try:
        token = access.sign_in(email, password)
    except access.NotSignedIn as error:
        return shown(request, "login", 401, after=after, email=email, message=str(error))
    answer = _see(after if after.startswith("/") and not after.startswith(("//", "/\\")) else "/")
    secure = request.url.scheme == "https"
    age = int(access.LASTS.total_seconds())
    answer.set_cookie(COOKIE, token, max_age=age, secure=secure, httponly=True, samesite="lax")
    return answer


@router.post("/logout")
def sign_out(request: Request, who: SignedIn) -> Any:
    """Sign out."""
    access.sign_out(who, request.cookies[COOKIE])
    answer = _see("/login")
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/")
def connections(request: Request, who: SignedIn) -> Any:
    """What the team has connected."""
    return shown(request, "connections", connections=_all(who, Connection))


@router.get("/connect/{connector}", dependencies=[Depends(signed_in)])
def connecting(request: Request, connector: str) -> Any:
    """The form for another connection."""
    changes.check_connector(connector)
    return shown(request, "connect", key=connector)


@router.post("/connect/{connector}")
def connect(who: SignedIn, connector: str, name: Line, account: Line, secret: Secret) -> Any:
    """Connect another product."""
    return _see(f"/connections/{changes.connect(who, connector, name, account, secret).id}")


@router.get("/connections/{connection_id}")
def connection(request: Request, who: SignedIn, connection_id: str) -> Any:
    """One connection and its syncs."""
    with db.Session() as session:
        return shown(request, "connection", connection=changes.own(session, who, Connection, connection_id))


@router.post("/connections/{connection_id}/sync")
def sync(who: SignedIn, connection_id: str) -> Any:
    """Synchronize now."""
    changes.run_sync(who, connection_id)
    return _see(f"/connections/{connection_id}")


@router.post("/connections/{connection_id}/secret")
def change_secret(who: SignedIn, connection_id: str, secret: Secret) -> Any:
    """Change the secret."""
    changes.change_secret(who, connection_id, secret)
    return _see(f"/connections/{connection_id}")


@router.post("/connections/{connection_id}/disconnect")
def disconnect(who: SignedIn, connection_id: str) -> Any:
    """Forget the connection."""
    changes.disconnect(who, connection_id)
    return _see("/")


@router.get("/people")
def people(request: Request, who: SignedIn) -> Any:
    """Who belongs to the team."""
    return shown(request, "people", people=_all(who, User), roles=_all(who, Role))


@router.post("/people")
def create_user(who: SignedIn, email: Address, name: Line, password: Password, role: Line) -> Any:
    """Add a person."""
    changes.create_user(who, email, name, password, role)
    return _see("/people")


@router.post("/people/{user_id}/role")
def assign_role(who: SignedIn, user_id: str, role: Line) -> Any:
    """Give a person another role."""
    changes.assign_role(who, user_id, role)
    return _see("/people")


@router.post("/people/{user_id}/delete")
def delete_user(who: SignedIn, user_id: str) -> Any:
    """Remove a person."""
    changes.delete_user(who, user_id)
    return _see("/people")


@router.get("/roles")
def roles(request: Request, who: SignedIn) -> Any:
    """What each role may do."""
    return shown(request, "roles", roles=_all(who, Role), people=_all(who, User), permissions=PERMISSIONS)


@router.post("/roles")
def create_role(who: SignedIn, name: Line, permissions: Chosen = ()) -> Any:
    """Make a role."""
    changes.create_role(who, name, permissions)
    return _see("/roles")


@router.post("/roles/{role_id}")
def change_permissions(who: SignedIn, role_id: str, permissions: Chosen = ()) -> Any:
    """Say anew what a role may do."""
    changes.change_permissions(who, role_id, permissions)
    return _see("/roles")


@router.get("/tokens")
def tokens(request: Request, who: SignedIn) -> Any:
    """The team's tokens, and what they are for."""
    return shown(
        request, "tokens", tokens=_all(who, ApiToken), abilities=ABILITIES, endpoints=api.endpoints()
    )


@router.post("/tokens")
def create_token(request: Request, who: SignedIn, name: Line, abilities: Chosen = ()) -> Any:
    """Make a token and show it, once."""
    made, secret = changes.create_token(who, name, abilities)
    return shown(
        request,
        "tokens",
        tokens=_all(who, ApiToken),
        abilities=ABILITIES,
        endpoints=api.endpoints(),
        made=made,
        secret=secret,
    )


@router.post("/tokens/{token_id}/delete")
def delete_token(who: SignedIn, token_id: str) -> Any:
    """Revoke a token."""
    changes.delete_token(who, token_id)
    return _see("/tokens")


@router.get("/settings", dependencies=[Depends(signed_in)])
def settings(request: Request) -> Any:
    """The team's settings."""
    return shown(request, "settings")


@router.post("/settings")
def rename_team(who: SignedIn, name: Line) -> Any:
    """Give the team another name."""
    changes.rename_team(who, name)
    return _see("/settings")
