"""Getting checkpoints cosigned: each published one is shown to every witness of the policy.

Witnesses are slow, away or hostile, and sequencing and signing wait for none of it: one thread finds out what
is due, each witness has a thread of its own that asks, and the worker's thread only takes what they brought
(:meth:`Cosigner.step`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.note import Verifier
from affidavit.core.policy import Policy
from affidavit.core.unsound import Unsound
from affidavit.errors import AffidavitError, ConfigError
from affidavit.log.asking import TIMEOUT, WitnessAsker, with_cosignature
from affidavit.log.desk import Answered, Desk, Offered
from affidavit.log.prover import Prover
from affidavit.log.signatures import check_signature
from affidavit.log.witness_client import WitnessUnreachable
from affidavit.storage.log import Alarm, AlarmStore, LogStore, Published, Tree

__all__ = ["APART", "HEARTBEAT", "Cosigner", "Pace", "Trees"]

log = logging.getLogger("affidavit.log")

APART = 10.0
"""Seconds between two cosignings of one tree that grows: each one is kept for good."""
HEARTBEAT = 3_600.0
"""Seconds after which a tree that does not grow is cosigned again, so that silence and truncation differ."""
UNREACHABLE, REFUSED, QUORUM = "witness_unreachable", "witness_refused", "witness_quorum"
"""The kinds of alarm."""


class Pace(NamedTuple):
    """How often. All in seconds.

    Attributes:
        round: between two looks for what is due; longer where there are very many trees.
        apart: see :data:`APART`.
        heartbeat: see :data:`HEARTBEAT`.
        timeout: that a witness gets for one answer.
    """

    round: float = 1.0
    apart: float = APART
    heartbeat: float = HEARTBEAT
    timeout: float = TIMEOUT


class Trees(LogStore, Protocol):
    """What is asked of the log's store, from several threads."""

    def all_trees(self) -> list[Tree]:
        """Every incarnation of every organization, by number."""
        ...


class _Asked:
    """A checkpoint while witnesses are asked: what they have signed, and who has not answered."""

    __slots__ = ("note", "published", "tree", "waiting")

    def __init__(self, tree: Tree, published: Published, waiting: set[str]) -> None:
        self.tree = tree
        self.published = published
        self.note = published.note
        self.waiting = waiting


