"""Bundles: entries of one tree with everything that proves them, in one zip (docs/spec/bundle.md).

*Range* holds every leaf from one index to another and proves that none is missing. *Filtered* holds the
leaves of the events that a filter matches, each with its own proof; that the filter missed nothing it
cannot prove.

A bundle is as of the newest signed checkpoint at its start. The rows are read twice, once for the leaves and
once for the groups, in short transactions, so that neither memory nor a copy on the disk holds them. What
was erased meanwhile needs the leaf that explains it: then the bundle ends with a newer checkpoint.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from affidavit.core.checkpoint import parse_checkpoint
from affidavit.core.filter import Filter
from affidavit.core.leaf import parse_leaf
from affidavit.core.manifest import ERASURE, parse_manifest
from affidavit.core.note import parse_note
from affidavit.core.query import parse_params
from affidavit.core.row import encode_group
from affidavit.errors import InvalidQuery, NotPublished
from affidavit.export.leaves import Filtered, Parts, Ranged, in_base64, walk
from affidavit.log.entries import Entries, Entry, Manifests
from affidavit.log.reader import Reader
from affidavit.log.receipts import Receipts, Sweep
from affidavit.storage.log import LogStore, Manifest

__all__ = ["BUNDLE_VERSION", "Bundle", "Bundles"]

BUNDLE_VERSION: Final = 1
_CITED: Final = ("audit.erasure.*", "audit.hold.*", "audit.retention.*", "log.*")
"""Actions of the events that explain what is missing elsewhere."""
_STORED: Final = ("entries.ndjson", "proofs.ndjson")
MOST_CHECKPOINTS: Final = 1_000
"""Older checkpoints of one bundle; where witnesses cosign every second there are far more."""
_YOUNG = 60_000_000
_PATIENCE = 5.0
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of every member: what a bundle says of time stands in its checkpoint."""

_README = """\
This is evidence from the audit log {origin}: {what}, under a checkpoint of {size} entries.

To check it:       affidavit verify THIS_FILE --key KEY
KEY is the line that the log's operator gives you (affidavit log key show), by a way that you trust.
No key in this file is ever used: whoever could forge the file could forge such a key.
With the file of an earlier checkpoint, --since FILE shows that nothing before it was rewritten.
Needed are Python 3.11 and the program, or its single file affidavit-verify.py; no network, no server.
The answer counts what was verified, redacted, expired and pruned, and names whatever does not hold.
{limit}
"""
_LIMITS = {
    "range": "Every entry of the range is here: one that was left out would change the root that was signed.",
    "filtered": "Each entry is proven. That the filter left out none that matches is not proven here.",
}


