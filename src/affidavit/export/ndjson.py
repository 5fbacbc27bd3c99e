"""NDJSON: one event a line, as the API answers it, and a last line that says how many there were.

A file without its trailer is not whole. ``{"trailer": {...}}`` cannot be taken for an event, which has an id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from affidavit.core.catalog import CatalogSet
from affidavit.core.row import StoredEvent, encode_event

__all__ = ["rows", "trailer"]


def rows(batches: Iterable[list[StoredEvent]], catalogs: CatalogSet) -> Iterator[bytes]:
    """The file in chunks, one a batch, then the trailer.

    Args:
        batches: stored events in the order of the file.
        catalogs: give the titles of actions.
    """
    titles: dict[str, str] = {}
    events = redacted = 0
    for batch in batches:
        lines = []
        for event in batch:
            action = event.action
            title = titles.get(action)
            if title is None:
                title = titles[action] = catalogs.title(action)
            lines.append(encode_event(event, title))
            if event.remains is not None:
                redacted += 1
        events += len(lines)
        if lines:
            lines.append(b"")
            yield b"\n".join(lines)
    yield msgspec.json.encode({"trailer": trailer(events, redacted)}) + b"\n"


def trailer(events: int, redacted: int) -> dict[str, int]:
    """What a whole file says of itself: its events, and how many have lost groups to erasure or age."""
    return {"events": events, "redacted": redacted}
