"""What a caller may hand to ``record``, in the forms that are handy, and the draft that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypedDict, get_args
from uuid import UUID

import msgspec

from affidavit.core.event import (
    CI,
    Actor,
    ActorType,
    Change,
    Draft,
    Location,
    Outcome,
    Request,
    Resource,
    Session,
    Severity,
)
from affidavit.errors import FieldError, InvalidEvent

__all__ = [
    "CONTEXT_FIELDS",
    "Changes",
    "ContextFields",
    "Fields",
    "ResourceLike",
    "Said",
    "anonymous",
    "draft_of",
    "merged",
    "person",
    "plain",
    "system",
]

ResourceLike = Resource | tuple[str, object] | tuple[str, object, str] | object
"""A resource: a :class:`~affidavit.core.event.Resource`, ``(type, id)``, ``(type, id, name)``, or an object
of a class that was registered or that an ORM knows."""

Changes = Mapping[str, Change | tuple[Any, Any] | Mapping[str, Any]]
"""Field to its old and new value: a pair, ``{"old": ..., "new": ...}`` or a
:class:`~affidavit.core.event.Change`."""


class ContextFields(TypedDict, total=False):
    """What a context may hold."""

    organization: str
    project: str
    source: str
    actor: Actor
    on_behalf_of: Actor
    session: Session
    parent_id: UUID
    ip: str
    location: Location
    user_agent: str
    client: str
    ci: CI
    request: Request
    trace_id: str
    span_id: str


class Fields(ContextFields, total=False):
    """What an event may say (docs/reference/event.md)."""

    resource: ResourceLike
    resources: Sequence[ResourceLike]
    outcome: Outcome
    severity: Severity
    occurred_at: datetime | str | int
    idempotency_key: str
    changes: Changes
    description: str
    reason: str
    metadata: Mapping[str, Any]


CONTEXT_FIELDS = tuple(ContextFields.__annotations__)
_FIELDS = frozenset(Fields.__annotations__) | frozenset(CONTEXT_FIELDS)

_PARTS: dict[str, type] = {
    "actor": Actor,
    "on_behalf_of": Actor,
    "session": Session,
    "location": Location,
    "ci": CI,
    "request": Request,
}

anonymous = Actor(type="anonymous", id="anonymous")
"""Somebody who is not known: say so, rather than nothing."""


def system(name: str) -> Actor:
    """A part of the system itself: a scheduler, a migration, a nightly import."""
    return Actor(type="system", id=name)


def person(type: str, id: str, name: str | None = None, email: str | None = None) -> Actor:
    """An actor of any type.

    Raises:
        InvalidEvent: there is no such type.
    """
    if type not in get_args(ActorType):
        raise _bad("actor/type", "enum", f"must be one of {', '.join(get_args(ActorType))}", type)
    return Actor(type=type, id=str(id), name=name, email=email)  # type: ignore[arg-type]


class Said(NamedTuple):
    """What a caller said, with the context of that moment.

    Attributes:
        action: dotted name.
        fields: of the event, by name, in the forms of :class:`Fields`.
    """

    action: str
    fields: Mapping[str, Any]


def merged(fields: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a call over the fields of its context.

    Raises:
        TypeError: a keyword that is no field.
    """
    for name in fields:
        if name not in _FIELDS:
            raise TypeError(f"{name!r} is no field of an event")
    return {**context, **fields}


def draft_of(
    action: str,
    fields: Mapping[str, Any],
    *,
    organization: str | None,
    describe: Callable[[object], Resource | None],
) -> Draft:
    """The draft of what was said.

    Args:
        action: dotted name.
        fields: of :func:`merged`.
        organization: where they name none.
        describe: the resource that an object of the caller is, ``None`` where that is not known.

    Raises:
        InvalidEvent: a field has none of the forms that it may have.
    """
    said: dict[str, Any] = dict(fields)
    resources = [_resource(each, "resources", describe) for each in said.pop("resources", ())]
    if (first := said.pop("resource", None)) is not None:
        resources.insert(0, _resource(first, "resource", describe))
    if (changes := said.pop("changes", None)) is not None:
        said["changes"] = _changes(changes)
    if (metadata := said.pop("metadata", None)) is not None:
        if not isinstance(metadata, Mapping):
            raise _bad("metadata", "type", "must be a mapping", type(metadata).__name__)
        said["metadata"] = plain(dict(metadata), "metadata")
    said.setdefault("organization", organization)
    if said.get("actor") is None:
        raise _bad(
            "actor",
            "required",
            "say who did it: actor=..., a context, system(name) or anonymous",
        )
    for field, kind in _PARTS.items():
        if said.get(field) is not None and not isinstance(said[field], kind):
            raise _bad(field, "type", f"must be {_article(kind)}", type(said[field]).__name__)
    return Draft(action=action, resources=tuple(resources), **said)


def _article(kind: type) -> str:
    return f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__} of affidavit.core.event"


def plain(value: Any, where: str) -> Any:
    """A value as JSON has it: times and UUIDs as text, decimals as text, enums as their values.

    Args:
        value: of the caller.
        where: for the message.

    Raises:
        InvalidEvent: it holds something that JSON cannot say.
    """
    try:
        return msgspec.to_builtins(value, str_keys=True)
    except (TypeError, ValueError) as error:
        raise _bad(where, "json", f"cannot be written as JSON: {error}", type(value).__name__) from error


def _resource(value: object, field: str, describe: Callable[[object], Resource | None]) -> Resource:
    if isinstance(value, Resource):
        return value
    if isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], str):
        name = value[2] if len(value) == 3 else None
        return Resource(type=value[0], id=str(value[1]), name=None if name is None else str(name))
    found = describe(value)
    if found is None:
        raise _bad(
            field,
            "resource",
            "is neither (type, id) nor an object whose class was registered: audit.register(Class, ...)",
            type(value).__name__,
        )
    return found


def _changes(changes: object) -> dict[str, Change]:
    if not isinstance(changes, Mapping):
        raise _bad("changes", "type", "must map fields to (old, new)", type(changes).__name__)
    return {name: _change(name, value) for name, value in changes.items()}


_PLAIN = frozenset((str, int, bool, type(None)))
"""Types whose values JSON has as they are."""


def _change(name: str, value: object) -> Change:
    where = f"changes/{name}"
    if isinstance(value, Change):
        old, new = value.old, value.new
    elif isinstance(value, Mapping) and set(value) <= {"old", "new"}:
        old, new = value.get("old"), value.get("new")
    elif isinstance(value, tuple | list) and len(value) == 2:
        old, new = value
    else:
        raise _bad(where, "type", "must be (old, new)", type(value).__name__)
    return Change(
        old=old if type(old) in _PLAIN else plain(old, f"{where}/old"),
        new=new if type(new) in _PLAIN else plain(new, f"{where}/new"),
    )


def _bad(field: str, rule: str, message: str, value: Any = None) -> InvalidEvent:
    return InvalidEvent((FieldError(f"/{field}" if field else "", rule, message, value),))
