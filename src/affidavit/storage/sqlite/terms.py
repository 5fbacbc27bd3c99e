"""Terms as keys of SQLite's index file. Pure."""

from __future__ import annotations

import msgspec

from affidavit.core.filter import Condition
from affidavit.storage.sql.terms import asked_values, email_hash, packed_address, value_hash, values_of

__all__ = ["EventTerms", "address_prefix", "email_hash", "prefixes", "terms_of"]


class EventTerms(msgspec.Struct, frozen=True):
    """What is kept of one event.

    Attributes:
        keys: prefixes of 8 bytes (12 or 24 for an address) without the id, each once.
        emails: case-folded address and actor id.
    """

    keys: set[bytes]
    emails: set[tuple[str, str]]


def terms_of(
    key: bytes,
    organization: str,
    parent_id: bytes | None,
    actor: str | None,
    resources: str | None,
    context: str | None,
) -> EventTerms:
    """The terms of one row; groups that were erased, or that SQL made into something else, have none."""
    found = values_of(parent_id, actor, resources, context)
    keys = {value_hash(key, organization, kind, value) for kind, value in found.terms}
    if found.address is not None:
        keys.add(address_prefix(key, organization, found.address))
    return EventTerms(keys, found.emails)


def address_prefix(key: bytes, organization: str, address: str) -> bytes:
    """8 bytes of hash and 4 or 16 of the address; of a text that is no address, the hash of its value."""
    packed = packed_address(address)
    if packed is None:
        return value_hash(key, organization, "ip", address)
    return value_hash(key, organization, "ip4" if len(packed) == 4 else "ip6", "") + packed


def prefixes(key: bytes, organization: str, condition: Condition) -> list[bytes]:
    """The prefixes under which the events of a condition stand; CIDR ranges are left to the caller."""
    found = [value_hash(key, organization, kind, value) for kind, value in asked_values(condition)]
    if condition.field == "ip":
        found += [address_prefix(key, organization, value) for value in condition.values if "/" not in value]
    return found
