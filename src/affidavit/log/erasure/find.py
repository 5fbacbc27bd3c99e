"""Finding a data subject in the events: one walk over the rows, in bounded pieces."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from affidavit.core.event import GROUPS
from affidavit.core.ids import format_id
from affidavit.core.subject import SUBSTRING, Subject
from affidavit.storage.protocols import EventStore, RawRow

__all__ = ["EXAMPLES", "Find", "Hit", "find"]

EXAMPLES = 10
"""Ids of events that a dry run shows of each sort."""
ROWS = 256
"""Rows read at once."""
PIECE = 0.03
"""Seconds of one piece."""

_ID, _ORGANIZATION, _PROJECT, _ACTION, _FACTS = 0, 2, 3, 4, 10
_CLEAR = {"organization": _ORGANIZATION, "project": _PROJECT, "action": _ACTION, "facts": _FACTS}
_FIRST, _END = 12, 17


class Hit(NamedTuple):
    """An event that loses groups: its place in recording order, its action, and the groups that go."""

    seq: int
    action: str
    groups: tuple[str, ...]


class Find:
    """What a walk found.

    Attributes:
        end: place in recording order up to which it went.
        hits: the events that lose groups, in recording order.
        groups: how many events lose each group.
        kinds: how many events have a hit of each kind.
        unconfirmed: how many events have a substring hit in each group that is not erased without a word.
        clear: how many events hold the subject in each clear field, which nothing can erase.
        examples: ids, of events with exact hits and of those with substring hits only.
    """

    def __init__(self, end: int) -> None:
        self.end = end
        self.hits: list[Hit] = []
        self.groups: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.unconfirmed: Counter[str] = Counter()
        self.clear: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {"exact": [], SUBSTRING: []}

    @property
    def counts(self) -> dict[str, Any]:
        """What may be said of it: numbers, and never the subject."""
        return {
            "events": len(self.hits),
            "groups": dict(sorted(self.groups.items())),
            "hits": dict(sorted(self.kinds.items())),
            "unconfirmed": dict(sorted(self.unconfirmed.items())),
            "clear": dict(sorted(self.clear.items())),
        }

    def _example(self, sort: str, event_id: Any) -> None:
        shown = self.examples[sort]
        if len(shown) < EXAMPLES and isinstance(event_id, bytes) and len(event_id) == 16:
            shown.append(format_id(event_id))

    def take(self, row: RawRow, subject: Subject, *, include_substrings: bool) -> None:
        """Look at one row."""
        values = row.values
        for field, at in _CLEAR.items():
            if isinstance(values[at], bytes) and subject.is_within(values[at].decode(errors="replace")):
                self.clear[field] += 1
        texts = [text if isinstance(text, bytes) else None for text in values[_FIRST:_END]]
        found = subject.hits(texts)
        if not found:
            return
        self.kinds.update(kind for kind in set().union(*found.values()))
        exact = {group for group, kinds in found.items() if kinds != {SUBSTRING}}
        self._example("exact" if exact else SUBSTRING, values[_ID])
        going = set(found) if include_substrings else exact
        self.unconfirmed.update(set(found) - going)
        if going:
            ordered = tuple(group for group in GROUPS if group in going)
            self.groups.update(ordered)
            self.hits.append(Hit(row.seq, values[_ACTION].decode(errors="replace"), ordered))


def find(
    events: EventStore, subject: Subject, organization: str, end: int, *, include_substrings: bool
) -> Generator[None, None, Find]:
    """Walk over the rows of an organization up to a place.

    Args:
        events: of all organizations.
        subject: who is looked for.
        organization: whose events.
        end: the last place in recording order.
        include_substrings: whether groups with substring hits only count as hits.
    """
    found = Find(end)
    name = organization.encode()
    until = time.monotonic() + PIECE
    for rows in _pieces(events, end):
        for row in rows:
            if row.values[_ORGANIZATION] == name:
                found.take(row, subject, include_substrings=include_substrings)
        if time.monotonic() >= until:
            yield
            until = time.monotonic() + PIECE
    return found


def _pieces(events: EventStore, end: int) -> Iterator[list[RawRow]]:
    for start in range(1, end + 1, ROWS):
        yield events.rows(range(start, min(start + ROWS, end + 1)))
