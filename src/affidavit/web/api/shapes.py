"""What goes over the wire, as types. The OpenAPI document is made from them.

An event that goes out is spliced from stored text and never built from :class:`Event`; a test checks that the
two agree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from affidavit.core.event import ActorType, Change, Confidence, Outcome, Severity
from affidavit.web.routes import Asked, Shape

__all__ = [
    "Batch",
    "Bucket",
    "Event",
    "EventList",
    "Facet",
    "FacetAnswer",
    "HistogramAnswer",
    "NewEvent",
    "RecordedEvent",
    "RecordedEvents",
]

Name = Annotated[
    str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?$")
]
Action = Annotated[str, Meta(min_length=3, max_length=128, pattern=r"^[a-z0-9_-]+(\.[a-z0-9_-]+)+$")]
Source = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Id = Annotated[str, Meta(min_length=1, max_length=1024)]
Text = Annotated[str, Meta(max_length=1024)]
Sentence = Annotated[str, Meta(max_length=1000)]
Kind = Annotated[str, Meta(min_length=1, max_length=128)]
Place = Annotated[str, Meta(max_length=256)]
Time = Annotated[datetime, Meta(tz=True, description="RFC 3339 with a zone; microseconds.")]
Address = Annotated[str, Meta(max_length=64, description="IPv4 or IPv6 address.")]


class Actor(Asked):
    """Who did it, or on whose behalf."""

    type: ActorType
    id: Id
    name: Text | None = None
    email: Annotated[str, Meta(max_length=320)] | None = None


class Session(Asked):
    """How the actor was authenticated."""

    type: Kind
    id: Text | None = None
    token_id: Text | None = None
    token_name: Text | None = None


class RecordedBy(Asked):
    """The credential that recorded the event, and where it connected from."""

    type: Kind
    id: Text | None = None
    token_id: Text | None = None
    token_name: Text | None = None
    address: Address | None = None


class Resource(Asked):
    """What it was done to."""

    type: Kind
    id: Id
    name: Text | None = None


class Location(Asked):
    """Where the address was when the event was recorded."""

    city: Place | None = None
    region: Place | None = None
    country: Place | None = None
    country_code: Place | None = None


class CI(Asked):
    """The CI platform that acted; only the server says `verified`."""

    platform: Text
    confidence: Confidence = "declared"
    repository: Text | None = None
    run_id: Text | None = None


class Request(Asked):
    """The HTTP or RPC request that caused the event."""

    id: Text | None = None
    method: Annotated[str, Meta(max_length=64)] | None = None
    endpoint: Annotated[str, Meta(max_length=4096)] | None = None
    params: dict[str, Any] | None = None


class NewEvent(Asked):
    """An event as a client sends it. Fields that are unknown here are refused."""

    action: Annotated[Action, Meta(description="Dotted name of what happened, such as `user.role.assign`.")]
    actor: Annotated[Actor, Meta(description="Who did it.")]
    organization: Annotated[Name, Meta(description="Absent: that of the credential.")] | None = None
    project: Name | None = None
    occurred_at: (
        Annotated[
            Time,
            Meta(
                description="Absent: now. At most 5 minutes ahead; more than 30 days back needs "
                "`events:import`."
            ),
        ]
        | None
    ) = None
    idempotency_key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=255,
                description="Makes sending again harmless; needs `occurred_at`.",
            ),
        ]
        | None
    ) = None
    outcome: Outcome = "success"
    severity: Annotated[Severity, Meta(description="Can only raise what the catalog says.")] | None = None
    source: Annotated[Source, Meta(description="Channel, such as `web`, `api`, `cli`.")] | None = None
    imported: Annotated[bool, Meta(description="True needs `events:import`.")] = False
    parent_id: Annotated[UUID, Meta(description="Groups the events of a bulk operation.")] | None = None
    on_behalf_of: Actor | None = None
    session: Session | None = None
    resources: Annotated[tuple[Resource, ...], Meta(max_length=20)] = ()
    ip: Address | None = None
    location: Location | None = None
    user_agent: Sentence | None = None
    client: Kind | None = None
    ci: CI | None = None
    request: Request | None = None
    trace_id: Kind | None = None
    span_id: Kind | None = None
    changes: dict[str, Change] | None = None
    description: Sentence | None = None
    reason: Sentence | None = None
    metadata: dict[str, Any] | None = None


class Batch(Asked):
    """Several events, stored in one transaction: all or none."""

    events: Annotated[list[NewEvent], Meta(min_length=1, max_length=1000)]


class RecordedEvent(Shape):
    """What became of one event."""

    id: UUID
    duplicate: Annotated[bool, Meta(description="It was recorded before; nothing was stored.")]


class RecordedEvents(Shape):
    """What became of the events, in the order of the request."""

    events: list[RecordedEvent]


class Event(Shape):
    """An event as it is read. Absent fields are left out; further fields may be added."""

    id: UUID
    organization: str
    action: str
    title: Annotated[str, Meta(description="The catalog's title of the action.")]
    occurred_at: Time
    recorded_at: Time
    outcome: Outcome
    severity: Severity
    source: str
    state: Annotated[
        Literal["pending", "sequenced", "published"],
        Meta(
            description="`pending`: recorded. `sequenced`: a leaf of the organization's log. `published`: "
            "covered by a signed checkpoint, so that a proof can be had."
        ),
    ]
    late: Annotated[bool, Meta(description="Recorded more than 24 hours after it occurred.")]
    project: str | UnsetType = UNSET
    imported: bool | UnsetType = UNSET
    parent_id: UUID | UnsetType = UNSET
    actor: Actor | UnsetType = UNSET
    on_behalf_of: Actor | UnsetType = UNSET
    session: Session | UnsetType = UNSET
    recorded_by: RecordedBy | UnsetType = UNSET
    resources: list[Resource] | UnsetType = UNSET
    ip: str | UnsetType = UNSET
    location: Location | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET
    client: str | UnsetType = UNSET
    ci: CI | UnsetType = UNSET
    request: Request | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET
    span_id: str | UnsetType = UNSET
    changes: dict[str, Change] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    facts: dict[str, str | int] | UnsetType = UNSET
    index: Annotated[int, Meta(description="Of its leaf in the organization's log.")] | UnsetType = UNSET
    redacted: (
        Annotated[list[str], Meta(description="Groups whose values were erased; their digests remain.")]
        | UnsetType
    ) = UNSET
    expired: (
        Annotated[
            bool, Meta(description="True where all values are gone because a retention policy let them go.")
        ]
        | UnsetType
    ) = UNSET
    inconsistent: (
        Annotated[list[str], Meta(description="Columns that contradict the event: the table was edited.")]
        | UnsetType
    ) = UNSET


class EventList(Shape):
    """One page of events."""

    events: list[Event]
    continuation_token: Annotated[
        str | None,
        Meta(
            description="Of the next page; null after the last, but with `order=asc` always there and "
            "lasting. A page may be short, even empty, and have one."
        ),
    ]
    watermark: Annotated[
        Time | None, Meta(description="Up to where the search index is complete; null while there is none.")
    ]
    caught_up: (
        Annotated[
            bool,
            Meta(description="Only with `order=asc`: whether this page reached the newest event."),
        ]
        | UnsetType
    ) = UNSET


class Bucket(Shape):
    """One bar of the histogram."""

    start: Time
    end: Time
    count: int
    failures: int


class HistogramAnswer(Shape):
    """Counts over time."""

    buckets: list[Bucket]
    total: int
    at_least: Annotated[bool, Meta(description="The bound on work was reached: there are more.")]
    watermark: Time | None


class Facet(Shape):
    """A value and how often it was found."""

    value: str
    count: int


class FacetAnswer(Shape):
    """The most frequent values of each field."""

    fields: dict[str, list[Facet]]
    examined: Annotated[int, Meta(description="Events looked at, newest first.")]
    at_least: Annotated[bool, Meta(description="The bound on work was reached: there are more.")]
    watermark: Time | None
