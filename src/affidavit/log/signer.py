"""The signer: turns the heads of trees that grew into signed checkpoints.

For each batch of trees, in this order, so that no kill between two steps lets two histories be signed:

1. the head is read; its leaves are on the disk;
2. the guard checks that it extends what was signed before, and remembers it, durably;
3. it is signed (the signature is a function of key and text: twice the same);
4. the checkpoint is stored, which publishes it.

Nothing is kept here between two steps: after an error the next one begins with what stands in guard and log.
What the guard refuses stays unsigned and gets an alarm; recording, sequencing and the other trees go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from affidavit.core.checkpoint import Checkpoint
from affidavit.core.merkle import Frontier
from affidavit.errors import AffidavitError, GuardRefused, KeyMissing, KeyUnusable, LogMismatch, StorageError
from affidavit.log.guard import PIECE, closed, compare
from affidavit.log.keys import LogKeys
from affidavit.log.prover import Prover
from affidavit.storage.guard import Guard, Head, Proposal
from affidavit.storage.log import Alarm, AlarmStore, LogStore, LogWriter, Published, Queue, Tree

__all__ = ["Signer"]

log = logging.getLogger("affidavit.log")

EVERY = 1.0
"""Seconds between the beginnings of two rounds over all trees: a tree is signed at most once in that time."""
BUDGET = 0.25
"""Seconds of one step, after which sequencing gets its turn; the next step goes on where this one stopped."""
BATCH = 500
"""Trees of one transaction of the guard."""
AUDIT_EVERY = 3_600.0
"""Seconds between two comparisons of everything that the guard remembers with the log."""
AUDIT_AGAIN = 10.0
"""The same while something stands against a tree."""
MOST_NAMED = 100
"""Refused trees that get an alarm of their own."""

MISSING, REFUSED, KEY = "guard_missing", "guard_refused", "log_key"


class Signer:
    """Signs what grew. Only the holder of the worker's lease has one.

    Args:
        writer: where the trees stand and checkpoints go.
        queue: what waits: a tree that is behind the guard may catch up while something does.
        alarms: told of what cannot be signed.
        store: reads the same trees.
        prover: of ``store``.
        guard: opens the guard; called again after an error.
        keys: the log keys as they stand now.
        clock: microseconds since 1970 UTC.
        monotonic: seconds.
    """

    def __init__(
        self,
        writer: LogWriter,
        queue: Queue,
        alarms: AlarmStore,
        store: LogStore,
        prover: Prover,
        *,
        guard: Callable[[], Guard],
        keys: Callable[[], LogKeys],
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._writer = writer
        self._queue = queue
        self._store = store
        self._prover = prover
        self._open_guard = guard
        self._guard: Guard | None = None
        self._keys = keys
        self._clock = clock
        self._monotonic = monotonic
        self._bell = _Bell(alarms, clock)
        self._begun = float("-inf")
        self._after = 0
        self._within_round = False
        self._audited = float("-inf")
        self._audit_after: str | None = ""

    def step(self) -> int:
        """Sign for a quarter of a second at most; how many checkpoints were signed and stored.

        Raises:
            StorageError: whatever was stored, the next step starts from it.
        """
        now = self._monotonic()
        if not self._within_round:
            if now - self._begun < EVERY:
                return 0
            self._begun, self._after, self._within_round = now, 0, True
        try:
            ready = self._ready()
            if ready is None:
                self._within_round = False
                return 0
            guard, keys = ready
            signed = self._round(guard, keys, now + BUDGET)
            self._audit(guard, now + BUDGET)
        except BaseException:
            # Unknown whether it was applied: everything is loaded again.
            self._within_round = False
            self.close()
            raise
        return signed

    def known(self, organization: str) -> tuple[str, str] | None:
        """Host and hex digits of an organization whose log the guard remembers, ``None`` where it does not.

        Raises:
            LogMismatch: a later incarnation was begun; only its own log file can continue it.
        """
        try:
            guard = self._guard = self._guard or self._open_guard()
            heads = guard.of(organization)
        except GuardRefused:
            return None
        if not heads:
            return None
        if heads[-1].incarnation > 1:
            raise LogMismatch(
                f"{heads[-1].origin} was begun before, but the log file does not have it: that file was lost,"
                " replaced or restored from before. Put it back, or see: affidavit log reopen"
            )
        return heads[-1].host, heads[-1].hex_digits

    def close(self) -> None:
        """Let go of the guard; the next step opens it again."""
        guard, self._guard = self._guard, None
        if guard is not None:
            with suppress(AffidavitError):
                guard.close()

    def _ready(self) -> tuple[Guard, LogKeys] | None:
        """Guard and keys, or an alarm that says which of them is missing."""
        try:
            if self._guard is None:
                self._guard = self._open_guard()
            self._guard.walk("", 1)
        except (GuardRefused, StorageError) as error:
            self._bell.sound(MISSING, "", error.message)
            self.close()
            return None
        self._bell.clear(MISSING, "")
        try:
            keys = self._keys()
        except (KeyMissing, KeyUnusable) as error:
            self._bell.sound(KEY, "", error.message)
            return None
        self._bell.clear(KEY, "")
        return self._guard, keys

    def _round(self, guard: Guard, keys: LogKeys, deadline: float) -> int:
        signed = 0
        while True:
            waiting = self._writer.unpublished(self._after, BATCH)
            if not waiting:
                self._within_round = False
                return signed
            signed += self._sign(waiting, guard, keys)
            self._after = waiting[-1][0].number
            if self._monotonic() >= deadline:
                return signed

    def _sign(self, waiting: Sequence[tuple[Tree, Frontier]], guard: Guard, keys: LogKeys) -> int:
        remembered = guard.heads([tree.origin for tree, _ in waiting])
        offered: list[tuple[Tree, Proposal]] = []
        for tree, frontier in waiting:
            try:
                offered.append((tree, self._proposal(tree, frontier, remembered.get(tree.origin))))
            except LogMismatch as error:
                self._refused(tree.origin, error.message)
        answers = guard.accept([proposal for _, proposal in offered])
        signed_at = self._clock()
        checkpoints = []
        for (tree, proposal), answer in zip(offered, answers, strict=True):
            if answer.refused is not None:
                head = remembered.get(tree.origin)
                self._refused(tree.origin, answer.refused, behind=head is not None and tree.size < head.size)
                continue
            self._bell.clear(REFUSED, tree.origin)
            note = keys.note(tree.origin, proposal.checkpoint.text) + answer.cosignatures.encode()
            checkpoints.append(
                Published(tree.number, tree.size, signed_at, note, cosigned=bool(answer.cosignatures))
            )
        if checkpoints:
            self._writer.publish(checkpoints)
        return len(checkpoints)

    def _proposal(self, tree: Tree, frontier: Frontier, head: Head | None) -> Proposal:
        checkpoint = Checkpoint(tree.origin, frontier.size, frontier.root())
        proof: list[bytes] = []
        if head is not None and 0 < head.size < frontier.size:
            proof = self._prover.consistency(tree.number, head.size, frontier.size)
        return Proposal(tree.organization, checkpoint, tree.published, proof)

    def _refused(self, origin: str, text: str, *, behind: bool = False) -> None:
        """An alarm; but a log file from before catches up by itself while events wait for their leaf."""
        if behind and self._queue.progress().waiting:
            return
        if self._bell.count(REFUSED) >= MOST_NAMED:
            origin = ""
            text = f"The guard refuses more than {MOST_NAMED} logs. See: affidavit log status"
        self._bell.sound(REFUSED, origin, text)

    def _audit(self, guard: Guard, deadline: float) -> None:
        """Compare what the guard remembers with the log: a tree that does not grow may be from yesterday."""
        now = self._monotonic()
        if self._audit_after is None:
            pause = AUDIT_AGAIN if self._bell.count(REFUSED) else AUDIT_EVERY
            if now - self._audited < pause:
                return
            self._audit_after = ""
        if self._queue.progress().waiting:
            return
        while heads := guard.walk(self._audit_after, PIECE):
            self._audit_after = heads[-1].origin
            against = {each.head.origin: each for each in compare(heads, self._store, self._prover)}
            for head in heads:
                found = against.get(head.origin)
                if found is None:
                    self._settle(head)
                elif not (found.lost and closed(head, guard)):
                    self._refused(head.origin, found.text)
            if self._monotonic() >= deadline:
                return
        if self._bell.count(REFUSED) <= 1:
            self._bell.clear(REFUSED, "")
        self._audit_after, self._audited = None, self._monotonic()

    def _settle(self, head: Head) -> None:
        """Clear the alarm of a log of which all is signed; one that grows is cleared when it is accepted."""
        if self._bell.stands(REFUSED, head.origin):
            tree = self._store.tree(head.hex_digits, head.incarnation)
            if tree is not None and tree.published == tree.size:
                self._bell.clear(REFUSED, head.origin)


class _Bell:
    """Sounds each alarm once, and clears only what stands: both are transactions of the log file."""

    def __init__(self, alarms: AlarmStore, clock: Callable[[], int]) -> None:
        self._alarms = alarms
        self._clock = clock
        self._standing: dict[str, set[str]] | None = None

    def _loaded(self, kind: str) -> set[str]:
        if self._standing is None:
            self._standing = {}
            for alarm in self._alarms.alarms():
                self._standing.setdefault(alarm.kind, set()).add(alarm.subject)
        return self._standing.setdefault(kind, set())

    def count(self, kind: str) -> int:
        return len(self._loaded(kind))

    def stands(self, kind: str, subject: str) -> bool:
        return subject in self._loaded(kind)

    def sound(self, kind: str, subject: str, text: str) -> None:
        standing = self._loaded(kind)
        if subject not in standing:
            log.error("%s: %s", kind, text)
            self._alarms.sound(Alarm(kind, subject, self._clock(), text))
            standing.add(subject)

    def clear(self, kind: str, subject: str) -> None:
        standing = self._loaded(kind)
        if subject in standing:
            self._alarms.clear(kind, subject)
            standing.discard(subject)
            log.warning("%s is settled (%s)", kind, subject or "the log")
