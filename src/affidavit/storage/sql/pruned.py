"""Closed ranges of ids, as whoever inserts sees them: an event in one is refused by name, others are not.

The database's own trigger refuses it too, and the whole transaction with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from affidavit.core.ids import format_id
from affidavit.core.row import Row
from affidavit.errors import FieldError, InvalidEvent
from affidavit.storage.sql.database import Connection

__all__ = ["Closed", "closed_ranges", "refuse_closed"]

Closed = Mapping[str, Sequence[tuple[bytes, bytes]]]
"""Organization to its closed ranges, both ends inclusive."""


def closed_ranges(connection: Connection) -> Closed:
    """All closed ranges, as this transaction sees them."""
    found: dict[str, list[tuple[bytes, bytes]]] = {}
    for organization, from_id, to_id in connection.execute(
        "SELECT organization, from_id, to_id FROM affidavit_pruned"
    ).fetchall():
        found.setdefault(organization, []).append((from_id, to_id))
    return found


def refuse_closed(rows: Sequence[Row], closed: Closed) -> None:
    """Raise where a row lies in a closed range of its organization.

    Raises:
        InvalidEvent: names each such event and its range; nothing may be stored of the batch.
    """
    errors = tuple(
        FieldError(
            f"/events/{number}/occurred_at" if len(rows) > 1 else "/occurred_at",
            "pruned_range",
            f"lies in the pruned range of ids {format_id(low)} to {format_id(high)};"
            " nothing may be recorded in it again",
            format_id(row.id),
        )
        for number, row in enumerate(rows)
        for low, high in closed.get(row.organization, ())
        if low <= row.id <= high
    )
    if errors:
        raise InvalidEvent(errors)
