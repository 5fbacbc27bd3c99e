"""The sequencer: takes events off the queue and gives each the next index in its organization's tree.

One code path for normal work and for recovery: what the store says is the truth, what is held here is a copy
that is thrown away after any error. It never stops at a bad row: one that cannot be encoded gets an
``invalid`` leaf and an alarm. Only one works at a time (the worker's lease); a second one would be stopped
by the compare-and-swap of :meth:`~affidavit.storage.log.LogWriter.append`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from affidavit.core.forms import format_id
from affidavit.core.merkle import Frontier, leaf_hash
from affidavit.core.sealing import home_of, leaf_of
from affidavit.storage.log import Alarm, AlarmStore, Claimed, Grown, LogWriter, Queue, Sealed, Tree

__all__ = ["BATCH", "Sequencer"]

BATCH = 8_192
"""Events claimed at once."""
MOST_HEADS = 20_000
"""Trees whose frontier is kept in memory."""
_ORGANIZATION = 2


def _unknown(_organization: str) -> None:
    return None


class _Growing:
    """One tree in the course of a batch."""

    __slots__ = ("frontier", "leaves", "tiles", "tree")

    def __init__(self, tree: Tree, frontier: Frontier) -> None:
        self.tree = tree
        self.frontier = frontier.copy()
        self.leaves: list[Sealed] = []
        self.tiles: list[tuple[int, int, bytes]] = []

    def made(self, level: int, index: int, digest: bytes) -> None:
        self.tiles.append((level, index, digest))


class _Invalid(NamedTuple):
    event_id: object
    reason: str


class Sequencer:
    """Grows the trees of one store.

    Args:
        queue: what waits.
        writer: where the trees stand.
        alarms: told of rows that cannot be encoded.
        host: first part of the origin of trees that are begun from now on.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
        known: host and hex digits of an organization whose tree is not in the store although it was signed
            before: what is sequenced again then becomes the same tree. ``None`` for one that is new.
    """

    def __init__(
        self,
        queue: Queue,
        writer: LogWriter,
        alarms: AlarmStore,
        *,
        host: str,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
        known: Callable[[str], tuple[str, str] | None] = _unknown,
    ) -> None:
        self._queue = queue
        self._writer = writer
        self._alarms = alarms
        self._host = host
        self._clock = clock
        self._entropy = entropy
        self._known = known
        self._heads: dict[str, tuple[Tree, Frontier]] = {}

    def step(self) -> int:
        """Sequence one batch, durable on return; how many events it had, 0 where nothing waits.

        The order, so that a kill at any instruction loses nothing and doubles nothing: 1. the rows are read;
        2. they are on the disk; 3. leaves, heads and the queue's place are committed in one transaction.

        Raises:
            LogMismatch, RowTooNew: see :meth:`affidavit.storage.log.Queue.claim`.
            LogMoved, StorageError: whatever was stored, the next step starts from it.
        """
        claimed = self._queue.claim(BATCH)
        if not claimed:
            return 0
        try:
            grown, invalid = self._grow(claimed)
            self._queue.settle(claimed)
            self._writer.append(claimed, [_finished(each) for each in grown])
        except BaseException:
            self._heads.clear()
            raise
        if len(self._heads) > MOST_HEADS:
            self._heads.clear()
        for each in grown:
            tree = each.tree._replace(size=each.frontier.size)
            self._heads[tree.organization] = tree, each.frontier
        for bad in invalid:
            self._sound(bad)
        return len(claimed)

    def forget(self) -> None:
        """Load every head again: somebody else (a new incarnation) has changed them."""
        self._heads.clear()

    def _grow(self, claimed: Sequence[Claimed]) -> tuple[list[_Growing], list[_Invalid]]:
        growing = self._load(dict.fromkeys(home_of(each.values[_ORGANIZATION]) for each in claimed))
        invalid: list[_Invalid] = []
        for seq, values in claimed:
            tree = growing[home_of(values[_ORGANIZATION])]
            if seq == tree.tree.first_seq:
                continue  # leaf 0 of this incarnation, sequenced when it was begun
            entry, reason = leaf_of(values, tree.tree.hex_digits)
            if reason is not None:
                invalid.append(_Invalid(values[0], reason))
            digest = leaf_hash(entry)
            tree.leaves.append(Sealed(seq, tree.frontier.size, digest))
            tree.frontier.append(digest, tree.made)
        return [each for each in growing.values() if each.leaves], invalid

    def _load(self, organizations: dict[str, None]) -> dict[str, _Growing]:
        unknown = [name for name in organizations if name not in self._heads]
        if unknown:
            self._heads.update(self._writer.heads(unknown))
        number = 0
        growing = {}
        for name in organizations:
            head = self._heads.get(name)
            if head is None:
                number = number + 1 if number else self._writer.next_number()
                host, hex_digits = self._known(name) or (self._host, self._entropy(16).hex())
                head = Tree(number, name, host, hex_digits, 1, None, 0, 0), Frontier()
            growing[name] = _Growing(*head)
        return growing

    def _sound(self, bad: _Invalid) -> None:
        raw = bad.event_id
        subject = format_id(raw) if isinstance(raw, bytes) and len(raw) == 16 else repr(raw)[:64]
        text = f"The event is sealed as an invalid leaf: {bad.reason}. Look at the row with: affidavit fsck"
        self._alarms.sound(Alarm("invalid_leaf", subject, self._clock(), text))


def _finished(each: _Growing) -> Grown:
    return Grown(each.tree, each.leaves, each.tiles, each.frontier)
