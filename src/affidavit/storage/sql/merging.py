"""One page of the walks over several organizations, newest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from affidavit.core.cursor import Position
from affidavit.core.row import StoredEvent
from affidavit.storage.protocols import Found
from affidavit.storage.sql.conditions import BEYOND

__all__ = ["Step", "Walk", "merged"]

Step = tuple[list[StoredEvent], bytes | None]
"""Events found, newest first, and the bound below which the walk goes on (``None``: at its end)."""


class Walk(Protocol):
    """A walk over one organization, newest first."""

    def step(self, need: int, stop: Callable[[], bool]) -> Step:
        """Go on by one bounded piece of work.

        Args:
            need: how many events the caller can still use.
            stop: whether the time is over.
        """
        ...


def merged(
    walks: Sequence[Walk], limit: int, stop: Callable[[], bool], start: Position, watermark: int | None
) -> Found:
    """Walk on wherever the least was looked at, until enough lies above every walk's bound."""
    found: list[StoredEvent] = []
    bounds: dict[Walk, bytes] = dict.fromkeys(walks, BEYOND)
    while bounds:
        behind = max(bounds, key=lambda walk: bounds[walk])
        decided = sum(1 for event in found if event.id >= bounds[behind])
        if decided > limit or (stop() and bounds[behind] < BEYOND):
            break
        events, bound = behind.step(limit + 1 - decided, stop)
        found += events
        if bound is None:
            del bounds[behind]
        else:
            bounds[behind] = bound
    floor = max(bounds.values(), default=b"")
    page = sorted((event for event in found if event.id >= floor), key=lambda event: event.id, reverse=True)
    if len(page) > limit:
        # Organizations may share an id; the token holds an id alone, so what shares it goes along.
        while limit < len(page) and page[limit].id == page[limit - 1].id:
            limit += 1
        if limit < len(page) or bounds:
            page = page[:limit]
            return Found(page, Position("desc", page[-1].id, 0, watermark or start.watermark), watermark)
    if not bounds:
        return Found(page, None, watermark)
    return Found(page, Position("desc", floor, 0, watermark or start.watermark), watermark)
