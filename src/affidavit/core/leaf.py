"""Leaf version 1: the bytes that stand for one event in its organization's tree (docs/spec/leaf.md).

A pure function of the stored row, its secret and the origin's hex digits. Every field of an event is either
*clear* (it stands in the leaf) or belongs to exactly one of five *groups*, of which the leaf has a salted
digest: a group can be erased and every proof stays valid.

One of the modules of the verifier: standard library only. It is long because writing and strict reading stand
side by side over one frozen table of fields; nobody changes the one without seeing the other.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from hashlib import sha256, shake_256
from struct import Struct
from typing import Any, Final

from affidavit.core.forms import MAX_MICROSECONDS, format_id, format_time, microseconds_of, read_time
from affidavit.core.strict import base64url_of, hex_of, json_of
from affidavit.core.unsound import Malformed

__all__ = [
    "CLEAR",
    "FIELDS",
    "LEAF_GROUPS",
    "LEAF_VERSION",
    "MAX_LEAF",
    "Leaf",
    "Unencodable",
    "digest_of",
    "disclosure",
    "encode_invalid",
    "encode_leaf",
    "parse_leaf",
    "parse_remains",
    "read_disclosure",
    "row_bytes",
    "salts_of",
    "write_remains",
]

LEAF_VERSION: Final = 1
MAX_LEAF: Final = 65_535
"""Bytes of a leaf at most: an entry bundle of C2SP tlog-tiles writes the length in two bytes."""

LEAF_GROUPS: Final = ("actor", "resources", "context", "changes", "details")
"""In the order in which the salts are drawn."""

CLEAR: Final = "clear"
FIELDS: Final[Mapping[str, str]] = {
    "id": CLEAR,
    "organization": CLEAR,
    "project": CLEAR,
    "action": CLEAR,
    "occurred_at": CLEAR,
    "recorded_at": CLEAR,
    "outcome": CLEAR,
    "severity": CLEAR,
    "source": CLEAR,
    "imported": CLEAR,
    "parent_id": CLEAR,
    "facts": CLEAR,
    "actor": "actor",
    "on_behalf_of": "actor",
    "session": "actor",
    "recorded_by": "actor",
    "resources": "resources",
    "ip": "context",
    "location": "context",
    "user_agent": "context",
    "client": "context",
    "ci": "context",
    "request": "context",
    "trace_id": "context",
    "span_id": "context",
    "changes": "changes",
    "description": "details",
    "reason": "details",
    "metadata": "details",
}
"""Where each field of an event stands. Frozen with version 1: a new field needs a new version."""


class Unencodable(Exception):
    """The row breaks a rule of the stored form, so it gets an ``invalid`` leaf."""


_NAME = rb"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?"
_is_project = re.compile(_NAME + rb"\Z").match
_is_action = re.compile(rb"(?=.{1,128}\Z)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z").match
_is_source = re.compile(rb"[a-z][a-z0-9_]{0,31}\Z").match
_FORM = (
    b'{"action":"%b",%b"groups":{"actor":"%b","changes":"%b","context":"%b","details":"%b","resources":"%b"},'
    b'"id":"%b",%b"occurred_at":"%b","organization":"%b","outcome":"%b",%b%b"recorded_at":"%b",'
    b'"severity":"%b","source":"%b","v":1}'
)
"""Keys in the order of their code points at every depth."""
_OUTCOMES = frozenset((b"success", b"failure"))
_SEVERITIES = frozenset((b"info", b"warning", b"critical"))


def salts_of(secret: bytes) -> tuple[str, ...]:
    """The salts of the five groups, base64url: 16 bytes each of SHAKE256(secret, 80 bytes).

    Args:
        secret: 32 bytes, random for each event.
    """
    return tuple([salt.decode() for salt in _salts(secret)])


_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_FIVE, _PADDED = Struct("16s" * 5), Struct("16s2x" * 5)


def _salts(secret: bytes) -> tuple[bytes, ...]:
    # With two bytes of zeros each salt fills 24 characters, of which the first 22 are the unpadded ones.
    salts = _PADDED.pack(*_FIVE.unpack(shake_256(secret).digest(80)))
    text = b2a_base64(salts, newline=False).translate(_URL_SAFE)
    return text[:22], text[24:46], text[48:70], text[72:94], text[96:118]


def disclosure(salt: str, group: str, text: bytes) -> bytes:
    """What opens a digest, as RFC 9901 section 4.2 has it: the text ``["<salt>","<group>",<group text>]``."""
    return b'["%b","%b",%b]' % (salt.encode(), group.encode(), text)


def digest_of(salt: str, group: str, text: bytes) -> str:
    """Lower-case hex SHA-256 of the :func:`disclosure`."""
    return sha256(disclosure(salt, group, text)).hexdigest()


def encode_leaf(values: Sequence[Any], hex_digits: str) -> bytes:
    """The leaf of one stored row.

    Args:
        values: the row in the order of ``COLUMNS`` (:mod:`affidavit.core.row`), texts as UTF-8 bytes. Whether
            each group is one JSON object is for the caller to check.
        hex_digits: 32, the opaque name of the organization: the second part of the origin.

    Raises:
        Unencodable: a value that no event can have.
    """
    (
        event_id, version, _, project, action, outcome, severity, source, imported, parent_id, facts, _,
        actor, resources, context, changes, details, secret, remains, recorded_at,
    ) = values  # fmt: skip
    if version != LEAF_VERSION:
        raise Unencodable(f"version {version!r:.40} is not known")
    _check(event_id, project, action, outcome, severity, source, imported, parent_id, recorded_at)
    if facts is not None and type(facts) is not bytes:
        raise Unencodable("facts must be text")
    texts = (actor, resources, context, changes, details)
    if secret is not None:
        if type(secret) is not bytes or len(secret) != 32 or remains is not None:
            raise Unencodable("secret must be 32 bytes, and nothing remain beside it")
        digests = _digests(secret, texts)
    else:
        digests = _remaining(remains, texts)
    leaf = _FORM % (
        action,
        b'"facts":%b,' % facts if facts is not None else b"",
        digests[0],
        digests[3],
        digests[2],
        digests[4],
        digests[1],
        format_id(event_id).encode(),
        b'"imported":true,' if imported else b"",
        format_time(microseconds_of(event_id)).encode(),
        hex_digits.encode(),
        outcome,
        b'"parent_id":"%b",' % format_id(parent_id).encode() if parent_id is not None else b"",
        b'"project":"%b",' % project if project is not None else b"",
        format_time(recorded_at).encode(),
        severity,
        source,
    )
    if len(leaf) > MAX_LEAF:
        raise Unencodable(f"its leaf has {len(leaf)} bytes, more than {MAX_LEAF}")
    return leaf


def _check(
    event_id: Any,
    project: Any,
    action: Any,
    outcome: Any,
    severity: Any,
    source: Any,
    imported: Any,
    parent_id: Any,
    recorded_at: Any,
) -> None:
    if type(event_id) is not bytes or len(event_id) != 16 or event_id[6] >> 4 != 7 or event_id[8] >> 6 != 2:
        raise Unencodable("id must be the 16 bytes of a UUIDv7")
    if project is not None and not (type(project) is bytes and _is_project(project) and b".." not in project):
        raise Unencodable("project must be a name")
    if type(action) is not bytes or not _is_action(action):
        raise Unencodable("action must be a dotted name")
    if outcome not in _OUTCOMES or severity not in _SEVERITIES:
        raise Unencodable("outcome or severity is none that exists")
    if type(source) is not bytes or not _is_source(source):
        raise Unencodable("source must be a name")
    if imported not in (0, 1) or type(imported) is not int:
        raise Unencodable("imported must be 0 or 1")
    if parent_id is not None and (type(parent_id) is not bytes or len(parent_id) != 16):
        raise Unencodable("parent_id must be 16 bytes")
    if type(recorded_at) is not int or not 0 <= recorded_at <= MAX_MICROSECONDS:
        raise Unencodable("recorded_at must be microseconds since 1970")


def _digests(secret: bytes, texts: Sequence[Any]) -> list[bytes]:
    try:
        return [
            sha256(b'["' + salt + middle + text + b"]").hexdigest().encode()
            for salt, middle, text in zip(_salts(secret), _MIDDLES, texts, strict=True)
        ]
    except TypeError:
        raise Unencodable("a group is missing although nothing was erased, or is no text") from None


_MIDDLES = tuple([f'","{group}",'.encode() for group in LEAF_GROUPS])


def _remaining(remains: Any, texts: Sequence[Any]) -> list[bytes]:
    if type(remains) is not bytes:
        raise Unencodable("neither secret nor remains")
    try:
        left = parse_remains(remains)
    except Malformed as error:
        raise Unencodable(error.message) from error
    digests = []
    for group, text in zip(LEAF_GROUPS, texts, strict=True):
        kind, value = left[group]
        if (kind == "salt") != (type(text) is bytes):
            raise Unencodable(f"{group} and what remains of it disagree")
        digests.append((digest_of(value, group, text) if kind == "salt" else value).encode())
    return digests


def parse_remains(remains: str | bytes) -> dict[str, tuple[str, str]]:
    """Group to ``("digest", hex)`` where its value is gone, ``("salt", base64url)`` where it stands.

    Raises:
        Malformed: not the one form in which :func:`write_remains` writes it.
    """
    value = json_of(remains, "remains")
    if not isinstance(value, dict) or set(value) != set(LEAF_GROUPS):
        raise Malformed("remains", "must have exactly the five groups")
    left = {}
    for group in LEAF_GROUPS:
        member = value[group]
        if not isinstance(member, dict) or len(member) != 1:
            raise Malformed(f"remains of {group}", "must be a digest or a salt")
        ((kind, text),) = member.items()
        if kind not in ("digest", "salt") or not isinstance(text, str):
            raise Malformed(f"remains of {group}", "must be a digest or a salt")
        if kind == "digest":
            hex_of(text, f"digest of {group}", 32)
        else:
            base64url_of(text, f"salt of {group}", 16)
        left[group] = (kind, text)
    written = remains.encode() if isinstance(remains, str) else remains
    if write_remains(left) != written:
        raise Malformed("remains", "must be canonical JSON")
    return left


def write_remains(left: Mapping[str, tuple[str, str]]) -> bytes:
    """The column ``remains``: canonical JSON."""
    members = ",".join(f'"{group}":{{"{left[group][0]}":"{left[group][1]}"}}' for group in sorted(left))
    return f"{{{members}}}".encode()


def row_bytes(values: Sequence[Any]) -> bytes:
    """One row as bytes, whatever it holds: each value with type and length. For an ``invalid`` leaf.

    ``n;`` is NULL, ``i<decimal>;`` an integer, ``f<C99 hexadecimal>;`` a real number,
    ``t<length>:<bytes>;`` text or a blob. ``secret`` is left out: it goes before these bytes.
    """
    parts = []
    for at, value in enumerate(values):
        if at == _SECRET:
            continue
        if value is None:
            parts.append(b"n;")
        elif type(value) is int:
            parts.append(b"i%d;" % value)
        elif type(value) is float:
            parts.append(b"f%b;" % value.hex().encode())
        else:
            parts.append(b"t%d:%b;" % (len(value), value))
    return b"".join(parts)


_SECRET = 17


def encode_invalid(values: Sequence[Any], hex_digits: str) -> bytes:
    """The leaf of a row that :func:`encode_leaf` refuses: a salted hash of its bytes.

    ``id`` is the UUID where it has 16 bytes, else the hex digits of whatever stands there.
    """
    event_id, secret = values[0], values[_SECRET]
    raw = event_id if type(event_id) is bytes else str(event_id).encode()
    shown = format_id(raw) if len(raw) == 16 else raw[:1024].hex()
    salt = secret if type(secret) is bytes else b""
    digest = sha256(salt + row_bytes(values)).hexdigest()
    return b'{"id":"%b","invalid":"%b","organization":"%b","v":1}' % (
        shown.encode(),
        digest.encode(),
        hex_digits.encode(),
    )


class Leaf:
    """A parsed leaf.

    Attributes:
        fields: the clear fields as they stand, ``groups`` and ``v`` included.
        invalid: whether it stands for a row that could not be encoded.
    """

    __slots__ = ("fields", "invalid")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self.invalid = "invalid" in fields

    @property
    def id(self) -> str:
        """The event's id as text."""
        return str(self.fields["id"])

    @property
    def organization(self) -> str:
        """The 32 hex digits of the origin."""
        return str(self.fields["organization"])

    @property
    def action(self) -> str:
        """The action; empty for an invalid leaf."""
        return str(self.fields.get("action", ""))

    @property
    def recorded_at(self) -> int | None:
        """Microseconds since 1970 UTC; ``None`` for an invalid leaf."""
        return None if self.invalid else read_time(self.fields["recorded_at"])

    @property
    def digests(self) -> Mapping[str, str]:
        """Group to the hex digest; empty for an invalid leaf."""
        digests: Mapping[str, str] = self.fields.get("groups", {})
        return digests

    @property
    def facts(self) -> Mapping[str, Any]:
        """What one of our own events states in the clear."""
        facts: Mapping[str, Any] = self.fields.get("facts", {})
        return facts


