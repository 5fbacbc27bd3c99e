"""Expiry: the groups of events that are past their policy go; clear fields and digests stay.

What is about to happen is said first: an ``audit.retention.expired`` with the table in its facts is recorded
and published before the first value goes, so that whoever finds one missing can check class and age himself.
Then rows are emptied piece by piece, and at the end ``audit.retention.completed`` counts. A kill at any
instruction leaves rows that are whole or expired, and the next run goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from affidavit.access.events import AccessEvents
from affidavit.core.ids import format_id, parse_id
from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.merkle import leaf_hash
from affidavit.core.retention import parse_policy
from affidavit.core.row import StoredEvent
from affidavit.core.sealing import RowVersionError, leaf_of_event
from affidavit.core.times import format_time
from affidavit.errors import LogMismatch
from affidavit.log.retention.orders import EXPIRE, credential_of
from affidavit.log.retention.past import ClassCount, Past, Terms, totals
from affidavit.log.tasks import WAITING, TaskSteps
from affidavit.storage.log import LogStore
from affidavit.storage.protocols import EventStore
from affidavit.storage.redaction import Redaction, Redactor
from affidavit.storage.retention import PolicyStore
from affidavit.storage.tasks import Task, TaskStore

__all__ = ["EXPIRE", "Expiry", "IndexCopies"]

_CHANGED = "the policy or a hold was changed meanwhile; run it again"


class IndexCopies(Protocol):
    """What the search index knows of events; it is worked on between two steps of its follower."""

    def forget(self, organization: str, ids: Sequence[bytes]) -> None:
        """Take away what it knows of events that still have their values."""
        ...

    def forget_addresses(self, organization: str) -> Iterator[None]:
        """Take away the addresses that no event has any more, in bounded pieces."""
        ...

    def scrub(self) -> bool:
        """Leave nothing in free pages; false where it must be called again."""
        ...

    def discard(self) -> None:
        """Throw it away; it is made anew from the events."""
        ...

    def close(self) -> None:
        """Let go of what scrubbing holds."""
        ...


class _Begun(NamedTuple):
    """A run after its first event.

    Attributes:
        event: its id.
        terms: as they stood in its transaction; what was held then is not covered by it.
        moment: at which events must be past.
        planned: events of each class.
    """

    event: bytes
    terms: Terms
    moment: int
    planned: Mapping[str, int]


class Expiry:
    """Runs expiry, one organization a task.

    Args:
        past: finds what is past.
        policies: the tables.
        events: reads the event that announces a run.
        log: the trees.
        redactor: empties rows.
        copies: the search index.
        tasks: where a run notes what it began with.
        audit: makes the events of a run.
        clock: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        past: Past,
        policies: PolicyStore,
        events: EventStore,
        log: LogStore,
        redactor: Redactor,
        copies: IndexCopies,
        tasks: TaskStore,
        audit: AccessEvents,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._past = past
        self._policies = policies
        self._events = events
        self._log = log
        self._redactor = redactor
        self._copies = copies
        self._tasks = tasks
        self._audit = audit
        self._clock = clock

    def run(self, task: Task) -> TaskSteps:
        """The function of tasks of the kind :data:`EXPIRE`."""
        organization = task.organization
        begun = self._noted(task)
        if begun is not None:
            # What was taken from the index when the run was cut short may have kept its values.
            self._copies.discard()
        else:
            terms = self._past.terms(organization)
            counts: dict[str, ClassCount] = {}
            moment = self._clock()
            for _ in self._past.count(organization, terms, moment, counts):
                yield None
            if not totals(counts)[0]:
                return _outcome(terms, Counter(), Counter({name: c.held for name, c in counts.items()}))
            begun = self._announce(task, terms, moment, counts)
            if begun is None:
                return {**_outcome(terms, Counter(), Counter()), "stopped": _CHANGED}
        while not self._published(organization, begun.event):
            yield WAITING
        try:
            return (yield from self._empty(task, begun))
        finally:
            self._copies.close()

    def _noted(self, task: Task) -> _Begun | None:
        """What the task had begun before it was interrupted."""
        noted = task.outcome or {}
        if "event" not in noted:
            return None
        terms = Terms(parse_policy(noted["policy"]), tuple(noted["held"]))
        return _Begun(parse_id(noted["event"]), terms, noted["moment"], noted["planned"])

    def _announce(
        self, task: Task, terms: Terms, moment: int, counts: Mapping[str, ClassCount]
    ) -> _Begun | None:
        """Record that values expire; ``None`` where table or holds are others by now."""
        expired, held = totals(counts)
        rows = self._audit.rows(
            "audit.retention.expired",
            credential_of(task),
            (task.organization,),
            metadata={"task": task.id, "until": format_time(moment), "expired": expired, "kept": held},
            facts={"policy": terms.policy.text},
        )
        if not self._policies.confirm(task.organization, terms.policy.rules, terms.held, rows):
            return None
        (event,) = self._events.fetch(task.organization, [rows[0].id])
        begun = _Begun(
            event.id,
            terms,
            min(moment, event.recorded_at),  # a clock that was set back must not let anything go early
            {name: count.expired for name, count in counts.items()},
        )
        noted = {
            "event": format_id(event.id),
            "policy": terms.policy.text,
            "held": terms.held,
            "moment": begun.moment,
            "planned": begun.planned,
        }
        self._tasks.note(task.id, noted)
        return begun

    def _published(self, organization: str, event_id: bytes) -> bool:
        places = self._log.places(self._events.fetch(organization, [event_id]))
        return any(place.published for place in places.values())

    def _empty(self, task: Task, begun: _Begun) -> TaskSteps:
        organization, announced = task.organization, begun.terms
        done: Counter[str] = Counter()
        left: Counter[str] = Counter()
        stopped = None
        for class_ in self._past.classes(organization, announced.policy):
            for events in self._past.walk(organization, class_, begun.moment):
                terms = self._past.terms(organization)
                if terms.policy != announced.policy:
                    stopped = _CHANGED
                    break
                kept = announced.keeps(class_.action) or terms.keeps(class_.action)
                sound = [] if kept else self._sound(organization, events)
                left[class_.name] += len(events) - len(sound)
                done[class_.name] += self._go(organization, begun.event, sound)
                yield None
            if stopped:
                break
        yield from self._copies.forget_addresses(organization)
        for scrub in (self._copies.scrub, self._redactor.scrub):
            while not scrub():
                yield WAITING
        if stopped is None:
            # Counted from what was planned, so that an interrupted run counts what went before it, too.
            done = Counter(
                {name: max(planned - left[name], done[name]) for name, planned in begun.planned.items()}
            )
        self._complete(task, done, left, begun.moment)
        return _outcome(announced, done, left) | ({"stopped": stopped} if stopped else {})

    def _go(self, organization: str, reference: bytes, events: Sequence[StoredEvent]) -> int:
        if not events:
            return 0
        self._copies.forget(organization, [event.id for event in events])
        redactions = [Redaction(organization, event.id, LEAF_GROUPS) for event in events]
        return self._redactor.redact("expiry", format_id(reference), redactions)

    def _sound(self, organization: str, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """Those that have their leaf and are what it says: an edited row must be named, not emptied."""
        if not events:
            return []
        hexes = {tree.number: tree.hex_digits for tree in self._log.trees(organization)}
        places = self._log.places(events)
        sound = []
        for event in events:
            place = places.get(event.seq)
            try:
                if place and leaf_hash(leaf_of_event(event, hexes[place.tree]).entry) == place.hash:
                    sound.append(event)
            except RowVersionError as error:
                raise LogMismatch("An event was written by a newer version; upgrade the worker.") from error
        return sound

    def _complete(self, task: Task, done: Counter[str], left: Counter[str], moment: int) -> None:
        rows = self._audit.rows(
            "audit.retention.completed",
            credential_of(task),
            (task.organization,),
            metadata={
                "task": task.id,
                "until": format_time(moment),
                "expired": done.total(),
                "kept": left.total(),
                "classes": [{"class": name, "events": events} for name, events in sorted(done.items())],
            },
        )
        self._events.insert(rows)


def _outcome(terms: Terms, done: Counter[str], left: Counter[str]) -> dict[str, Any]:
    """What a task of expiry answers: events expired and kept (held, edited or without a leaf), by class."""
    return {"policy": terms.policy.text, "expired": +done, "kept": +left}
