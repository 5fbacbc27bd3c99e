"""What a verification found: counts, failures with place and rule, and what the evidence cannot show.

``affidavit verify`` and ``affidavit fsck`` give the same shape (docs/spec/verification.md). A verdict is
never a bare yes: each entry is counted once, and what was not checked is said.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from affidavit.core.forms import MAX_MICROSECONDS, format_time
from affidavit.core.unsound import RootMismatch, Unsound

__all__ = [
    "COUNTS",
    "LATE_SECONDS",
    "MAX_FAILURES",
    "MAX_WARNINGS",
    "Cosigned",
    "Failure",
    "NotChecked",
    "Verdict",
    "escaped",
]

COUNTS: Final = ("verified", "redacted", "expired", "pruned", "invalid", "failed")
"""Each entry is counted in exactly one of these."""

MAX_FAILURES: Final = 1000
"""Failures that are listed; all are counted."""

MAX_WARNINGS: Final = 100
"""Warnings that are listed."""

LATE_SECONDS: Final = 300
"""An entry is *sealed late* when it was recorded longer than this before a head without it was cosigned."""

OPERATOR_ONLY: Final = "signed by the operator only"

_SPECIAL = re.compile(r"[^ -~]")
_SHOWN_FAILURES = 20


class NotChecked(Exception):
    """The evidence could not be read, or what was asked for cannot be answered from it: no verdict."""

    @property
    def message(self) -> str:
        """The sentence for people."""
        return str(self.args[0])


class Failure(NamedTuple):
    """One thing that does not hold.

    Attributes:
        what: the thing, such as ``entry``, ``group actor`` or ``checkpoint``.
        rule: the rule that it breaks, one sentence.
        position: index in the tree, where it concerns one entry.
        id: of the event, where it is known.
        expected: what the rule demands, where it is one value.
        computed: what was found instead.
    """

    what: str
    rule: str
    position: int | None = None
    id: str | None = None
    expected: str | None = None
    computed: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The object of the verdict; absent members are left out."""
        members = {
            "index": self.position,
            "id": self.id,
            "what": self.what,
            "rule": self.rule,
            "expected": self.expected,
            "computed": self.computed,
        }
        return {name: value for name, value in members.items() if value is not None}

    def line(self) -> str:
        """For people."""
        place = "" if self.position is None else f"entry {self.position}: "
        event = "" if self.id is None else f" (event {self.id})"
        values = "" if self.expected is None else f": expected {self.expected}, computed {self.computed}"
        return f"{place}{self.what}: {self.rule}{values}{event}"


class Cosigned(NamedTuple):
    """A trusted witness, and when it saw the checkpoint: seconds since 1970 UTC."""

    name: str
    seconds: int


