"""What happened to the log itself, as far as its own events and the signatures under its head tell.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping

from affidavit.core.checkpoint import Opened
from affidavit.core.leaf import Leaf
from affidavit.core.verdict import Verdict

__all__ = ["judge_history"]

_ROTATED = "log.key.rotated"
_TOLD = {
    "log.restored": "the log was reopened; its first entry quotes the last checkpoint of the tree before",
    "log.guard.accepted": "the operator accepted a history that the guard had refused",
    _ROTATED: "the key of the log was rotated",
}


def judge_history(leaves: Mapping[int, Leaf], opened: Opened, verdict: Verdict) -> None:
    """Say what happened to the log, and refuse a head that only a retired key has signed.

    Args:
        leaves: those at hand that tell of the log, by index.
        opened: the newest checkpoint.
        verdict: is warned and counted into.
    """
    rotated = None
    for index, leaf in sorted(leaves.items()):
        if leaf.action in _TOLD:
            verdict.warn(f"entry {index}: {_TOLD[leaf.action]}")
        if leaf.action == _ROTATED:
            rotated = index, leaf
    if rotated is not None:
        _judge_rotation(*rotated, opened, verdict)


def _judge_rotation(index: int, leaf: Leaf, opened: Opened, verdict: Verdict) -> None:
    new, size = leaf.facts.get("new"), leaf.facts.get("size")
    origin = opened.checkpoint.origin
    signed = {each.key_id.hex() for each in opened.note.signatures if each.name == origin}
    if type(size) is int and opened.checkpoint.size > size and new not in signed:
        verdict.fail(
            "checkpoint",
            f"only a retired key has signed it: entry {index} names the one that signs from size {size} on",
            expected=f"{new!s:.20}",
            computed=", ".join(sorted(signed)),
        )
