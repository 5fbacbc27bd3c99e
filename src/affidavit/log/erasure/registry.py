"""The registry of places that may hold copies, and the events themselves as the first of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import Literal, TypeAlias

from affidavit.core.ids import format_id
from affidavit.core.subject import SUBSTRING
from affidavit.log.erasure.find import find
from affidavit.log.tasks import WAITING, TaskSteps
from affidavit.storage.copies import MOST_NAMED, Copies, Erasure, Pieces, Places
from affidavit.storage.protocols import EventStore
from affidavit.storage.redaction import Redaction, Redactor

__all__ = ["EventCopies", "Registry"]

PIECE = 200
"""Events redacted at once."""

Gathering: TypeAlias = Generator[Literal["waiting"] | None, None, None]


def _nothing_waits() -> Gathering:
    yield from ()


class EventCopies:
    """The rows of the events.

    Args:
        events: reads them.
        redactor: takes groups away.
    """

    name = "events"

    def __init__(self, events: EventStore, redactor: Redactor) -> None:
        self._events = events
        self._redactor = redactor

    def erase(self, erasure: Erasure) -> Pieces:
        """Take the groups away that the manifests name."""
        remaining = iter(erasure.events.items())
        while piece := list(islice(remaining, PIECE)):
            redactions = [Redaction(erasure.organization, event_id, groups) for event_id, groups in piece]
            self._redactor.redact("erasure", erasure.reference, redactions)
            yield

    def search(self, erasure: Erasure) -> Places:
        """Walk over the events again, as the erasure did when it began."""
        found = yield from find(
            self._events,
            erasure.subject,
            erasure.organization,
            erasure.end,
            include_substrings=erasure.include_substrings,
        )
        examples = found.examples["exact"]
        if erasure.include_substrings:
            examples = [*examples, *found.examples[SUBSTRING]]
        left = [f"event {event_id}" for event_id in examples[:MOST_NAMED]]
        return left or (["an event that has no id"] if found.hits else [])


class Registry:
    """Every place, in the order in which they are erased.

    Args:
        copies: the events first; what is derived from them after.
        scrubs: each empties the write-ahead log of one file, so that freed pages hold nothing; true where it
            could. Whoever deletes overwrites what it deletes.
        rest: lets go of what the places hold between two steps.
        gather: stores what was recorded by now and waits elsewhere for its place among the events.
    """

    def __init__(
        self,
        copies: Sequence[Copies],
        scrubs: Sequence[Callable[[], bool]],
        rest: Callable[[], None],
        gather: Callable[[], Gathering] = _nothing_waits,
    ) -> None:
        self.copies = tuple(copies)
        self._gather = gather
        self._scrubs = tuple(scrubs)
        self._rest = rest

    def gather(self) -> Gathering:
        """Have everything that was recorded by now among the events."""
        try:
            yield from self._gather()
        finally:
            self._rest()

    def erase(self, erasure: Erasure) -> TaskSteps:
        """Erase everywhere."""
        try:
            for place in self.copies:
                yield from place.erase(erasure)
        finally:
            self._rest()
        return {}

    def search(self, erasure: Erasure) -> TaskSteps:
        """Search everywhere; name of the place to what was found there."""
        left = {}
        try:
            for place in self.copies:
                found = yield from place.search(erasure)
                if found:
                    left[place.name] = found[:MOST_NAMED]
        finally:
            self._rest()
        return left

    def scrub(self) -> TaskSteps:
        """Empty the write-ahead logs of all files."""
        try:
            for scrub in self._scrubs:
                while not scrub():
                    yield WAITING
        finally:
            self._rest()
        return {}


def shown_id(raw: object) -> str:
    """An event's id for a person."""
    return format_id(raw) if isinstance(raw, bytes) and len(raw) == 16 else "without an id"