class Cosigner:
    """Shows checkpoints to the witnesses of a policy.

    Args:
        policy: those of its witnesses that have an address are asked; its quorum decides about an alarm.
        store: of the trees.
        publish: stores cosigned checkpoints; called by :meth:`step` only.
        alarms: told who does not answer, who refuses, and where the quorum is missed; by :meth:`step` only.
        log_keys: the keys that sign checkpoints of an origin.
        clock: microseconds since 1970 UTC.
        pace: how often.

    Raises:
        ConfigError: no witness of the policy has an address, or one has none that can be used.
    """

    def __init__(
        self,
        policy: Policy,
        store: Trees,
        publish: Callable[[Sequence[Published]], None],
        alarms: AlarmStore,
        *,
        log_keys: Callable[[str], Sequence[Verifier]],
        clock: Callable[[], int],
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        self._policy = policy
        self._store = store
        self._publish = publish
        self._alarms = alarms
        self._log_keys = log_keys
        self._clock = clock
        self._pace = pace
        self._brought: SimpleQueue[Offered | Answered] = SimpleQueue()
        self._asked: dict[int, dict[int, _Asked]] = {}
        self._ready: dict[tuple[int, int], Published] = {}
        self._raised: set[tuple[str, str]] | None = None
        self._ended = threading.Event()
        prover = Prover(store)
        askers = [
            WitnessAsker(each, prover, log_keys, clock, timeout=pace.timeout)
            for each in policy.witnesses
            if each.url is not None
        ]
        if not askers:
            raise ConfigError("no witness of the policy has an address")
        self._desks = [Desk(asker, self._brought.put) for asker in askers]
        self._offered: dict[int, tuple[int, float]] = {}
        self._thread = threading.Thread(target=self._look, name="affidavit-cosigning", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        for desk in self._desks:
            desk.start()
        self._thread.start()

    def step(self) -> int:
        """Store what witnesses have signed since the last step; never waits for any of them.

        Returns:
            How many checkpoints were stored with new cosignatures.

        Raises:
            StorageError: they could not be stored; the next step tries again.
        """
        if self._raised is None:
            standing = self._alarms.alarms()
            self._raised = {
                (each.kind, each.subject) for each in standing if each.kind.startswith("witness_")
            }
        complete = [asked for brought in self._drain() if (asked := self._take(brought)) is not None]
        stored = len(self._ready)
        if stored:
            self._publish(list(self._ready.values()))
            self._ready.clear()
        for asked in complete:
            self._check_quorum(asked)
        return stored

    def close(self) -> None:
        """End; an answer that is under way is not waited for."""
        self._ended.set()
        for desk in self._desks:
            desk.end()
        self._thread.join(1.0)

    def _drain(self) -> list[Offered | Answered]:
        brought = []
        try:
            while True:
                brought.append(self._brought.get_nowait())
        except Empty:
            return brought

    def _take(self, brought: Offered | Answered) -> _Asked | None:
        """Enter one message; what every witness is done with by it."""
        tree, published = brought.tree, brought.published
        sizes = self._asked.setdefault(tree.number, {})
        if isinstance(brought, Offered):
            names = {desk.witness for desk in self._desks}
            sizes[published.size] = _Asked(tree, published, names)
            return None
        self._tell(brought)
        asked = sizes.get(published.size)
        if asked is None:
            return None
        if brought.line is not None:
            asked.note = with_cosignature(asked.note, brought.line)
            self._ready[tree.number, published.size] = published._replace(note=asked.note, cosigned=True)
        asked.waiting.discard(brought.witness)
        if asked.waiting:
            return None
        for size in [each for each in sizes if each < published.size]:
            del sizes[size]
        return asked

    def _tell(self, answered: Answered) -> None:
        subject = f"{answered.witness} {answered.tree.origin}"
        if isinstance(answered.error, WitnessUnreachable):
            self._raise(UNREACHABLE, answered.witness, answered.error.message)
        elif answered.error is not None:
            self._raise(REFUSED, subject, answered.error.message)
        elif answered.line is not None:
            self._clear(UNREACHABLE, answered.witness)
            self._clear(REFUSED, subject)

    def _check_quorum(self, asked: _Asked) -> None:
        origin = asked.tree.origin
        witnesses = self._policy.witness_keys
        try:
            opened = open_checkpoint(
                asked.note, self._log_keys(origin), witnesses, origin=origin, check=check_signature
            )
            self._policy.check_quorum(witness for witness, _ in opened.cosigned)
        except Unsound as missing:
            size = asked.published.size
            self._raise(QUORUM, origin, f"Size {size} of {origin} lacks cosignatures: {missing.message}")
        else:
            self._clear(QUORUM, origin)

    def _raise(self, kind: str, subject: str, text: str) -> None:
        assert self._raised is not None
        if (kind, subject) not in self._raised:
            log.error("%s", text)
            self._alarms.sound(Alarm(kind, subject, self._clock(), text))
            self._raised.add((kind, subject))

    def _clear(self, kind: str, subject: str) -> None:
        assert self._raised is not None
        if (kind, subject) in self._raised:
            self._alarms.clear(kind, subject)
            self._raised.discard((kind, subject))

    def _look(self) -> None:
        """The thread that finds out what is due."""
        rest = self._pace.round
        while not self._ended.wait(rest):
            begun = time.monotonic()
            try:
                self._offer_due(begun)
            except AffidavitError as error:
                log.error("%s: %s", error.category, error.message)
            # At most a twentieth of this process, however many trees there are.
            rest = max(self._pace.round, 20 * (time.monotonic() - begun))

    def _offer_due(self, now: float) -> None:
        trees = self._store.all_trees()
        newest = {each.organization: each.incarnation for each in trees}
        for tree in trees:
            growing = tree.incarnation == newest[tree.organization]
            if not tree.published or not self._is_due(tree, now, growing=growing):
                continue
            published = self._store.newest(tree.number)
            if published is None or self._ended.is_set():
                continue
            first = tree.number not in self._offered
            self._offered[tree.number] = published.size, now
            if first and published.cosigned and not growing:
                continue  # an earlier incarnation, which nobody can add to
            self._brought.put(Offered(tree, published))
            for desk in self._desks:
                desk.offer(tree, published)

    def _is_due(self, tree: Tree, now: float, *, growing: bool) -> bool:
        size, at = self._offered.get(tree.number, (0, float("-inf")))
        if tree.published > size:
            return now - at >= self._pace.apart
        return growing and now - at >= self._pace.heartbeat
