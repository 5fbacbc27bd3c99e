"""A look at a range of ids before it is pruned: what would go, what stays, and what stands against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from affidavit.core.forms import format_id
from affidavit.core.merkle import leaf_hash
from affidavit.core.retention import explains_others
from affidavit.core.row import Place, StoredEvent
from affidavit.core.sealing import RowVersionError, leaf_of_event
from affidavit.errors import FieldError, Refused
from affidavit.log.retention.past import PIECE, Past, Terms, keeps_values
from affidavit.storage.log import LogStore, Tree
from affidavit.storage.retention import PastStore

__all__ = ["MOST", "Span", "SpanLook", "before"]

MOST = 10_000
"""Events of one closed range; a longer one is pruned as several."""
_NAMED = 5
"""Events that a refusal names."""


class Span(NamedTuple):
    """One range that is fit to be pruned.

    Attributes:
        from_id, to_id: both inclusive.
        gone: place and tree of each row that goes.
        kept: events that explain others and stay.
    """

    from_id: bytes
    to_id: bytes
    gone: Sequence[tuple[Place, Tree]]
    kept: int


def before(event_id: bytes) -> bytes:
    """The greatest 16 bytes below an id: where a walk that includes it begins."""
    number = int.from_bytes(event_id, "big")
    return (number - 1).to_bytes(16, "big") if number else b""


class SpanLook:
    """Looks at a range, piece by piece; :attr:`spans` and :attr:`obstacles` are whole when it has ended.

    Args:
        past: says what is past and held.
        store: the events by id.
        log: the trees.
        organization: whose.
        from_id, to_id: of the range, both inclusive.
        moment: microseconds since 1970 UTC at which events must be past.
    """

    def __init__(
        self,
        past: Past,
        store: PastStore,
        log: LogStore,
        organization: str,
        *,
        from_id: bytes,
        to_id: bytes,
        moment: int,
    ) -> None:
        self._terms: Terms = past.terms(organization)
        self._store = store
        self._log = log
        self._organization = organization
        self._from, self._to = from_id, to_id
        self._moment = moment
        self.spans: list[Span] = []
        self.obstacles: Counter[str] = Counter()
        self._named: list[FieldError] = []

    def __iter__(self) -> Iterator[None]:
        """Look on; each step is one bounded piece."""
        start, after = self._from, before(self._from)
        gone: list[tuple[Place, Tree]] = []
        kept = 0
        trees = {tree.number: tree for tree in self._log.trees(self._organization)}
        while page := self._store.within(self._organization, after, self._to, PIECE):
            after = page[-1].id
            places = self._log.places(page)
            for event in page:
                if explains_others(event.action):
                    kept += 1
                    continue
                place = places.get(event.seq)
                if self._fit(event, place, trees) and place is not None:
                    gone.append((place, trees[place.tree]))
            if len(gone) + kept >= MOST:
                self._end(start, after, gone, kept)
                start, gone, kept = _next(after), [], 0
            yield
        self._end(start, self._to, gone, kept)

    def refuse(self) -> None:
        """Raise where something stands against it.

        Raises:
            Refused: names the reasons with their counts, and the first events.
        """
        if self.obstacles:
            told = ", ".join(f"{number:,} {reason}" for reason, number in self.obstacles.most_common())
            raise Refused(f"The range cannot be pruned, of its events there are {told}.", tuple(self._named))

    def _end(self, start: bytes, end: bytes, gone: list[tuple[Place, Tree]], kept: int) -> None:
        if gone:
            self.spans.append(Span(start, end, gone, kept))

    def _fit(self, event: StoredEvent, place: Place | None, trees: Mapping[int, Tree]) -> bool:
        obstacle = self._obstacle(event, place, trees)
        if obstacle is None:
            return True
        self.obstacles[obstacle] += 1
        if len(self._named) < _NAMED:
            rule = obstacle.replace(" ", "_")
            self._named.append(FieldError("ids", rule, f"one is {obstacle}", format_id(event.id)))
        return False

    def _obstacle(self, event: StoredEvent, place: Place | None, trees: Mapping[int, Tree]) -> str | None:
        if self._terms.keeps(event.action):
            return "under a legal hold"
        if not self._terms.policy.is_past(event.action, event.recorded_at, self._moment):
            return "not past a policy"
        if keeps_values(event):
            return "not expired yet"
        if place is None or not place.published:
            return "not published yet"
        try:
            entry = leaf_of_event(event, trees[place.tree].hex_digits).entry
        except RowVersionError:
            return "of a newer version"
        return None if leaf_hash(entry) == place.hash else "not what the log says"


def _next(event_id: bytes) -> bytes:
    return (int.from_bytes(event_id, "big") + 1).to_bytes(16, "big")
