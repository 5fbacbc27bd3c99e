"""Terms as they stand in PostgreSQL: one 64-bit number for each value of an event that is looked up. Pure."""

from __future__ import annotations

import ipaddress

from affidavit.core.filter import Condition
from affidavit.storage.sql.terms import (
    asked_values,
    email_hash,
    packed_address,
    small_networks,
    value_hash,
    values_of,
)

__all__ = ["asked_hashes", "email_hash", "hashes_of"]


def _number(hashed: bytes) -> int:
    return int.from_bytes(hashed, "big", signed=True)


def _of(key: bytes, organization: str, kind: str, value: str) -> int:
    return _number(value_hash(key, organization, kind, value))


def _of_address(key: bytes, organization: str, address: str) -> int:
    """Four bytes of hash and the address where it is IPv4, so that a range of addresses is one of numbers."""
    packed = packed_address(address)
    if packed is None:
        return _of(key, organization, "ip", address)
    if len(packed) == 4:
        return _number(value_hash(key, organization, "ip4", "")[:4] + packed)
    return _of(key, organization, "ip6", packed.hex())


def hashes_of(
    key: bytes,
    organization: str,
    parent_id: bytes | None,
    actor: str | None,
    resources: str | None,
    context: str | None,
) -> tuple[set[int], set[tuple[str, str]]]:
    """The terms of one row, and its case-folded addresses each with the id of the actor."""
    found = values_of(parent_id, actor, resources, context)
    hashes = {_of(key, organization, kind, value) for kind, value in found.terms}
    if found.address is not None:
        hashes.add(_of_address(key, organization, found.address))
    return hashes, found.emails


def asked_hashes(key: bytes, organization: str, condition: Condition) -> list[int] | None:
    """The terms under which the events of a condition stand; ``None``: a range of addresses is too wide."""
    ranges = small_networks(condition)
    if ranges is None:
        return None
    found = {_of(key, organization, kind, value) for kind, value in asked_values(condition)}
    if condition.field == "ip":
        found |= {_of_address(key, organization, each) for each in condition.values if "/" not in each}
    for first, last in ranges:
        start = ipaddress.ip_address(first)
        count = int(ipaddress.ip_address(last)) - int(start) + 1
        found |= {_of_address(key, organization, str(start + number)) for number in range(count)}
    return sorted(found)
