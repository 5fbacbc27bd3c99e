"""Manifests: what was erased or pruned on purpose (docs/spec/manifest.md).

A manifest is a body of canonical JSON, which names places in one tree and digests of what stood there, and
a note over the body's SHA-256, signed with the key of the log. It names no person. A value that is missing
without one is a failure, so a manifest counts only where three things hold: its note is signed
(:func:`open_manifest`), an event of the log cites it (:func:`cites`), and one of its entries covers the place
(:meth:`ManifestBody.explains`).

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

from affidavit.core import ed25519
from affidavit.core.forms import format_time, read_time
from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.merkle import HASH_SIZE
from affidavit.core.note import Check, Verifier, check_signatures, parse_note
from affidavit.core.strict import MAX_INTEGER, hex_of, json_of
from affidavit.core.unsound import Contradiction, Malformed, UnknownSigner

__all__ = [
    "CITED_BY",
    "ERASURE",
    "MAX_RUN",
    "PRUNE",
    "ManifestBody",
    "ManifestEntry",
    "cites",
    "encode_manifest",
    "erasure_entries",
    "manifest_hash",
    "manifest_text",
    "open_manifest",
    "parse_manifest",
    "prune_entries",
]

ERASURE: Final = "erasure"
PRUNE: Final = "prune"
CITED_BY: Final[Mapping[str, str]] = {
    ERASURE: "audit.erasure.requested",
    PRUNE: "audit.retention.pruned",
}
"""The action of the event whose facts cite a manifest of each kind."""

MAX_RUN = 1_000
"""Indexes of one entry at most, so that a reader can check an entry with bounded work."""

_VERSION = 1
_FIRST_LINE = "affidavit-manifest/v1"
_is_origin = re.compile(r"[^\s+\x00-\x1f\x7f]+/[0-9a-f]{32}/[1-9][0-9]{0,17}\Z").match
_is_id = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z").match
_is_citing = re.compile(r"manifest(?:_[1-9][0-9]{0,17})?\Z").match


class ManifestEntry(NamedTuple):
    """A run of consecutive indexes.

    Attributes:
        start: its first index.
        end: its last index (inclusive), at most :data:`MAX_RUN` - 1 above ``start``.
        groups: whose values are gone, in the order of ``LEAF_GROUPS``; empty in a prune manifest.
        digest: 32 bytes. Erasure: SHA-256 over the digests of these groups, 32 bytes each, index by index.
            Prune: SHA-256 over the leaf hashes.
    """

    start: int
    end: int
    groups: tuple[str, ...]
    digest: bytes


class ManifestBody(NamedTuple):
    """What a manifest says.

    Attributes:
        kind: :data:`ERASURE` or :data:`PRUNE`.
        origin: of the tree concerned.
        made_at: microseconds since 1970 UTC.
        entries: one or more, in index order, no index twice.
        ids: prune: first and last id of the closed range, as text; erasure: ``None``.
    """

    kind: str
    origin: str
    made_at: int
    entries: tuple[ManifestEntry, ...]
    ids: tuple[str, str] | None = None

    def entry_at(self, index: int) -> ManifestEntry | None:
        """The entry that covers an index, ``None`` where there is none."""
        at = bisect_right(self.entries, index, key=lambda entry: entry.start) - 1
        entry = self.entries[at] if at >= 0 else None
        return entry if entry is not None and index <= entry.end else None

    def explains(self, index: int, group: str | None = None) -> bool:
        """Whether it covers this group of this leaf; ``None`` asks a prune manifest for the leaf."""
        entry = self.entry_at(index)
        return entry is not None and (group in entry.groups if group is not None else self.kind == PRUNE)


def erasure_entries(
    gone: Iterable[tuple[int, Sequence[str], Mapping[str, str]]],
) -> tuple[ManifestEntry, ...]:
    """The entries of an erasure.

    Args:
        gone: index, the groups that go, and the hex digests of the leaf there by group; in index order.
    """
    rows = []
    for index, groups, digests in gone:
        ordered = tuple(group for group in LEAF_GROUPS if group in groups)
        rows.append((index, ordered, b"".join(bytes.fromhex(digests[group]) for group in ordered)))
    return _runs(rows)


def prune_entries(gone: Iterable[tuple[int, bytes]]) -> tuple[ManifestEntry, ...]:
    """The entries of a pruning.

    Args:
        gone: index and leaf hash, in index order.
    """
    return _runs((index, (), leaf_hash) for index, leaf_hash in gone)


def _runs(rows: Iterable[tuple[int, tuple[str, ...], bytes]]) -> tuple[ManifestEntry, ...]:
    entries: list[ManifestEntry] = []
    start = end = -2
    run: tuple[str, ...] = ()
    hashed = sha256()
    for index, groups, digests in rows:
        if index != end + 1 or groups != run or index - start >= MAX_RUN:
            if end >= 0:
                entries.append(ManifestEntry(start, end, run, hashed.digest()))
            start, run, hashed = index, groups, sha256()
        end = index
        hashed.update(digests)
    if end >= 0:
        entries.append(ManifestEntry(start, end, run, hashed.digest()))
    return tuple(entries)


def encode_manifest(body: ManifestBody) -> bytes:
    """The body as canonical JSON: what is hashed, kept and handed on.

    Raises:
        Malformed: it breaks a rule that :func:`parse_manifest` checks.
    """
    written = _write(body)
    if parse_manifest(written) != body:
        raise Malformed("a manifest", "must be written as it is read")
    return written


def _write(body: ManifestBody) -> bytes:
    members: dict[str, Any] = {
        "entries": [_members(entry, body.kind) for entry in body.entries],
        "kind": body.kind,
        "made_at": format_time(body.made_at),
        "origin": body.origin,
        "v": _VERSION,
    }
    if body.ids is not None:
        members["ids"] = list(body.ids)
    return json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _members(entry: ManifestEntry, kind: str) -> dict[str, Any]:
    members: dict[str, Any] = {"digest": entry.digest.hex(), "from": entry.start, "to": entry.end}
    if kind == ERASURE:
        members["groups"] = list(entry.groups)
    return members


def parse_manifest(body: bytes) -> ManifestBody:
    """Read a body strictly; nothing of it may be believed before :func:`open_manifest` returned.

    Raises:
        Malformed: another form, entries out of order or overlapping, or not canonical JSON.
    """
    value = json_of(body, "a manifest")
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in (ERASURE, PRUNE):
        raise Malformed("a manifest", "must be an object of kind erasure or prune", kind)
    names = {"entries", "kind", "made_at", "origin", "v"} | ({"ids"} if kind == PRUNE else set())
    if set(value) != names or value["v"] is not _VERSION:
        raise Malformed("a manifest", "must have exactly the members of version 1", sorted(value))
    origin = value["origin"]
    if not isinstance(origin, str) or not _is_origin(origin):
        raise Malformed("the origin of a manifest", "must be host/hex/incarnation", origin)
    parsed = ManifestBody(
        kind,
        origin,
        _moment(value["made_at"]),
        _entries(value["entries"], kind),
        _ids(value["ids"]) if kind == PRUNE else None,
    )
    if _write(parsed) != body:
        raise Malformed("a manifest", "must be canonical JSON")
    return parsed


def _moment(value: Any) -> int:
    try:
        return read_time(value)
    except (TypeError, ValueError):
        raise Malformed("the moment of a manifest", "must be RFC 3339 with six digits", value) from None


def _ids(value: Any) -> tuple[str, str]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(isinstance(i, str) and _is_id(i) for i in value)
    ):
        raise Malformed("the ids of a manifest", "must be two UUIDs", value)
    if value[0] > value[1]:
        raise Malformed("the ids of a manifest", "must be in order", value)
    return value[0], value[1]


def _entries(value: Any, kind: str) -> tuple[ManifestEntry, ...]:
    if not isinstance(value, list) or not value:
        raise Malformed("the entries of a manifest", "must be one or more")
    names = {"digest", "from", "to"} | ({"groups"} if kind == ERASURE else set())
    entries = []
    after = -1
    for members in value:
        if not isinstance(members, dict) or set(members) != names:
            raise Malformed(
                "an entry of a manifest", f"must have exactly {', '.join(sorted(names))}", members
            )
        entry = ManifestEntry(
            _index(members["from"]), _index(members["to"]), _groups(members, kind), _digest(members["digest"])
        )
        if not after < entry.start <= entry.end < entry.start + MAX_RUN:
            raise Malformed(
                "an entry of a manifest",
                f"must lie after the one before it and have 1 to {MAX_RUN} indexes",
                (entry.start, entry.end),
            )
        after = entry.end
        entries.append(entry)
    return tuple(entries)


def _index(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise Malformed("an index of a manifest", f"must be a number from 0 to {MAX_INTEGER}", value)
    return value


def _groups(members: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    if kind == PRUNE:
        return ()
    named = members["groups"]
    if not isinstance(named, list) or not named or named != [g for g in LEAF_GROUPS if g in named]:
        raise Malformed(
            "the groups of a manifest", f"must be some of {', '.join(LEAF_GROUPS)}, in order", named
        )
    return tuple(named)


def _digest(value: Any) -> bytes:
    if not isinstance(value, str):
        raise Malformed("a digest of a manifest", "must be a text", value)
    return hex_of(value, "a digest of a manifest", HASH_SIZE)


def manifest_hash(body: bytes) -> bytes:
    """SHA-256 of the body: its name in the store, in the note and in the facts that cite it."""
    return sha256(body).digest()


def manifest_text(body: bytes) -> str:
    """The text of the note that is signed: four lines.

    Its second line is no number, so that no checkpoint can be mistaken for it, nor it for a checkpoint.

    Raises:
        Malformed: the body is none.
    """
    parsed = parse_manifest(body)
    encoded = b64encode(manifest_hash(body)).decode()
    return f"{_FIRST_LINE}\n{parsed.origin}\n{parsed.kind}\n{encoded}\n"


def open_manifest(
    body: bytes, note: bytes, log_keys: Sequence[Verifier], check: Check = ed25519.verify
) -> ManifestBody:
    """Read a manifest that a trusted log has signed. Whether an event cites it is for the caller to check.

    Args:
        body: exact bytes.
        note: the signed note.
        log_keys: what the caller trusts; only keys under the manifest's origin count.
        check: how a signature is checked.

    Raises:
        Malformed: body or note is in another form.
        Contradiction: the note is over another body.
        UnknownSigner: no trusted key of its origin has signed.
        BadSignature: a trusted key did not make its signature.
    """
    parsed = parse_manifest(body)
    opened = parse_note(note)
    if opened.text != manifest_text(body):
        raise Contradiction(
            f"the note of a manifest is not over its body, whose SHA-256 is {manifest_hash(body).hex()}"
        )
    own = [key for key in log_keys if key.name == parsed.origin]
    if not own:
        raise UnknownSigner(f"no key of {parsed.origin} is trusted, so its manifest cannot be checked")
    check_signatures(opened, own, check)
    return parsed


def cites(action: str, facts: Mapping[str, Any], kind: str, digest: bytes) -> bool:
    """Whether an event of this action with these facts cites a manifest.

    The fact is called ``manifest`` where the event stands in the manifest's own tree, and
    ``manifest_<incarnation>`` in a later one. The name says where to look and proves nothing: the digest
    covers the origin. That the event stands in a tree of the same hex digits is for the caller to check.

    Args:
        action: of the leaf.
        facts: of the leaf.
        kind: of the manifest.
        digest: its :func:`manifest_hash`.
    """
    if CITED_BY[kind] != action:
        return False
    return any(value == digest.hex() for name, value in facts.items() if _is_citing(name))
