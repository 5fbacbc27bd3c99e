"""The audit insert that a person would write: ready texts by ``json.dumps``, one row of the event table.

It makes what we store too (an id in the order of time, a secret, the groups as JSON), so that both sides hand
the same bytes to the engine. It checks nothing, masks nothing, and puts no row into the queue.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Final
from uuid import UUID

__all__ = ["ACTION", "ACTOR", "COLUMNS", "CONTEXT", "insert_into", "values"]

COLUMNS: Final = (
    *("id", "version", "organization", "project", "action", "outcome", "severity", "source", "imported"),
    *("parent_id", "facts", "actor_id", "actor", "resources", "context", "changes", "details", "secret"),
    *("remains", "recorded_at"),
)
ACTION: Final = "customer.update"
ACTOR: Final = {"type": "user", "id": "u-1815", "name": "Ada Lovelace", "email": "ada@example.com"}
CONTEXT: Final[dict[str, Any]] = {
    "ip": "203.0.113.7",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "request": {"id": "0198c5e2-7d5c-7000-8000-000000000000", "method": "PATCH", "endpoint": "/customers/7"},
}
"""What the middleware knows of a request, the same for every event."""


def insert_into(mark: str) -> str:
    """The statement, with a driver's mark for parameters."""
    return f"INSERT INTO affidavit_events ({', '.join(COLUMNS)}) VALUES ({', '.join([mark] * len(COLUMNS))})"


def values(engine: str, number: object, name: str, changes: dict[str, tuple[Any, Any]]) -> tuple[Any, ...]:
    """The row of one event about a customer, in the order of :data:`COLUMNS`.

    Args:
        engine: ``sqlite`` or ``postgresql``.
        number: of the customer.
        name: of the customer.
        changes: field to old and new value.
    """
    now = time.time_ns() // 1_000
    raw = (now // 1_000).to_bytes(6, "big") + os.urandom(10)
    event_id = raw[:6] + bytes((0x70 | raw[6] & 15, raw[7], 0x80 | raw[8] & 63)) + raw[9:]
    changed = {field: {"old": old, "new": new} for field, (old, new) in changes.items()}
    return (
        event_id if engine == "sqlite" else UUID(bytes=event_id),
        *(1, "acme", None, ACTION, "success", "info", "app"),
        0 if engine == "sqlite" else False,
        *(None, None, ACTOR["id"]),
        json.dumps({"actor": ACTOR}),
        json.dumps({"resources": [{"type": "customer", "id": str(number), "name": name}]}),
        json.dumps(CONTEXT),
        json.dumps({"changes": changed}),
        None,
        os.urandom(32),
        *(None, now),
    )
