"""An automation workspace: journeys, secrets, environments, runners (source document 003).

Invitations are ``member.invite`` of :mod:`.cloud_platform`, role changes ``user.role.assign`` of
:mod:`.integration_platform`.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["Environments", "Journeys", "Runners", "Secrets", "Workspace"]

_VERSIONS = fields(version=int, environments=[str], partial=bool)


class Secrets(Catalog, prefix="secret", title="Secrets"):
    """Stored secrets; never their values."""

    create = EventType(
        "create", "Secret added", severity="warning", metadata_schema=_VERSIONS, references=["R153", "R161"]
    )
    rotate = EventType(
        "rotate",
        "Secret rotated",
        severity="warning",
        metadata_schema=_VERSIONS,
        references=["R155", "R161", "R172"],
    )
    update = EventType(
        "update", "Secret updated", severity="warning", metadata_schema=_VERSIONS, references=["R153", "R172"]
    )
    delete = EventType("delete", "Secret deleted", severity="warning", inferred=True, references=["R156"])


class Environments(Catalog, prefix="environment", title="Environments"):
    """Environments that journeys run in."""

    configuration_update = EventType(
        "configuration.update", "Environment configuration changed", references=["R162"]
    )


class Runners(Catalog, prefix="runner", title="Runners"):
    """Machines that run journeys."""

    update = EventType("update", "Runner updated", severity="warning", references=["R163"])
    create = EventType("create", "Runner added", inferred=True)
    delete = EventType("delete", "Runner removed", inferred=True)


_GRANT = fields("level", level=("viewer", "runner", "editor", "owner"), user=str)


class Journeys(Catalog, prefix="journey", title="Journeys"):
    """Journeys, and who may do what to them."""

    create = EventType("create", "Journey created", references=["R164"])
    update = EventType("update", "Journey changed", inferred=True, references=["R153"])
    delete = EventType("delete", "Journey deleted", severity="warning", references=["R156", "R164"])
    access_grant = EventType(
        "access.grant",
        "Journey access granted",
        severity="warning",
        metadata_schema=_GRANT,
        references=["R164", "R173"],
    )
    access_change = EventType(
        "access.change",
        "Journey access changed",
        severity="warning",
        metadata_schema=_GRANT,
        references=["R153", "R164"],
    )
    access_revoke = EventType(
        "access.revoke",
        "Journey access revoked",
        severity="warning",
        metadata_schema=fields(user=str),
        references=["R164"],
    )
    run = EventType(
        "run",
        "Journey run",
        metadata_schema=fields(environment=str, run_id=str),
        inferred=True,
        references=["R154"],
    )


class Workspace(Catalog, prefix="workspace", title="Workspace"):
    """Settings of the workspace itself."""

    settings_update = EventType("settings.update", "Workspace settings changed", references=["R158"])
