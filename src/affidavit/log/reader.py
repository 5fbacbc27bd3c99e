"""Reading: pages, single events, histogram, facets and whole exports, the same for every engine.

Whose events may be read is decided before, by the one scope function of :mod:`affidavit.access.scope`; every
method here takes its answer as the first argument.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from affidavit.core.credentials import ALL, Organizations
from affidavit.core.cursor import Cipher, Order, Position, open_token, question_hash, seal_token
from affidavit.core.filter import Filter
from affidavit.core.row import StoredEvent
from affidavit.core.times import HOUR
from affidavit.errors import InvalidQuery, NotFound
from affidavit.log.expiry import Expiries
from affidavit.storage.log import LogStore
from affidavit.storage.protocols import COUNTED, EventIndex, EventStore, Progress

__all__ = ["FACETS", "Bucket", "Facets", "Histogram", "Page", "Reader"]

PAGE_SECONDS = 0.050
"""Work of one page; then it comes short, with a token."""
SUMMARY_SECONDS = 0.100
"""Work of one histogram or of the facets."""
MOST = 1_000
EXPORT_PAGE = 1_000
SUMMARY_PAGE = 1_000

FACETS = ("actor", "action", "ip", "outcome", "severity", "source", "resource_type", "country_code")
"""Fields that :meth:`Reader.facets` counts."""


class Page(NamedTuple):
    """One page of a list.

    Attributes:
        events: newest first, or in recording order.
        continuation_token: for the next page; ``None`` where nothing more can follow. In recording order it
            is always there and stays valid: everything since.
        watermark: ``recorded_at`` up to which the index is complete, microseconds since 1970 UTC.
        caught_up: in recording order, whether the page reached the newest event.
    """

    events: list[StoredEvent]
    continuation_token: str | None
    watermark: int | None
    caught_up: bool


class Bucket(NamedTuple):
    """Counts of ``start`` (inclusive) to ``end`` (exclusive), microseconds since 1970 UTC."""

    start: int
    end: int
    count: int  # type: ignore[assignment]  # the field of the API, and no method of tuples here
    failures: int


class Histogram(NamedTuple):
    """Counts over time, oldest bucket first.

    Attributes:
        buckets: all of one width, a whole number of hours.
        total: the sum of their counts.
        at_least: whether a bound on the work was reached: older buckets may be too low.
        watermark: as in :class:`Page`.
    """

    buckets: list[Bucket]
    total: int
    at_least: bool
    watermark: int | None


class Facets(NamedTuple):
    """The most frequent values of some fields.

    Attributes:
        fields: field to values with their counts, the greatest first.
        examined: how many events were looked at.
        at_least: whether these were only the newest ones: all counts read "at least".
        watermark: as in :class:`Page`.
    """

    fields: dict[str, list[tuple[str, int]]]
    examined: int
    at_least: bool
    watermark: int | None


class Reader:
    """Answers questions about recorded events. Safe to use from several threads."""

    def __init__(self, events: EventStore, index: EventIndex, log: LogStore, cipher: Cipher) -> None:
        self._events = events
        self._index = index
        self._log = log
        self._expiries = Expiries(index)
        self._cipher = cipher

    def page(
        self,
        organizations: Organizations,
        filter_: Filter,
        *,
        limit: int = 50,
        order: Order = "desc",
        token: str | None = None,
        seconds: float = PAGE_SECONDS,
    ) -> Page:
        """One page.

        Args:
            organizations: whose events.
            filter_: the question.
            limit: 1 to 1,000.
            order: ``desc`` newest first by ``occurred_at``; ``asc`` in recording order.
            token: of the page before, for the same question.
            seconds: bound on the work; a page may come short, with a token.

        Raises:
            InvalidQuery: limit out of range, or a token of another question.
        """
        if not 1 <= limit <= MOST:
            raise InvalidQuery.of("limit", "range", f"must be 1 to {MOST}", limit)
        question = question_hash(filter_, None if organizations is ALL else tuple(sorted(organizations)))
        start = Position(order) if token is None else open_token(token, order, question, self._cipher)
        found = self._index.page(organizations, filter_, start, limit=limit, seconds=seconds)
        following = found.position
        caught_up = order == "asc" and following is not None and following.seq >= self._events.last_seq()
        return Page(
            self._placed(found.events),
            seal_token(following, question, self._cipher) if following is not None else None,
            found.watermark,
            caught_up,
        )

    def end(self, organizations: Organizations, filter_: Filter) -> str:
        """A token for ``order="asc"`` that stands after the newest event: what is recorded from now on."""
        question = question_hash(filter_, None if organizations is ALL else tuple(sorted(organizations)))
        return seal_token(Position("asc", seq=self._events.last_seq()), question, self._cipher)

    def get(self, organizations: Organizations, event_id: bytes) -> StoredEvent:
        """One event.

        Raises:
            NotFound: there is none with this id in these organizations.
        """
        names: Sequence[str] = self._events.organizations() if organizations is ALL else organizations
        for name in names:
            if found := self._events.fetch(name, [event_id]):
                return self._placed(found)[0]
        raise NotFound("There is no event with this id.")

    def _placed(self, events: list[StoredEvent]) -> list[StoredEvent]:
        """The same events, each with its place in the log, those that have expired marked."""
        places = self._log.places(events)
        for event in events:
            event.place = places.get(event.seq)
        self._expiries.mark(events)
        return events

    def organizations(self) -> list[str]:
        """Every organization that has an event."""
        return self._events.organizations()

    def progress(self) -> Progress:
        """Where the index stands."""
        return self._index.progress()

    def histogram(self, organizations: Organizations, filter_: Filter, *, buckets: int = 60) -> Histogram:
        """Counts over the time that the filter's dates span, or else the events.

        Args:
            organizations: whose events.
            filter_: the question.
            buckets: at most so many, 1 to 1,000; each is a whole number of hours wide.
        """
        if not 1 <= buckets <= MOST:
            raise InvalidQuery.of("buckets", "range", f"must be 1 to {MOST}", buckets)
        span = self._index.span(organizations)
        first = filter_.start if filter_.start is not None else (span[0] if span else None)
        last = filter_.end if filter_.end is not None else (span[1] if span else None)
        if span is None or first is None or last is None or first > last:
            return Histogram([], 0, False, self._index.progress().recorded_at)
        first, last = max(first, span[0]), min(last, span[1])
        if first > last:
            return Histogram([], 0, False, self._index.progress().recorded_at)
        hours = last // HOUR - first // HOUR + 1
        width = -(-hours // buckets) * HOUR
        origin = first // HOUR * HOUR
        counts: Counter[int] = Counter()
        failures: Counter[int] = Counter()
        if _is_counted(filter_):
            found = self._index.counts(organizations, filter_, "hour")
            for row in found.rows:
                bucket = (int(row.key) * HOUR - origin) // width
                counts[bucket] += row.events
                failures[bucket] += row.failures
            at_least, watermark = found.at_least, found.watermark
        else:
            events, at_least, watermark = self._newest(organizations, filter_)
            for event in events:
                bucket = (event.occurred_at - origin) // width
                counts[bucket] += 1
                failures[bucket] += event.outcome == "failure"
        listed = [
            Bucket(origin + number * width, origin + (number + 1) * width, counts[number], failures[number])
            for number in range(-(-hours * HOUR // width))
        ]
        return Histogram(listed, sum(counts.values()), at_least, watermark)

    def facets(
        self,
        organizations: Organizations,
        filter_: Filter,
        *,
        fields: Sequence[str] = FACETS[:6],
        top: int = 10,
    ) -> Facets:
        """The most frequent values among the newest matching events, as many as can be read within the bound.

        Action, outcome and severity are counted over all of them where the filter allows it.
        """
        for field in fields:
            if field not in FACETS:
                raise InvalidQuery.of("fields", "enum", f"must be among {', '.join(FACETS)}", field)
        if not 1 <= top <= 100:
            raise InvalidQuery.of("top", "range", "must be 1 to 100", top)
        counted = {field for field in fields if field in COUNTED} if _is_counted(filter_) else set()
        events, at_least, watermark = (
            self._newest(organizations, filter_) if set(fields) - counted else (iter(()), False, None)
        )
        tallies: dict[str, Counter[str]] = {field: Counter() for field in fields}
        examined = 0
        for event in events:
            examined += 1
            for field in fields:
                if field not in counted:
                    tallies[field].update(_values(event, field))
        for field in counted:
            found = self._index.counts(organizations, filter_, field)  # type: ignore[arg-type]
            watermark = found.watermark
            at_least |= found.at_least
            for row in found.rows:
                tallies[field][str(row.key)] += row.events
        return Facets(
            {field: tallies[field].most_common(top) for field in fields}, examined, at_least, watermark
        )

    def _newest(
        self, organizations: Organizations, filter_: Filter
    ) -> tuple[Iterator[StoredEvent], bool, int | None]:
        """The newest matching events that can be read within the bound, and whether there may be more."""
        until = time.perf_counter() + SUMMARY_SECONDS
        events: list[StoredEvent] = []
        position = Position("desc")
        while True:
            left = until - time.perf_counter()
            found = self._index.page(
                organizations, filter_, position, limit=SUMMARY_PAGE, seconds=max(0.0, left)
            )
            events += found.events
            if found.position is None or time.perf_counter() >= until:
                return iter(events), found.position is not None, found.watermark
            position = found.position

    def export(
        self, organizations: Organizations, filter_: Filter, *, order: Order = "desc"
    ) -> Iterator[list[StoredEvent]]:
        """The whole answer as of this call, in pieces of constant size, each in a short transaction.

        Events recorded after the call are left out.
        """
        return self._export(organizations, filter_, order, self._index.as_of())

    def _export(
        self, organizations: Organizations, filter_: Filter, order: Order, as_of: int
    ) -> Iterator[list[StoredEvent]]:
        position: Position | None = Position(order)
        while position is not None:
            found = self._index.page(
                organizations, filter_, position, limit=EXPORT_PAGE, seconds=None, as_of=as_of
            )
            if found.events:
                yield self._placed(found.events)
            position = found.position


def _is_counted(filter_: Filter) -> bool:
    return all(condition.field in COUNTED for condition in filter_.conditions)


def _values(event: StoredEvent, field: str) -> Iterator[str]:
    if field in ("action", "outcome", "severity", "source"):
        yield getattr(event, field)
        return
    groups = event.groups()
    if field == "actor":
        if event.actor_id is not None:
            yield event.actor_id
    elif field == "ip":
        if groups.get("ip"):
            yield groups["ip"]
    elif field == "country_code":
        if code := groups.get("location", {}).get("country_code"):
            yield code
    elif field == "resource_type":
        yield from {resource["type"] for resource in groups.get("resources", [])}
