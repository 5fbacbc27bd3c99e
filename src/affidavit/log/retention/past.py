"""Which events are past their policy: walked class by class, in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from affidavit.core.ids import last_id
from affidavit.core.retention import Policy, class_covers, explains_others, longest_match
from affidavit.core.row import StoredEvent
from affidavit.core.times import DAY, MINUTE
from affidavit.storage.retention import HoldStore, PastStore, PolicyStore

__all__ = ["PIECE", "Class", "ClassCount", "Past", "Terms", "keeps_values", "totals"]

PIECE = 200
"""Events read at once."""
_AHEAD = 5 * MINUTE
"""How far ``occurred_at`` may lie ahead of ``recorded_at``."""


class Terms(NamedTuple):
    """What decides about the events of one organization: its table, and the classes of the holds in force."""

    policy: Policy
    held: tuple[str, ...]

    def keeps(self, action: str) -> bool:
        """Whether a hold keeps the events of an action."""
        return any(class_covers(name, action) for name in self.held)


class Class(NamedTuple):
    """The events of one action that a policy speaks of.

    Attributes:
        action: of the events.
        name: the class that decides.
        days: how long their groups are kept.
    """

    action: str
    name: str
    days: int


class ClassCount(msgspec.Struct):
    """How many events of a class are past: those whose groups go, and those that a hold keeps."""

    expired: int = 0
    held: int = 0


def keeps_values(event: StoredEvent) -> bool:
    """Whether anything of an event is left to expire."""
    return event.secret is not None or any(text is not None for text in event.texts)


class Past:
    """Finds what is past.

    Args:
        policies: the tables.
        holds: the legal holds.
        store: the events.
    """

    def __init__(self, policies: PolicyStore, holds: HoldStore, store: PastStore) -> None:
        self._policies = policies
        self._holds = holds
        self._store = store

    def terms(self, organization: str) -> Terms:
        """What decides, as it stands now."""
        held = {hold.class_ for hold in self._holds.holds(organization) if hold.released_at is None}
        return Terms(Policy(self._policies.rules(organization)), tuple(sorted(held)))

    def classes(self, organization: str, policy: Policy) -> list[Class]:
        """The actions that have an event and an end, with the class of each."""
        if all(days is None for days in policy.rules.values()):
            return []
        found = []
        for action in self._store.actions(organization):
            name = None if explains_others(action) else longest_match(policy.rules, action)
            days = None if name is None else policy.rules[name]
            if name is not None and days is not None:
                found.append(Class(action, name, days))
        return found

    def walk(self, organization: str, class_: Class, moment: int) -> Iterator[Sequence[StoredEvent]]:
        """The events of one action that are past and keep a value; pieces may be empty."""
        cutoff = moment - class_.days * DAY
        if cutoff < 0:
            return
        after, until = b"", last_id(cutoff + _AHEAD)
        while True:
            page = self._store.page(organization, class_.action, after, until, PIECE)
            yield [event for event in page if event.recorded_at <= cutoff and keeps_values(event)]
            if len(page) < PIECE:
                return
            after = page[-1].id

    def count(
        self, organization: str, terms: Terms, moment: int, counts: dict[str, ClassCount]
    ) -> Iterator[None]:
        """Count by class, piece by piece, into ``counts``; what nothing is past of has no entry."""
        for class_ in self.classes(organization, terms.policy):
            kept = terms.keeps(class_.action)
            for events in self.walk(organization, class_, moment):
                if events:
                    count = counts.setdefault(class_.name, ClassCount())
                    if kept:
                        count.held += len(events)
                    else:
                        count.expired += len(events)
                yield


def totals(counts: Mapping[str, ClassCount]) -> tuple[int, int]:
    """Events that go and events that a hold keeps."""
    return sum(count.expired for count in counts.values()), sum(count.held for count in counts.values())
