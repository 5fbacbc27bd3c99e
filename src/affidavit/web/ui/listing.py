"""Read one screen of the table: its rows, the timeline, and what the filter form offers.

The reader may answer a page short, with a token, to bound its work. This goes on by itself a few times and
then says so, rather than let the browser wait.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from affidavit.access.scope import Organizations
from affidavit.core.filter import Filter
from affidavit.core.row import StoredEvent
from affidavit.web.instance import Histogram, Reader

__all__ = ["BUCKETS", "ROUNDS", "ROWS", "Listing", "Offers", "read_listing"]

ROWS = 50
"""Rows of a page."""
ROUNDS = 8
"""How often one page asks the reader to go on."""
BUCKETS = 60
"""Bars of the timeline."""
_ACTORS = 20
_ACTIONS = 60


class Offers(msgspec.Struct, frozen=True):
    """Values that occur within the dates, most frequent first, for the filter form."""

    actors: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


class Listing(msgspec.Struct, frozen=True):
    """What was read.

    Attributes:
        events: at most :data:`ROWS`, newest first.
        token: leads to what follows; absent at the end.
        short: the search stopped before the page was full, though more may follow.
    """

    events: Sequence[StoredEvent]
    token: str | None
    short: bool
    histogram: Histogram
    offers: Offers


def read_listing(reader: Reader, organizations: Organizations, asked: Filter, token: str | None) -> Listing:
    """One screen. Blocks: call it in a thread.

    Args:
        reader: of the instance.
        organizations: of the scope.
        asked: the filter.
        token: of the page, absent for the first.

    Raises:
        InvalidQuery: the token belongs to another question.
    """
    events, following = _rows(reader, organizations, asked, token)
    within = Filter((), asked.start, asked.end)
    facets = reader.facets(organizations, within, fields=("actor", "action", "source"), top=_ACTIONS).fields
    return Listing(
        events=events,
        token=following,
        short=following is not None and len(events) < ROWS,
        histogram=reader.histogram(organizations, asked, buckets=BUCKETS),
        offers=Offers(
            tuple(value for value, _ in facets.get("actor", ())[:_ACTORS]),
            tuple(value for value, _ in facets.get("action", ())),
            tuple(value for value, _ in facets.get("source", ())),
        ),
    )


def _rows(
    reader: Reader, organizations: Organizations, asked: Filter, token: str | None
) -> tuple[list[StoredEvent], str | None]:
    events: list[StoredEvent] = []
    for _ in range(ROUNDS):
        page = reader.page(organizations, asked, limit=ROWS - len(events), token=token)
        events.extend(page.events)
        token = page.continuation_token
        if token is None or len(events) >= ROWS:
            break
    return events, token
