"""JSON as it comes in: what a parser would let through is refused before it is believed.

Most JSON parsers keep the last of duplicate keys and pass on U+0000. Both are refused here, as are lone
surrogates, NaN, invalid UTF-8 and nesting beyond a limit (RFC 8259 section 4 leaves duplicate keys to
the reader; RFC 7493, I-JSON, forbids them). The work is done on whole bodies by string operations, so it
costs a small part of the parsing.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from affidavit.errors import FieldError, InvalidEvent

__all__ = ["decode_json", "escape_pointer", "find_character", "split_batch"]

_encode = msgspec.json.encode
_decode = msgspec.json.Decoder().decode
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_BATCH = re.compile(rb'\s*\{\s*"events"\s*:\s*\[')
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE_TEXT = re.compile("[\ud800-\udfff]")


def _structure(raw: bytes) -> bytes:
    """The text with all strings taken out. Each run of backslashes starts at the start of an escape."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(raw.split(b'"')[::2])


def decode_json(raw: bytes, *, levels: int) -> Any:
    """Parse one JSON document.

    Args:
        raw: UTF-8, without a byte order mark.
        levels: how deep objects and arrays may nest; a scalar is 0, ``{}`` is 1.

    Raises:
        InvalidEvent: not JSON, or one of the things that this module refuses; the pointer leads to it.
    """
    # Too deep is looked for first: the parser's own answer to it is a RecursionError.
    if raw.count(b"{") + raw.count(b"[") > levels and _deepest(_structure(raw), levels) > levels:
        raise _refuse("", "depth", f"is nested deeper than {levels} levels")
    try:
        value = _decode(raw)
    except UnicodeDecodeError as error:
        raise _refuse("", "utf8", f"is not UTF-8 (byte {error.start})") from error
    except msgspec.MsgspecError as error:
        if _SURROGATE.search(raw) and ("surrogate" in str(error) or "truncated" in str(error)):
            raise _refuse("", "surrogate", "holds a lone surrogate, which is no character") from error
        raise _refuse("", "json", f"is not valid JSON: {error}") from error
    if _drops_members(raw, _encode(value)):
        raise _refuse(_duplicate_key(raw), "duplicate_key", "names the same key twice in one object")
    if b"\\u0000" in raw:
        pointer = find_character(value, "\0")
        if pointer is not None:
            raise _refuse(pointer, "nul", "holds U+0000, which is not allowed in text")
    return value


def _refuse(pointer: str, rule: str, message: str) -> InvalidEvent:
    return InvalidEvent((FieldError(pointer, rule, message),))


def _drops_members(raw: bytes, again: bytes) -> bool:
    """Whether a document lost members when it was parsed and written: only the last of one key stays."""
    # Colons stand after keys and within texts. Both only become fewer with a member, unless one was escaped.
    if raw.count(b":") == again.count(b":") and b"\\u003" not in raw:
        return False
    return _structure(raw).count(b":") != _structure(again).count(b":")


def _deepest(structure: bytes, levels: int) -> int:
    """How deep brackets nest; exact where that is more than ``levels``."""
    # One kind of bracket: taking away one kind after the other would take two levels in one round.
    brackets = structure.translate(_ONE_KIND, _NOT_BRACKETS)
    left = brackets
    for _ in range(levels):
        before = len(left)
        left = left.replace(b"[]", b"")
        if len(left) == before:
            break
    if not left:
        return levels
    depth = deepest = 0
    for byte in brackets:
        depth += 1 if byte in b"[" else -1
        deepest = max(deepest, depth)
    return deepest


class _Batch(msgspec.Struct, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


_split = msgspec.json.Decoder(_Batch).decode


def split_batch(raw: bytes) -> list[bytes] | None:
    """The JSON of each event of ``{"events": [...]}``, unparsed.

    Args:
        raw: the body of a request.

    Returns:
        ``None`` where the body is anything else, or has a key beside ``events``, or may be broken.
    """
    if not _BATCH.match(raw):
        return None
    try:
        events = [bytes(event) for event in _split(raw).events]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    # Another member, or the same one twice, would have colons beyond those of the events and the first key.
    return events if raw.count(b":") == 1 + sum(event.count(b":") for event in events) else None


def escape_pointer(part: str) -> str:
    """One reference token of a JSON pointer (RFC 6901 section 3)."""
    return part.replace("~", "~0").replace("/", "~1")


class _Pairs(list[tuple[str, Any]]):
    """An object as the list of its members, so that doubles are still there."""


def _duplicate_key(raw: bytes) -> str:
    def look(value: Any, pointer: str) -> str | None:
        if isinstance(value, _Pairs):
            seen = set()
            for key, member in value:
                here = f"{pointer}/{escape_pointer(key)}"
                if key in seen:
                    return here
                seen.add(key)
                if (found := look(member, here)) is not None:
                    return found
        elif isinstance(value, list):
            for number, member in enumerate(value):
                if (found := look(member, f"{pointer}/{number}")) is not None:
                    return found
        return None

    return look(json.loads(raw, object_pairs_hook=_Pairs), "") or ""


def find_character(value: Any, character: str | None, pointer: str = "") -> str | None:
    """The JSON pointer to the first text or key with a character, or ``None``.

    Args:
        value: parsed JSON.
        character: the one looked for; ``None`` looks for any lone surrogate.
        pointer: of the value itself.
    """
    if isinstance(value, str):
        found = _SURROGATE_TEXT.search(value) if character is None else character in value
        return pointer if found else None
    if isinstance(value, dict):
        for key, member in value.items():
            here = f"{pointer}/{escape_pointer(str(key))}"
            if (hit := find_character(str(key), character, here)) is not None:
                return hit
            if (hit := find_character(member, character, here)) is not None:
                return hit
    elif isinstance(value, list | tuple):
        for number, member in enumerate(value):
            if (hit := find_character(member, character, f"{pointer}/{number}")) is not None:
                return hit
    return None
