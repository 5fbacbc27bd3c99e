"""An import: sources in, events recorded, every record that does not go in named.

The order of work, which is also what a crash leaves behind: a batch is recorded as one transaction; then the
rejects of that batch are written; then the next is read. Whatever was not recorded goes in at the next run,
and what was is then a duplicate, because ids derive from the records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from affidavit.core.event import MAX_BATCH, MAX_BATCH_BYTES, Draft
from affidavit.errors import InvalidEvent, Refused
from affidavit.ingest.importers import Importer
from affidavit.ingest.records import SourceRecord, read_records
from affidavit.ingest.rejects import Reject, RejectedRecord, RejectFile
from affidavit.ingest.sources import STDIN, DamagedSource, SourceStream, resolve_sources, total_bytes

__all__ = ["Counts", "ImportRun"]

_POINTER = re.compile(r"/events/(\d+)(?:/|\Z)")
_SOURCE_BYTES = MAX_BATCH_BYTES // 4
"""Source bytes of a batch; an event repeats parts of its record, so it is larger."""
_SLIM_FROM = 64 * 1024
"""From this size of a record on, what the raw record says anyway is left out of the other fields."""


class RecordedEvent(Protocol):
    """What recording one event answers."""

    @property
    def duplicate(self) -> bool: ...


class Counts(msgspec.Struct):
    """What an import did. ``read``, ``rejected`` and ``skipped`` count source records, the others events."""

    read: int = 0
    recorded: int = 0
    duplicates: int = 0
    rejected: int = 0
    skipped: int = 0


class _Entry(msgspec.Struct):
    """A source record on its way, with the events that it became."""

    file: str
    record: SourceRecord
    drafts: list[Draft] = []
    rejected: RejectedRecord | None = None


class ImportRun:
    """Imports sources through one importer.

    Args:
        intake_record: records up to 1,000 events in one transaction and answers for each whether it was there
            already; raises :class:`InvalidEvent` with pointers ``/events/N/...`` where events break rules.
        importer: turns records into events.
        batch: events in one transaction, at most 1,000.
        rejects: where records that do not go in are kept.
        progress: told of bytes read and in all (None for standard input), after each batch.
    """

    def __init__(
        self,
        intake_record: Callable[[Sequence[Draft]], Sequence[RecordedEvent]],
        importer: Importer,
        *,
        batch: int = MAX_BATCH,
        rejects: RejectFile | None = None,
        progress: Callable[[int, int | None], None] | None = None,
    ) -> None:
        self._intake = intake_record
        self._importer = importer
        self._batch = min(batch, MAX_BATCH)
        self._rejects = rejects or RejectFile()
        self._progress = progress or (lambda _read, _total: None)
        self._bytes = 0
        self.counts = Counts()

    def run(self, patterns: Sequence[str]) -> Counts:
        """Import everything that the patterns name.

        Raises:
            Refused: a pattern names nothing, or a reject file cannot be written; nothing more was recorded.
            StorageError: the database failed; what was recorded before is there.
        """
        sources = resolve_sources(patterns)
        total = total_bytes(sources)
        self._progress(0, total)
        try:
            for entries in _batches(self._entries(sources), self._map, self._batch):
                self._record(entries)
                self._write_rejects(entries)
                self._progress(self._bytes, total)
            for source in sources:
                self._rejects.forget(_name(source))
        finally:
            self._rejects.close()
        return self.counts

    def _entries(self, sources: list[str]) -> Iterator[_Entry]:
        """The records of all sources; batches reach over small files."""
        for source in sources:
            before = self._bytes
            try:
                stream = SourceStream(source)
            except DamagedSource as error:
                trouble = RejectedRecord("", "damaged", error.message)
                yield _Entry(_name(source), SourceRecord(1, 0, None, None, trouble))
                continue
            try:
                for record in read_records(
                    stream, wrapper=self._importer.wrapper, shape=self._importer.shape
                ):
                    self._bytes = before + stream.bytes_read
                    yield _Entry(_name(source), record)
                self._bytes = before + stream.bytes_read
            finally:
                stream.close()

    def _map(self, entry: _Entry) -> int:
        """Fill in the entry's events; return how many there are."""
        self.counts.read += 1
        record = entry.record
        try:
            if record.problem is not None:
                raise record.problem
            assert record.value is not None
            drafts = self._importer.events(record.value)
        except RejectedRecord as problem:
            self._reject(entry, problem)
            return 0
        if not drafts:
            self.counts.skipped += 1
        entry.drafts = [_slim(draft) for draft in drafts] if record.size >= _SLIM_FROM else drafts
        return len(drafts)

    def _record(self, entries: list[_Entry]) -> None:
        pairs = [(entry, draft) for entry in entries for draft in entry.drafts]
        for start in range(0, len(pairs), self._batch):
            self._record_pairs(pairs[start : start + self._batch])

    def _record_pairs(self, pairs: list[tuple[_Entry, Draft]]) -> None:
        """Record what can be; each event that breaks a rule rejects its record, the others go in."""
        while pairs:
            try:
                results = self._intake([draft for _, draft in pairs])
            except InvalidEvent as error:
                pairs = self._without_invalid(pairs, error)
            except Refused as error:
                if len(pairs) == 1:
                    self._reject(pairs[0][0], _problem_of(error))
                    return
                half = len(pairs) // 2
                self._record_pairs(pairs[:half])
                pairs = pairs[half:]
            else:
                duplicates = sum(result.duplicate for result in results)
                self.counts.duplicates += duplicates
                self.counts.recorded += len(pairs) - duplicates
                return

    def _without_invalid(
        self, pairs: list[tuple[_Entry, Draft]], error: InvalidEvent
    ) -> list[tuple[_Entry, Draft]]:
        """Reject the events that the error names and return the rest."""
        named: dict[int, RejectedRecord] = {}
        for each in error.errors:
            match = _POINTER.match(each.pointer)
            if match and int(match[1]) < len(pairs):
                field = each.pointer[match.end(1) :]
                named.setdefault(int(match[1]), RejectedRecord(field, each.rule, each.message))
        if not named:
            if len(pairs) > 1:
                # The error does not say which: halve until it can only be one.
                half = len(pairs) // 2
                self._record_pairs(pairs[:half])
                return pairs[half:]
            named[0] = _problem_of(error)
        for number, problem in named.items():
            self._reject(pairs[number][0], problem)
        return [pair for number, pair in enumerate(pairs) if number not in named]

    def _reject(self, entry: _Entry, problem: RejectedRecord) -> None:
        """Name the record, once, however many of its events broke a rule."""
        if entry.rejected is None:
            entry.rejected = problem
            self.counts.rejected += 1

    def _write_rejects(self, entries: list[_Entry]) -> None:
        for entry in entries:
            problem, record = entry.rejected, entry.record
            if problem is not None:
                error = problem.errors[0].message
                kept: Any = record.value if record.value is not None else record.text
                self._rejects.write(Reject(entry.file, record.line, problem.field, problem.rule, error, kept))
        self._rejects.flush()


def _batches(entries: Iterable[_Entry], map_: Callable[[_Entry], int], size: int) -> Iterator[list[_Entry]]:
    """Entries in batches of about ``size`` events and at most a few MiB of source."""
    batch: list[_Entry] = []
    events = weight = 0
    for entry in entries:
        events += map_(entry)
        weight += entry.record.size
        batch.append(entry)
        if events >= size or weight >= _SOURCE_BYTES or len(batch) >= size:
            yield batch
            batch, events, weight = [], 0, 0
    if batch:
        yield batch


def _name(source: str) -> str:
    return "stdin" if source == STDIN else source


def _problem_of(error: Refused) -> RejectedRecord:
    if error.errors:
        first = error.errors[0]
        return RejectedRecord(_POINTER.sub("/", first.pointer), first.rule, first.message)
    return RejectedRecord("", error.category, error.message)


def _slim(draft: Draft) -> Draft:
    """The event without the copies that the raw record holds anyway, so that it stays within 256 KiB."""
    return msgspec.structs.replace(draft, changes=None)
