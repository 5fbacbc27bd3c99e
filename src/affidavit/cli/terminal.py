"""Hostile text on a terminal: one function that makes what an attacker could hide or send visible.

Event text comes from whoever was audited. Escape sequences could rewrite the screen or the reader's
clipboard, bidirectional overrides could swap words, invisible characters could make two actors look alike.
"""

from __future__ import annotations

import re

__all__ = ["visible", "visible_json"]

_INVISIBLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: line breaks, escape sequences, their one-byte forms
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, fillers, Arabic mark
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f"  # zero width, separators, bidirectional controls
    "\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff"  # lone surrogates, which no terminal can encode
    "\U000e0000-\U000e0fff"  # tags: a hidden second text
    "]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}


def visible(text: str) -> str:
    r"""The text with control, bidirectional and invisible characters written out, such as ``\u202e``.

    What comes back is one line without any character that a terminal acts upon.
    """
    return _INVISIBLE.sub(_written_out, text)


def visible_json(line: str) -> str:
    r"""JSON text with the same characters as ``\uXXXX``: a terminal shows them, a parser reads them back."""
    return _INVISIBLE.sub(_as_json, line)


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _as_json(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
