"""Dry runs: what expiry and pruning would do now. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from affidavit.core.ids import last_id
from affidavit.log.retention.past import ClassCount, Past
from affidavit.log.retention.spans import SpanLook
from affidavit.storage.log import LogStore
from affidavit.storage.retention import PastStore

__all__ = ["ExpiryPreview", "Previews", "PrunePreview"]


class ExpiryPreview(NamedTuple):
    """What an expiry would do now.

    Attributes:
        organization: its tenant.
        policy: its table as text.
        classes: how many events of each class are past; a class that nothing is past of is not there.
    """

    organization: str
    policy: str
    classes: Mapping[str, ClassCount]


class PrunePreview(NamedTuple):
    """What a prune would do now.

    Attributes:
        from_id, to_id: the range of ids.
        events: rows that would be deleted.
        kept: events within the range that explain others and would stay.
        ranges: how many closed ranges it would make.
        obstacles: why it would be refused: the reason, and how many events it is true of.
    """

    from_id: bytes
    to_id: bytes
    events: int
    kept: int
    ranges: int
    obstacles: Mapping[str, int]


class Previews:
    """Looks at what is past.

    Args:
        past: says what is past and held.
        store: the events by id.
        log: the trees.
        clock: microseconds since 1970 UTC.
    """

    def __init__(self, past: Past, store: PastStore, log: LogStore, *, clock: Callable[[], int]) -> None:
        self._past = past
        self._store = store
        self._log = log
        self._clock = clock

    def expiry(self, organization: str) -> ExpiryPreview:
        """What expiry would take; its work grows with the events that the policy speaks of."""
        terms = self._past.terms(organization)
        counts: dict[str, ClassCount] = {}
        for _ in self._past.count(organization, terms, self._clock(), counts):
            pass
        return ExpiryPreview(organization, terms.policy.text, counts)

    def until(self, organization: str, moment: int) -> tuple[bytes, bytes] | None:
        """The range of ids of everything that occurred before a moment; ``None`` where there is nothing."""
        last = last_id(moment - 1)
        oldest = self._store.within(organization, b"", last, 1)
        return (oldest[0].id, last) if oldest else None

    def span(self, organization: str, from_id: bytes, to_id: bytes) -> SpanLook:
        """A look at a range, to be walked by whoever has to stop in between."""
        return SpanLook(
            self._past,
            self._store,
            self._log,
            organization,
            from_id=from_id,
            to_id=to_id,
            moment=self._clock(),
        )

    def pruning(self, organization: str, from_id: bytes, to_id: bytes) -> PrunePreview:
        """What a prune of a range would delete, or what stands against it."""
        look = self.span(organization, from_id, to_id)
        for _ in look:
            pass
        return PrunePreview(
            from_id,
            to_id,
            sum(len(span.gone) for span in look.spans),
            sum(span.kept for span in look.spans),
            len(look.spans),
            look.obstacles,
        )
