"""The shape of the five groups, as the writer makes them: what a text must be to be one.

The recorder can write nothing else. SQL can: a group that breaks the shape gets an ``invalid`` leaf, and
readers leave it out and name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from affidavit.core.event import (
    CI,
    GROUPS,
    Actor,
    Change,
    Location,
    Part,
    RecordedBy,
    Request,
    Resource,
    Session,
)
from affidavit.core.strict import json_of
from affidavit.core.unsound import Malformed

__all__ = ["GROUP_FIELDS", "check_facts", "check_group", "fields_of"]


class ActorGroup(Part, frozen=True):
    """Who."""

    actor: Actor | None = None
    on_behalf_of: Actor | None = None
    session: Session | None = None
    recorded_by: RecordedBy | None = None


class ResourcesGroup(Part, frozen=True):
    """To what."""

    resources: tuple[Resource, ...] = ()


class ContextGroup(Part, frozen=True):
    """From where."""

    ip: str | None = None
    location: Location | None = None
    user_agent: str | None = None
    client: str | None = None
    ci: CI | None = None
    request: Request | None = None
    trace_id: str | None = None
    span_id: str | None = None


class ChangesGroup(Part, frozen=True):
    """What changed."""

    changes: dict[str, Change] | None = None


class DetailsGroup(Part, frozen=True):
    """Why, and whatever else."""

    description: str | None = None
    reason: str | None = None
    metadata: dict[str, Any] | None = None


_SHAPES = (ActorGroup, ResourcesGroup, ContextGroup, ChangesGroup, DetailsGroup)
_read = tuple(msgspec.json.Decoder(shape).decode for shape in _SHAPES)
_read_facts = msgspec.json.Decoder(dict[str, str | int]).decode
_write = msgspec.json.Encoder(order="sorted").encode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_AT = {name: number for number, name in enumerate(GROUPS)}
_MOST_BRACKETS = 60


def check_group(number: int, text: bytes) -> None:
    """Check that a text is one of the five groups.

    What the recorder writes comes back from typed reading and writing byte for byte, which shows all at
    once: UTF-8, one object, each key once, the right fields of the right types. Other spellings of the same,
    such as white space between tokens, are looked at one by one.

    Args:
        number: of the group, in the order of ``GROUPS``.
        text: UTF-8.

    Raises:
        Malformed: it is none; a verifier would not take it either. The message holds nothing of the text.
    """
    name = GROUPS[number]
    try:
        value = _read[number](text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(name, "is not of its shape") from error
    if _write(value) == text and text.count(b"{") + text.count(b"[") <= _MOST_BRACKETS:
        return
    if text[:1] != b"{" or text[-1:] != b"}":
        raise Malformed(name, "must begin and end with its braces")
    try:
        json_of(text, name)
    except Malformed as error:
        raise Malformed(name, "is not strict JSON") from error


def check_facts(text: bytes) -> None:
    """Check that a text is canonical facts: an object of keys to texts or integers.

    Raises:
        Malformed: it is not.
    """
    try:
        canonical = _write(_read_facts(text))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed("facts", "must be an object of texts and integers") from error
    if canonical != text or not all(key.isascii() for key in _read_facts(text)):
        raise Malformed("facts", "must be canonical JSON with keys in ASCII")


_TYPES: tuple[Mapping[str, type], ...] = (
    {"actor": dict, "on_behalf_of": dict, "session": dict, "recorded_by": dict},
    {"resources": list},
    {
        "ip": str,
        "location": dict,
        "user_agent": str,
        "client": str,
        "ci": dict,
        "request": dict,
        "trace_id": str,
        "span_id": str,
    },
    {"changes": dict},
    {"description": str, "reason": str, "metadata": dict},
)


GROUP_FIELDS: Mapping[str, tuple[str, ...]] = {
    name: tuple(types) for name, types in zip(GROUPS, _TYPES, strict=True)
}
"""The fields of each group."""


def fields_of(name: str, text: str) -> dict[str, Any] | None:
    """The fields of a stored group; ``None`` where the text is none, whoever wrote it.

    Args:
        name: of the group.
        text: as it stands in the table.
    """
    number = _AT[name]
    try:
        fields = _object(text)
        types = _TYPES[number]
        for field, value in fields.items():
            if type(value) is not types[field]:
                return None
        # Only these are looked into without asking again.
        if number < 2:
            _read[number](text)
        elif number == 2 and not isinstance(fields.get("location", {}).get("country_code", ""), str):
            return None
    except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError):
        return None
    return fields
