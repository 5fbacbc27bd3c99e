"""Whether two events under one id say the same: what makes a repeat a duplicate and not a conflict."""

from __future__ import annotations

from typing import Any

import msgspec

from affidavit.core.row import COLUMNS, Row

__all__ = ["same_content"]

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_AT = {name: number for number, name in enumerate(COLUMNS)}
_CLEAR = tuple(
    _AT[name]
    for name in ("organization", "project", "action", "outcome", "source", "imported", "parent_id", "facts")
)
_GROUPS = tuple((name, _AT[name]) for name in ("actor", "resources", "context", "changes", "details"))


def same_content(row: Row, stored: tuple[Any, ...]) -> bool:
    """Compare what came in with what stands there, both normalised and masked.

    ``recorded_at``, ``recorded_by``, ``severity`` and what we filled in ourselves do not count. A group that
    was erased or has expired cannot be compared and is never filled again, so it counts as the same.

    Args:
        row: the event that came in.
        stored: the columns of the existing one, in the order of ``COLUMNS``.
    """
    if any(row.values[at] != stored[at] for at in _CLEAR):
        return False
    for name, at in _GROUPS:
        came, stands = row.values[at], stored[at]
        if stands is None or came == stands:
            continue
        if name not in ("actor", "context"):
            return False
        new, old = _decode(came), _decode(stands)
        for field in ("recorded_by",) if name == "actor" else row.filled:
            new.pop(field, None)
            old.pop(field, None)
        if new != old:
            return False
    return True
