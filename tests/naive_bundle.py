"""A second, naive implementation of the log and its bundles, for tests of the verifier.

Trees by the recursive definitions of RFC 6962 section 2.1, signatures by the package ``cryptography``, JSON
by ``json.dumps``. Nothing here comes from the product. Everything is derived from fixed seeds, so the same
call gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HEX = "00112233445566778899aabbccddeeff"
ORIGIN = f"log.example/{HEX}/1"
GROUPS = ("actor", "resources", "context", "changes", "details")
EPOCH = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
STEP = timedelta(minutes=10)
"""Between two events."""


def canonical(value: Any) -> str:
    """JSON without white space, keys sorted, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def base64(value: bytes) -> str:
    """Standard base64."""
    return b64encode(value).decode()


def moment(when: datetime) -> str:
    """RFC 3339 with six digits."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# The tree (RFC 6962 section 2.1)


def leaf_hash(entry: bytes) -> bytes:
    """Of one leaf."""
    return sha256(b"\x00" + entry).digest()


def split(count: int) -> int:
    """The greatest power of two below ``count``."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def root(hashes: Sequence[bytes]) -> bytes:
    """MTH."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    at = split(len(hashes))
    return sha256(b"\x01" + root(hashes[:at]) + root(hashes[at:])).digest()


def path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH: the inclusion proof."""
    if len(hashes) == 1:
        return []
    at = split(len(hashes))
    if index < at:
        return [*path(index, hashes[:at]), root(hashes[at:])]
    return [*path(index - at, hashes[at:]), root(hashes[:at])]


