"""Verifies receipts: a leaf with its proof and what discloses its groups (docs/spec/receipt.md).

One receipt is what a writer keeps of its own event. NDJSON with proofs is a receipt a line, and a last line
that counts them. Each line is proven by itself; that none is missing is not.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from affidavit.core.bundle import FILTER_WARNING
from affidavit.core.checkpoint import Opened
from affidavit.core.entry import Opening, read_disclosure_text
from affidavit.core.explained import Reasons
from affidavit.core.history import judge_history
from affidavit.core.judge import Judge, Question
from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.members import canonical_of
from affidavit.core.merkle import leaf_hash
from affidavit.core.proof import TlogProof, parse_proof, verify_proof
from affidavit.core.trust import Demands, Trust, judge_checkpoint, judge_since, unanswered_since
from affidavit.core.unsound import Contradiction, Malformed, Unsound
from affidavit.core.verdict import NotChecked, Verdict

__all__ = ["MAX_LINE", "verify_receipts"]

MAX_LINE: Final = 32 * 1024 * 1024
"""Bytes of a receipt at most."""

_MEMBERS = {"disclosures", "leaf", "proof", "v"}
_COUNTS = {"events", "redacted", "unpublished"}


def verify_receipts(lines: Iterator[bytes], trust: Trust, demands: Demands) -> Verdict:
    """Check a receipt, or NDJSON of many with their trailer.

    Args:
        lines: of the file, without their newlines.
        trust: whose signatures count.
        demands: what must be shown.

    Raises:
        NotChecked: the first line is no receipt: there is nothing here that could prove anything.
    """
    verification = _Verification(trust, demands)
    try:
        verification.run(lines)
    except Unsound as error:
        verification.verdict.disprove(verification.events)
        verification.verdict.refuse(f"line {verification.number}", error, entries=0)
    return verification.verdict


class _Shown:
    """Hands the judge what the line at hand discloses."""

    def __init__(self) -> None:
        self.openings: Sequence[Opening] | Malformed = ()

    def take(self, index: int) -> Sequence[Opening] | Malformed:  # noqa: ARG002 - one line, one entry
        return self.openings

    def finish(self) -> None:
        """Nothing is left over."""


class _Seen:
    """Which indexes have come by, an eighth of a byte each."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def add(self, index: int) -> bool:
        """Whether it is new."""
        page = self._pages.setdefault(index >> 15, bytearray(4096))
        at, bit = index >> 3 & 4095, 1 << (index & 7)
        new = not page[at] & bit
        page[at] |= bit
        return new


class _Order:
    """Whether lines stand in some order that an export has: by index, or by id either way."""

    def __init__(self) -> None:
        self._last: tuple[int, bytes] | None = None
        self._kept = [True, True, True]

    def add(self, index: int, event: bytes) -> bool:
        """Whether there is still one that all lines keep."""
        if self._last is not None:
            before, name = self._last
            for at, holds in enumerate((index > before, event > name, event < name)):
                self._kept[at] &= holds
        self._last = index, event
        return any(self._kept)


