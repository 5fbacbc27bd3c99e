"""Storage roles of retention: policies, legal holds, what is past, and closed ranges of ids.

Methods that change something return after the change is durable; what is given as ``rows`` is stored in the
same transaction, so a change without its event, or an event without its change, cannot be. All are safe to
call from any thread and raise :class:`~affidavit.errors.StorageError` where the database fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from affidavit.core.row import Recorded, Row, StoredEvent

__all__ = [
    "Hold",
    "HoldStore",
    "PastStore",
    "PolicyChange",
    "PolicyStore",
    "PrunedRange",
    "RangeStore",
    "Rules",
]

Rules = Mapping[str, int | None]
"""Class of events to days, ``None`` for ever."""


class PolicyChange(NamedTuple):
    """What a change of a policy did: the whole table before it and after it."""

    before: Rules
    after: Rules


class PolicyStore(Protocol):
    """How long the groups of each class of events are kept, by organization."""

    def rules(self, organization: str) -> Rules:
        """The table of an organization, empty where it has none."""
        ...

    def organizations(self) -> list[str]:
        """Those that have a table, by name."""
        ...

    def change(
        self, organization: str, work: Callable[[Rules], Rules], rows: Callable[[PolicyChange], Sequence[Row]]
    ) -> PolicyChange:
        """Replace the table with what ``work`` makes of it, in one transaction with the events of ``rows``.

        Where the table stays as it is nothing is stored and ``rows`` is not asked. An error of ``work`` or
        ``rows`` undoes everything.
        """
        ...

    def confirm(self, organization: str, rules: Rules, held: Sequence[str], rows: Sequence[Row]) -> bool:
        """Store events that quote the table, where it and the holds in force are still these.

        Args:
            organization: whose.
            rules: the table.
            held: the classes of the holds in force, sorted, each once.
            rows: the events.

        Returns:
            False, with nothing stored, where table or holds are others by now.
        """
        ...


class Hold(NamedTuple):
    """A legal hold: nothing of its class expires or is pruned while it stands.

    Attributes:
        id: ``hold_`` and 16 hex digits.
        organization: its tenant.
        name: 1 to 128 characters.
        reason: why, in somebody's words.
        class_: of events (:mod:`affidavit.core.retention`).
        created_at, released_at: microseconds since 1970 UTC; ``None`` while it stands.
        created_by: name of the credential.
    """

    id: str
    organization: str
    name: str
    reason: str
    class_: str
    created_at: int
    created_by: str
    released_at: int | None = None


class HoldStore(Protocol):
    """Legal holds."""

    def add(self, hold: Hold, rows: Sequence[Row]) -> None:
        """Store it; from then on the database itself refuses to empty or delete a row that it keeps."""
        ...

    def holds(self, organization: str) -> list[Hold]:
        """Those of an organization, released ones too, oldest first."""
        ...

    def get(self, organization: str, hold_id: str) -> Hold | None:
        """By id."""
        ...

    def release(self, organization: str, hold_id: str, now: int, rows: Sequence[Row]) -> bool:
        """End it. False, with nothing stored, where there is none or it has ended."""
        ...


class PastStore(Protocol):
    """Finds the events that a policy speaks of, without a walk over all others."""

    def actions(self, organization: str) -> list[str]:
        """Every action that an organization has an event of, sorted. Work grows with their number only."""
        ...

    def page(
        self, organization: str, action: str, after: bytes, until: bytes, limit: int
    ) -> list[StoredEvent]:
        """Events of one action by id, beyond ``after`` and up to ``until``, at most ``limit``."""
        ...

    def within(self, organization: str, after: bytes, until: bytes, limit: int) -> list[StoredEvent]:
        """Events of all actions by id, beyond ``after`` and up to ``until``, at most ``limit``."""
        ...


class PrunedRange(NamedTuple):
    """A closed range of ids: pruned, and nothing may be recorded in it again.

    Attributes:
        organization: its tenant.
        from_id, to_id: 16 bytes each, both inclusive.
        manifest: SHA-256 of the manifest that lists what was deleted.
    """

    organization: str
    from_id: bytes
    to_id: bytes
    manifest: bytes


class RangeStore(Protocol):
    """Closes ranges of ids and deletes what stood in them."""

    def ranges(self, organization: str) -> list[PrunedRange]:
        """The closed ranges of an organization, by id."""
        ...

    def close(self, closed: PrunedRange, standing: int, rows: Sequence[Row]) -> list[Recorded]:
        """Close a range, in one transaction with the event that says so.

        Args:
            closed: the range; it may overlap no other of its organization.
            standing: how many events the caller saw in it.
            rows: the event.

        Raises:
            Refused: another number of events stands in it by now, or it overlaps a closed one.
        """
        ...

    def delete(self, closed: PrunedRange, ids: Sequence[bytes]) -> int:
        """Delete events of a closed range, in transactions of at most about 10 ms.

        Returns:
            How many stood there; deleting again changes nothing.
        """
        ...
