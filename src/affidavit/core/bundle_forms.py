"""The small members of a bundle and the lines of its greater ones, read strictly (docs/spec/bundle.md).

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from affidavit.core.members import canonical_of
from affidavit.core.merkle import HASH_SIZE
from affidavit.core.strict import MAX_INTEGER, base64_of
from affidavit.core.unsound import Malformed

__all__ = ["Header", "index_of", "numbered_hashes", "parse_header", "parse_range", "pruned_hash"]

_is_origin = re.compile(r"[^/\s]+/([0-9a-f]{32})/([1-9][0-9]{0,18})").fullmatch
_has_index = re.compile(rb"\[(0|[1-9][0-9]{0,18}),").match
_is_hash = re.compile(rb'"([0-9a-f]{64})"').fullmatch


class Header(NamedTuple):
    """What ``bundle.json`` says."""

    complete: str
    start: int
    end: int
    origin: str
    size: int

    @property
    def hex_digits(self) -> str:
        """Of the origin: what every leaf names as its organization."""
        return self.origin.split("/")[-2]


def parse_header(text: bytes) -> Header:
    """Read ``bundle.json``.

    Raises:
        Malformed: another form, or numbers that do not fit together.
    """
    value = canonical_of(text, "bundle.json")
    names = {"complete", "end", "origin", "size", "start", "v"}
    if not isinstance(value, dict) or set(value) != names or type(value["v"]) is not int or value["v"] != 1:
        raise Malformed("bundle.json", "must have exactly the members of version 1")
    numbers = [value[name] for name in ("start", "end", "size")]
    if not all(type(number) is int and 0 <= number <= MAX_INTEGER for number in numbers):
        raise Malformed("bundle.json", "must have numbers as start, end and size", numbers)
    if not isinstance(value["origin"], str) or _is_origin(value["origin"]) is None:
        raise Malformed("bundle.json", "must have an origin host/hex/incarnation", value["origin"])
    header = Header(value["complete"], value["start"], value["end"], value["origin"], value["size"])
    if header.complete not in ("range", "filtered") or not header.start <= header.end <= header.size:
        raise Malformed("bundle.json", "must be a range or filtered, and lie within its tree", value)
    if header.complete == "filtered" and (header.start, header.end) != (0, header.size):
        raise Malformed("bundle.json", "of a filtered bundle must span the tree", numbers)
    return header


def pruned_hash(line: bytes) -> bytes:
    """The leaf hash that stands in place of a leaf that was pruned: a JSON string of 64 digits.

    Raises:
        Malformed: any other line.
    """
    match = _is_hash(line)
    if match is None:
        raise Malformed("a pruned entry", "must be a hash in hexadecimal digits", line[:80])
    return bytes.fromhex(match[1].decode())


def index_of(line: bytes) -> int:
    """The index at the beginning of a line ``[index,...]``.

    Raises:
        Malformed: there is none.
    """
    match = _has_index(line)
    if match is None:
        raise Malformed("a line", "must begin with an index", line[:40])
    return int(match[1])


def numbered_hashes(value: Any, what: str) -> tuple[int, list[bytes]]:
    """Read ``[number, [hash, ...]]``.

    Raises:
        Malformed: anything else.
    """
    if not isinstance(value, list) or len(value) != 2:
        raise Malformed(what, "must have lines of a number and hashes")
    number, hashes = value
    if type(number) is not int or not 0 <= number <= MAX_INTEGER:
        raise Malformed(what, f"must have numbers from 0 to {MAX_INTEGER}", number)
    return number, _hashes(hashes, what)


def _hashes(value: Any, what: str) -> list[bytes]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Malformed(what, "must have lists of hashes")
    return [base64_of(each, what, HASH_SIZE) for each in value]


def parse_range(text: bytes) -> tuple[list[bytes], list[bytes]]:
    """Read ``range.json``: the subtrees on the left and on the right of the entries.

    Raises:
        Malformed: another form.
    """
    value = canonical_of(text, "range.json")
    if not isinstance(value, dict) or set(value) != {"left", "right"}:
        raise Malformed("range.json", "must have left and right")
    return _hashes(value["left"], "range.json"), _hashes(value["right"], "range.json")
