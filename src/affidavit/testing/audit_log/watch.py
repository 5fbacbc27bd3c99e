"""Hears of each event of this process, and says which of them are there."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.core.statement import Statement, stored_in
from affidavit.recorder.now import transaction_ended
from affidavit.recorder.watchers import watchers
from affidavit.testing.audit_log.entry import Entry
from affidavit.testing.audit_log.event import RecordedEvent, event_of
from affidavit.testing.audit_log.events import Events, Questions
from affidavit.testing.audit_log.place import Place
from affidavit.testing.audit_log.places import key_of, kind_of, place_of

__all__ = ["AuditLog", "Watch"]

_logger = logging.getLogger("affidavit.testing")


class Watch:
    """See :class:`affidavit.recorder.watchers.Watcher`. Safe to be told by several threads.

    Attributes:
        also: who is told of each new event, too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._by_key: dict[tuple[str, bytes], Entry] = {}
        self._places: dict[tuple[str, object], Place] = {}
        self.also: list[Callable[[RecordedEvent], None]] = []

    def start(self) -> None:
        """Listen from now on."""
        if self not in watchers:
            watchers.append(self)
        if "sqlalchemy.engine" in sys.modules:
            from affidavit.testing.audit_log.transactions import listen

            listen()

    def stop(self) -> None:
        """Listen no longer."""
        with suppress(ValueError):
            watchers.remove(self)

    def __len__(self) -> int:
        return len(self._entries)

    def written(
        self, driver: Any, statements: Sequence[Statement], recorded: Sequence[Recorded], *, again: bool
    ) -> None:
        """Events were written on a connection."""
        stored = [row for each in statements for row in stored_in(each)]
        if not stored or not recorded:
            return
        place = self._place_of(driver)
        for event_id, row in _named(stored, recorded):
            known = self._by_key.get((row["organization"], event_id))
            if known is None and not again:
                self._add(Entry(event_of(event_id, row), place), driver)
            elif known is not None and not known.undone:
                known.place = known.place or place
            elif known is not None and not again:
                self._add(Entry(known.event, place), driver)

    def _place_of(self, driver: Any) -> Place:
        key = key_of(driver)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = place_of(driver)
        return place

    def _add(self, entry: Entry, driver: Any) -> None:
        with self._lock:
            self._entries.append(entry)
            self._by_key[entry.key] = entry
        for each in self.also:
            each(entry.event)
        if driver is not None and kind_of(driver) == "SqlalchemyDriver":
            from affidavit.testing.audit_log.transactions import follow

            follow(entry, driver._connection)

    def kept(self, recorded: Sequence[Recorded]) -> None:
        """These are there for good."""
        ids = {each.id for each in recorded}
        for entry in self._entries:
            if entry.id in ids:
                entry.kept = True

    def put_aside(self, rows: Sequence[Row]) -> None:
        """These wait in a spool."""
        for row in rows:
            entry = Entry(event_of(row.id, dict(zip(COLUMNS, row.values, strict=False))), None)
            entry.kept = True
            self._add(entry, None)

    def standing(self, since: int) -> list[RecordedEvent]:
        """The events that are there, of those written since there were so many.

        Raises:
            NotAwaited: one is on a connection that has to be awaited.
        """
        entries = self._entries[since:]
        found = {place: place.look(ids) for place, ids in _to_ask(entries).items()}
        return _standing(entries, found)

    async def standing_awaited(self, since: int) -> list[RecordedEvent]:
        """The same."""
        entries = self._entries[since:]
        found = {place: await place.look_awaited(ids) for place, ids in _to_ask(entries).items()}
        return _standing(entries, found)

    def clean(self, since: int) -> None:
        """Take what a test has left out of databases for tests, and forget it."""
        transaction_ended()
        entries = self._entries[since:]
        left: dict[Place, list[bytes]] = {}
        for entry in entries:
            if entry.place is not None and not (entry.undone and entry.place.sure):
                left.setdefault(entry.place, []).append(entry.id)
        for place, ids in left.items():
            try:
                place.forget(ids)
            except Exception as error:  # noqa: BLE001 - the database is gone, or busy: the next test is not to blame
                _logger.warning("%d events of a test were left in its database: %s", len(ids), error)
        with self._lock:
            del self._entries[since:]
            self._by_key = {entry.key: entry for entry in self._entries}
            self._places = {} if not self._entries else self._places


class AuditLog(Questions):
    """What was recorded since the fixture was set up, by this process, and not rolled back.

    An event is seen once it is written: of a session after the flush or commit that follows.

    Args:
        watch: that hears of the events.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._since = len(watch)

    def clear(self) -> None:
        """Leave out what was recorded up to now, such as what a test has only prepared."""
        self._since = len(self._watch)

    async def look(self) -> Events:
        """The log as it stands now, where only an awaited connection can tell."""
        return Events(await self._watch.standing_awaited(self._since))

    def _events(self) -> Sequence[RecordedEvent]:
        return self._watch.standing(self._since)


def _named(
    stored: Sequence[Mapping[str, Any]], recorded: Sequence[Recorded]
) -> list[tuple[bytes, Mapping[str, Any]]]:
    """The new events with their ids, which on PostgreSQL only the answer has."""
    if "secret" in stored[0] and "recorded_at" not in stored[0]:
        pairs = zip(recorded, stored, strict=True)
        return [(answer.id, row) for answer, row in pairs if not answer.duplicate]
    return [(row["id"], row) for row in stored]


def _to_ask(entries: Sequence[Entry]) -> dict[Place, list[bytes]]:
    asked: dict[Place, list[bytes]] = {}
    for entry in entries:
        if not entry.kept and not entry.undone and entry.place is not None:
            asked.setdefault(entry.place, []).append(entry.id)
    return asked


def _standing(entries: Sequence[Entry], found: Mapping[Place, set[bytes]]) -> list[RecordedEvent]:
    return [
        entry.event
        for entry in entries
        if entry.kept or (not entry.undone and entry.place is not None and entry.id in found[entry.place])
    ]
