"""The leaf of any row that can stand in the table: a proper one, or an ``invalid`` one with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from affidavit.core.credentials import INSTANCE
from affidavit.core.groups import check_facts, check_group
from affidavit.core.leaf import LEAF_VERSION, Unencodable, encode_invalid, encode_leaf
from affidavit.core.names import name_is_valid
from affidavit.core.row import StoredEvent
from affidavit.core.unsound import Malformed

__all__ = ["LeafBytes", "RowVersionError", "home_of", "leaf_of", "leaf_of_event"]

_VERSION, _ORGANIZATION, _FACTS, _FIRST, _END = 1, 2, 10, 12, 17


class RowVersionError(Exception):
    """The row was written by a newer version of the program; it must wait."""


class LeafBytes(NamedTuple):
    """An entry of the tree, and why it is an ``invalid`` one (``None`` for a proper leaf)."""

    entry: bytes
    invalid: str | None


@lru_cache(maxsize=65_536)
def _name(raw: bytes) -> str | None:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return None
    return name if name_is_valid(name) else None


def home_of(organization: Any) -> str:
    """The organization in whose tree a row gets its leaf: its own, or the instance's where that is no name.

    Args:
        organization: the column as it stands, text as UTF-8 bytes.
    """
    return (_name(organization) if type(organization) is bytes else None) or INSTANCE


def leaf_of(values: Sequence[Any], hex_digits: str) -> LeafBytes:
    """The leaf of a stored row; the same row gives the same leaf, at any time.

    Args:
        values: in the order of ``COLUMNS``, texts as UTF-8 bytes.
        hex_digits: of the organization's origin.

    Raises:
        RowVersionError: the row has a later version than this program knows.
    """
    version = values[_VERSION]
    if type(version) is int and version > LEAF_VERSION:
        raise RowVersionError(version)
    try:
        if type(values[_ORGANIZATION]) is not bytes or _name(values[_ORGANIZATION]) is None:
            raise Unencodable("organization must be a name")
        for number, text in enumerate(values[_FIRST:_END]):
            if type(text) is bytes and text != b"{}":
                check_group(number, text)
        if type(values[_FACTS]) is bytes:
            check_facts(values[_FACTS])
        return LeafBytes(encode_leaf(values, hex_digits), None)
    except (Unencodable, Malformed) as error:
        return LeafBytes(encode_invalid(values, hex_digits), str(error)[:200])


def leaf_of_event(event: StoredEvent, hex_digits: str) -> LeafBytes:
    """The leaf of an event as a reader has it."""
    values = [value.encode() if type(value) is str else value for value in event.values]
    return leaf_of(values, hex_digits)
