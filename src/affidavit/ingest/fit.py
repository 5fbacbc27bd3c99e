"""Fitting a vendor's values into the event model, so that no record is refused for the length of a field.

What is cut here stands in full in the raw record under ``metadata``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

from affidavit.core.event import MAX_RESOURCES, Actor, ActorType, Resource, Session
from affidavit.ingest.addresses import parse_address
from affidavit.ingest.jsontext import canonical

__all__ = [
    "action_name",
    "actor",
    "address",
    "digest_key",
    "email_in",
    "first_text",
    "key",
    "mapping",
    "mappings",
    "metadata",
    "resource",
    "resources",
    "session",
    "text",
    "vendor_type",
]

ID_LENGTH = 1024
EMAIL_LENGTH = 320
TYPE_LENGTH = 128
TEXT_LENGTH = 1000
ENDPOINT_LENGTH = 4096
ACTION_LENGTH = 128
KEY_LENGTH = 255
WHOLE = 16_000_000
"""Longer than any text of a record: where the cut is made later, by a digest."""

_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+\.[^@\s<>.]+\Z")
_NOT_IN_ACTION = re.compile(r"[^a-z0-9_.-]")
_DIGEST = 12


def text(value: Any, limit: int = TEXT_LENGTH) -> str | None:
    """A text or number as text of at most ``limit`` characters; None for all else and for the empty text."""
    if type(value) is str and 0 < len(value) <= limit:
        return value
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        value = str(value)
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= limit else value[: limit - 1] + "…"


def first_text(*values: Any, limit: int = ID_LENGTH) -> str | None:
    """The first value that is a text."""
    return next((found for value in values if (found := text(value, limit))), None)


def key(value: str, limit: int = ID_LENGTH) -> str:
    """An identifier of at most ``limit`` characters; a cut one ends in a digest, so two never become one."""
    if len(value) <= limit:
        return value
    tail = "~" + sha256(value.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    return value[: limit - len(tail)] + tail


def digest_key(record: Mapping[str, Any]) -> str:
    """The key of a record without an id: the SHA-256 of its canonical JSON."""
    return sha256(canonical(record)).hexdigest()


@lru_cache(maxsize=8192)
def action_name(source: str, words: str) -> str:
    """``<source>.<vendor's words>``: lower case, never split, other characters ``_``."""
    segments = [part for part in _NOT_IN_ACTION.sub("_", words.strip().lower()).split(".") if part]
    return key_of_action(".".join((source, *segments)) if segments else f"{source}.unknown")


def key_of_action(name: str) -> str:
    """An action of at most 128 characters; a cut one ends in a digest."""
    if len(name) <= ACTION_LENGTH:
        return name
    tail = "-" + sha256(name.encode()).hexdigest()[:_DIGEST]
    return name[: ACTION_LENGTH - len(tail)].rstrip(".") + tail


def email_in(*values: str | None) -> str | None:
    """The first value that is an e-mail address."""
    return next((each for each in values if each and len(each) <= EMAIL_LENGTH and _EMAIL.match(each)), None)


def actor(kind: ActorType, identity: Any, name: Any = None) -> Actor | None:
    """An actor with the e-mail address that its name or id is, or None without an id and a name."""
    label = text(name, ID_LENGTH)
    found = first_text(identity, label, limit=WHOLE)
    if found is None:
        return None
    return Actor(type=kind, id=key(found), name=label, email=email_in(label, found))


def vendor_type(value: Any, default: str) -> str:
    """The vendor's word for a type, in lower case."""
    return (text(value, TYPE_LENGTH) or default).lower()[:TYPE_LENGTH]


def resource(kind: str, identity: Any, name: Any = None) -> Resource | None:
    """A resource, or None without an id and a name."""
    label = text(name, ID_LENGTH)
    found = first_text(identity, label, limit=WHOLE)
    if found is None:
        return None
    return Resource(type=kind.lower()[:TYPE_LENGTH], id=key(found), name=label)


def resources(found: Iterable[Resource | None]) -> tuple[Resource, ...]:
    """The resources that exist, each once, at most 20; the rest stays in the raw record."""
    unique: dict[tuple[str, str], Resource] = {}
    for each in found:
        if each is not None:
            unique.setdefault((each.type, each.id), each)
    return tuple(unique.values())[:MAX_RESOURCES]


def session(kind: str, identity: Any, token_id: Any = None, token_name: Any = None) -> Session | None:
    """A session, or None where nothing names it."""
    names = [text(value, WHOLE) for value in (identity, token_id, token_name)]
    if not any(names):
        return None
    ids = [name and key(name) for name in names]
    return Session(type=kind.lower()[:TYPE_LENGTH], id=ids[0], token_id=ids[1], token_name=ids[2])


def address(value: Any) -> tuple[str | None, str | None]:
    """The typed address, and the text where it is none (it goes to ``metadata.source_address``)."""
    found = text(value, ID_LENGTH)
    if found is None:
        return None, None
    typed = parse_address(found)
    return typed, None if typed else found


def metadata(source: str, record: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """The metadata of an imported event: what we add, and the raw record under the source's name."""
    kept = {name: value for name, value in ours.items() if value is not None}
    kept[source] = record
    return kept


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; of anything else none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
