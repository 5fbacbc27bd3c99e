"""A flow platform: flows, their projects, machine clients (source document 004).

Signing in is ``auth.login.success`` of :mod:`.integration_platform`; the OTEL export's own events are
``audit.stream.*`` of :mod:`.product`.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["Flows", "OauthClients"]


class Flows(Catalog, prefix="flow", title="Flows"):
    """Flows of a project."""

    create = EventType("create", "Flow created", references=["R185"])
    update = EventType("update", "Flow changed", metadata_schema=fields(version=int), inferred=True)
    publish = EventType("publish", "Flow published", metadata_schema=fields(version=int), inferred=True)
    delete = EventType("delete", "Flow deleted", severity="warning", inferred=True)


class OauthClients(Catalog, prefix="oauth_client", title="OAuth2 clients"):
    """Clients whose sessions are recorded beside the user."""

    create = EventType(
        "create", "OAuth2 client created", severity="warning", inferred=True, references=["R187"]
    )
    delete = EventType(
        "delete", "OAuth2 client deleted", severity="warning", inferred=True, references=["R187"]
    )