_REQUIRED = frozenset(
    "action groups id occurred_at organization outcome recorded_at severity source v".split()
)
_OPTIONAL = frozenset("facts imported parent_id project".split())
_INVALID = frozenset("id invalid organization v".split())


def parse_leaf(entry: bytes) -> Leaf:
    """Read a leaf strictly.

    Raises:
        Malformed: not a leaf of version 1: other members, or other types than version 1 has.
    """
    fields = json_of(entry, "a leaf")
    if not isinstance(fields, dict) or fields.get("v") != LEAF_VERSION or fields["v"] is True:
        raise Malformed("a leaf", "must be an object of version 1")
    names = frozenset(fields)
    if names == _INVALID:
        if not all(isinstance(fields[name], str) for name in ("id", "invalid", "organization")):
            raise Malformed("an invalid leaf", "must have texts")
        return Leaf(fields)
    if not names >= _REQUIRED or not names <= _REQUIRED | _OPTIONAL:
        raise Malformed("a leaf", "has other members than version 1", sorted(names ^ _REQUIRED))
    _check_digests(fields["groups"])
    for name in _REQUIRED - {"groups", "v"}:
        if not isinstance(fields[name], str):
            raise Malformed("a leaf", f"must have a text as {name}", fields[name])
    for name in ("occurred_at", "recorded_at"):
        try:
            read_time(fields[name])
        except ValueError:
            raise Malformed("a leaf", f"must have a moment as {name}", fields[name]) from None
    if "facts" in fields and not isinstance(fields["facts"], dict):
        raise Malformed("a leaf", "must have an object as facts", fields["facts"])
    return Leaf(fields)


def _check_digests(groups: Any) -> None:
    if not isinstance(groups, dict) or set(groups) != set(LEAF_GROUPS):
        raise Malformed("a leaf", "must have a digest of each group")
    for group, digest in groups.items():
        if not isinstance(digest, str):
            raise Malformed("a leaf", "must have a digest of each group", group)
        hex_of(digest, f"digest of {group}", 32)


def read_disclosure(text: str) -> tuple[str, str, Any]:
    """Salt, group and value of a disclosure.

    Raises:
        Malformed: not ``[salt, group, object]`` with a 16-byte salt and one of the five groups.
    """
    value = json_of(text, "a disclosure")
    if not (isinstance(value, list) and len(value) == 3 and isinstance(value[2], dict)):
        raise Malformed("a disclosure", "must be [salt, group, object]")
    salt, group, members = value
    if not isinstance(salt, str) or group not in LEAF_GROUPS:
        raise Malformed("a disclosure", "must name a salt and one of the five groups", group)
    base64url_of(salt, "the salt of a disclosure", 16)
    return salt, group, members
