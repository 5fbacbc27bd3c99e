"""What ``fsck`` found: a verdict for each tree, one for what belongs to no tree, and their sum."""

from __future__ import annotations

from typing import Any

from affidavit.core.verdict import COUNTS, MAX_FAILURES, Failure, Verdict
from affidavit.storage.evidence import Fault

__all__ = ["Findings", "shown"]

_CHARACTERS = 160


def shown(value: object) -> str:
    """A value for a finding: bytes in hex, everything cut short. Never the text of an event."""
    text = value.hex() if isinstance(value, bytes) else "NULL" if value is None else str(value)
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]}..."


class Findings:
    """Collects faults and counts.

    Attributes:
        rest: what belongs to no tree: schema, settings, the index, the files.
        trees: number of the tree to its verdict, in the order in which they were made.
        organizations: number of the tree to its organization.
        pending: events that wait for their leaf.
        lost: number of the tree to the entries whose events a restore lost, as ``log reopen`` recorded.
        unreplayed: settings whose events were erased, so that nobody can say whether they were changed.
    """

    def __init__(self) -> None:
        self.rest = Verdict()
        self.trees: dict[int, Verdict] = {}
        self.organizations: dict[int, str] = {}
        self.pending = 0
        self.lost: dict[int, int] = {}
        self.unreplayed: list[str] = []

    def fault(self, fault: Fault, tree: int | None = None, *, entries: int = 1) -> None:
        """Count a fault and list it.

        Args:
            fault: what was found.
            tree: whose verdict it belongs to.
            entries: how many entries of the tree it takes with it; 0 where they are counted already, but a
                verdict that has a failure is never sound.
        """
        verdict = self.trees.get(tree, self.rest) if tree is not None else self.rest
        place = f"{fault.table}.{fault.column}" if fault.column else fault.table
        verdict.fail(
            f"{place} ({fault.key})" if fault.key else place,
            fault.rule,
            position=fault.index,
            id=fault.id or None,
            expected=fault.expected or None,
            computed=fault.computed or None,
            entries=entries,
        )
        verdict.failed = max(verdict.failed, 1)

    def total(self) -> Verdict:
        """The sum of all verdicts."""
        total = Verdict()
        single = next(iter(self.trees.values())) if len(self.trees) == 1 else None
        if single is not None:
            total.origin, total.signed_by = single.origin, single.signed_by
            total.witnesses, total.checkpoint_time = single.witnesses, single.checkpoint_time
        for verdict in (*self.trees.values(), self.rest):
            for name in (*COUNTS, "sealed_late", "end", "size"):
                setattr(total, name, getattr(total, name) + getattr(verdict, name))
            total.failures += verdict.failures[: MAX_FAILURES - len(total.failures)]
            for text in verdict.warnings:
                total.warn(text)
            total.not_checked = total.not_checked or verdict.not_checked
        return total

    def as_json(self) -> dict[str, Any]:
        """The whole report: the sum, and each tree by itself."""
        return {
            **self.total().as_json(),
            "pending": self.pending,
            "lost": sum(self.lost.values()),
            "unreplayed": self.unreplayed,
            "organizations": [
                {"organization": self.organizations[number], **self._tree(number, verdict)}
                for number, verdict in self.trees.items()
            ],
        }

    def _tree(self, number: int, verdict: Verdict) -> dict[str, Any]:
        members = verdict.as_json()
        members["lost"] = self.lost.get(number, 0)
        return members

    @property
    def failures(self) -> list[Failure]:
        """All failures that are listed."""
        return self.total().failures
