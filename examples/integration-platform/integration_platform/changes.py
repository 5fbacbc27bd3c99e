"""Everything that somebody can change: each function one transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from integration_platform import access, connectors, db
from integration_platform.access import Caller
from integration_platform.models import ApiToken, Connection, Role, Sync, Team, User
from integration_platform.passwords import hash_of, hashed, new_token
from integration_platform.permissions import ABILITIES, PERMISSIONS

__all__ = ["Missing", "Taken", "own"]

_Owned = TypeVar("_Owned", ApiToken, Connection, Role, User)


class Missing(Exception):
    """There is no such thing in this team."""


class Taken(Exception):
    """It cannot be done as things are."""


def own(session: Session, who: Caller, kind: type[_Owned], key: str) -> _Owned:
    """What belongs to the caller's team.

    Raises:
        Missing: it does not exist, or belongs to others.
    """
    found = session.get(kind, key)
    if found is None or found.team_id != who.team_id:
        raise Missing("There is no such thing here, or not any more.")
    return found


def check_connector(name: str) -> None:
    """Be sure that there is such a connector.

    Raises:
        Missing: there is none.
    """
    if name not in connectors.CONNECTORS:
        raise Missing("There is no such connector.")


def connect(who: Caller, connector: str, name: str, account: str, secret: str) -> Connection:
    """Connect another product."""
    access.demand(who, "integration.connect")
    check_connector(connector)
    with db.Session.begin() as session:
        made = Connection(
            id=db.new_id(), team_id=who.team_id, connector=connector, name=name, account=account
        )
        made.secret = secret
        session.add(made)
        access.audit.record(
            session,
            "integration.connect",
            resource=("connection", made.id, name),
            changes={"account": (None, account), "secret": (None, secret)},
            metadata={"integration": connector},
        )
    return made


def change_secret(who: Caller, connection_id: str, secret: str) -> None:
    """Give a connection another secret."""
    access.demand(who, "integration.update")
    with db.Session.begin() as session:
        connection = own(session, who, Connection, connection_id)
        access.audit.record(
            session,
            "integration.update",
            resource=("connection", connection.id, connection.name),
            changes={"secret": (connection.secret, secret)},
        )
        connection.secret = secret


def disconnect(who: Caller, connection_id: str) -> None:
    """Forget a connection."""
    access.demand(who, "integration.disconnect")
    with db.Session.begin() as session:
        connection = own(session, who, Connection, connection_id)
        access.audit.record(
            session,
            "integration.disconnect",
            resource=("connection", connection.id, connection.name),
            metadata={"integration": connection.connector},
        )
        session.delete(connection)


def run_sync(who: Caller, connection_id: str) -> Sync:
    """Read what is new at another product.

    Raises:
        connectors.Refused: it did not let us in.
    """
    access.demand(who, "sync.run")
    with db.Session.begin() as session:
        to = own(session, who, Connection, connection_id)
        with (
            access.audit.attempt(session, access.Syncs.run, resource=("connection", to.id, to.name)),
            connectors.opened(to.connector, to.account, to.secret) as source,
        ):
            sync = Sync(
                id=db.new_id(), connection_id=to.id, records=source.read(), started_by=who.person["name"]
            )
            session.add(sync)
    return sync


def create_user(who: Caller, email: str, name: str, password: str, role_id: str) -> User:
    """Add a person to the team.

    Raises:
        Taken: the address belongs to somebody.
    """
    access.demand(who, "user.create")
    try:
        with db.Session.begin() as session:
            role = own(session, who, Role, role_id)
            made = User(id=db.new_id(), team_id=who.team_id, role_id=role.id, email=email, name=name)
            made.password = hashed(password)
            session.add(made)
            access.audit.record(
                session,
                "user.create",
                resource=("user", made.id, email),
                changes={"name": (None, name), "role": (None, role.name)},
            )
    except IntegrityError as error:
        raise Taken(f"Somebody has the address {email} already.") from error
    return made


def assign_role(who: Caller, user_id: str, role_id: str) -> None:
    """Give a person another role."""
    access.demand(who, "user.role.assign")
    with db.Session.begin() as session:
        user, role = own(session, who, User, user_id), own(session, who, Role, role_id)
        access.audit.record(
            session,
            "user.role.assign",
            resource=("user", user.id, user.email),
            changes={"role": (user.role.name, role.name)},
        )
        user.role = role


def delete_user(who: Caller, user_id: str) -> None:
    """Remove a person.

    Raises:
        Taken: nobody removes themselves.
    """
    access.demand(who, "user.delete")
    if user_id == who.person["id"]:
        raise Taken("Nobody can remove themselves.")
    with db.Session.begin() as session:
        user = own(session, who, User, user_id)
        access.audit.record(session, "user.delete", resource=("user", user.id, user.email))
        session.delete(user)


def create_role(who: Caller, name: str, permissions: Collection[str]) -> Role:
    """Make a role.

    Raises:
        Taken: another one is called so.
    """
    access.demand(who, "role.create")
    try:
        with db.Session.begin() as session:
            made = Role(id=db.new_id(), team_id=who.team_id, name=name)
            made.permissions = _known(permissions, PERMISSIONS)
            session.add(made)
            access.audit.record(
                session,
                "role.create",
                resource=("role", made.id, name),
                changes={"permissions": (None, made.permissions)},
            )
    except IntegrityError as error:
        raise Taken(f"There is a role {name} already.") from error
    return made


def change_permissions(who: Caller, role_id: str, permissions: Collection[str]) -> None:
    """Say anew what people with a role may do.

    Raises:
        Taken: nobody could change it back.
    """
    access.demand(who, "role.permission.update")
    with db.Session.begin() as session:
        role = own(session, who, Role, role_id)
        access.audit.record(
            session,
            "role.permission.update",
            resource=("role", role.id, role.name),
            changes={"permissions": (role.permissions, _known(permissions, PERMISSIONS))},
            metadata={
                "diff": {
                    "added": _known(set(permissions) - set(role.permissions), PERMISSIONS),
                    "removed": _known(set(role.permissions) - set(permissions), PERMISSIONS),
                }
            },
        )
        role.permissions = _known(permissions, PERMISSIONS)
        session.flush()
        roles = session.scalars(select(Role.permissions).join(User).where(User.team_id == who.team_id))
        if not any("role.permission.update" in each for each in roles):
            raise Taken("Somebody must remain who can change permissions.")


def create_token(who: Caller, name: str, abilities: Collection[str]) -> tuple[ApiToken, str]:
    """Make a token; it can be seen this once."""
    access.demand(who, "api_token.create")
    secret = new_token("trl_")
    with db.Session.begin() as session:
        made = ApiToken(id=db.new_id(), team_id=who.team_id, name=name, secret=hash_of(secret))
        made.abilities = _known(abilities, ABILITIES)
        session.add(made)
        access.audit.record(
            session,
            "api_token.create",
            resource=("api_token", made.id, name),
            changes={"abilities": (None, made.abilities)},
        )
    return made, secret


def delete_token(who: Caller, token_id: str) -> None:
    """Revoke a token."""
    access.demand(who, "api_token.delete")
    with db.Session.begin() as session:
        token = own(session, who, ApiToken, token_id)
        access.audit.record(session, "api_token.delete", resource=("api_token", token.id, token.name))
        session.delete(token)


def rename_team(who: Caller, name: str) -> None:
    """Give the team another name."""
    access.demand(who, "organization.update")
    with db.Session.begin() as session:
        team = session.get_one(Team, who.team_id)
        access.audit.record(
            session,
            "organization.update",
            resource=("organization", team.id, team.name),
            changes={"name": (team.name, name)},
        )
        team.name = name


def _known(given: Collection[str], all_of_them: Collection[str]) -> list[str]:
    return [each for each in all_of_them if each in given]
