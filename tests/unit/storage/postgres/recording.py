"""How tests record from SQL, and what they look at afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import psycopg
import pytest

from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.core.sealing import leaf_of
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.log_queue import EVENT

__all__ = ["ACTOR", "GROUPS", "WHOLE", "Recording", "moment_of", "names", "told"]

ACTOR = '{"actor":{"id":"ana","type":"user"}}'
GROUPS = ("actor", "resources", "context", "changes", "details")
ARGUMENTS = (
    *("organization", "action", "occurred_at", "outcome", "severity", "source", "project", "parent_id"),
    *("idempotency_key", *GROUPS, "secret", "id"),
)
HEX = "0123456789abcdef" * 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

WHOLE: dict[str, Any] = {
    "actor": {
        "actor": {"type": "user", "id": "ana", "name": "Ana", "email": "a@x.io"},
        "on_behalf_of": {"type": "service", "id": "s"},
        "session": {"type": "web", "id": "1", "token_id": "t", "token_name": "n"},
    },
    "resources": {"resources": [{"type": "team", "id": "1", "name": "n"}, {"type": "a", "id": "2"}]},
    "context": {
        "ip": "10.0.0.1", "location": {"city": "c", "region": "r", "country": "x", "country_code": "DE"},
        "user_agent": "u", "client": "c", "ci": {"platform": "p", "confidence": "guess", "run_id": "1"},
        "request": {"id": "1", "method": "GET", "endpoint": "/", "params": {"a": [1, {"b": 2}]}},
        "trace_id": "t", "span_id": "s",
    },
    "changes": {"changes": {"plan": {"old": {"a": 1}, "new": [1]}, "name": {"new": None}}},
    "details": {"description": "d", "reason": "r", "metadata": {"a": {"b": [1, 2, {"c": 1.5}]}}},
}  # fmt: skip
"""Every field there is, by group."""

names = (f"org-{number}" for number in count())
"""Organizations that no other test uses."""


def moment_of(microseconds: int) -> datetime:
    """A moment, to the microsecond."""
    return EPOCH + timedelta(microseconds=microseconds)


class Recording:
    """One database, and how it is recorded in from SQL."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sql = psycopg.connect(url, autocommit=True)
        self.raw = connect(Address(url), raw=True)

    def close(self) -> None:
        """Close the connections."""
        self.sql.close()
        self.raw.close()

    def record(self, connection: psycopg.Connection[Any] | None = None, /, **said: Any) -> tuple[UUID, bool]:
        """Call the function with named arguments."""
        said = {"organization": "acme", "action": "user.create", "actor": ACTOR, **said}
        given_names = ", ".join(f"{name} => %({name})s" for name in said)
        found = (connection or self.sql).execute(f"SELECT * FROM affidavit_record_v1({given_names})", said)
        row: tuple[UUID, bool] = found.fetchone()  # type: ignore[assignment]
        return row

    def many(self, events: list[dict[str, Any]]) -> list[tuple[UUID, bool]]:
        """Call the function for many with an array for each argument that is used."""
        said = [
            {"organization": "acme", "action": "user.create", "actor": ACTOR, **event} for event in events
        ]
        used = [name for name in ARGUMENTS if any(name in event for event in said)]
        casts = {"occurred_at": "timestamptz[]", "parent_id": "uuid[]", "secret": "bytea[]", "id": "uuid[]"}
        statement = ", ".join(f"{name} => %s::{casts.get(name, 'text[]')}" for name in used)
        arrays = [[event.get(name) for event in said] for name in used]
        return self.sql.execute(f"SELECT * FROM affidavit_record_many_v1({statement})", arrays).fetchall()

    def refused(self, **said: Any) -> tuple[str, str, str]:
        """SQLSTATE, pointer and rule of a refusal; nothing was stored."""
        before = self.count()
        with pytest.raises(psycopg.DatabaseError) as error:
            self.record(**said)
        assert self.count() == before
        return told(error.value)

    def count(self) -> tuple[int, int]:
        """Events, and places in the queue."""
        return self.sql.execute(
            "SELECT (SELECT count(*) FROM affidavit_events), (SELECT count(*) FROM affidavit_pending)"
        ).fetchone()  # type: ignore[return-value]

    def row(self, event_id: UUID, organization: str = "acme") -> dict[str, Any]:
        """A row by column, texts as UTF-8 bytes."""
        return dict(zip(COLUMNS, self.values(event_id, organization), strict=True))

    def values(self, event_id: UUID, organization: str = "acme") -> tuple[Any, ...]:
        """A row in the order of ``COLUMNS``, texts as UTF-8 bytes."""
        (row,) = self.raw.execute(
            f"SELECT {EVENT} FROM affidavit_events e WHERE organization = ? AND id = ?",
            (organization, event_id),
        ).fetchall()
        return row

    def check_leaf(self, event_id: UUID, organization: str = "acme") -> None:
        """The row has a proper leaf, and a reader finds nothing wrong with it."""
        values = self.values(event_id, organization)
        assert leaf_of(values, HEX).invalid is None
        texts = tuple(value.decode() if at not in (0, 9, 17) and type(value) is bytes else value
                      for at, value in enumerate(values))  # fmt: skip
        assert StoredEvent(1, texts).inconsistent == ()


def told(error: psycopg.Error) -> tuple[str, str, str]:
    """SQLSTATE, pointer and rule of an error; the message names the pointer and stays short."""
    pointer, rule = error.diag.column_name, error.diag.constraint_name
    assert pointer is not None, str(error)
    assert rule is not None
    assert error.diag.message_primary is not None
    assert error.diag.message_primary.startswith(f"{pointer}: ")
    assert len(error.diag.message_primary) < 500
    assert error.diag.message_detail == f"rule: {rule}"
    return error.sqlstate or "", pointer, rule