def proof(old: int, hashes: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF: the consistency proof."""
    if old == len(hashes):
        return [] if whole else [root(hashes)]
    at = split(len(hashes))
    if old <= at:
        return [*proof(old, hashes[:at], whole=whole), root(hashes[at:])]
    return [*proof(old - at, hashes[at:], whole=False), root(hashes[:at])]


def covering(start: int, end: int, hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the fewest perfect subtrees that cover a range, from left to right."""
    found = []
    while start < end:
        width = 1
        while start % (width * 2) == 0 and start + width * 2 <= end:
            width *= 2
        found.append(root(hashes[start : start + width]))
        start += width
    return found


# Notes, as c2sp.org/signed-note, tlog-checkpoint and tlog-cosignature have them


@dataclass(frozen=True)
class Key:
    """A signing key under a name; ``kind`` 1 signs notes, 4 cosigns them."""

    name: str
    kind: int = 1
    seed: str = "a"

    @property
    def private(self) -> Ed25519PrivateKey:
        """The private half, out of the seed."""
        return Ed25519PrivateKey.from_private_bytes(sha256(self.seed.encode()).digest())

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self.private.public_key().public_bytes_raw()

    @property
    def id(self) -> bytes:
        """Four bytes."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        """What an auditor is given."""
        return f"{self.name}+{self.id.hex()}+{base64(bytes([self.kind]) + self.public)}"

    def line(self, value: bytes) -> str:
        """A signature line."""
        return f"— {self.name} {base64(self.id + value)}\n"

    def sign(self, text: str) -> str:
        """The signature line of a log."""
        return self.line(self.private.sign(text.encode()))

    def cosign(self, text: str, when: datetime) -> str:
        """The signature line of a witness."""
        seconds = int(when.timestamp())
        message = f"cosignature/v1\ntime {seconds}\n{text}"
        return self.line(seconds.to_bytes(8, "big") + self.private.sign(message.encode()))


LOG = Key(ORIGIN)
WITNESS = Key("witness.example/w1", 4, "w1")
OTHER_WITNESS = Key("witness.example/w2", 4, "w2")
STRANGER = Key(ORIGIN, 1, "stranger")


def checkpoint_text(size: int, root_hash: bytes, origin: str = ORIGIN) -> str:
    """What is signed of a tree."""
    return f"{origin}\n{size}\n{base64(root_hash)}\n"


# Events and their leaves


@dataclass
class Event:
    """One event: clear fields, group values, and which groups are gone."""

    number: int
    action: str = "user.login"
    facts: dict[str, Any] | None = None
    recorded: datetime | None = None
    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    pruned: bool = False
    invalid: bool = False
    hex_digits: str = HEX
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def moment(self) -> datetime:
        """When it was recorded."""
        return self.recorded or EPOCH + STEP * self.number

    @property
    def id(self) -> str:
        """A UUIDv7 of that moment."""
        milliseconds = int(self.moment.timestamp() * 1000)
        tail = sha256(b"id%d" % self.number).digest()
        raw = milliseconds.to_bytes(6, "big") + b"\x70\x00" + bytes([0x80 | tail[0] & 0x3F]) + tail[1:8]
        return str(UUID(bytes=raw))

    def salt(self, group: str) -> str:
        """16 bytes, base64url."""
        raw = sha256(f"salt {self.number} {group}".encode()).digest()[:16]
        return urlsafe_b64encode(raw).decode().rstrip("=")

    def text(self, group: str) -> str:
        """The exact text of a group."""
        defaults: dict[str, Any] = {
            "actor": {"actor": {"id": f"user-{self.number % 7}", "name": "Ana Müller", "type": "user"}},
            "resources": {"resources": [{"id": str(self.number), "type": "invoice"}]},
            "context": {"ip": f"192.0.2.{self.number % 250}"},
            "changes": {"changes": {"plan": {"new": "pro", "old": "free"}}},
            "details": {"metadata": {"amount": self.number, "note": "ok"}},
        }
        return self.texts.get(group) or canonical(self.values.get(group, defaults[group]))

    def disclosure(self, group: str) -> str:
        """What opens the digest."""
        return f'["{self.salt(group)}","{group}",{self.text(group)}]'

    def digest(self, group: str) -> str:
        """Hexadecimal."""
        return sha256(self.disclosure(group).encode()).hexdigest()

    @property
    def entry(self) -> bytes:
        """The leaf."""
        if self.invalid:
            digest = sha256(b"invalid").hexdigest()
            return canonical(
                {"v": 1, "organization": self.hex_digits, "id": self.id, "invalid": digest}
            ).encode()
        members: dict[str, Any] = {
            "action": self.action,
            "groups": {group: self.digest(group) for group in GROUPS},
            "id": self.id,
            "occurred_at": moment(self.moment),
            "organization": self.hex_digits,
            "outcome": "success",
            "recorded_at": moment(self.moment),
            "severity": "info",
            "source": "web",
            "v": 1,
            **self.extra,
        }
        if self.facts is not None:
            members["facts"] = self.facts
        return canonical(members).encode()


def manifest(
    kind: str, entries: list[dict[str, Any]], ids: list[str] | None = None, origin: str = ORIGIN
) -> bytes:
    """The body of a manifest."""
    members: dict[str, Any] = {
        "entries": entries, "kind": kind, "made_at": moment(EPOCH), "origin": origin, "v": 1,
    }  # fmt: skip
    if ids is not None:
        members["ids"] = ids
    return canonical(members).encode()


def manifest_note(body: bytes, kind: str, key: Key = LOG, origin: str = ORIGIN) -> bytes:
    """The note over it."""
    text = f"affidavit-manifest/v1\n{origin}\n{kind}\n{base64(sha256(body).digest())}\n"
    return f"{text}\n{key.sign(text)}".encode()


def erasure_of(events: Sequence[Event], groups: Mapping[int, Sequence[str]]) -> bytes:
    """A manifest that names these groups of these events, one entry each."""
    entries = []
    for index, named in sorted(groups.items()):
        ordered = [group for group in GROUPS if group in named]
        joined = b"".join(bytes.fromhex(events[index].digest(group)) for group in ordered)
        entries.append({"digest": sha256(joined).hexdigest(), "from": index, "groups": ordered, "to": index})
    return manifest("erasure", entries)


def prune_of(events: Sequence[Event], start: int, end: int) -> bytes:
    """A manifest of a pruned run, ``end`` inclusive."""
    joined = b"".join(leaf_hash(event.entry) for event in events[start : end + 1])
    entries = [{"digest": sha256(joined).hexdigest(), "from": start, "to": end}]
    return manifest("prune", entries, sorted([events[start].id, events[end].id]))


# Bundles

EXPLAINING = ("audit.erasure.", "audit.hold.", "audit.retention.", "log.")


@dataclass
class Log:
    """A tree of events with manifests and kept checkpoints."""

    events: list[Event]
    manifests: list[tuple[bytes, str]] = field(default_factory=list)
    kept: dict[int, datetime | None] = field(default_factory=dict)
    """Sizes of kept checkpoints; with a moment they are cosigned."""
    cosigned: datetime | None = None
    keys: tuple[Key, ...] = (LOG,)
    origin: str = ORIGIN

    @property
    def hashes(self) -> list[bytes]:
        """Leaf hashes."""
        return [leaf_hash(event.entry) for event in self.events]

    def checkpoint(self, size: int | None = None, when: datetime | None = None) -> bytes:
        """A signed checkpoint."""
        hashes = self.hashes[: len(self.events) if size is None else size]
        text = checkpoint_text(len(hashes), root(hashes), self.origin)
        lines = "".join(key.sign(text) for key in self.keys)
        if when is not None:
            lines += WITNESS.cosign(text, when)
        return f"{text}\n{lines}".encode()

    def groups_line(self, index: int) -> str | None:
        """A line of ``groups.ndjson``."""
        event = self.events[index]
        if event.invalid or event.pruned:
            return None
        shown = [event.disclosure(group) for group in GROUPS if group not in event.gone]
        written = [json.dumps(each, ensure_ascii=False) if min(each) < " " else each for each in shown]
        return f"[{index},{','.join(written)}]" if written else None

    def bundle(
        self, start: int = 0, end: int | None = None, only: Sequence[int] | None = None
    ) -> dict[str, bytes]:
        """The members of a bundle: a range, or the entries ``only``."""
        hashes, size = self.hashes, len(self.events)
        end = size if end is None else end
        indexes = list(range(start, end)) if only is None else list(only)
        members: dict[str, bytes] = {"README": b"Read the manual.\n"}
        header = {
            "complete": "range",
            "end": end,
            "origin": self.origin,
            "size": size,
            "start": start,
            "v": 1,
        }
        if only is not None:
            header |= {"complete": "filtered", "start": 0, "end": size}
        members["bundle.json"] = canonical(header | {"v": 1}).encode()
        lines = [
            f'"{hashes[i].hex()}"' if self.events[i].pruned else self.events[i].entry.decode()
            for i in indexes
        ]
        members["entries.ndjson"] = ndjson(lines)
        members["groups.ndjson"] = ndjson(
            [line for i in indexes if (line := self.groups_line(i)) is not None]
        )
        if only is None:
            left, right = covering(0, start, hashes), covering(end, size, hashes)
            members["range.json"] = canonical(
                {"left": [base64(each) for each in left], "right": [base64(each) for each in right]}
            ).encode()
        else:
            members["proofs.ndjson"] = ndjson(
                [canonical([i, [*map(base64, path(i, hashes))]]) for i in indexes]
            )
        cited = [
            canonical([i, event.entry.decode(), [*map(base64, path(i, hashes))]])
            for i, event in enumerate(self.events)
            if event.action.startswith(EXPLAINING) and i not in indexes
        ]
        members["cited.ndjson"] = ndjson(cited)
        members["checkpoint"] = self.checkpoint(when=self.cosigned)
        for older, when in self.kept.items():
            members[f"checkpoints/{older}"] = self.checkpoint(older, when)
        members["consistency.ndjson"] = ndjson(
            [canonical([older, [*map(base64, proof(older, hashes))]]) for older in sorted(self.kept)]
        )
        for body, kind in self.manifests:
            name = f"manifests/{sha256(body).hexdigest()}"
            members[f"{name}.json"] = body
            members[f"{name}.note"] = manifest_note(body, kind)
        return members

    def receipt(self, index: int) -> dict[str, Any]:
        """What a writer fetches for its event."""
        hashes, event = self.hashes, self.events[index]
        lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *map(base64, path(index, hashes))]
        proof_text = "\n".join(lines) + "\n\n" + self.checkpoint(when=self.cosigned).decode()
        shown = [event.disclosure(group) for group in GROUPS if group not in event.gone]
        return {"disclosures": shown, "leaf": event.entry.decode(), "proof": proof_text, "v": 1}


def ndjson(lines: Sequence[str]) -> bytes:
    """Each line with its newline."""
    return "".join(f"{line}\n" for line in lines).encode()


class Mapped:
    """The members of a bundle in memory."""

    names: Sequence[str]

    def __init__(self, members: Mapping[str, bytes]) -> None:
        self.names = list(members)
        self._members = members

    def stream(self, name: str) -> io.BytesIO:
        """The bytes of one."""
        return io.BytesIO(self._members[name])


def packed(members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The zip."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return written.getvalue()


def history() -> Log:
    """40 events and whatever can happen to them: erased, expired, pruned, invalid, and the reasons."""
    events = [Event(number, action="user.login" if number % 2 else "invoice.pay") for number in range(40)]
    events[3].invalid = True
    events[12] = Event(12, "audit.retention.changed", {"policy": "user.*=30"})
    later = EPOCH + timedelta(days=45)
    events[6].gone = {"actor"}
    events[8].gone = {"actor", "details"}
    erased = erasure_of(events, {6: ["actor"], 8: ["actor", "details"]})
    pruned = prune_of(events, 0, 1)
    events[0].pruned = events[1].pruned = True
    for number in range(30, 40):
        events[number].recorded = later + STEP * number
    erasure = {"manifest": sha256(erased).hexdigest()}
    pruning = {"manifest": sha256(pruned).hexdigest()}
    events[30] = Event(30, "audit.erasure.requested", erasure, later)
    events[31] = Event(31, "audit.retention.expired", {"policy": "user.*=30"}, later + STEP)
    events[32] = Event(32, "audit.retention.pruned", pruning, later + STEP * 2)
    events[33] = Event(33, "audit.erasure.completed", erasure, later + STEP * 3)
    for number in (5, 7, 9):
        events[number].gone = set(GROUPS)
    kept = {10: EPOCH + STEP * 10, 25: None}
    manifests = [(erased, "erasure"), (pruned, "prune")]
    return Log(events, manifests, kept, later + STEP * 41)