class _Verification:
    def __init__(self, trust: Trust, demands: Demands) -> None:
        self.verdict = Verdict()
        self.verdict.complete = "filtered"
        self.number = 0
        self.events = 0
        self._trust = trust
        self._demands = demands
        self._shown = _Shown()
        self._head: tuple[Opened, Judge] | None = None
        self._missing = 0
        self._seen = _Seen()
        self._order = _Order()

    def run(self, lines: Iterator[bytes]) -> None:
        trailer: dict[str, Any] | None = None
        for line in lines:
            self.number += 1
            if trailer is not None:
                raise Malformed("the trailer", "must be the last line")
            if line.startswith(b'{"trailer":') and self.number > 1:
                trailer = _trailer(line)
            else:
                self._line(line)
        self._conclude(trailer)

    def _line(self, line: bytes) -> None:
        receipt = self._receipt(line)
        proof = parse_proof(receipt["proof"].encode())
        entry = receipt["leaf"].encode()
        opened, judge = self._open(proof)
        self.events += 1
        if not self._seen.add(proof.index):
            self.verdict.fail("entry", "it stands in the file twice", position=proof.index)
            return
        try:
            verify_proof(proof, entry, opened)
        except Unsound as error:
            self.verdict.refuse("entry", error, position=proof.index)
            return
        self._disclose(receipt["disclosures"])
        judge.leaf(proof.index, entry, leaf_hash(entry))
        self._place(proof.index, entry)

    def _receipt(self, line: bytes) -> dict[str, Any]:
        try:
            value = canonical_of(line, "a receipt")
        except Malformed:
            if self.number > 1 or b'"proof":' in line:
                raise
            raise NotChecked("the file is neither a bundle nor a receipt nor NDJSON with proofs") from None
        if not isinstance(value, dict) or set(value) != _MEMBERS:
            if self.number == 1 and not (isinstance(value, dict) and "proof" in value):
                raise NotChecked("the file carries no proofs: export a bundle, or NDJSON with proofs")
            raise Malformed("a receipt", "must have exactly the members of version 1")
        texts = value["disclosures"]
        if type(value["v"]) is not int or value["v"] != 1:
            raise Malformed("a receipt", "must be one of version 1", value["v"])
        if not isinstance(texts, list) or not all(
            isinstance(each, str) for each in (value["leaf"], value["proof"], *texts)
        ):
            raise Malformed("a receipt", "must have texts as leaf, proof and disclosures")
        return value

    def _open(self, proof: TlogProof) -> tuple[Opened, Judge]:
        """The checkpoint of the proof, which is the same for every line."""
        if self._head is not None:
            if proof.checkpoint != self._head[0].note.encode():
                raise Contradiction("every line must have its proof under the same checkpoint")
            return self._head
        opened = self._trust.read(proof.checkpoint, self._demands.origin)
        if opened.note.encode() != proof.checkpoint:
            raise Malformed("the checkpoint of a proof", "must be written in the one way")
        judge_checkpoint(opened, self._trust, self._demands, self.verdict)
        parts = opened.checkpoint.origin.split("/")
        hex_digits = parts[-2] if len(parts) > 2 else ""
        judge = Judge(self.verdict, hex_digits, self._shown, Question(self._nothing, (), ()))
        self.verdict.start = self.verdict.end = proof.index
        self._head = opened, judge
        return self._head

    def _disclose(self, texts: list[str]) -> None:
        openings: list[Opening] = []
        salts: set[str] = set()
        self._shown.openings = openings
        for text in texts:
            try:
                place, salt, digest = read_disclosure_text(text)
            except Malformed as error:
                self._shown.openings = error
                return
            if salt in salts or (openings and place <= openings[-1][0]):
                self._shown.openings = Malformed("a receipt", "must have each group and salt once, in order")
                return
            salts.add(salt)
            openings.append((place, digest))
        self._missing += len(openings) < len(LEAF_GROUPS)

    def _nothing(self) -> Reasons:
        self.verdict.warn("a receipt carries no manifests: a bundle shows whether a missing value was erased")
        return Reasons(frozenset(), ())

    def _place(self, index: int, entry: bytes) -> None:
        at = entry.find(b'"id":"') + 6
        if not self._order.add(index, entry[at : at + 36]):
            raise Malformed("the file", "must have its lines in one order; this one stands elsewhere", index)
        self.verdict.start = min(self.verdict.start, index)
        self.verdict.end = max(self.verdict.end, index + 1)

    def _conclude(self, trailer: dict[str, Any] | None) -> None:
        verdict = self.verdict
        if trailer is not None:
            verdict.warn(FILTER_WARNING)
            for name, found in (("events", self.events), ("redacted", self._missing)):
                if trailer[name] != found:
                    counted, there = str(trailer[name]), str(found)
                    verdict.fail(
                        "trailer",
                        f"its count of {name} is not that of the lines",
                        expected=counted,
                        computed=there,
                    )
            if trailer.get("unpublished"):
                verdict.warn(f"{trailer['unpublished']} events had no proof yet and are not here")
        elif self.events != 1:
            raise Malformed("the file", "must end with its trailer: it was cut off")
        if self._head is None:
            raise Malformed("the file", "must hold a receipt")
        opened, judge = self._head
        judge_history(judge.explaining, opened, verdict)
        since = self._demands.since
        if not judge_since(since, opened.checkpoint, verdict) and since is not None:
            unanswered_since(since, verdict)
        if self._demands.span is not None:
            verdict.fail("range", "receipts prove single entries, not that a range is whole")


def _trailer(line: bytes) -> dict[str, Any]:
    value = canonical_of(line, "the trailer")
    counts = value["trailer"] if isinstance(value, dict) and set(value) == {"trailer"} else None
    if not isinstance(counts, dict) or not {"events", "redacted"} <= set(counts) <= _COUNTS:
        raise Malformed("the trailer", "must have its counts and nothing else")
    if not all(type(count) is int for count in counts.values()):
        raise Malformed("the trailer", "must have numbers", counts)
    return counts
