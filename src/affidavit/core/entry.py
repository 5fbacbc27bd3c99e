"""Reading leaves and disclosures fast: one regular expression a leaf, JSON's own scanner a disclosure.

What :mod:`affidavit.core.leaf` defines is read here a dozen times as fast and no less strictly: a leaf that
the expression does not match goes to the parser there.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any, Final, TypeAlias

from affidavit.core.leaf import LEAF_GROUPS, parse_leaf
from affidavit.core.strict import MAX_DEPTH, check_depth
from affidavit.core.unsound import Malformed

__all__ = [
    "DIGESTS_FRAME",
    "DIGEST_AT",
    "HEX_DIGITS",
    "Clear",
    "Opening",
    "all_match",
    "digests_of",
    "leaf_pattern",
    "may_explain",
    "read_disclosure_text",
    "read_entry",
    "read_groups",
]

Clear: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes]
"""Of a leaf: action (empty for an invalid one), the text of its digests, id, organization, recorded_at."""

Opening: TypeAlias = tuple[int, bytes]
"""A group, as its place in ``LEAF_GROUPS``, and the hex digest of what discloses it."""

# [^"] is searched several times as fast as a set of characters; what stands between the quotes is checked
# afterwards, in one go, by deleting every hexadecimal digit.
HEX_DIGITS = b"0123456789abcdef"
_DIGESTS = rb'"groups":\{%b\}' % b",".join(b'"%b":"[^"]{64}"' % name.encode() for name in sorted(LEAF_GROUPS))
DIGESTS_FRAME = _DIGESTS.replace(b"\\", b"").replace(b'[^"]{64}', b"").translate(None, HEX_DIGITS)
_ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MOMENT = rb"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
leaf_pattern = re.compile(
    rb'\{"action":"([a-z0-9_.-]{1,128})",(%b),"id":"(%b)",(?:"imported":true,)?"occurred_at":"%b",'
    rb'"organization":"([0-9a-f]{32})","outcome":"(?:success|failure)",(?:"parent_id":"%b",)?'
    rb'(?:"project":"[A-Za-z0-9._:-]{1,128}",)?"recorded_at":"(%b)","severity":"(?:info|warning|critical)",'
    rb'"source":"[a-z][a-z0-9_]{0,31}","v":1\}' % (_DIGESTS, _ID, _MOMENT, _ID, _MOMENT)
).fullmatch

_invalid_pattern = re.compile(
    rb'\{"id":"([0-9a-f-]{0,2048})","invalid":"[0-9a-f]{64}","organization":"([0-9a-f]{32})","v":1\}'
).fullmatch

_ORDER = sorted(LEAF_GROUPS)
DIGEST_AT: Final = tuple(
    len('"groups":{')
    + sum(len(f'"{name}":"",') + 64 for name in _ORDER[: _ORDER.index(group)])
    + len(f'"{group}":"')
    for group in LEAF_GROUPS
)
"""Where each group's digest begins in the text of the digests, in the order of ``LEAF_GROUPS``."""


def read_entry(line: bytes) -> Clear:
    """The clear fields of a leaf that a verification needs.

    Raises:
        Malformed: not a leaf of version 1 in its one spelling.
    """
    match = leaf_pattern(line)
    if match is not None:
        clear: Clear = match.groups()  # type: ignore[assignment]  # no group of it is optional
        if clear[1].translate(None, HEX_DIGITS) == DIGESTS_FRAME:
            return clear
    return _read_slowly(line)


def _read_slowly(line: bytes) -> Clear:
    """Leaves with facts and invalid ones: without their facts they must be in the same one form."""
    leaf = parse_leaf(line)
    if _written(dict(leaf.fields)) != line:
        raise Malformed("a leaf", "must be canonical JSON")
    if leaf.invalid:
        match = _invalid_pattern(line)
        if match is None:
            raise Malformed(
                "an invalid leaf", "must have an id and digests in hexadecimal digits", line[:100]
            )
        return b"", b"", match[1], match[2], b""
    if not all(isinstance(value, str | int) and type(value) is not bool for value in leaf.facts.values()):
        raise Malformed("a leaf", "must have texts and whole numbers as facts")
    match = leaf_pattern(_written({name: value for name, value in leaf.fields.items() if name != "facts"}))
    if match is None or match[2].translate(None, HEX_DIGITS) != DIGESTS_FRAME:
        raise Malformed("a leaf", "must have its fields in the forms of version 1", line[:100])
    clear: Clear = match.groups()  # type: ignore[assignment]  # no group of it is optional
    return clear


def _written(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digests_of(text: bytes) -> list[bytes]:
    """The five hex digests, in the order of ``LEAF_GROUPS``, out of the second part of :data:`Clear`."""
    return [text[at : at + 64] for at in DIGEST_AT]


def may_explain(lines: bytes) -> bool:
    """Whether a leaf of our own events, which may explain what is missing elsewhere, is among these lines."""
    return b'{"action":"audit.' in lines or b'{"action":"log.' in lines


_head = re.compile(r'\["([A-Za-z0-9_-]{21}[AQgw])","(actor|resources|context|changes|details)",(?=\{)').match
_index = re.compile(r"\[(0|[1-9][0-9]{0,18})(?=,)", re.ASCII).match
_SHAPES = [[group, None] for group in LEAF_GROUPS]
_PLACE = {group: place for place, group in enumerate(LEAF_GROUPS)}
_CONTROL = re.compile(r"[\x00-\x1f]")


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        raise ValueError("it names a key twice in one object")


def _constant(name: str) -> Any:
    raise ValueError(f"it holds {name}, which JSON does not have")


# Values are not looked at: a number of any length is its digits.
_decoder = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_constant, parse_int=str, parse_float=str)
_scan = _decoder.raw_decode
_reader = json.JSONDecoder(parse_int=str, parse_float=str)


