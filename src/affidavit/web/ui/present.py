"""What one row of the table shows: a stored event put into a person's words.

Pure: no request, no clock, no HTML. Values are plain text as they were recorded; the templates pass each of
them through :mod:`.text`. Stored groups are not trusted to have the shape that we wrote, because somebody may
have edited the table; what has another shape is shown as absent, and the event as inconsistent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from affidavit.core.ids import format_id
from affidavit.core.row import StoredEvent
from affidavit.core.times import format_time

__all__ = [
    "SHORT_ID",
    "Badge",
    "Moment",
    "Person",
    "Place",
    "RowView",
    "Thing",
    "actor_title",
    "mapping",
    "moment",
    "person",
    "place",
    "present_row",
    "session_title",
    "source_badge",
    "standing",
    "text",
    "things",
]

SHORT_ID = 8
"""Characters of a resource's id in a row; the detail page shows all of it."""

HTTP_SOURCES = {"web": "web", "api": "api", "mcp": "mcp"}
"""Channels with a colour of their own: blue, purple, amber. Every other source stands in parentheses."""

_HUMANS = ("user", "anonymous")
_ACTORS = {
    "user": "User",
    "api_token": "API token",
    "oauth_client": "OAuth2 client",
    "service": "Service",
    "agent": "AI agent",
    "system": "System",
    "anonymous": "Anonymous",
}
_SESSIONS = {
    "web": "Web session",
    "session": "Web session",
    "api_token": "API token",
    "api_key": "API key",
    "oauth_client": "OAuth2 client",
    "oauth2": "OAuth2 client",
    "oauth2_client": "OAuth2 client",
    "operator": "Operator token",
    "local": "Command line",
}
_PEOPLE_SESSIONS = ("web", "session", "sso", "oidc", "saml", "password", "local")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Badge(msgspec.Struct, frozen=True):
    """A short label; ``kind`` chooses its colour, the words carry the meaning."""

    kind: str
    words: str
    title: str = ""


class Moment(msgspec.Struct, frozen=True):
    """One moment in UTC: exact for machines, day and clock for people."""

    exact: str
    day: str
    clock: str


class Person(msgspec.Struct, frozen=True):
    """Who did something, or on whose behalf.

    Attributes:
        name: the best there is: display name, e-mail, id.
        aside: the e-mail where the name is something else.
        kind: the actor's type in words, empty for a user.
        key: what the filter ``actor`` finds this actor by.
    """

    name: str
    aside: str
    kind: str
    key: str


class Thing(msgspec.Struct, frozen=True):
    """A resource: its type, name and id."""

    type: str
    id: str
    short: str
    name: str


class Place(msgspec.Struct, frozen=True):
    """Where it came from: the CI platform or the city and region, and the address."""

    words: str
    known: bool
    ip: str


class RowView(msgspec.Struct, frozen=True):
    """One row.

    Attributes:
        actor: absent where the group was erased.
        origin: the browser and system, or ``Automated``, the kind of session and the token's name.
        resource: the primary one; ``more`` others stand behind it.
        marks: late, imported, redacted, expired, inconsistent.
        standing: where it stands in the log: its state, with the index where it has one.
    """

    id: str
    organization: str
    project: str
    moment: Moment
    title: str
    action: str
    description: str
    actor: Person | None
    behalf: Person | None
    source: Badge
    origin: str
    resource: Thing | None
    more: int
    place: Place
    outcome: Badge
    severity: Badge
    marks: tuple[Badge, ...]
    standing: Badge


def present_row(event: StoredEvent, title: Callable[[str], str]) -> RowView:
    """What the table shows of ``event``; ``title`` is the catalogs' title of an action."""
    groups = event.groups()
    resources = things(groups)
    return RowView(
        id=format_id(event.id),
        organization=event.organization,
        project=event.project or "",
        moment=moment(event.occurred_at),
        title=title(event.action),
        action=event.action,
        description=text(groups.get("description")),
        actor=person(groups.get("actor")),
        behalf=person(groups.get("on_behalf_of")),
        source=source_badge(event.source),
        origin=origin(groups),
        resource=resources[0] if resources else None,
        more=max(0, len(resources) - 1),
        place=place(groups),
        outcome=outcome_badge(event.outcome),
        severity=severity_badge(event.severity),
        marks=marks(event),
        standing=standing(event),
    )


