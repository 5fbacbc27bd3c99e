"""A cloud platform: projects, applications, deployments, policies, members, sessions (source document 001).

The document describes kinds of events in words; the actions are ours. Signing in, roles and organizations are
declared in :mod:`.integration_platform`.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["Applications", "Members", "Policies", "Projects", "Resources", "Security", "Sessions", "Settings"]

_SERVICE = fields(service=str, region=str)


class Sessions(Catalog, prefix="auth"):
    """Sessions and credentials, beside signing in."""

    session_create = EventType(
        "session.create", "Session created", metadata_schema=fields(expires_at=str), references=["R73"]
    )
    session_end = EventType("session.end", "Session ended", inferred=True)
    token_rejected = EventType(
        "token.rejected",
        "API token rejected",
        severity="critical",
        metadata_schema=fields(token_name=str, cause=("expired", "revoked", "unknown", "ability")),
        references=["R73", "R78", "R100"],
    )


class Resources(Catalog, prefix="resource", title="Cloud resources"):
    """Anything that a service of the platform creates: databases, volumes, networks."""

    create = EventType("create", "Resource created", metadata_schema=_SERVICE, references=["R70", "R74"])
    update = EventType("update", "Resource changed", metadata_schema=_SERVICE, references=["R70", "R74"])
    delete = EventType(
        "delete", "Resource deleted", severity="warning", metadata_schema=_SERVICE, references=["R70", "R74"]
    )


class Projects(Catalog, prefix="project", title="Projects"):
    """Projects, a boundary inside an organization."""

    create = EventType("create", "Project created", references=["R74", "R89", "R90"])
    update = EventType("update", "Project changed", references=["R74", "R89"])
    delete = EventType("delete", "Project deleted", severity="warning", references=["R74"])


_DEPLOYMENT = fields(version=str, environment=str, commit=str)


class Applications(Catalog, prefix="application", title="Applications"):
    """Applications and their deployments."""

    create = EventType("create", "Application created", references=["R74", "R90"])
    update = EventType("update", "Application changed", references=["R74"])
    delete = EventType("delete", "Application deleted", severity="warning", references=["R74"])
    deploy = EventType(
        "deploy", "Application deployed", metadata_schema=_DEPLOYMENT, references=["R70", "R72", "R89"]
    )
    rollback = EventType(
        "rollback",
        "Application rolled back",
        severity="warning",
        metadata_schema=_DEPLOYMENT,
        inferred=True,
        references=["R70"],
    )


class Settings(Catalog, prefix="organization"):
    """Settings of the organization."""

    update = EventType("settings.update", "Organization settings changed", references=["R75"])


class Policies(Catalog, prefix="policy", title="Access policies"):
    """Who may reach what."""

    create = EventType("create", "Access policy created", severity="warning", references=["R75"])
    update = EventType("update", "Access policy changed", severity="warning", references=["R75"])
    delete = EventType("delete", "Access policy deleted", severity="warning", references=["R75"])


class Members(Catalog, prefix="member", title="Members"):
    """Members of an organization or workspace."""

    invite = EventType(
        "invite",
        "Member invited",
        severity="warning",
        metadata_schema=fields(email=str, role=str),
        references=["R76", "R160"],
    )
    join = EventType("join", "Member joined", inferred=True)
    remove = EventType("remove", "Member removed", severity="warning", inferred=True)
    permission_update = EventType(
        "permission.update", "Permissions of member changed", severity="warning", references=["R76"]
    )


class Security(Catalog, prefix="security", title="Security"):
    """Security configuration, and what deserves a look at once."""

    configuration_update = EventType(
        "configuration.update",
        "Security configuration changed",
        severity="warning",
        references=["R75", "R99"],
    )
    access_denied = EventType(
        "access.denied",
        "Unauthorized access attempt",
        severity="critical",
        metadata_schema=fields(attempted=str, missing=str),
        references=["R77", "R78", "R100"],
    )
    privilege_escalation = EventType(
        "privilege.escalation",
        "Privilege escalation attempt",
        severity="critical",
        metadata_schema=fields(attempted=str),
        references=["R78"],
    )
    location_unusual = EventType(
        "location.unusual",
        "Access from an unusual location",
        severity="critical",
        metadata_schema=fields(usual=[str], seen=str),
        references=["R78"],
    )
