"""Terms: the values of an event that are looked up, and how they are hashed. Pure.

The reader of an event's groups and the maker of a question's values stand side by side, so that both agree on
what is a term and how it is spelt. How a hash becomes a key is each engine's own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import TypeVar

import msgspec

from affidavit.core.filter import Condition

__all__ = [
    "TERM_FIELDS",
    "Values",
    "asked_values",
    "email_hash",
    "packed_address",
    "small_networks",
    "value_hash",
    "values_of",
]

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
SMALL_NETWORK = 256
"""Addresses of the widest range that is looked up address by address."""


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
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return group()

    return read


_actor = _reader(_ActorGroup)
_resources = _reader(_ResourcesGroup)
_context = _reader(_ContextGroup)


class Values(msgspec.Struct, frozen=True):
    """What is kept of one event.

    Attributes:
        terms: kind and value of each; none is empty.
        address: as it stands in the event; no address where SQL wrote something else.
        emails: case-folded address and actor id.
    """

    terms: list[tuple[str, str]]
    address: str | None
    emails: set[tuple[str, str]]


@lru_cache(maxsize=65536)
def value_hash(key: bytes, organization: str, kind: str, value: str) -> bytes:
    """The keyed hash of a value, 8 bytes."""
    return blake2b(f"{organization}\0{kind}\0{value}".encode(), key=key, digest_size=8).digest()


def email_hash(key: bytes, email: str) -> bytes:
    """The keyed hash of a case-folded address, 16 bytes."""
    return blake2b(email.casefold().encode(), key=key, digest_size=16).digest()


@lru_cache(maxsize=65536)
def packed_address(address: str) -> bytes | None:
    """4 or 16 bytes; ``None`` for a text that is no address."""
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return None


def values_of(
    parent_id: bytes | None, actor: str | None, resources: str | None, context: str | None
) -> Values:
    """What is looked up of one row; groups that were erased, or that SQL broke, have nothing."""
    found: list[tuple[str, str | None]] = []
    emails: set[tuple[str, str]] = set()
    address = None
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
        address = group.ip or None
    return Values([(kind, value) for kind, value in found if value], address, emails)


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


def asked_values(condition: Condition) -> list[tuple[str, str]]:
    """The kinds and values under which the events of a condition stand; addresses are left to the caller."""
    found: list[tuple[str, str]] = []
    for value in condition.values:
        match condition.field:
            case "ip":
                continue
            case "resource" | "token" as field:
                found.append((field, value))
                found.append((f"{field}_name", value.casefold()))
            case "parent_id":
                found.append(("parent_id", value.replace("-", "")))
            case field:
                found.append((field, value))
    return found


def small_networks(condition: Condition) -> list[tuple[str, str]] | None:
    """First and last address of each range of a condition; ``None`` where one has more than 256 addresses."""
    if condition.field != "ip":
        return []
    ranges = []
    for value in condition.values:
        if "/" in value:
            network = ipaddress.ip_network(value)
            if network.num_addresses > SMALL_NETWORK:
                return None
            ranges.append((str(network[0]), str(network[-1])))
    return ranges
