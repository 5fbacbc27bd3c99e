"""Event text on the screen: escaped, isolated, and with every invisible character made visible.

An attacker chose this text. Besides HTML it may hold control characters, right-to-left overrides that
reorder what stands around them, and zero-width characters that make two names look alike. Nothing
here trusts the text or changes what is stored; it only decides how it is shown.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

__all__ = ["JSON_CHARACTERS", "LINE_CHARACTERS", "block", "cut", "line", "plain", "pretty_json"]

LINE_CHARACTERS = 200
"""How much of one value a table row shows; the detail page shows the rest."""
JSON_CHARACTERS = 60_000
"""How much of one JSON value the detail page shows; the JSON link has all of it."""

_INVISIBLE_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_SELECTORS = range(0xFE00, 0xFE10)


def _may_be_invisible(code: int) -> bool:
    character = chr(code)
    category = unicodedata.category(character)
    spaced = category == "Zs" and character not in " \u3000"
    return category in _INVISIBLE or spaced or character in _INVISIBLE_LETTERS or code in _SELECTORS


def _ranges() -> Iterator[str]:
    """The suspects of the basic plane as ranges of a character class."""
    start = None
    for code in range(0x10001):
        suspect = code < 0x10000 and _may_be_invisible(code)
        if suspect and start is None:
            start = code
        elif not suspect and start is not None:
            yield f"\\u{start:04x}-\\u{code - 1:04x}"
            start = None


_SUSPECT = re.compile(f"[{''.join(_ranges())}\U00010000-\U0010ffff]")
"""What may be invisible; :func:`_shown` decides. Ordinary text is copied without a look at each character."""

_CONTROLS = (
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US DEL"
).split()
"""Names of the ASCII controls; in letters, because few fonts have the signs of U+2400."""
_JOINERS = "\u200c\u200d"
_NAMES = {
    "\u00a0": "no-break space",
    "\u00ad": "soft hyphen",
    "\u061c": "Arabic letter mark",
    "\u200b": "zero-width space",
    "\u200c": "zero-width non-joiner",
    "\u200d": "zero-width joiner",
    "\u200e": "left-to-right mark",
    "\u200f": "right-to-left mark",
    "\u202a": "left-to-right embedding",
    "\u202b": "right-to-left embedding",
    "\u202c": "pop directional formatting",
    "\u202d": "left-to-right override",
    "\u202e": "right-to-left override",
    "\u2066": "left-to-right isolate",
    "\u2067": "right-to-left isolate",
    "\u2068": "first strong isolate",
    "\u2069": "pop directional isolate",
    "\ufeff": "zero-width no-break space",
}


def cut(text: str, characters: int) -> tuple[str, int]:
    """The first ``characters`` of ``text``, and how many were left off."""
    return text[:characters], max(0, len(text) - characters)


def line(text: object, characters: int = LINE_CHARACTERS) -> Markup:
    """``text`` on one line: escaped, isolated by ``<bdi>``, line breaks and tabs as symbols."""
    shown, rest = cut(str(text), characters)
    more = f'<span class="more" title="{rest:,} more characters">…</span>' if rest else ""
    return Markup(f"<bdi>{_visible(shown, keep='')}</bdi>{more}")  # noqa: S704 - escaped by _visible


def block(text: object, characters: int = JSON_CHARACTERS) -> Markup:
    """``text`` for an element that keeps white space: line breaks and tabs stay."""
    shown, rest = cut(str(text), characters)
    more = f'\n<span class="more">… {rest:,} more characters</span>' if rest else ""
    keep = "\n\t"
    return Markup(f"<bdi>{_visible(shown, keep)}</bdi>{more}")  # noqa: S704 - escaped by _visible


def plain(text: object, characters: int = LINE_CHARACTERS) -> str:
    """``text`` where no markup can stand, such as an option: what is invisible is named in brackets."""
    shown, rest = cut(str(text), characters)
    named = _SUSPECT.sub(lambda found: _named(shown, found.start()), shown)
    return named + ("…" if rest else "")


def pretty_json(value: Any, characters: int = JSON_CHARACTERS) -> Markup:
    """``value`` as indented JSON with its keys, texts and other values marked for the style sheet."""
    parts: list[str] = []
    left = characters
    for kind, piece in _tokens(value, 0):
        if left <= 0:
            parts.append('\n<span class="more">… cut here; the JSON link has all of it</span>')
            break
        shown, _ = cut(piece, left)
        left -= len(piece)
        text = _visible(shown, keep="\n")
        parts.append(f'<span class="json-{kind}"><bdi>{text}</bdi></span>' if kind else text)
    return Markup("".join(parts))  # noqa: S704 - escaped by _visible


def _visible(text: str, keep: str) -> str:
    """``text`` as safe HTML. The only place where text becomes markup."""
    parts: list[str] = []
    last = 0
    for found in _SUSPECT.finditer(text):
        symbol = _shown(text, found.start(), keep)
        if symbol is not None:
            parts += (escape(text[last : found.start()]), symbol)
            last = found.end()
    parts.append(escape(text[last:]))
    return "".join(parts)


def _shown(text: str, at: int, keep: str) -> str | None:
    """The mark for the character at ``at``, or None where it may be shown as it is."""
    character = text[at]
    code = ord(character)
    if character in keep:
        return None
    if code < 0x20 or code == 0x7F:
        return _mark(_CONTROLS[min(code, 0x20)], f"control character U+{code:04X}")
    if _ordinary(text, at):
        return None
    name = _NAMES.get(character) or unicodedata.name(character, "invisible character").lower()
    return _mark(f"U+{code:04X}", name)


def _named(text: str, at: int) -> str:
    """The same without markup."""
    return text[at] if _ordinary(text, at) else f"[U+{ord(text[at]):04X}]"


def _ordinary(text: str, at: int) -> bool:
    """Whether a character of :data:`_SUSPECT` has a shape of its own, or a good reason to have none."""
    character = text[at]
    if character == "\ufe0f":
        return _selects_emoji(text, at)
    if character in _JOINERS:
        return _joins(text, at)
    return not (_may_be_invisible(ord(character)) or 0xE0100 <= ord(character) <= 0xE01EF)


def _joins(text: str, at: int) -> bool:
    """Whether a joiner stands where scripts need it: inside Arabic and Indic words, between emoji."""
    if at == 0 or at + 1 >= len(text):
        return False
    before, after = text[at - 1], text[at + 1]
    if all(0x0620 <= ord(c) <= 0x06FF or 0x0900 <= ord(c) <= 0x0DFF for c in (before, after)):
        return True
    emoji = before == "\ufe0f" or unicodedata.category(before) in {"So", "Sk"}
    return text[at] == "\u200d" and emoji and unicodedata.category(after) == "So"


def _selects_emoji(text: str, at: int) -> bool:
    """Whether a variation selector 16 follows a symbol, or a digit that becomes a keycap."""
    before = text[at - 1] if at else " "
    return unicodedata.category(before) in {"So", "Sm"} or text[at + 1 : at + 2] == "\u20e3"


def _mark(symbol: str, name: str) -> str:
    return f'<span class="hidden-character" title="{escape(name)}">{symbol}</span>'


def _tokens(value: Any, depth: int) -> Iterator[tuple[str, str]]:
    """JSON text of ``value`` in pieces, each with the kind that the style sheet colours."""
    indent = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        yield "", "{\n"
        for position, (key, item) in enumerate(value.items()):
            yield "", (",\n" if position else "") + indent
            yield "key", json.dumps(str(key), ensure_ascii=False)
            yield "", ": "
            yield from _tokens(item, depth + 1)
        yield "", "\n" + "  " * depth + "}"
    elif isinstance(value, list) and value:
        yield "", "[\n"
        for position, item in enumerate(value):
            yield "", (",\n" if position else "") + indent
            yield from _tokens(item, depth + 1)
        yield "", "\n" + "  " * depth + "]"
    else:
        yield "text" if isinstance(value, str) else "other", json.dumps(value, ensure_ascii=False)
