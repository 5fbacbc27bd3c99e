"""An integration platform: authentication, users, roles, organizations, integrations (source document 002).

Signing in and out, users, roles and organizations are declared here once for all five documents.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["Authentication", "Integrations", "Organizations", "Roles", "Users"]

_LOGIN = fields(
    login_source=str, method=("password", "passkey", "sso", "oauth", "magic_link"), mfa=bool, attempts=int
)


class Authentication(Catalog, prefix="auth", title="Authentication"):
    """Signing in and out, and what people sign in with."""

    login_success = EventType(
        "login.success", "User login", metadata_schema=_LOGIN, references=["R23", "R73", "R106", "R185"]
    )
    login_failed = EventType(
        "login.failed",
        "Login failed",
        severity="critical",
        metadata_schema=_LOGIN,
        references=["R73", "R78", "R100", "R106"],
    )
    logout = EventType("logout", "User logout", references=["R106"])
    passkey_add = EventType(
        "passkey.add", "Passkey added", metadata_schema=fields(passkey_name=str), references=["R106"]
    )
    passkey_remove = EventType(
        "passkey.remove", "Passkey removed", metadata_schema=fields(passkey_name=str), inferred=True
    )
    mfa_enable = EventType("mfa.enable", "Second factor enabled", inferred=True)
    mfa_disable = EventType("mfa.disable", "Second factor disabled", inferred=True)
    password_change = EventType("password.change", "Password changed", inferred=True)


class Users(Catalog, prefix="user", title="Users"):
    """Accounts of people."""

    create = EventType("create", "User created", references=["R107", "R147"])
    update = EventType("update", "User updated", references=["R107"])
    delete = EventType("delete", "User deleted", severity="warning", references=["R107"])
    role_assign = EventType(
        "role.assign",
        "Role assigned to user",
        severity="warning",
        metadata_schema=fields(role=str, scope=str),
        references=["R76", "R107", "R160"],
    )
    role_unassign = EventType(
        "role.unassign",
        "Role taken from user",
        severity="warning",
        metadata_schema=fields(role=str, scope=str),
        inferred=True,
        references=["R160"],
    )


class Roles(Catalog, prefix="role", title="Roles"):
    """Roles and their permissions."""

    create = EventType("create", "Role created", severity="warning", references=["R108"])
    update = EventType("update", "Role updated", severity="warning", references=["R108"])
    delete = EventType("delete", "Role deleted", severity="warning", references=["R108"])
    permission_update = EventType(
        "permission.update",
        "Permissions of role changed",
        severity="warning",
        metadata_schema=fields(diff=fields(added=[str], removed=[str])),
        references=["R76", "R108", "R149", "R150"],
    )


class Organizations(Catalog, prefix="organization", title="Organizations"):
    """The tenants of the product."""

    create = EventType("create", "Organization created", references=["R109"])
    update = EventType("update", "Organization updated", references=["R109"])
    delete = EventType("delete", "Organization deleted", severity="warning", references=["R109"])


class Integrations(Catalog, prefix="integration", title="Integrations"):
    """Other products that are connected."""

    connect = EventType(
        "connect",
        "Integration connected",
        metadata_schema=fields(integration=str, scopes=[str]),
        references=["R110"],
    )
    update = EventType("update", "Integration changed", inferred=True)
    disconnect = EventType("disconnect", "Integration disconnected", inferred=True)
    sync = EventType(
        "sync",
        "Integration synchronized",
        metadata_schema=fields(integration=str, created=int, updated=int, removed=int),
        inferred=True,
        references=["R115"],
    )
