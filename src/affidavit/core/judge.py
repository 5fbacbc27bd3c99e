"""Judges entries one by one: what stands in the leaf, what discloses its groups, what explains the rest.

That a leaf stands in the signed tree is shown elsewhere, by whoever holds its proof.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from affidavit.core.bundle_forms import pruned_hash
from affidavit.core.disclosed import Groups, Openings
from affidavit.core.entry import (
    DIGEST_AT,
    DIGESTS_FRAME,
    HEX_DIGITS,
    Opening,
    all_match,
    digests_of,
    leaf_pattern,
    read_entry,
)
from affidavit.core.explained import KnownManifest, Reasons, Runs
from affidavit.core.forms import MAX_MICROSECONDS, format_time
from affidavit.core.leaf import LEAF_GROUPS, Leaf, parse_leaf
from affidavit.core.retention import EXPLAINING
from affidavit.core.unsound import Malformed
from affidavit.core.verdict import LATE_SECONDS, Verdict

__all__ = ["Bracket", "Judge", "Question"]

_ALL: Final = len(LEAF_GROUPS)
_EXPLAINING: Final = tuple(prefix.encode() for prefix in EXPLAINING)
_NO_VALUES: Final[tuple[Opening, ...]] = ()


class Bracket(NamedTuple):
    """A head of the tree, and when a trusted witness saw it: whatever has a greater index came later."""

    size: int
    seconds: int


class Question(NamedTuple):
    """What the judge cannot know by itself.

    Attributes:
        reasons: gives what may be missing; asked for at the first value that is.
        brackets: heads that witnesses saw, by size.
        manifests: with a good signature.
    """

    reasons: Callable[[], Reasons]
    brackets: Sequence[Bracket]
    manifests: Sequence[KnownManifest]


class Judge:
    """Counts entries into a verdict, in index order.

    Args:
        verdict: is counted into.
        hex_digits: of the tree; every leaf must name them.
        groups: what discloses the values; ``None`` where nobody claims to show any, and none is missed.
        question: what else must be known.

    Attributes:
        explaining: leaves that came by and may explain what is missing, by index.
    """

    def __init__(
        self, verdict: Verdict, hex_digits: str, groups: Openings | None, question: Question
    ) -> None:
        self.explaining: dict[int, Leaf] = {}
        self._verdict = verdict
        self._organization = hex_digits.encode()
        self._groups = groups
        self._reasons: Reasons | None = None
        self._question = question
        self._runs = Runs(question.manifests, verdict)
        self._brackets = sorted(question.brackets, reverse=True)
        self._latest = b""
        self._cutoffs: dict[bytes, bytes] = {}

    def batch(self, start: int, lines: Sequence[bytes]) -> list[bytes]:
        """Judge consecutive entries, each a leaf or the hash of a pruned one.

        What is ordinary is settled within the loop, at two microseconds a leaf; whatever is not, one by one.

        Args:
            start: index of the first, which follows that of the last one judged.
            lines: of ``entries.ndjson``.

        Returns:
            The leaf hashes.

        Raises:
            Malformed: a line is neither, or ``groups.ndjson`` cannot be read on.
        """
        hashes = [sha256(b"\x00" + line).digest() for line in lines]
        if self._is_special(start + len(lines)):
            for at, line in enumerate(lines):
                hashes[at] = self._entry(start + at, line, hashes[at])
            return hashes
        verified = late = expired = 0
        own, latest, groups, cutoffs = self._organization, self._latest, self._groups, self._cutoffs
        shown = groups if isinstance(groups, Groups) else None
        for index, match in enumerate(map(leaf_pattern, lines), start):
            if match is not None:
                action, digests, _, organization, recorded_at = match.groups()
                if organization != own or action.startswith(_EXPLAINING):
                    pass
                elif shown is not None and shown.index == index:
                    if all_match(shown.line, index, digests):
                        shown.advance()
                        verified += 1
                        late += recorded_at < latest
                        continue
                elif digests.translate(None, HEX_DIGITS) != DIGESTS_FRAME:
                    pass
                elif groups is None:
                    verified += 1
                    late += recorded_at < latest
                    continue
                elif action in cutoffs and recorded_at <= cutoffs[action]:
                    expired += 1
                    late += recorded_at < latest
                    continue
            at = index - start
            hashes[at] = self._entry(index, lines[at], hashes[at])
        self._verdict.verified += verified
        self._verdict.expired += expired
        self._verdict.sealed_late += late
        return hashes

    def _is_special(self, end: int) -> bool:
        """Whether a manifest or a bracket says something about entries before ``end``."""
        following = self._runs.next
        return (following is not None and following < end) or (
            bool(self._brackets) and self._brackets[-1].size < end
        )

    def _entry(self, index: int, line: bytes, leaf_hash: bytes) -> bytes:
        """Judge an entry closely; the hash is another where only that is left of it."""
        if line[:1] == b'"':
            leaf_hash = pruned_hash(line)
            self.pruned(index, leaf_hash)
        else:
            self.leaf(index, line, leaf_hash)
        return leaf_hash

    def leaf(self, index: int, line: bytes, leaf_hash: bytes) -> None:
        """Judge a leaf.

        Args:
            index: greater than that of the leaf before.
            line: its exact bytes.
            leaf_hash: of these bytes.
        """
        brackets, runs = self._brackets, self._runs
        if brackets and index >= brackets[-1].size:
            self._pass_bracket(index)
        following = runs.next is not None and index >= runs.next
        if following:
            runs.enter(index)
        openings = _NO_VALUES if self._groups is None else self._groups.take(index)
        try:
            action, digests, event, organization, recorded_at = read_entry(line)
        except Malformed as error:
            self._verdict.refuse("entry", error, position=index)
            if following:
                runs.leave(index, None, leaf_hash)
            return
        if self._is_one(index, action, event, organization, openings):
            if recorded_at < self._latest:
                self._verdict.sealed_late += 1
            self._values(index, (action, digests, event, organization, recorded_at), openings)
            if action.startswith(_EXPLAINING):
                self.explaining[index] = parse_leaf(line)
        if following:
            present = () if isinstance(openings, Malformed) else [place for place, _ in openings]
            runs.leave(index, digests_of(digests) if action else None, leaf_hash, present)

    def pruned(self, index: int, leaf_hash: bytes) -> None:
        """Judge a leaf of which only the hash is left."""
        following = self._runs.next is not None and index >= self._runs.next
        if following:
            self._runs.enter(index)
        if self._groups is not None and self._groups.take(index):
            self._fail(index, None, "entry", "its row was pruned, and its values are here")
        elif self._groups is None or (following and self._runs.covers_leaf(self._why().cited)):
            self._verdict.pruned += 1
        else:
            self._fail(index, None, "entry", "only its hash is left, and no manifest explains that")
        if following:
            self._runs.leave(index, None, leaf_hash)

    def finish(self) -> None:
        """Name what is left over when the last entry has been judged."""
        if self._groups is not None:
            self._groups.finish()

    def _is_one(
        self,
        index: int,
        action: bytes,
        event: bytes,
        organization: bytes,
        openings: Sequence[Opening] | Malformed,
    ) -> bool:
        """Whether it is a proper leaf of this tree; otherwise it has been counted."""
        if organization != self._organization:
            self._fail(index, event, "entry", "it belongs to another log", self._organization, organization)
            return False
        if not action and not openings:
            self._verdict.invalid += 1
            self._verdict.warn(f"entry {index} was sealed as invalid: its row could not be encoded")
            return False
        if not action:
            self._fail(index, event, "entry", "it was sealed as invalid, and values are shown for it")
            return False
        return True

    def _values(self, index: int, clear: tuple[bytes, ...], openings: Sequence[Opening] | Malformed) -> None:
        """Compare values with their digests, and count the entry."""
        _, digests, event, _, _ = clear
        if isinstance(openings, Malformed):
            self._fail(index, event, openings.what, openings.rule)
            return
        bad = False
        for place, digest in openings:
            at = DIGEST_AT[place]
            if digests[at : at + 64] != digest:
                what = f"group {LEAF_GROUPS[place]}"
                rule = "its value is not the one that was recorded"
                expected, entries = digests[at : at + 64], 0 if bad else 1
                self._fail(index, event, what, rule, expected, digest, entries=entries)
                bad = True
        if bad:
            return
        if len(openings) == _ALL or self._groups is None:
            self._verdict.verified += 1
        else:
            self._missing(index, clear, {place for place, _ in openings})

    def _missing(self, index: int, clear: tuple[bytes, ...], present: set[int]) -> None:
        action, _, event, _, recorded_at = clear
        why = self._why()
        cutoff = self._cutoffs[action] = why.cutoff(action)
        if not present and recorded_at <= cutoff:
            self._verdict.expired += 1
            return
        gone = [place for place in range(_ALL) if place not in present]
        unexplained = set(gone) - self._runs.covered(why.cited)
        if not unexplained:
            self._verdict.redacted += 1
            return
        names = ", ".join(LEAF_GROUPS[place] for place in sorted(unexplained))
        if present:
            rule = "the value is missing, and no manifest that the log cites explains that"
        else:
            rule = "the values are missing, and neither a manifest nor a policy in force explains that"
        self._fail(index, event, f"group {names}", rule)

    def _why(self) -> Reasons:
        if self._reasons is None:
            self._reasons = self._question.reasons()
        return self._reasons

    def _pass_bracket(self, index: int) -> None:
        while self._brackets and self._brackets[-1].size <= index:
            moment = (self._brackets.pop().seconds - LATE_SECONDS) * 1_000_000
            self._latest = format_time(min(max(moment, 0), MAX_MICROSECONDS)).encode()

    def _fail(
        self, index: int, event: bytes | None, what: str, rule: str,
        expected: bytes | None = None, computed: bytes | None = None, *, entries: int = 1,
    ) -> None:  # fmt: skip
        self._verdict.fail(
            what,
            rule,
            position=index,
            id=None if event is None else event.decode(),
            expected=None if expected is None else expected.decode(),
            computed=None if computed is None else computed.decode(),
            entries=entries,
        )
