"""Strict readers of the small forms that proofs are written in: one text for one value, nothing else.

Python's own readers accept more than the specifications: ``int`` takes ``007``, ``+7``, ``1_000`` and digits
of any script, ``b64decode`` takes non-canonical trailing bits, ``json`` takes duplicate keys and ``NaN``.
Each of these would let two texts mean the same thing. One of the modules of the verifier: standard library
only.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BinasciiError
from math import isfinite
from typing import Any

from affidavit.core.unsound import Malformed

__all__ = [
    "MAX_DEPTH",
    "MAX_INTEGER",
    "base64_of",
    "base64url_of",
    "check_depth",
    "hex_of",
    "integer",
    "json_of",
    "write_base64url",
]

MAX_INTEGER = 2**63 - 1
MAX_DEPTH = 64

_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]*", re.ASCII)


def integer(text: str, what: str, maximum: int = MAX_INTEGER) -> int:
    """An unsigned decimal in ASCII without leading zeros, at most ``maximum``.

    Raises:
        Malformed: any other text.
    """
    if _INTEGER.fullmatch(text) is None or int(text) > maximum:
        raise Malformed(what, f"must be a decimal number from 0 to {maximum}, without leading zeros", text)
    return int(text)


def base64_of(text: str, what: str, length: int | None = None) -> bytes:
    """Standard base64 (RFC 4648 section 4) with padding and without stray bits.

    Raises:
        Malformed: another text, or bytes of another length.
    """
    try:
        value = b64decode(text.encode("ascii"), validate=True)
    except (BinasciiError, ValueError):
        raise Malformed(what, "must be base64", text) from None
    if b64encode(value).decode() != text:
        raise Malformed(what, "must be canonical base64", text)
    return _of_length(value, what, length)


def base64url_of(text: str, what: str, length: int | None = None) -> bytes:
    """URL-safe base64 (RFC 4648 section 5) without padding.

    Raises:
        Malformed: another text, or bytes of another length.
    """
    try:
        value = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (BinasciiError, ValueError):
        raise Malformed(what, "must be base64url without padding", text) from None
    if write_base64url(value) != text:
        raise Malformed(what, "must be canonical base64url without padding", text)
    return _of_length(value, what, length)


def write_base64url(value: bytes) -> str:
    """URL-safe base64 without padding."""
    return urlsafe_b64encode(value).decode().rstrip("=")


def hex_of(text: str, what: str, length: int | None = None) -> bytes:
    """Lower-case hexadecimal digits.

    Raises:
        Malformed: another text, or bytes of another length.
    """
    if _HEX.fullmatch(text) is None or len(text) % 2:
        raise Malformed(what, "must be lower-case hexadecimal digits", text)
    return _of_length(bytes.fromhex(text), what, length)


def _of_length(value: bytes, what: str, length: int | None) -> bytes:
    if length is not None and len(value) != length:
        raise Malformed(what, f"must be {length} bytes, not {len(value)}")
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("names a key twice in one object")
    return members


def _constant(name: str) -> Any:
    raise ValueError(f"holds {name}, which JSON does not have")


def _float(digits: str) -> float:
    if not isfinite(number := float(digits)):
        raise ValueError(f"holds {digits[:40]}, which no number can hold")
    return number


_decoder = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant, parse_float=_float)


def json_of(text: str | bytes, what: str) -> Any:
    r"""One JSON document: UTF-8 without a byte order mark, every key once, at most 64 levels.

    Half of a surrogate pair (``"\ud800"``) is no text, ``NaN`` and what is too great for a float no number.

    Raises:
        Malformed: anything else.
    """
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        check_depth(decoded, what)
        value = _decoder.decode(decoded)
        if "\\u" in decoded:
            json.dumps(value, ensure_ascii=False).encode()  # what cannot be written again is no text
        return value
    except (ValueError, RecursionError) as error:
        raise Malformed(what, f"is not strict JSON: {str(error)[:200]}") from None


# Also a string without an end is passed over once: nobody can make this slow.
_STRINGS = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def check_depth(text: str, what: str) -> None:
    """Check that JSON is not nested so deep that reading it could fail.

    Raises:
        Malformed: it has more than 64 levels.
    """
    if text.count("{") + text.count("[") > MAX_DEPTH and _too_deep(text):
        raise Malformed(what, f"is nested deeper than {MAX_DEPTH} levels")


def _too_deep(text: str) -> bool:
    depth = 0
    for character in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if character in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False
