"""Terms: the values of an event that are looked up, as keyed hashes. Pure.

The reader of an event's groups and the maker of a question's keys stand side by side, so that both agree on
what is a term and how it is spelt.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import msgspec

from affidavit.core.filter import Condition

__all__ = ["TERM_FIELDS", "EventTerms", "address_prefix", "email_hash", "prefixes", "terms_of"]

G = TypeVar("G")

TERM_FIELDS = frozenset(
    {
        "resource",
        "resource_type",
        "ip",
        "token",
        "session",
        "on_behalf_of",
        "parent_id",
        "request_id",
        "trace_id",
    }
)
"""Filters that are looked up in terms."""


class _Person(msgspec.Struct):
    id: str | None = None
    email: str | None = None


class _Session(msgspec.Struct):
    id: str | None = None
    token_id: str | None = None
    token_name: str | None = None


class _ActorGroup(msgspec.Struct):
    actor: _Person | None = None
    on_behalf_of: _Person | None = None
    session: _Session | None = None
    recorded_by: _Session | None = None


class _Resource(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    name: str | None = None


class _ResourcesGroup(msgspec.Struct):
    resources: list[_Resource] = []


class _Request(msgspec.Struct):
    id: str | None = None


class _ContextGroup(msgspec.Struct):
    ip: str | None = None
    trace_id: str | None = None
    request: _Request | None = None


def _reader(group: type[G]) -> Callable[[str], G]:
    """Reads a stored group; one that SQL made into something else is as if it were empty."""
    decode = msgspec.json.Decoder(group).decode

    def read(text: str) -> G:
        try:
            return decode(text)
        except (msgspec.MsgspecError, UnicodeError):
            return group()

    return read


_actor = _reader(_ActorGroup)
_resources = _reader(_ResourcesGroup)
_context = _reader(_ContextGroup)


class EventTerms(msgspec.Struct, frozen=True):
    """What is kept of one event.

    Attributes:
        keys: prefixes of 8 bytes (12 or 24 for an address) without the id, each once.
        emails: case-folded address and actor id.
    """

    keys: set[bytes]
    emails: set[tuple[str, str]]


@lru_cache(maxsize=65536)
def _hash(key: bytes, organization: str, kind: str, value: str) -> bytes:
    return blake2b(f"{organization}\0{kind}\0{value}".encode(), key=key, digest_size=8).digest()


def email_hash(key: bytes, email: str) -> bytes:
    """The keyed hash of a case-folded address, 16 bytes."""
    return blake2b(email.casefold().encode(), key=key, digest_size=16).digest()


def terms_of(
    key: bytes,
    organization: str,
    parent_id: bytes | None,
    actor: str | None,
    resources: str | None,
    context: str | None,
) -> EventTerms:
    """The terms of one row; groups that were erased, or that SQL made into something else, have none."""
    found: list[tuple[str, str | None]] = []
    emails: set[tuple[str, str]] = set()
    keys: set[bytes] = set()
    if parent_id is not None:
        found.append(("parent_id", parent_id.hex()))
    if actor is not None:
        _read_actor(_actor(actor), found, emails)
    if resources is not None and resources != "{}":
        for resource in _resources(resources).resources:
            found.append(("resource_type", resource.type))
            found.append(("resource", resource.id))
            found.append(("resource_name", resource.name and resource.name.casefold()))
    if context is not None and context != "{}":
        group = _context(context)
        found.append(("trace_id", group.trace_id))
        if group.request is not None:
            found.append(("request_id", group.request.id))
        if group.ip:
            # What is no address was written by SQL, and no question can ask for it.
            with suppress(ValueError):
                keys.add(address_prefix(key, organization, group.ip))
    keys.update(_hash(key, organization, kind, value) for kind, value in found if value)
    return EventTerms(keys, emails)


def _read_actor(
    group: _ActorGroup, found: list[tuple[str, str | None]], emails: set[tuple[str, str]]
) -> None:
    for person in (group.actor, group.on_behalf_of):
        if person is not None and person.id and person.email:
            emails.add((person.email.casefold(), person.id))
    if group.on_behalf_of is not None:
        found.append(("on_behalf_of", group.on_behalf_of.id))
    for credential in (group.session, group.recorded_by):
        if credential is not None:
            found.append(("token", credential.token_id))
            found.append(("token_name", credential.token_name and credential.token_name.casefold()))
    if group.session is not None:
        found.append(("session", group.session.id))


def address_prefix(key: bytes, organization: str, address: str) -> bytes:
    """8 bytes of hash and 4 or 16 of the address; of a text that is no address, the hash of its value."""
    packed = _packed(address)
    if packed is None:
        return _hash(key, organization, "ip", address)
    return _hash(key, organization, "ip4" if len(packed) == 4 else "ip6", "") + packed


@lru_cache(maxsize=65536)
def _packed(address: str) -> bytes | None:
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return None


def prefixes(key: bytes, organization: str, condition: Condition) -> list[bytes]:
    """The prefixes under which the events of a condition stand; CIDR ranges are left to the caller."""
    found: list[bytes] = []
    for value in condition.values:
        match condition.field:
            case "ip":
                if "/" not in value:
                    found.append(address_prefix(key, organization, value))
            case "resource":
                found.append(_hash(key, organization, "resource", value))
                found.append(_hash(key, organization, "resource_name", value.casefold()))
            case "token":
                found.append(_hash(key, organization, "token", value))
                found.append(_hash(key, organization, "token_name", value.casefold()))
            case "parent_id":
                found.append(_hash(key, organization, "parent_id", value.replace("-", "")))
            case field:
                found.append(_hash(key, organization, field, value))
    return found
