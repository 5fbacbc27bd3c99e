"""Verifies a bundle: entries of one tree with all that proves them, in one file (docs/spec/bundle.md).

Nothing in a bundle is believed because it is there. The key, or the policy, comes from outside; it vouches
for the checkpoint, and the checkpoint for everything else.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import count, islice
from typing import Final

from affidavit.core.bundle_forms import (
    Header,
    index_of,
    numbered_hashes,
    parse_header,
    parse_range,
)
from affidavit.core.checkpoint import Checkpoint
from affidavit.core.disclosed import Groups
from affidavit.core.entry import may_explain, read_entry
from affidavit.core.explained import KnownManifest, Reasons, reasons_of, warn_of_manifests
from affidavit.core.folded import Folded
from affidavit.core.history import judge_history
from affidavit.core.judge import Bracket, Judge, Question
from affidavit.core.leaf import MAX_LEAF, Leaf, parse_leaf
from affidavit.core.manifest import open_manifest
from affidavit.core.members import CHUNK, Members, canonical_of, check_kind, check_names, lines_of, whole
from affidavit.core.merkle import HASH_SIZE, leaf_hash, verify_consistency, verify_inclusion
from affidavit.core.note import MAX_NOTE
from affidavit.core.retention import explains_others
from affidavit.core.strict import hex_of
from affidavit.core.trust import Demands, Trust, judge_checkpoint, judge_since, unanswered_since
from affidavit.core.unsound import Contradiction, Malformed, RootMismatch, Unsound
from affidavit.core.verdict import Verdict

__all__ = ["FILTER_WARNING", "MAX_GROUPS_LINE", "MAX_MANIFEST", "verify_bundle"]

MAX_GROUPS_LINE: Final = 16 * 1024 * 1024
MAX_MANIFEST: Final = 64 * 1024 * 1024
FILTER_WARNING: Final = (
    "each entry is proven by itself; that nothing was left out of the selection is not proven"
)

_MAX_HEADER = 4096
_MAX_RANGE = 65_536
_MAX_PROOF_LINE = 8192
_MAX_CITED_LINE = 1_000_000


def verify_bundle(members: Members, trust: Trust, demands: Demands = Demands()) -> Verdict:  # noqa: B008 - a tuple
    """Check everything that a bundle holds.

    Args:
        members: of the bundle.
        trust: whose signatures count.
        demands: what it must show.

    Returns:
        The verdict. Whatever is wrong with the bundle is a failure in it, never an error.
    """
    verification = _Verification(members, trust, demands)
    try:
        verification.run()
    except Unsound as error:
        verification.verdict.disprove(verification.entries)
        verification.verdict.refuse(verification.place, error, entries=0)
    return verification.verdict


class _Verification:
    """One bundle on its way through the checks; ``place`` is the member that is being read."""

    def __init__(self, members: Members, trust: Trust, demands: Demands) -> None:
        self.verdict = Verdict()
        self.place = "bundle"
        self.entries = 0
        self._members = members
        self._trust = trust
        self._demands = demands
        self._manifests: list[KnownManifest] = []
        self._cited: dict[int, Leaf] = {}
        self._roots: dict[int, bytes] = {}
        self._brackets: list[Bracket] = []

    def run(self) -> None:
        # Order matters: nothing is used before the checkpoint that it hangs on.
        check_names(self._members.names)
        self._header = header = parse_header(self._whole("bundle.json", _MAX_HEADER))
        check_kind(self._members.names, header.complete)
        self._checkpoint = self._open_checkpoint(header)
        self._hex = header.hex_digits
        if header.complete == "range":
            self.entries = header.end - header.start
        self._read_older()
        self._read_manifests()
        self._read_cited()
        judge = self._judge()
        if header.complete == "range":
            self._read_range(judge)
        else:
            self._read_selection(judge)
        self._conclude(judge)

    def _whole(self, name: str, limit: int) -> bytes:
        self.place = name
        return whole(self._members, name, limit)

    def _lines(self, name: str, limit: int) -> Iterator[list[bytes]]:
        self.place = name
        return lines_of(self._members.stream(name), name, limit)

    def _open_checkpoint(self, header: Header) -> Checkpoint:
        note = self._whole("checkpoint", MAX_NOTE)
        self._opened = opened = self._trust.read(note, self._demands.origin or header.origin)
        checkpoint = opened.checkpoint
        if (checkpoint.origin, checkpoint.size) != (header.origin, header.size):
            raise Contradiction(
                f"it is one of {checkpoint.origin:.200} of size {checkpoint.size}, bundle.json speaks of "
                f"{header.origin:.200} of size {header.size}"
            )
        judge_checkpoint(opened, self._trust, self._demands, self.verdict)
        self.verdict.start, self.verdict.end, self.verdict.complete = (
            header.start,
            header.end,
            header.complete,
        )
        return checkpoint

    def _read_older(self) -> None:
        """The kept checkpoints: each signed, and shown to be a beginning of the newest."""
        kept = sorted(
            int(name.removeprefix("checkpoints/"))
            for name in self._members.names
            if name[:12] == "checkpoints/"
        )
        proofs = self._flat("consistency.ndjson", _MAX_PROOF_LINE)
        for size in kept:
            name = f"checkpoints/{size}"
            opened = self._trust.read(self._whole(name, MAX_NOTE), self._checkpoint.origin)
            if not opened.checkpoint.size == size < self._checkpoint.size:
                raise Malformed(name, "must be smaller than the newest, and as its name says")
            self.place = "consistency.ndjson"
            if (line := next(proofs, None)) is None:
                raise Malformed(self.place, "must have a line for each older checkpoint, and lacks", size)
            number, proof = numbered_hashes(canonical_of(line, self.place), self.place)
            if number != size:
                raise Malformed(self.place, f"must have the line of {size} here", number)
            root = opened.checkpoint.root
            verify_consistency(size, self._checkpoint.size, root, self._checkpoint.root, proof)
            self._roots[size] = root
            if opened.cosigned:
                self._brackets.append(Bracket(size, max(seconds for _, seconds in opened.cosigned)))
        self.place = "consistency.ndjson"
        if next(proofs, None) is not None:
            raise Malformed(self.place, "must have no more lines than there are older checkpoints")

    def _read_manifests(self) -> None:
        for name in sorted(self._members.names):
            if name.startswith("manifests/") and name.endswith(".json"):
                self._manifests.append(self._manifest(name))

    def _manifest(self, name: str) -> KnownManifest:
        body = self._whole(name, MAX_MANIFEST)
        digest = name.removeprefix("manifests/").removesuffix(".json")
        if (computed := sha256(body).digest()) != hex_of(digest, name, HASH_SIZE):
            raise RootMismatch("its SHA-256 is not its name", bytes.fromhex(digest), computed)
        note = self._whole(f"manifests/{digest}.note", MAX_NOTE)
        opened = open_manifest(body, note, self._trust.log_keys, self._trust.check)
        if opened.origin != self._checkpoint.origin:
            raise Contradiction(f"this manifest is one of {opened.origin:.200}")
        return KnownManifest(digest, opened)

    def _read_cited(self) -> None:
        """Leaves outside the entries that explain something, each with its own proof."""
        header, checkpoint = self._header, self._checkpoint
        for line in self._flat("cited.ndjson", _MAX_CITED_LINE):
            value = canonical_of(line, self.place)
            if not isinstance(value, list) or len(value) != 3 or not isinstance(value[1], str):
                raise Malformed(self.place, "must have lines [index, leaf, proof]")
            index, proof = numbered_hashes([value[0], value[2]], self.place)
            if self._cited and index <= max(self._cited):
                raise Malformed(self.place, "must be in index order", index)
            entry = value[1].encode()
            verify_inclusion(index, checkpoint.size, leaf_hash(entry), proof, checkpoint.root)
            read_entry(entry)
            leaf = parse_leaf(entry)
            if leaf.organization != self._hex or not explains_others(leaf.action):
                raise Malformed(self.place, "must hold leaves of this log that explain something", index)
            if header.complete == "range" and header.start <= index < header.end:
                raise Malformed(self.place, "must hold no leaf that stands among the entries", index)
            self._cited[index] = leaf

    def _judge(self) -> Judge:
        since = self._demands.since
        if judge_since(since, self._checkpoint, self.verdict):
            since = None
        self._since = since
        self.place = "groups.ndjson"
        groups = Groups(self._lines("groups.ndjson", MAX_GROUPS_LINE), self.verdict)
        question = Question(self._reasons, self._brackets, self._manifests)
        return Judge(self.verdict, self._hex, groups, question)

    def _reasons(self) -> Reasons:
        """Read ahead for the leaves that explain what is missing before them."""
        leaves = dict(self._cited)
        for index, line in self._explaining():
            try:
                leaf = parse_leaf(line)
            except Malformed:
                continue  # named when its turn comes
            if explains_others(leaf.action):
                leaves[index] = leaf
        header = self._header
        known = header.end if header.complete == "range" and header.start == 0 else 0
        return reasons_of(leaves, self._manifests, self.verdict, whole_until=known)

    def _explaining(self) -> Iterator[tuple[int, bytes]]:
        """Index and bytes of entries that may be leaves of our own events."""
        indexes = self._indexes()
        stream = self._members.stream("entries.ndjson")
        rest = b""
        while chunk := stream.read(CHUNK):
            lines, _, rest = (rest + chunk).rpartition(b"\n")
            if len(rest) > MAX_LEAF:
                return  # named when its turn comes
            if not may_explain(lines):
                deque(islice(indexes, lines.count(b"\n") + 1), maxlen=0)
                continue
            for index, line in zip(indexes, lines.split(b"\n"), strict=False):
                if may_explain(line):
                    yield index, line

    def _indexes(self) -> Iterator[int]:
        """The index of each entry, in their order."""
        if self._header.complete == "range":
            return count(self._header.start)
        proofs = lines_of(self._members.stream("proofs.ndjson"), "proofs.ndjson", _MAX_PROOF_LINE)
        return (index_of(line) for lines in proofs for line in lines)

    def _read_range(self, judge: Judge) -> None:
        header = self._header
        left, right = parse_range(self._whole("range.json", _MAX_RANGE))
        watched = {size for size in (self._since.size if self._since else None,) if size is not None}
        folded = Folded(header.start, left, watched | set(self._roots))
        index = header.start
        for lines in self._lines("entries.ndjson", MAX_LEAF):
            if index + len(lines) > header.end:
                raise Malformed(self.place, f"must have {self.entries} lines, and has more")
            folded.add(judge.batch(index, lines))
            index += len(lines)
        if index != header.end:
            raise Malformed(self.place, f"must have {self.entries} lines", index - header.start)
        judge.finish()
        folded.finish(header.size, right, self._checkpoint.root)
        self._roots.update(folded.roots)

    def _read_selection(self, judge: Judge) -> None:
        self.verdict.warn(FILTER_WARNING)
        checkpoint = self._checkpoint
        proofs = self._flat("proofs.ndjson", _MAX_PROOF_LINE)
        before = -1
        for line in self._flat("entries.ndjson", MAX_LEAF):
            self.entries += 1
            if (numbered := next(proofs, None)) is None:
                raise Malformed("proofs.ndjson", "must have a line for each entry", self.entries)
            index, proof = numbered_hashes(canonical_of(numbered, "proofs.ndjson"), "proofs.ndjson")
            if index <= before or index in self._cited:
                raise Malformed("proofs.ndjson", "must be in index order, without what is cited", index)
            before = index
            hashed = leaf_hash(line)
            try:
                verify_inclusion(index, checkpoint.size, hashed, proof, checkpoint.root)
            except Unsound as error:
                self.verdict.refuse("entry", error, position=index)
                continue
            judge.leaf(index, line, hashed)
        if next(proofs, None) is not None:
            raise Malformed("proofs.ndjson", "must have no more lines than there are entries")
        judge.finish()

    def _flat(self, name: str, limit: int) -> Iterator[bytes]:
        return (line for lines in self._lines(name, limit) for line in lines)

    def _conclude(self, judge: Judge) -> None:
        """What only the whole shows: kept checkpoint, demanded range, manifests, what happened to the log."""
        self.place = "bundle"
        self._conclude_since()
        self._conclude_span()
        leaves: Mapping[int, Leaf] = self._cited | judge.explaining
        cited = reasons_of(leaves, self._manifests, Verdict(), whole_until=0).cited
        warn_of_manifests(leaves, self._manifests, cited, self.verdict)
        judge_history(leaves, self._opened, self.verdict)

    def _conclude_since(self) -> None:
        since = self._since
        if since is None:
            return
        root = self._roots.get(since.size)
        if root is None:
            unanswered_since(since, self.verdict)
        elif root != since.root:
            error = RootMismatch(f"rewritten: the tree at the size {since.size} you kept", since.root, root)
            self.verdict.refuse("checkpoint", error)

    def _conclude_span(self) -> None:
        if self._demands.span is None:
            return
        start, end = self._demands.span
        end = self._header.size if end is None else end
        header = self._header
        if header.complete != "range":
            self.verdict.fail(
                "range", "a filtered bundle shows no range", expected=f"{start}:{end}", computed="filtered"
            )
        elif header.start > start or header.end < end:
            found = f"{header.start}:{header.end}"
            self.verdict.fail(
                "range",
                "the bundle lacks a part of what you asked for",
                expected=f"{start}:{end}",
                computed=found,
            )
