"""What the database says of an event in a closed range of ids, as our error that names each such event."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
import psycopg

from affidavit.core.row import Row
from affidavit.errors import InvalidEvent
from affidavit.storage.sql.pruned import refuse_closed

__all__ = ["refusal"]

_CONSTRAINT = "affidavit_pruned"
"""The name that the trigger ``affidavit_events_closed`` gives its error."""
_decode = msgspec.json.Decoder(dict[str, list[tuple[UUID, UUID]]]).decode


def refusal(error: psycopg.Error, rows: Sequence[Row]) -> InvalidEvent | None:
    """Our error, where a batch was refused because of a closed range; nothing of it is stored.

    Args:
        error: of the statement that stored the batch. It carries all closed ranges of the organization of
            the event that was met first.
        rows: the batch.

    Returns:
        ``None`` where the error is about something else.
    """
    if error.diag.constraint_name != _CONSTRAINT or error.diag.message_detail is None:
        return None
    closed = {
        organization: [(low.bytes, high.bytes) for low, high in ranges]
        for organization, ranges in _decode(error.diag.message_detail).items()
    }
    try:
        refuse_closed(rows, closed)
    except InvalidEvent as refused:
        return refused
    return None
