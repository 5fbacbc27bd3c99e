"""Whom the caller trusts, what he demands, and what a signed checkpoint says in the light of both.

Everything here comes from outside the evidence. One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from affidavit.core import ed25519
from affidavit.core.checkpoint import Checkpoint, Opened, open_checkpoint
from affidavit.core.note import COSIGNATURE, ED25519, Check, Verifier
from affidavit.core.policy import Policy
from affidavit.core.unsound import Contradiction, Unsound
from affidavit.core.verdict import Cosigned, NotChecked, Verdict

__all__ = ["Demands", "Trust", "judge_checkpoint", "judge_since", "unanswered_since"]

SKEW_SECONDS = 300
"""How far ahead of the caller's clock that of a witness may be."""


class Trust(NamedTuple):
    """Whose signatures count.

    Attributes:
        log_keys: of the log; each name is an origin.
        witnesses: whose cosignatures count.
        policy: says how many of them there must be; ``None`` demands none.
        check: how a signature is checked.
    """

    log_keys: tuple[Verifier, ...]
    witnesses: tuple[Verifier, ...] = ()
    policy: Policy | None = None
    check: Check = ed25519.verify

    @classmethod
    def of(
        cls, keys: Sequence[Verifier], policy: Policy | None = None, check: Check = ed25519.verify
    ) -> Trust:
        """Sort keys by what they sign, and add those of a policy.

        Raises:
            NotChecked: no key of a log is among them: nothing could be believed.
        """
        logs = [key for key in keys if key.kind == ED25519]
        witnesses = [key for key in keys if key.kind == COSIGNATURE]
        if policy is not None:
            logs += policy.log_keys
            witnesses += policy.witness_keys
        if not logs:
            raise NotChecked("no key of a log was given; a key inside the evidence would prove nothing")
        return cls(tuple(dict.fromkeys(logs)), tuple(dict.fromkeys(witnesses)), policy, check)

    def read(self, note: bytes, origin: str | None) -> Opened:
        """Read a checkpoint and check its signatures.

        Raises:
            Unsound: as :func:`~affidavit.core.checkpoint.open_checkpoint`.
        """
        return open_checkpoint(note, self.log_keys, self.witnesses, origin=origin, check=self.check)


class Demands(NamedTuple):
    """What the evidence must show, beyond being what it says.

    Attributes:
        origin: of the log that is meant; ``None`` takes any that a trusted key signs for.
        since: a checkpoint that the caller kept.
        span: first index and the one after the last (``None``: to the end of the tree).
        max_age: seconds since a trusted witness has seen the checkpoint.
        now: seconds since 1970 UTC.
    """

    origin: str | None = None
    since: Checkpoint | None = None
    span: tuple[int, int | None] | None = None
    max_age: int | None = None
    now: int = 0


def judge_checkpoint(opened: Opened, trust: Trust, demands: Demands, verdict: Verdict) -> None:
    """Enter who signed and remembers a checkpoint, and check quorum and age.

    Raises:
        NotChecked: an age is demanded and no trusted witness tells the time.
    """
    verdict.origin = opened.checkpoint.origin
    verdict.size = opened.checkpoint.size
    verdict.signed_by = [key.vkey for key in opened.signers]
    verdict.witnesses = [Cosigned(key.name, seconds) for key, seconds in opened.cosigned]
    verdict.checkpoint_time = max((seconds for _, seconds in opened.cosigned), default=None)
    if trust.policy is not None:
        try:
            trust.policy.check_quorum(key for key, _ in opened.cosigned)
        except Unsound as error:
            verdict.refuse("checkpoint", error)
    if verdict.checkpoint_time is not None and verdict.checkpoint_time > demands.now + SKEW_SECONDS:
        verdict.warn("a witness says that it saw the checkpoint in the future; one of the clocks is wrong")
    _judge_age(demands, verdict)


def _judge_age(demands: Demands, verdict: Verdict) -> None:
    if demands.max_age is None:
        return
    if verdict.checkpoint_time is None:
        verdict.not_checked = "the age of the checkpoint is unknown: no witness that you trust has signed it"
        return
    age = demands.now - verdict.checkpoint_time
    if not -SKEW_SECONDS <= age <= demands.max_age:
        verdict.fail(
            "checkpoint",
            "a trusted witness must have seen it lately: it may be an old one that is shown again",
            expected=f"at most {demands.max_age} seconds ago",
            computed=f"{age} seconds ago",
        )


def judge_since(since: Checkpoint | None, newest: Checkpoint, verdict: Verdict) -> bool:
    """Compare a kept checkpoint with a new one as far as both texts go.

    Returns:
        Whether it is settled; otherwise the root of the new tree at the old size is still to be compared.
    """
    if since is None:
        return True
    try:
        return _agree(since, newest)
    except Contradiction as error:
        verdict.refuse("checkpoint", error)
        return True


def _agree(since: Checkpoint, newest: Checkpoint) -> bool:
    if since.origin != newest.origin:
        raise Contradiction(
            f"it is one of {newest.origin:.200}, the checkpoint that you kept one of {since.origin:.200}"
        )
    if newest.size < since.size:
        raise Contradiction(
            f"rollback: its tree has {newest.size} entries, that of the checkpoint you kept {since.size}"
        )
    if newest.size == since.size and newest.root != since.root:
        raise Contradiction(
            f"fork: two roots of size {since.size} are signed, {since.root.hex()} is the one you kept, "
            f"{newest.root.hex()} the one shown now"
        )
    return since.size in (0, newest.size)


def unanswered_since(since: Checkpoint, verdict: Verdict) -> None:
    """Say that nothing here connects the kept checkpoint with the new one."""
    verdict.not_checked = (
        f"nothing here shows whether the tree still begins as it did at size {since.size}: "
        "verify the live log, or a bundle that holds that checkpoint or that place of the tree"
    )
