"""The leaf of any row that can stand in the table: a proper one, or an ``invalid`` one with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from affidavit.core.leaf import LEAF_VERSION, Unencodable, encode_invalid, encode_leaf

__all__ = ["LeafBytes", "RowVersionError", "leaf_of"]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_VERSION, _FACTS, _FIRST, _END = 1, 10, 12, 17


class RowVersionError(Exception):
    """The row was written by a newer version of the program; it must wait."""


class LeafBytes(NamedTuple):
    """An entry of the tree, and why it is an ``invalid`` one (``None`` for a proper leaf)."""

    entry: bytes
    invalid: str | None


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
        for text in values[_FIRST:_END]:
            if type(text) is bytes and text != b"{}":
                _object(text)
        if type(values[_FACTS]) is bytes:
            _object(values[_FACTS])
        return LeafBytes(encode_leaf(values, hex_digits), None)
    except (Unencodable, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return LeafBytes(encode_invalid(values, hex_digits), str(error)[:200])