def text(value: Any) -> str:
    """``value`` where it is text, else nothing."""
    return value if isinstance(value, str) else ""


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` where it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def moment(microseconds: int) -> Moment:
    """A moment for the screen. Seconds are enough for people; the exact text has all six digits."""
    at = _EPOCH + timedelta(microseconds=microseconds)
    return Moment(format_time(microseconds), f"{at.day} {at:%b} {at.year}", f"{at:%H:%M:%S}")


def person(value: Any) -> Person | None:
    """An actor, or nothing where there is none."""
    actor = mapping(value)
    if not actor:
        return None
    name, email, key = text(actor.get("name")), text(actor.get("email")), text(actor.get("id"))
    best = name or email or key or "Unknown"
    kind = text(actor.get("type"))
    aside = email if name else ""
    return Person(
        best, aside if aside != best else "", "" if kind == "user" else actor_title(kind), key or email
    )


def actor_title(kind: str) -> str:
    """A type of actor in words."""
    return _ACTORS.get(kind, kind)


def session_title(kind: str) -> str:
    """A type of session in words."""
    return _SESSIONS.get(kind, kind)


def automated(groups: Mapping[str, Any]) -> bool:
    """Whether a machine acted: by its own type, or with a person's token."""
    kind = text(mapping(groups.get("actor")).get("type"))
    session = text(mapping(groups.get("session")).get("type"))
    return (kind != "" and kind not in _HUMANS) or (session != "" and session not in _PEOPLE_SESSIONS)


def origin(groups: Mapping[str, Any]) -> str:
    """``Chrome on macOS`` for a person, ``Automated · API token deploy`` for a machine."""
    if not automated(groups):
        return text(groups.get("client"))
    session = mapping(groups.get("session"))
    token = text(session.get("token_name")) or text(session.get("token_id"))
    words = " ".join(word for word in (machine_session(groups), token) if word)
    return f"Automated · {words}" if words else "Automated"


def machine_session(groups: Mapping[str, Any]) -> str:
    """The kind of a machine's session, such as ``OAuth2 client``; nothing for a person's."""
    kind = text(mapping(groups.get("session")).get("type"))
    return "" if kind in _PEOPLE_SESSIONS else session_title(kind)


def source_badge(source: str) -> Badge:
    """The channel: a coloured name, or in parentheses where no request came in."""
    if source in HTTP_SOURCES:
        return Badge(HTTP_SOURCES[source], source, f"Source: {source}")
    return Badge("other", f"({source})", f"Source: {source}")


def outcome_badge(outcome: str) -> Badge:
    """A check mark for success, a cross for failure, with the word."""
    return Badge("success", "Success") if outcome == "success" else Badge("failure", outcome.capitalize())


def severity_badge(severity: str) -> Badge:
    """A sign of its own shape for each severity, with the word."""
    return Badge(severity if severity in ("info", "warning", "critical") else "info", severity.capitalize())


def things(groups: Mapping[str, Any]) -> list[Thing]:
    """The resources, the primary one first."""
    found = groups.get("resources")
    return [
        Thing(text(item.get("type")), key, key[:SHORT_ID], text(item.get("name")))
        for item in (found if isinstance(found, list) else [])
        if isinstance(item, Mapping) and (key := text(item.get("id")))
    ]


def place(groups: Mapping[str, Any]) -> Place:
    """CI platform, or city and region, or country; ``Unknown`` where none of them is known."""
    ip = text(groups.get("ip"))
    ci = mapping(groups.get("ci"))
    if platform := text(ci.get("platform")):
        guess = " (guess)" if ci.get("confidence") == "guess" else ""
        return Place(f"{_platform(platform)}{guess}", True, ip)
    location = mapping(groups.get("location"))
    parts = [text(location.get("city")), text(location.get("region"))]
    words = ", ".join(dict.fromkeys(part for part in parts if part)) or text(location.get("country"))
    return Place(words or "Unknown", bool(words), ip)


_PLATFORMS = {
    "github_actions": "GitHub Actions",
    "github-actions": "GitHub Actions",
    "gitlab_ci": "GitLab CI",
    "gitlab-ci": "GitLab CI",
    "circleci": "CircleCI",
    "jenkins": "Jenkins",
    "buildkite": "Buildkite",
    "azure_pipelines": "Azure Pipelines",
    "bitbucket_pipelines": "Bitbucket Pipelines",
    "travis": "Travis CI",
    "teamcity": "TeamCity",
}


def _platform(platform: str) -> str:
    return _PLATFORMS.get(platform, platform)


def standing(event: StoredEvent) -> Badge:
    """Where an event stands on its way into the log, with the words for it."""
    place = event.place
    if place is None:
        return Badge("pending", "Pending", "Recorded; it waits for its place in the log")
    if not place.published:
        return Badge(
            "sequenced", f"#{place.index}", f"Sequenced: entry {place.index} of the log, not signed yet"
        )
    return Badge(
        "published", f"#{place.index}", f"Published: entry {place.index} of the log, covered by a signature"
    )


def marks(event: StoredEvent) -> tuple[Badge, ...]:
    """What a reader must know of this event besides what it says."""
    found = []
    if event.late:
        found.append(Badge("late", "Late", "Recorded more than 24 hours after it occurred"))
    if event.imported:
        found.append(Badge("imported", "Imported", "Came in through an import, not when it happened"))
    if event.expired:
        found.append(Badge("expired", "Expired", "Its values were kept as long as the retention policy says"))
    elif event.redacted:
        found.append(Badge("redacted", "Redacted", f"Erased: {', '.join(event.redacted)}"))
    if event.inconsistent:
        found.append(
            Badge("inconsistent", "Inconsistent", f"Edited in the database: {', '.join(event.inconsistent)}")
        )
    return tuple(found)
