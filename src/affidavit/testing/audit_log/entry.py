"""One event that was written, and what is known of it since."""

from __future__ import annotations

from affidavit.testing.audit_log.event import RecordedEvent
from affidavit.testing.audit_log.place import Place

__all__ = ["Entry"]


class Entry:
    """An event that somebody recorded.

    Args:
        event: as it was written.
        place: where; ``None`` while it waits in a spool.

    Attributes:
        kept: it is there whatever becomes of the app's transaction.
        undone: the transaction or savepoint that it was written in was rolled back.
    """

    __slots__ = ("event", "kept", "place", "undone")

    def __init__(self, event: RecordedEvent, place: Place | None) -> None:
        self.event = event
        self.place = place
        self.kept = self.undone = False

    @property
    def id(self) -> bytes:
        """Of the event, 16 bytes."""
        return self.event.id.bytes

    @property
    def key(self) -> tuple[str, bytes]:
        """What the event is known by."""
        return self.event.organization, self.id
