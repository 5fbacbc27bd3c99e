"""Strict JSON: what goes in is exactly one value that an event can hold.

Stricter than RFC 8259 where two readers of the same text could differ: duplicate keys, NUL, lone surrogates,
NaN and numbers that no double holds are refused, each by its own rule.
"""

from __future__ import annotations

import json
import re
from math import isinf
from typing import Any, NoReturn

from affidavit.core.event import MAX_DEPTH
from affidavit.ingest.rejects import RejectedRecord

__all__ = ["canonical", "decode", "pretty_prefix"]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def decode(raw: bytes) -> Any:
    """Decode one JSON value.

    Raises:
        RejectedRecord: with the rule ``utf8``, ``nul``, ``truncated``, ``json``, ``duplicate_key``,
        ``number``,
            ``lone_surrogate`` or ``too_deep``.
    """
    if b"\0" in raw:
        raise RejectedRecord("", "nul", "holds a NUL byte")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 at byte {error.start + 1}"
        raise RejectedRecord("", "utf8", message) from error
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _syntax(error, text) from error
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise RejectedRecord("", "number", "holds an integer of more than 4,300 digits") from error
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise _too_deep()
    if b"\\u0000" in raw and any("\0" in part for part in _strings(value)):
        raise RejectedRecord("", "nul", "holds the character U+0000")
    if _SURROGATE.search(raw) and any(_has_surrogate(part) for part in _strings(value)):
        raise RejectedRecord("", "lone_surrogate", "holds half of a surrogate pair")
    return value


def canonical(value: Any) -> bytes:
    """Canonical JSON: no whitespace, keys sorted at every depth, non-ASCII unescaped."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def pretty_prefix(raw: bytes) -> bool:
    """Whether the bytes are the beginning of a JSON value, cut between two of its tokens."""
    text = raw.decode(errors="replace").rstrip()
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (RecursionError, ValueError):
        return False
    return False


def _syntax(error: json.JSONDecodeError, text: str) -> RejectedRecord:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return RejectedRecord("", "truncated", "ends in the middle of a JSON value")
    return RejectedRecord("", "json", f"is not JSON: {error.msg} (character {error.pos + 1})")


def _too_deep() -> RejectedRecord:
    return RejectedRecord("", "too_deep", f"is nested deeper than {MAX_DEPTH} levels")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise RejectedRecord(twice[:100], "duplicate_key", "stands twice in the same object")
    return result


def _constant(name: str) -> NoReturn:
    raise RejectedRecord("", "number", f"holds {name}, which is not a JSON number")


def _float(text: str) -> float:
    value = float(text)
    if isinf(value):
        raise RejectedRecord("", "number", "holds a number above the range of a double")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return any(isinstance(each, (dict, list)) for each in level)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _strings(value: Any) -> list[str]:
    found: list[str] = []
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            found.append(part)
        elif isinstance(part, dict):
            found.extend(part)
            rest.extend(part.values())
        elif isinstance(part, list):
            rest.extend(part)
    return found


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
