"""The questions that a test asks of what was recorded, and what it is told when the answer is another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import TypedDict, Unpack, overload

from affidavit.core.catalog import EventType
from affidavit.core.event import Actor, Outcome, Resource
from affidavit.testing.audit_log.event import RecordedEvent

__all__ = ["ActorLike", "Events", "Filters", "Questions", "ResourceFilter"]

ActorLike = Actor | str
"""An actor, or its id or e-mail address."""
ResourceFilter = Resource | tuple[str, object] | str
"""A resource (its name does not count), ``(type, id)``, or an id or name."""
_MOST = 50


class Filters(TypedDict, total=False):
    """What may be asked of an event, beside its action.

    Attributes:
        actor: who did it.
        resource: one of those it was done to.
        resource_type: of one of them.
        outcome: ``success`` or ``failure``.
    """

    actor: ActorLike
    resource: ResourceFilter
    resource_type: str
    outcome: Outcome


class Questions(ABC):
    """``one``, ``all`` and ``none``, ``len`` and iteration, over what :meth:`_events` gives."""

    @abstractmethod
    def _events(self) -> Sequence[RecordedEvent]:
        """What is asked about, oldest first."""

    def all(
        self,
        action: str | EventType | None = None,
        **filters: Unpack[Filters],
    ) -> list[RecordedEvent]:
        """The events for which everything that is given holds, in the order in which they were recorded.

        Args:
            action: its name, an event type, or a pattern such as ``team.*`` or ``*.delete``.
            **filters: see :class:`Filters`.

        Raises:
            TypeError: there is no such filter.
        """
        if unknown := filters.keys() - Filters.__annotations__.keys():
            known = ", ".join(Filters.__annotations__)
            raise TypeError(f"{min(unknown)!r} is no filter; there are: {known}")
        pattern = action.action if isinstance(action, EventType) else action
        return [
            each
            for each in self._events()
            if (pattern is None or fnmatchcase(each.action, pattern)) and _fits(each, filters)
        ]

    def one(self, action: str | EventType | None = None, **filters: Unpack[Filters]) -> RecordedEvent:
        """The only event for which this holds; see :meth:`all`.

        Raises:
            AssertionError: there is none, or there are several; the message lists what was recorded.
        """
        __tracebackhide__ = True
        found = self.all(action, **filters)
        if len(found) != 1:
            raise AssertionError(self._told(f"one event{_said(action, filters)}", found))
        return found[0]

    def none(self, action: str | EventType | None = None, **filters: Unpack[Filters]) -> None:
        """Nothing of this was recorded; see :meth:`all`.

        Raises:
            AssertionError: something was.
        """
        __tracebackhide__ = True
        if found := self.all(action, **filters):
            raise AssertionError(self._told(f"no event{_said(action, filters)}", found))

    def __len__(self) -> int:
        return len(self._events())

    def __iter__(self) -> Iterator[RecordedEvent]:
        return iter(self._events())

    def __contains__(self, action: object) -> bool:
        """Whether there is an event of an action, or such an event."""
        if isinstance(action, str | EventType):
            return bool(self.all(action))
        return action in self._events()

    @overload
    def __getitem__(self, place: int) -> RecordedEvent: ...

    @overload
    def __getitem__(self, place: slice) -> list[RecordedEvent]: ...

    def __getitem__(self, place: int | slice) -> RecordedEvent | list[RecordedEvent]:
        found = self._events()
        return found[place] if isinstance(place, int) else list(found[place])

    def __repr__(self) -> str:
        return _listed(self._events())

    def _told(self, expected: str, found: Sequence[RecordedEvent]) -> str:
        everything = self._events()
        number = "none" if not found else str(len(found))
        return f"Expected {expected}, found {number}. {_listed(everything, found)}"


class Events(Questions):
    """What was recorded up to a moment."""

    def __init__(self, events: Iterable[RecordedEvent]) -> None:
        self._found = tuple(events)

    def _events(self) -> Sequence[RecordedEvent]:
        return self._found


def _fits(event: RecordedEvent, filters: Filters) -> bool:
    if "actor" in filters and not _is_by(event, filters["actor"]):
        return False
    if "resource" in filters and not any(_is(each, filters["resource"]) for each in event.resources):
        return False
    if "resource_type" in filters and filters["resource_type"] not in [each.type for each in event.resources]:
        return False
    return "outcome" not in filters or event.outcome == filters["outcome"]


def _is_by(event: RecordedEvent, actor: ActorLike) -> bool:
    if event.actor is None:
        return False
    if isinstance(actor, Actor):
        return (event.actor.type, event.actor.id) == (actor.type, actor.id)
    return actor in (event.actor.id, event.actor.email)


def _is(found: Resource, wanted: ResourceFilter) -> bool:
    if isinstance(wanted, str):
        return wanted in (found.id, found.name)
    kind, key = (wanted.type, wanted.id) if isinstance(wanted, Resource) else wanted
    return (found.type, found.id) == (kind, str(key))


def _said(action: str | EventType | None, filters: Filters) -> str:
    name = action.action if isinstance(action, EventType) else action
    said = [] if name is None else [repr(name)]
    said += [f"{field}={value!r}" for field, value in filters.items()]
    return " " + ", ".join(said) if said else ""


def _listed(events: Sequence[RecordedEvent], marked: Sequence[RecordedEvent] = ()) -> str:
    if not events:
        return "Nothing was recorded."
    those = {each.id for each in marked}
    lines = [
        f"{'>' if each.id in those else ' '} {number:>3}. {each.line()}"
        for number, each in enumerate(events[:_MOST], 1)
    ]
    if len(events) > _MOST:
        lines.append(f"      and {len(events) - _MOST} more")
    return f"Recorded ({len(events)}):\n" + "\n".join(lines)
