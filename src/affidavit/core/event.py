"""The event: what a caller may say of something that happened, and the limits of each field.

A :class:`Draft` is what comes in (from the API, an importer, the recorder). :mod:`.prepare` checks it
once against the rules here and makes the :class:`~affidavit.core.row.Row` that is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec

if TYPE_CHECKING:
    from datetime import datetime

    Moment = datetime | str | int
else:
    Moment = Any

__all__ = [
    "ACTOR_TYPES",
    "CI",
    "CONFIDENCES",
    "GROUPS",
    "MAX_BATCH",
    "MAX_BATCH_BYTES",
    "MAX_DEPTH",
    "MAX_EVENT_BYTES",
    "OUTCOMES",
    "RESERVED",
    "SEVERITIES",
    "Actor",
    "Change",
    "Draft",
    "Location",
    "Outcome",
    "RecordedBy",
    "Request",
    "Resource",
    "Session",
    "Severity",
]

MAX_EVENT_BYTES = 256 * 1024
"""An event as JSON, in bytes."""
MAX_BATCH = 1000
"""Events in one batch."""
MAX_BATCH_BYTES = 16 * 1024 * 1024
"""A batch as JSON, in bytes."""
MAX_DEPTH = 32
"""Levels of objects and arrays in the JSON of an event, the event itself being the first."""
MAX_RESOURCES = 20

GROUPS = ("actor", "resources", "context", "changes", "details")
"""The five groups of fields that are committed to by a salted digest and can be erased."""

RESERVED = ("audit.", "log.", "access.", "detection.")
"""Prefixes of actions that only the product itself records."""

Outcome = Literal["success", "failure"]
Severity = Literal["info", "warning", "critical"]
OUTCOMES: tuple[Outcome, ...] = ("success", "failure")
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""In rising order."""

ActorType = Literal["user", "api_token", "oauth_client", "service", "agent", "system", "anonymous"]
ACTOR_TYPES: tuple[ActorType, ...] = (
    "user",
    "api_token",
    "oauth_client",
    "service",
    "agent",
    "system",
    "anonymous",
)
Confidence = Literal["verified", "token", "declared", "guess"]
CONFIDENCES: tuple[Confidence, ...] = ("verified", "token", "declared", "guess")


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A part of an event: immutable, absent fields left out, unknown fields refused."""


class Actor(Part, frozen=True):
    """Who did it, or on whose behalf. Names are snapshots of the moment.

    Attributes:
        id: 1 to 1,024 characters, stable for the actor.
        name: display name, at most 1,024 characters.
        email: at most 320 characters; compared after Unicode case folding.
    """

    type: ActorType
    id: str
    name: str | None = None
    email: str | None = None


class Session(Part, frozen=True):
    """How the actor was authenticated: web session, API token, OAuth2 client.

    Attributes:
        type: 1 to 128 characters, such as ``web``, ``api_token``, ``oauth_client``.
        id, token_id, token_name: at most 1,024 characters.
    """

    type: str
    id: str | None = None
    token_id: str | None = None
    token_name: str | None = None


class RecordedBy(Session, frozen=True):
    """The credential that recorded the event, and where it connected from. Ours to say, never a client's.

    Attributes:
        address: the peer's IP address.
    """

    address: str | None = None


class Resource(Part, frozen=True):
    """What it was done to.

    Attributes:
        type: 1 to 128 characters, such as ``project``.
        id: 1 to 1,024 characters.
        name: at most 1,024 characters, a snapshot.
    """

    type: str
    id: str
    name: str | None = None


class Location(Part, frozen=True):
    """Where the address was when the event was recorded, at most 256 characters a field."""

    city: str | None = None
    region: str | None = None
    country: str | None = None
    country_code: str | None = None


class CI(Part, frozen=True):
    """The CI platform that acted. Only we may say ``verified``."""

    platform: str
    confidence: Confidence
    repository: str | None = None
    run_id: str | None = None


class Request(Part, frozen=True):
    """The HTTP or RPC request that caused the event."""

    id: str | None = None
    method: str | None = None
    endpoint: str | None = None
    params: dict[str, Any] | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The old and the new value of one field; a side that did not exist is null."""

    old: Any = None
    new: Any = None


class Draft(Part, frozen=True):
    """An event as a caller gives it. Only ``action`` is always needed.

    Every field is described, with its limits, in ``docs/reference/event.md``. ``id``, ``facts`` and
    ``imported`` are refused from callers that may not set them (see :func:`.prepare.prepare`).
    """

    action: str
    organization: str | None = None
    project: str | None = None
    id: UUID | None = None
    occurred_at: Moment | None = None
    """RFC 3339 text with a zone, an aware ``datetime`` or microseconds since 1970 UTC."""
    idempotency_key: str | None = None
    outcome: Outcome = "success"
    severity: Severity | None = None
    source: str | None = None
    imported: bool = False
    parent_id: UUID | None = None
    actor: Actor | None = None
    on_behalf_of: Actor | None = None
    session: Session | None = None
    resources: tuple[Resource, ...] = ()
    ip: str | None = None
    location: Location | None = None
    user_agent: str | None = None
    client: str | None = None
    ci: CI | None = None
    request: Request | None = None
    trace_id: str | None = None
    span_id: str | None = None
    changes: dict[str, Change] | None = None
    description: str | None = None
    reason: str | None = None
    metadata: dict[str, Any] | None = None
    facts: dict[str, str | int] | None = None
