"""One event, as a test looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from affidavit.core.event import CI, Actor, Location, Outcome, Request, Resource, Session, Severity
from affidavit.core.ids import microseconds_of

__all__ = ["RecordedEvent", "event_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 60
_CLEAR = ("action", "organization", "project", "outcome", "severity", "source")
_WHO = {"actor": Actor, "on_behalf_of": Actor, "session": Session}
_WHERE = {"location": Location, "ci": CI, "request": Request}


@dataclass(frozen=True, kw_only=True)
class RecordedEvent:
    """An event as it is stored: checked, classified, its secrets masked (docs/reference/event.md).

    Attributes:
        id: of the event.
        occurred_at: UTC, to the microsecond.
        resources: all of them; ``resource`` is the first.
        changes: field to its old and new value.
    """

    id: UUID
    action: str
    organization: str
    project: str | None
    occurred_at: datetime
    outcome: Outcome
    severity: Severity
    source: str
    parent_id: UUID | None
    actor: Actor | None
    on_behalf_of: Actor | None
    session: Session | None
    resources: tuple[Resource, ...]
    changes: dict[str, tuple[Any, Any]]
    description: str | None
    reason: str | None
    metadata: dict[str, Any]
    ip: str | None
    location: Location | None
    user_agent: str | None
    client: str | None
    ci: CI | None
    request: Request | None
    trace_id: str | None
    span_id: str | None

    @property
    def resource(self) -> Resource | None:
        """The primary one."""
        return self.resources[0] if self.resources else None

    def line(self) -> str:
        """The event in one line, for a failure message: what an attacker wrote into it stays text."""
        parts = [self.action, self.outcome]
        if self.actor is not None:
            parts.append(f"by {self.actor.type} {_text(self.actor.id)}")
        if self.resources:
            parts.append("on " + ", ".join(f"{_text(each.type)} {_text(each.id)}" for each in self.resources))
        parts += [f"{_text(name)}: {_text(old)} -> {_text(new)}" for name, (old, new) in self.changes.items()]
        if self.reason is not None:
            parts.append(f"reason {_text(self.reason)}")
        return " · ".join(parts)


def _text(value: object) -> str:
    """Short, and with everything escaped that a terminal could act on or that turns the reading direction."""
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def event_of(event_id: bytes, stored: Mapping[str, Any]) -> RecordedEvent:
    """The event of a row.

    Args:
        event_id: 16 bytes.
        stored: columns, or arguments of ``affidavit_record_v1``, by name.
    """
    actor, context, details = (_group(stored[name]) for name in ("actor", "context", "details"))
    changes = _group(stored["changes"]).get("changes", {})
    parent = stored["parent_id"]
    known: dict[str, Any] = {name: stored[name] for name in _CLEAR}
    known |= {name: context.get(name) for name in ("ip", "user_agent", "client", "trace_id", "span_id")}
    known |= {name: details.get(name) for name in ("description", "reason")}
    known |= {name: _part(actor.get(name), kind) for name, kind in _WHO.items()}
    known |= {name: _part(context.get(name), kind) for name, kind in _WHERE.items()}
    return RecordedEvent(
        id=UUID(bytes=event_id),
        occurred_at=_EPOCH + timedelta(microseconds=microseconds_of(event_id)),
        parent_id=UUID(bytes=parent) if isinstance(parent, bytes) else _part(parent, UUID),
        resources=tuple(_part(each, Resource) for each in _group(stored["resources"]).get("resources", ())),
        changes={name: (pair.get("old"), pair.get("new")) for name, pair in changes.items()},
        metadata=details.get("metadata", {}),
        **known,
    )


def _group(text: str | bytes | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text) if text else {}
    return found


def _part(value: Any, kind: type) -> Any:
    return None if value is None else msgspec.convert(value, kind)
