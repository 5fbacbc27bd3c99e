"""Writes events and their places in the queue, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence

from affidavit import errors
from affidavit.core.content import same_content
from affidavit.core.ids import format_id
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.storage.postgres.connect import Session, uid

__all__ = ["insert_rows"]

_INSERT = f"INSERT INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE organization = ? AND id = ?"
_ID, _IMPORTED, _PARENT = COLUMNS.index("id"), COLUMNS.index("imported"), COLUMNS.index("parent_id")


def insert_rows(session: Session, rows: Sequence[Row], now: int | None) -> list[Recorded]:
    """Insert a batch and its queue rows within the caller's transaction.

    Args:
        session: within a transaction.
        rows: the batch.
        now: ``recorded_at`` of rows that bring none; ``None`` takes the database's clock.

    Raises:
        IdConflict: other content stands under an id of the batch; the caller must roll back.
    """
    if now is None:
        (now,) = session.execute(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        ).fetchone() or (0,)
    recorded = []
    batch: dict[tuple[str, bytes], Row] = {}
    for row in rows:
        key = (row.organization, row.id)
        stands = (*batch[key].values, 0) if key in batch else None
        if stands is None and row.given:
            stands = session.execute(_SELECT, (row.organization, uid(row.id))).fetchone()
        if stands is not None:
            if row.compare and not same_content(row, stands):
                name = format_id(row.id)
                raise errors.IdConflict(
                    f"Event {name} exists with other content; nothing of this batch was stored.",
                    (errors.FieldError("/id", "conflict", "exists with other content", name),),
                )
            recorded.append(Recorded(row.id, True))
            continue
        batch[key] = row
        values = [*row.values, now if row.recorded_at is None else row.recorded_at]
        values[_ID] = uid(row.id)
        values[_IMPORTED] = bool(values[_IMPORTED])
        values[_PARENT] = None if values[_PARENT] is None else uid(values[_PARENT])
        session.execute(_INSERT, values)
        session.execute(
            "INSERT INTO affidavit_pending (organization, id) VALUES (?, ?)", (row.organization, uid(row.id))
        )
        recorded.append(Recorded(row.id, False))
    return recorded