def read_groups(line: bytes) -> tuple[int, list[Opening]]:
    """A line of ``groups.ndjson``: ``[index,["salt","actor",{...}],...]``.

    Raises:
        Malformed: another form, no disclosure, groups out of order or twice, a salt twice, JSON that is not
            strict.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Malformed("a line of groups.ndjson", "must be UTF-8") from None
    head = _index(text)
    if head is None:
        raise Malformed("a line of groups.ndjson", "must begin with an index", text[:40])
    at = head.end()
    openings: list[Opening] = []
    salts: set[str] = set()
    after = -1
    while text[at : at + 1] == ",":
        place, salt, digest, at = _disclosure(text, at + 1)
        if place <= after or salt in salts:
            raise Malformed("a line of groups.ndjson", "must have each group and salt once, and in order")
        after = place
        salts.add(salt)
        openings.append((place, digest))
    if text[at:] != "]" or not openings:
        raise Malformed("a line of groups.ndjson", "must be an index and disclosures", text[at : at + 40])
    return int(head[1]), openings


_heads = re.compile(
    rb',(\["([A-Za-z0-9_-]{21}[AQgw])","(actor|resources|context|changes|details)",)\{'
).finditer
_hides_a_colon = re.compile(rb'" +:').search
_found: list[Any] = []
_scan_all = json.JSONDecoder(object_hook=_found.append, parse_constant=_constant).raw_decode


def all_match(line: bytes, index: int, digests: bytes) -> bool:
    """Whether a line plainly discloses all five groups, and each as its digest says.

    Every disclosure is cut out and hashed as it stands, and the whole line is read once as JSON: what was cut
    must be its members, and no object may have a key twice. Where this says no, :func:`read_groups` tells.

    Args:
        line: of ``groups.ndjson``.
        index: that it must have.
        digests: of the leaf, the second part of :data:`Clear`.
    """
    # Escapes could hide a quotation mark, white space the colon after a key, and depth is checked elsewhere.
    if b"\\" in line or b"\t" in line or b"\r" in line or (b'" ' in line and _hides_a_colon(line)):
        return False
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH:
        return False
    starts = [match.start() + 1 for match in _heads(line)]
    if len(starts) != len(LEAF_GROUPS) or line[-1:] != b"]":
        return False
    ends = [*(start - 1 for start in starts[1:]), len(line) - 1]
    for start, end, at in zip(starts, ends, DIGEST_AT, strict=True):
        if sha256(line[start:end]).hexdigest().encode() != digests[at : at + 64]:
            return False
    return _is_whole(line, index)


def _is_whole(line: bytes, index: int) -> bool:
    _found.clear()
    try:
        text = line.decode()
        value, end = _scan_all(text)
    except (ValueError, RecursionError):
        return False
    if end != len(text) or len(value) != 1 + len(LEAF_GROUPS) or not line.startswith(b"[%d," % index):
        return False
    if [each[1:] for each in value[1:]] != _SHAPES or len({each[0] for each in value[1:]}) != len(
        LEAF_GROUPS
    ):
        return False
    # A key is what a colon follows. A colon within a text may be counted too: then the count is too high.
    return sum(map(len, _found)) == line.count(b'":')


def _disclosure(text: str, at: int) -> tuple[int, str, bytes, int]:
    """Place of the group, salt, digest, and where the text goes on."""
    if text[at : at + 1] != '"':
        place, salt, end = _scan_disclosure(text, at)
        return place, salt, sha256(text[at:end].encode()).hexdigest().encode(), end
    try:
        inner, end = _reader.raw_decode(text, at)
    except ValueError as error:
        raise Malformed("a disclosure", f"is not strict JSON: {error}") from None
    if json.dumps(inner, ensure_ascii=False) != text[at:end] or _CONTROL.search(inner) is None:
        raise Malformed("a disclosure", "stands as a string only where it holds control characters")
    place, salt, digest = read_disclosure_text(inner)
    return place, salt, digest, end


def read_disclosure_text(text: str) -> tuple[int, str, bytes]:
    """A disclosure that stands by itself: the place of its group, its salt, its hex digest.

    Raises:
        Malformed: not exactly ``["salt","group",{...}]`` in strict JSON.
    """
    place, salt, end = _scan_disclosure(text, 0)
    if end != len(text):
        raise Malformed("a disclosure", "must end with its bracket", text[end : end + 40])
    try:
        return place, salt, sha256(text.encode()).hexdigest().encode()
    except UnicodeEncodeError:
        raise Malformed("a disclosure", "must not hold half of a surrogate pair") from None


def _scan_disclosure(text: str, at: int) -> tuple[int, str, int]:
    head = _head(text, at)
    if head is None:
        raise Malformed("a disclosure", 'must be ["salt","group",{...}]', text[at : at + 60])
    start = head.end()
    try:
        _, end = _scan(text, start)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the value of {head[2]}", f"is not strict JSON: {str(error)[:200]}") from None
    if text.count("{", start, end) + text.count("[", start, end) > MAX_DEPTH:
        check_depth(text[start:end], f"the value of {head[2]}")
    if text.find("\\u", start, end) >= 0:
        _check_characters(text[start:end], head[2])
    if text[end : end + 1] != "]":
        raise Malformed("a disclosure", "must have three members", text[end : end + 40])
    return _PLACE[head[2]], head[1], end + 1


def _check_characters(value: str, group: str) -> None:
    """Half of a surrogate pair is no character; it is found where the value is written again."""
    try:
        json.dumps(_reader.decode(value), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed(f"the value of {group}", "must not hold half of a surrogate pair") from None
