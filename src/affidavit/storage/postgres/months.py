"""Partitions of the event table against the tables that speak of them, and the notes of migrations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affidavit.storage.evidence import Fault, Record
from affidavit.storage.postgres.migrate import available
from affidavit.storage.postgres.schema import CLOSED, Described

__all__ = ["month_faults", "single_faults", "step_faults"]

_BOUND = re.compile(r"FOR VALUES FROM \('([0-9a-f-]{36})'\) TO \('([0-9a-f-]{36})'\)")
_EVENTS = "affidavit_events"
_FIRST, _LAST = bytes(16), b"\xff" * 17


def month_faults(live: Described, months: Sequence[Record], ranges: Sequence[Record]) -> Iterator[Fault]:
    """Months that are listed otherwise than they are attached, and closed ranges that nothing keeps closed.

    Args:
        live: the schema as it stands.
        months: rows of ``affidavit_months``.
        ranges: rows of ``affidavit_pruned``, of the same moment.
    """
    attached = {name: _bounds(part.bound) for name, part in live.parts.items() if part.parent == _EVENTS}
    listed = {row["part"]: (row["low"], row["high"]) for row in months}
    for name, bounds in attached.items():
        closed = any(row["from_id"] < bounds[1] and row["to_id"] >= bounds[0] for row in ranges)
        if (closed or (ranges and bounds == (_FIRST, _LAST))) and CLOSED not in live.objects[name]:
            yield Fault(name, "", CLOSED, "is missing: events can be recorded in a range that was pruned")
        if bounds != (_FIRST, _LAST) and name not in listed:
            yield Fault("affidavit_months", "part", name, "the month is attached, and not listed")
    for name, stated in listed.items():
        if name not in attached:
            rule = "is not a month that is attached: its events are missing"
            yield Fault("affidavit_months", "part", str(name), rule)
            continue
        for column, value, stands in zip(("low", "high"), attached[name], stated, strict=True):
            if value != stands:
                yield Fault(
                    "affidavit_months",
                    column,
                    str(name),
                    "is not that of the partition",
                    value.hex(),
                    _hex(stands),
                )


def single_faults(counts: Mapping[str, int]) -> Iterator[Fault]:
    """Tables that must have one row: without it readers do not see that months change, and ranges stay open.

    Args:
        counts: table to the number of its rows.
    """
    for table, count in counts.items():
        if count != 1:
            yield Fault(table, "", "", "must have exactly one row", "1", str(count))


def _bounds(bound: str) -> tuple[bytes, bytes]:
    """Smallest id of a partition, and the one beyond its greatest; everything for the default one."""
    found = _BOUND.fullmatch(bound)
    if found is None:
        return _FIRST, _LAST
    low, high = (bytes.fromhex(text.replace("-", "")) for text in found.groups())
    return low, high


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def step_faults(notes: Sequence[Record]) -> Iterator[Fault]:
    """Each note of a migration that is not the one of this version."""
    wanted = {step.number: (step.name, step.checksum) for step in available()}
    for note in notes:
        expected = wanted.pop(note["number"], None)
        key = str(note["number"])
        if expected is None:
            yield Fault("affidavit_migrations", "number", key, "is no migration of this version")
            continue
        for column, value in zip(("name", "checksum"), expected, strict=True):
            if note[column] != value:
                rule = "is not that of the migration of this version"
                yield Fault("affidavit_migrations", column, key, rule, value, str(note[column])[:100])
    for number, (name, _) in wanted.items():
        yield Fault("affidavit_migrations", "number", str(number), "the migration is not noted", name)
