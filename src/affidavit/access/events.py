"""The events that a change of a setting records about itself, in the same transaction as the change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from affidavit.access.scope import Credential
from affidavit.core.credentials import ALL, INSTANCE, Organizations
from affidavit.core.event import Actor, Change, Draft, RecordedBy, Resource
from affidavit.core.row import Row

__all__ = ["AccessEvents", "Prepare"]

Prepare = Callable[[Sequence[Draft], str, RecordedBy | None], list[Row]]
"""Checks drafts of one organization and makes rows of them; reserved actions are allowed."""


class AccessEvents:
    """Make the rows of ``access.*`` and ``audit.*`` events.

    Args:
        prepare: the recorder's own preparation, with the right to use reserved actions.
        source: the channel these events come from: ``api``, ``web`` or ``cli``.
    """

    def __init__(self, prepare: Prepare, source: str = "api") -> None:
        self._prepare = prepare
        self._source = source

    def rows(
        self,
        action: str,
        by: Credential,
        organizations: Organizations,
        *resources: Resource,
        changes: Mapping[str, tuple[Any, Any]] | None = None,
        metadata: dict[str, Any] | None = None,
        stored: Mapping[str, Any] | None = None,
        source: str | None = None,
        address: str | None = None,
        actor: Actor | None = None,
        facts: dict[str, str | int] | None = None,
        once: tuple[str, int] | None = None,
    ) -> list[Row]:
        """One event in each organization concerned; in :data:`INSTANCE` for all of them, or none.

        ``stored`` are the columns of the setting as they are stored with the event. They stand in the event
        under ``metadata.stored``: ``affidavit fsck`` replays them and names what was changed without an event
        (docs/spec/coverage.md). ``once`` is an idempotency key with its moment: recorded again, the event is
        a duplicate.
        """
        if stored is not None:
            metadata = {**(metadata or {}), "stored": dict(stored)}
        homes = organizations if organizations is not ALL and organizations else (INSTANCE,)
        draft = Draft(
            action=action,
            actor=actor or by.actor(),
            source=source or ("cli" if by.kind == "local" else self._source),
            resources=resources,
            ip=address,
            changes=_changed(changes or {}),
            metadata=metadata,
            facts=facts,
            idempotency_key=once and once[0],
            occurred_at=once and once[1],
        )
        recorded_by = by.recorded_by(address)
        return [row for home in homes for row in self._prepare([draft], home, recorded_by)]


def _changed(changes: Mapping[str, tuple[Any, Any]]) -> dict[str, Change] | None:
    """Only what changed."""
    changed = {field: Change(old=old, new=new) for field, (old, new) in changes.items() if old != new}
    return changed or None
