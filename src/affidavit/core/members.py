"""The members of a bundle: which names there may be, and how their bytes are read without trusting a size.

Nothing here opens a file: whoever has the zip (or something like it) hands in :class:`Members`.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from affidavit.core.strict import json_of
from affidavit.core.unsound import Malformed

__all__ = [
    "CHUNK",
    "MAX_MEMBERS",
    "Members",
    "Stream",
    "canonical_of",
    "check_kind",
    "check_names",
    "lines_of",
    "whole",
]

MAX_MEMBERS: Final = 100_000
CHUNK: Final = 1 << 18
"""Bytes that are read at a time."""

_ALWAYS = frozenset(
    ("bundle.json", "entries.ndjson", "groups.ndjson", "cited.ndjson", "consistency.ndjson", "checkpoint")
)
_EITHER = frozenset(("range.json", "proofs.ndjson"))
_FREE = frozenset(("README", "policy"))
_NUMBERED = re.compile(r"checkpoints/[1-9][0-9]{0,18}|manifests/[0-9a-f]{64}\.(?:json|note)", re.ASCII)


class Stream(Protocol):
    """Bytes that are read from front to back."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end.

        Raises:
            Malformed: the bytes are damaged, or more than a bundle of this size may have.
        """
        ...


class Members(Protocol):
    """What a bundle consists of."""

    names: Sequence[str]
    """As they stand, repeated where a name stands twice."""

    def stream(self, name: str) -> Stream:
        """The bytes of a member from its first one on; may be asked for again.

        Raises:
            Malformed: it is encrypted, packed in an unknown way, a link or a folder.
        """
        ...


def check_names(names: Sequence[str]) -> None:
    """Check that there are the members that a bundle has, each once, and no other.

    Raises:
        Malformed: names the first that is too much, or missing.
    """
    if len(names) > MAX_MEMBERS:
        raise Malformed("a bundle", f"must have at most {MAX_MEMBERS} members", len(names))
    for name, times in Counter(names).items():
        if times > 1:
            raise Malformed("a bundle", "must have every member once", name)
        if name not in _ALWAYS | _EITHER | _FREE and _NUMBERED.fullmatch(name) is None:
            raise Malformed(
                "a bundle", "has a member that is none of a bundle's; a key in it would not be used", name
            )
    for name in sorted(_ALWAYS - set(names)):
        raise Malformed("a bundle", "must have every member, and lacks", name)
    for name in names:
        stem, _, suffix = name.rpartition(".")
        twin = f"{stem}.{'note' if suffix == 'json' else 'json'}"
        if name.startswith("manifests/") and twin not in names:
            raise Malformed("a bundle", "must have each manifest with its note, and lacks", twin)


def check_kind(names: Sequence[str], complete: str) -> None:
    """Check that a range has its hashes, a selection its proofs, and neither what belongs to the other.

    Args:
        names: of all members.
        complete: ``range`` or ``filtered``.

    Raises:
        Malformed: names the member.
    """
    needed = "range.json" if complete == "range" else "proofs.ndjson"
    found = sorted(_EITHER.intersection(names))
    if found != [needed]:
        raise Malformed(f"a bundle that is {complete}", f"must have {needed}, and has", found)


def whole(members: Members, name: str, limit: int) -> bytes:
    """All bytes of a member.

    Raises:
        Malformed: they are more than ``limit``, or cannot be read.
    """
    stream = members.stream(name)
    parts: list[bytes] = []
    size = 0
    while chunk := stream.read(CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise Malformed(name, f"must be at most {limit} bytes")
    return b"".join(parts)


def lines_of(
    stream: Stream, what: str, limit: int, *, last_may_be_open: bool = False
) -> Iterator[list[bytes]]:
    """The lines of a member, some at a time, without their newlines.

    Args:
        stream: from its beginning.
        what: its name, for errors.
        limit: bytes of a line at most.
        last_may_be_open: whether the last line may lack its newline.

    Raises:
        Malformed: a line is longer, or the last one has no newline.
    """
    rest = b""
    while chunk := stream.read(CHUNK):
        found = (rest + chunk).split(b"\n")
        rest = found.pop()
        if len(rest) > limit or (found and max(map(len, found)) > limit):
            raise Malformed(what, f"must have lines of at most {limit} bytes")
        yield found
    if rest and not last_may_be_open:
        raise Malformed(what, "must end every line with a newline")
    if rest:
        yield [rest]


def canonical_of(text: bytes, what: str) -> Any:
    """One JSON document in the one spelling: keys sorted, no white space, nothing escaped that need not be.

    Raises:
        Malformed: no JSON, or another spelling of it.
    """
    value = json_of(text, what)
    written = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if written.encode() != text:
        raise Malformed(what, "must be canonical JSON")
    return value