class Verdict:
    """Collects what one verification finds. Counts are plain integers that the caller raises.

    Attributes:
        origin: of the tree; ``None`` as long as it is not known.
        start: first index that was looked at.
        end: the index after the last one.
        size: of the signed checkpoint.
        complete: ``range`` where the entries from start to end are shown to be all there are, ``filtered``
            where each is shown by itself.
        checkpoint_time: latest time at which a trusted witness saw the checkpoint, in seconds since 1970 UTC.
        signed_by: verifier keys of the log that signed the checkpoint.
        witnesses: whom the caller trusts and who cosigned it.
        verified, redacted, expired, pruned, invalid, failed: entries; ``failed`` also counts what concerns
            no single entry.
        sealed_late: entries that were recorded more than :data:`LATE_SECONDS` before a head without them was
            cosigned; they are counted elsewhere too.
        not_checked: why there is no verdict, where there is none.
    """

    def __init__(self) -> None:
        self.origin: str | None = None
        self.start = 0
        self.end = 0
        self.size = 0
        self.complete = "range"
        self.checkpoint_time: int | None = None
        self.signed_by: Sequence[str] = ()
        self.witnesses: Sequence[Cosigned] = ()
        self.verified = 0
        self.redacted = 0
        self.expired = 0
        self.pruned = 0
        self.invalid = 0
        self.failed = 0
        self.sealed_late = 0
        self.failures: list[Failure] = []
        self.warnings: list[str] = []
        self.not_checked: str | None = None

    def fail(
        self,
        what: str,
        rule: str,
        *,
        position: int | None = None,
        id: str | None = None,  # noqa: A002 - the word of the event
        expected: str | None = None,
        computed: str | None = None,
        entries: int = 1,
    ) -> None:
        """Count a failure and list it, as long as there is room.

        Args:
            what: as in :class:`Failure`, as are the next five.
            rule: the rule that is broken.
            position: index in the tree.
            id: of the event.
            expected: what the rule demands.
            computed: what was found.
            entries: how many entries it takes with it; 0 for a further failure of an entry already counted.
        """
        self.failed += entries
        if len(self.failures) < MAX_FAILURES:
            self.failures.append(Failure(what, rule, position, id, expected, computed))

    def refuse(self, what: str, error: Unsound, *, position: int | None = None, entries: int = 1) -> None:
        """Count and list an error of the evidence."""
        expected, computed = None, None
        if isinstance(error, RootMismatch):
            expected, computed = error.expected.hex(), error.computed.hex()
        self.fail(
            what, error.message, position=position, expected=expected, computed=computed, entries=entries
        )

    def warn(self, text: str) -> None:
        """List what the reader should know, once."""
        if text not in self.warnings and len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(text)

    def disprove(self, entries: int) -> None:
        """Take every count back and count so many entries as failed: nothing that was counted is shown.

        For a range whose entries do not lead to the signed root, where no single entry can be blamed.
        """
        others = self.failed
        for name in COUNTS:
            setattr(self, name, 0)
        self.sealed_late = 0
        self.failed = max(entries, others, 1)

    @property
    def sound(self) -> bool:
        """Whether the evidence was checked and nothing failed."""
        return self.not_checked is None and self.failed == 0

    @property
    def exit_code(self) -> int:
        """0 sound, 1 not sound, 2 could not be checked."""
        if self.failed:
            return 1
        return 0 if self.not_checked is None else 2

    @property
    def memory(self) -> str:
        """Who besides the operator remembers this head of the log."""
        names = ", ".join(each.name for each in self.witnesses)
        return f"cosigned by {names}" if names else OPERATOR_ONLY

    def as_json(self) -> dict[str, Any]:
        """The object that ``verify`` and ``fsck`` print. Fields are only added."""
        head = {
            "sound": self.sound,
            "origin": self.origin,
            "start": self.start,
            "end": self.end,
            "size": self.size,
            "complete": self.complete,
        }
        if self.not_checked is not None:
            head["not_checked"] = self.not_checked
        if self.checkpoint_time is not None:
            head["checkpoint_time"] = _moment(self.checkpoint_time)
        return {
            **head,
            "signed_by": list(self.signed_by),
            "witnesses": [{"name": each.name, "time": _moment(each.seconds)} for each in self.witnesses],
            "memory": self.memory,
            **{name: getattr(self, name) for name in COUNTS},
            "sealed_late": self.sealed_late,
            "failures": [each.as_json() for each in self.failures],
            "warnings": self.warnings,
        }

    def lines(self) -> Iterator[str]:
        """The verdict for people; every line is safe to print on a terminal."""
        for text in self._lines():
            yield escaped(text)

    def _lines(self) -> Iterator[str]:
        if self.failed:
            yield "NOT SOUND"
        elif self.not_checked is not None:
            yield "COULD NOT BE CHECKED"
        else:
            yield "sound"
        if self.not_checked is not None:
            yield f"  {self.not_checked}"
        if self.origin is not None:
            yield f"  log        {self.origin}"
            yield f"  entries    {self.start} to {self.end} of {self.size}, {self._completeness()}"
            yield f"  checkpoint {self._memory()}"
            yield "  " + ", ".join(f"{getattr(self, name)} {name}" for name in COUNTS)
        if self.sealed_late:
            yield f"  {self.sealed_late} sealed late: recorded long before a cosigned head without them"
        for failure in self.failures[:_SHOWN_FAILURES]:
            yield f"  failed: {failure.line()}"
        if self.failed and len(self.failures) > _SHOWN_FAILURES:
            yield f"  and more: {len(self.failures)} are listed with --json"
        for text in self.warnings:
            yield f"  note: {text}"

    def _completeness(self) -> str:
        return "complete" if self.complete == "range" else "a selection whose completeness is not proven"

    def _memory(self) -> str:
        seen = "" if self.checkpoint_time is None else f", last at {_moment(self.checkpoint_time)}"
        return self.memory + seen


def escaped(text: str) -> str:
    r"""The text in printable ASCII, everything else written out, such as ``\u202e``.

    Names in evidence are hostile: they may hold escape sequences, characters that turn the reading direction,
    and letters that only look like others.
    """
    return _SPECIAL.sub(_written_out, text)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _moment(seconds: int) -> str:
    """RFC 3339 in UTC; the bare seconds beyond what that can write."""
    microseconds = seconds * 1_000_000
    return format_time(microseconds) if 0 <= microseconds <= MAX_MICROSECONDS else f"@{seconds}"
