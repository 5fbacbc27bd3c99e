"""What the guard remembers, compared with what the log says now: so a restored or edited file is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from affidavit.errors import LogMismatch
from affidavit.log.prover import Prover
from affidavit.storage.guard import Guard, Head
from affidavit.storage.log import LogStore, Tree

__all__ = ["PIECE", "Difference", "compare", "differences"]

PIECE = 200
"""Heads that are read from the guard at once."""


class Difference(NamedTuple):
    """Guard and log disagree on a tree.

    Attributes:
        head: what the guard remembers.
        text: a sentence that says how the log differs, and what to do.
        lost: whether leaves that were signed are missing (else they are others).
    """

    head: Head
    text: str
    lost: bool


def compare(heads: Sequence[Head], log: LogStore, prover: Prover) -> Iterator[Difference]:
    """The heads that the log no longer extends.

    Args:
        heads: of the guard; those without a signed checkpoint are passed over.
        log: the trees.
        prover: of the same log.
    """
    for head in heads:
        if head.size:
            tree = log.tree(head.hex_digits, head.incarnation)
            found = _compared(head, tree, prover)
            if found is not None:
                yield found


def _compared(head: Head, tree: Tree | None, prover: Prover) -> Difference | None:
    if tree is None or tree.origin != head.origin:
        return Difference(
            head,
            f"{head.origin} was signed up to size {head.size}, but the log file does not have it: that file"
            " was lost, replaced or restored from before. Put it back, or see: affidavit log reopen",
            True,
        )
    if tree.size < head.size:
        return Difference(
            head,
            f"{head.origin} has {tree.size} leaves, but {head.size} were signed: the database was restored"
            " from before. Restore what is missing, or see: affidavit log reopen",
            True,
        )
    if tree.published > head.size:
        return Difference(
            head,
            f"{head.origin} was signed up to size {tree.published}, the guard remembers only {head.size}: it"
            " was restored from before, or somebody else signs this log, too. Put the right one back, or see:"
            " affidavit log guard accept",
            False,
        )
    try:
        root = prover.root(tree.number, head.size)
    except LogMismatch as error:
        return Difference(head, f"{head.origin} cannot be computed again: {error.message}", False)
    if root != head.root:
        return Difference(
            head,
            f"{head.origin} has another root at size {head.size} ({root.hex()}) than the one that was signed"
            f" ({head.root.hex()}): its leaves were changed. See: affidavit fsck, affidavit log reopen",
            False,
        )
    return None


def differences(guard: Guard, log: LogStore, prover: Prover) -> Iterator[Difference]:
    """Every head that the log no longer extends; those that a later incarnation has settled are left out."""
    after = ""
    while heads := guard.walk(after, PIECE):
        after = heads[-1].origin
        for each in compare(heads, log, prover):
            if not (each.lost and closed(each.head, guard)):
                yield each


def closed(head: Head, guard: Guard) -> bool:
    """Whether a later incarnation was begun."""
    return any(each.incarnation > head.incarnation for each in guard.of(head.organization))
