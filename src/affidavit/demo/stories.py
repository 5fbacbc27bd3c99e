"""The hidden stories and when they happen. Each is told in ``docs/demo.md`` with the filters that find it.

A story starts so many days before the day of the end and is written down as a whole; the ordinary days run
around it. What it needs of chance comes from a seed of its own, so that no change of the ordinary days moves
it.
"""

from __future__ import annotations

from collections.abc import Callable

from affidavit.demo import intrusions, mishaps
from affidavit.demo.cast import Organization
from affidavit.demo.organizations import HARBOUR, MEADOW, ORCHARD
from affidavit.demo.scribe import Scribe

__all__ = ["STORIES", "Story"]

Story = Callable[[Scribe, int], None]
"""Writes one story; its argument is midnight of the story's first day, microseconds since 1970 UTC."""

STORIES: tuple[tuple[Organization, int, int | None, Story], ...] = (
    (MEADOW, 70, None, mishaps.large_backfill),
    (MEADOW, 41, 4, mishaps.leaver),
    (MEADOW, 20, 6, intrusions.password_spray),
    (MEADOW, 16, None, mishaps.steward_permissions),
    (MEADOW, 4, None, intrusions.stolen_token),
    (HARBOUR, 55, None, mishaps.sandbox_clean_up),
    (HARBOUR, 25, 3, mishaps.names_that_bite),
    (HARBOUR, 9, None, intrusions.quiet_takeover),
    (ORCHARD, 30, 1, mishaps.partial_rotation),
    (ORCHARD, 12, 2, mishaps.grant_before_incident),
)
"""Organization, first day before the end, the weekday it is moved back to (0 is Monday), and the story."""