class Bundles:
    """Makes bundles. Safe to use from several threads.

    Args:
        log: the trees.
        manifests: of what was erased or pruned.
        entries: what the leaves stand for.
        reader: finds the events of a filter.
        clock: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        log: LogStore,
        manifests: Manifests,
        entries: Entries,
        reader: Reader,
        *,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._parts = Parts(log, manifests, entries, Receipts(log, entries), reader, clock)

    def open(
        self,
        organization: str,
        asked: Filter,
        *,
        span: tuple[int, int | None] | None = None,
        incarnation: int | None = None,
    ) -> Bundle:
        """A bundle as of now; nothing of it is read before its chunks are.

        Args:
            organization: whose tree.
            asked: the filter; the empty one asks for a range.
            span: first index and end (exclusive; ``None`` for the size), instead of the whole tree.
            incarnation: of the tree; ``None`` for the newest.

        Raises:
            InvalidQuery: filter and range together, or a range that is not within the tree.
            NotFound: there is no such incarnation.
            NotPublished: there is no signed checkpoint yet.
        """
        if span is not None and asked != Filter():
            raise InvalidQuery.of("range", "alone", "cannot be combined with filters")
        sweep = self._parts.receipts.newest(organization, incarnation)
        if asked != Filter():
            return Bundle(self._parts, sweep, Filtered(self._parts, sweep.tree, asked, sweep.size))
        start, end = span or (0, None)
        end = sweep.size if end is None else end
        if not 0 <= start < end <= sweep.size:
            raise InvalidQuery.of(
                "range", "range", f"must lie within the {sweep.size} published entries", f"{start}:{end}"
            )
        return Bundle(self._parts, sweep, Ranged(self._parts, sweep, start, end))


class Bundle:
    """One export of one tree.

    Attributes:
        counts: entries and what became of them; complete when the last chunk is out.
    """

    def __init__(self, parts: Parts, sweep: Sweep, source: Ranged | Filtered) -> None:
        self._parts = parts
        self._sweep = sweep
        self._source = source
        self._sink = _Sink()
        self._begun = parts.clock()
        self._zip = ZipFile(self._sink, "w", ZIP_DEFLATED)  # type: ignore[call-overload]
        self.counts = {"entries": 0, "redacted": 0, "pruned": 0, "invalid": 0, "erased_meanwhile": 0}

    @property
    def described(self) -> dict[str, Any]:
        """What ``bundle.json`` says."""
        kind, start, end = self._source.kind, *self._source.span(self._sweep.size)
        return {
            "complete": kind,
            "end": end,
            "origin": self._sweep.tree.origin,
            "size": self._sweep.size,
            "start": start,
            "v": BUNDLE_VERSION,
        }

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the zip, once.

        Raises:
            LogMismatch: an entry is not that of its row, or hashes do not lead to what was signed; what came
                out so far is no bundle.
        """
        try:
            yield from self._members()
        finally:
            self._source.close()

    def _members(self) -> Iterator[bytes]:
        yield from self._member("entries.ndjson", self._entries())
        yield from self._member("groups.ndjson", self._groups())
        cited = self._settle()
        yield from self._member(*self._source.proofs(self._sweep))
        yield from self._member("cited.ndjson", self._cited())
        yield from self._checkpoints()
        yield from self._manifests(cited)
        yield from self._member("checkpoint", [self._sweep.checkpoint.note])
        yield from self._member("bundle.json", [encode_group(self.described)])
        yield from self._member("README", [self._readme()])
        self._zip.close()
        yield self._sink.take()

    def _entries(self) -> Iterator[bytes]:
        for piece in self._source.read(first=True):
            lines = []
            for entry in piece:
                lines.append(b'"%b"' % entry.hash.hex().encode() if entry.leaf is None else entry.leaf)
                self.counts["invalid"] += entry.invalid
                self.counts["pruned"] += entry.leaf is None
            self.counts["entries"] += len(piece)
            lines.append(b"")
            yield b"\n".join(lines)

    def _groups(self) -> Iterator[bytes]:
        gone = 0
        for piece in self._source.read(first=False):
            lines = []
            for entry in piece:
                gone += entry.leaf is None
                self.counts["redacted"] += entry.redacted
                if entry.disclosures:
                    shown = b",".join(map(_in_a_line, entry.disclosures))
                    lines.append(b"[%d,%b]\n" % (entry.index, shown))
            yield b"".join(lines)
        if gone != self.counts["pruned"]:
            raise NotPublished("Events were pruned while the export was being written; run it again.")

    def _settle(self) -> set[bytes]:
        """Take the newest checkpoint where an erasure came meanwhile; the manifests that its leaves cite."""
        until = time.monotonic() + _PATIENCE
        while True:
            newest = self._parts.log.newest(self._sweep.tree.number) or self._sweep.checkpoint
            cited, last = set(), -1
            for leaves in walk(self._parts, self._sweep.tree, _EXPLAINING, newest.size):
                for entry in self._parts.entries.of(self._sweep.tree, leaves):
                    last = entry.index
                    cited |= _manifests_of(entry)
            if not self._waits_for(cited) or time.monotonic() >= until:
                break
            time.sleep(0.2)
        made = [parse_manifest(each.body) for each in self._own_manifests() if each.made_at >= self._begun]
        self.counts["erased_meanwhile"] = self._source.covered(
            [each for each in made if each.kind == ERASURE]
        )
        if last >= self._sweep.size:
            self._sweep = Sweep(self._parts.log, self._sweep.tree, newest)
        return cited

    def _waits_for(self, cited: set[bytes]) -> bool:
        """Whether a manifest was made just now whose leaf is not published yet."""
        since = self._parts.clock() - _YOUNG
        return any(each.made_at > since and each.hash not in cited for each in self._own_manifests())

    def _own_manifests(self) -> list[Manifest]:
        tree = self._sweep.tree
        kept = self._parts.manifests.manifests(tree.organization)
        return [each for each in kept if parse_manifest(each.body).origin == tree.origin]

    def _cited(self) -> Iterator[bytes]:
        tree, sweep = self._sweep.tree, self._sweep
        for leaves in walk(self._parts, tree, _EXPLAINING, sweep.size):
            outside = [leaf for leaf in leaves if not self._source.holds(leaf.index)]
            for entry in self._parts.entries.of(tree, outside):
                if entry.leaf is not None:
                    proof = sweep.proof(entry.index, entry.hash)
                    yield encode_group([entry.index, entry.leaf.decode(), in_base64(proof.hashes)]) + b"\n"

    def _checkpoints(self) -> Iterator[bytes]:
        lines = []
        for each in self._parts.log.kept(self._sweep.tree.number, self._sweep.size, MOST_CHECKPOINTS):
            root = parse_checkpoint(parse_note(each.note).text).root
            proof = self._sweep.consistency(each.size, root)
            lines.append(encode_group([each.size, in_base64(proof)]) + b"\n")
            yield from self._member(f"checkpoints/{each.size}", [each.note])
        yield from self._member("consistency.ndjson", lines)

    def _manifests(self, cited: set[bytes]) -> Iterator[bytes]:
        for each in self._own_manifests():
            if each.hash in cited:
                yield from self._member(f"manifests/{each.hash.hex()}.json", [each.body])
                yield from self._member(f"manifests/{each.hash.hex()}.note", [each.note])

    def _readme(self) -> bytes:
        kind, start, end = self._source.kind, *self._source.span(self._sweep.size)
        what = f"entries {start} to {end - 1}" if kind == "range" else "the entries that a filter matched"
        origin, size = self._sweep.tree.origin, self._sweep.size
        return _README.format(origin=origin, what=what, size=size, limit=_LIMITS[kind]).encode()

    def _member(self, name: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Write one member; what the zip has ready comes out piece by piece."""
        described = ZipInfo(name, _MOMENT)
        # Digests do not get smaller, and what is stored is read several times as fast.
        described.compress_type = ZIP_STORED if name in _STORED else ZIP_DEFLATED
        described.external_attr = 0o600 << 16
        with self._zip.open(described, "w", force_zip64=True) as member:
            for piece in pieces:
                member.write(piece)
                if ready := self._sink.take():
                    yield ready
        yield self._sink.take()


_EXPLAINING: Final = parse_params([("action", action) for action in _CITED])


def _manifests_of(entry: Entry) -> set[bytes]:
    """The hashes of manifests that a leaf cites in its facts."""
    if entry.leaf is None or entry.invalid:
        return set()
    facts = parse_leaf(entry.leaf).facts
    cited = [str(value) for name, value in facts.items() if name.partition("_")[0] == "manifest"]
    return {bytes.fromhex(text) for text in cited if _is_hash(text)}


_is_hash: Final = re.compile(r"[0-9a-f]{64}\Z").match


def _in_a_line(disclosed: bytes) -> bytes:
    """A disclosure as it stands; one with a line feed or the like in it as a JSON string."""
    return disclosed if min(disclosed) >= 0x20 else encode_group(disclosed.decode())


class _Sink:
    """Holds what the zip wrote until it is taken; it cannot be sought, so the zip is written in one go."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
