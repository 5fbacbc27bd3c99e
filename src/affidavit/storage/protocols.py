"""What a storage engine promises, role by role.

An engine implements the roles that it can keep honestly; no method raises "not supported". Every method
raises :class:`~affidavit.errors.StorageError` in one of its kinds where the database refuses or fails, and
then nothing of that call was stored. The settings' roles, one a subject, stand in
:mod:`affidavit.storage.settings`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from affidavit.core.credentials import Organizations
from affidavit.core.cursor import Position
from affidavit.core.filter import Filter
from affidavit.core.row import Recorded, Row, StoredEvent

__all__ = [
    "COUNTED",
    "UNPLACED",
    "Count",
    "CountBy",
    "Counts",
    "EventIndex",
    "EventStore",
    "Follower",
    "Found",
    "Progress",
    "RawRow",
]


UNPLACED = 1 << 62
"""``seq`` of an event that has no place in recording order yet: on engines where the sequencer gives it."""


class RawRow(NamedTuple):
    """A row as it stands: its place in recording order and its columns, texts as UTF-8 bytes."""

    seq: int
    values: tuple[Any, ...]


class EventStore(Protocol):
    """Keeps events; the table is append-only and at the same time the queue of what follows it."""

    def insert(self, rows: Sequence[Row]) -> list[Recorded]:
        """Store one batch in one transaction that is durable when this returns.

        All or nothing. An event whose ``(organization, id)`` exists is a duplicate: where the row asks for
        it the contents are compared, row against row, and other content refuses the batch.

        Raises:
            IdConflict: other content stands under an id; nothing was stored.
        """
        ...

    def fetch(self, organization: str, ids: Sequence[bytes]) -> list[StoredEvent]:
        """The events with these ids, newest first; unknown ids are left out."""
        ...

    def after(self, seq: int, limit: int) -> list[StoredEvent]:
        """Events in recording order beyond a place, at most ``limit``, without a gap."""
        ...

    def rows(self, seqs: Sequence[int]) -> list[RawRow]:
        """The rows at these places, in recording order; unknown places are left out. At most 10,000."""
        ...

    def last_seq(self) -> int:
        """The place given last in recording order, 0 where there is none."""
        ...

    def mark(self) -> int:
        """A mark behind everything that is committed now, wherever it will stand in recording order."""
        ...

    def place_of(self, mark: int) -> int | None:
        """A place up to which all before a mark stands; ``None`` while some of it has no place yet."""
        ...

    def organizations(self) -> list[str]:
        """Every organization that has an event, sorted."""
        ...


class Found(NamedTuple):
    """One page.

    Attributes:
        events: that match, in order.
        position: where to go on; ``None`` where nothing more can follow.
        watermark: ``recorded_at`` up to which the index is complete, ``None`` before its first event.
    """

    events: list[StoredEvent]
    position: Position | None
    watermark: int | None


class Count(NamedTuple):
    """How many events share a key, and how many of these failed."""

    key: int | str
    events: int
    failures: int


class Counts(NamedTuple):
    """Counts by key.

    Attributes:
        rows: one for each key, in no order.
        at_least: whether the bound on the work was reached, so that there may be more.
        watermark: as in :class:`Found`.
    """

    rows: list[Count]
    at_least: bool
    watermark: int | None


CountBy = Literal["hour", "action", "outcome", "severity"]
COUNTED = frozenset({"action", "action_group", "outcome", "severity"})
"""Filters that counts can answer."""


class EventIndex(Protocol):
    """Says which events match; can be rebuilt, and answers rightly while it is behind or gone."""

    def page(
        self,
        organizations: Organizations,
        filter_: Filter,
        start: Position,
        *,
        limit: int,
        seconds: float | None,
        as_of: int | None = None,
    ) -> Found:
        """The next events of a walk, each checked against the filter.

        Args:
            organizations: whose events; the empty tuple matches nothing.
            filter_: the question.
            start: where the walk stands; ``desc`` by id, ``asc`` in recording order.
            limit: events at most (more only where ids are equal across organizations).
            seconds: bound on the work; when it is reached the page comes short, with a position. ``None``:
                no bound.
            as_of: leave out what was recorded after this moment (of :meth:`as_of`); then a walk in recording
                order ends with ``None``, too.
        """
        ...

    def as_of(self) -> int:
        """This moment, as :meth:`page` takes it: all that is committed now lies before it."""
        ...

    def counts(self, organizations: Organizations, filter_: Filter, by: CountBy) -> Counts:
        """Count events without reading them, from hourly counts and the tail that these lack.

        Args:
            organizations: whose events.
            filter_: conditions on :data:`COUNTED` and the two dates only.
            by: what the counts are told apart by; ``hour`` is of occurrence, in hours since 1970 UTC.
        """
        ...

    def span(self, organizations: Organizations) -> tuple[int, int] | None:
        """When the oldest and the newest event occurred, microseconds; ``None`` where there is none."""
        ...

    def progress(self) -> Progress:
        """Where the index stands, as a reader sees it."""
        ...


class Progress(NamedTuple):
    """Where a follower stands.

    Attributes:
        seq: place in recording order up to which it is complete.
        recorded_at: of the event at that place, ``None`` before the first.
        behind: events beyond it.
        waiting_since: when the oldest of these was recorded, ``None`` where nothing waits.
    """

    seq: int
    recorded_at: int | None
    behind: int
    waiting_since: int | None = None


class Follower(Protocol):
    """Something that the worker keeps up to date from the event table, from a stored place on."""

    def step(self) -> int:
        """Take in the next batch, in one transaction with the new place; how many events it had."""
        ...

    def tidy(self) -> bool:
        """One bounded piece of upkeep; whether there may be more."""
        ...

    def progress(self) -> Progress:
        """Where it stands now."""
        ...

    def close(self) -> None:
        """Let go of its files."""
        ...
