"""Read one screen of the table: its rows, the timeline, and what the filter form offers.

The reader may answer a page short, with a token, to bound its work. This goes on by itself a few times and
then says so, rather than let the browser wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from affidavit.access.scope import Organizations
from affidavit.core.filter import Filter
from affidavit.core.row import StoredEvent
from affidavit.web.instance import Histogram, Reader
from affidavit.web.ui.present import person

__all__ = ["BUCKETS", "ROUNDS", "ROWS", "Listing", "Offers", "read_listing"]

ROWS = 50
"""Rows of a page."""
ROUNDS = 8
"""How often one page asks the reader to go on."""
BUCKETS = 60
"""Bars of the timeline."""
_SAMPLE = 200
_ACTORS = 20
_ACTIONS = 100


class Offers(msgspec.Struct, frozen=True):
    """Values that occur within the dates, most frequent first, for the filter form.

    Attributes:
        actors: of the newest events, as (what the filter takes, what to call it).
        actions: of all events.
        sources: of the newest events.
    """

    actors: tuple[tuple[str, str], ...] = ()
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
    return Listing(
        events=events,
        token=following,
        short=following is not None and len(events) < ROWS,
        histogram=reader.histogram(organizations, asked, buckets=BUCKETS),
        offers=_offers(reader, organizations, Filter((), asked.start, asked.end)),
    )


def _offers(reader: Reader, organizations: Organizations, within: Filter) -> Offers:
    """What the dates hold. Actions are counted already; of actors and sources the newest tell enough."""
    newest = reader.page(organizations, within, limit=_SAMPLE).events
    people = [found for event in newest if (found := person(event.groups().get("actor"))) is not None]
    names = {found.key: found.name for found in reversed(people)}
    actors = Counter(found.key for found in people).most_common(_ACTORS)
    actions = reader.facets(organizations, within, fields=("action",), top=_ACTIONS).fields["action"]
    sources = Counter(event.source for event in newest).most_common()
    return Offers(
        tuple((key, names[key]) for key, _ in actors),
        tuple(action for action, _ in actions),
        tuple(source for source, _ in sources),
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
