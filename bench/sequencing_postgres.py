"""Sequencing on PostgreSQL: leaf built, hashed and stored, beside COPY of the same events alone."""

from __future__ import annotations

import os
import time
from typing import Final

import msgspec

from affidavit.core.row import Row
from affidavit.log.sequencer import Sequencer
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from affidavit.wiring import clock
from bench.data import Source
from bench.postgres import PostgresBase
from bench.results import Results, at_least, median
from bench.stores import BATCH, intake, seal

__all__ = ["measure"]

ROUNDS: Final = 5


def measure(results: Results, base: PostgresBase, organizations: int, events: int, label: str) -> None:
    """Add the row of one number of organizations.

    Args:
        results: gets it.
        base: filled; a copy of it is sequenced, another one gets the raw COPY.
        organizations: over which the events are spread, one after the other.
        events: that wait in each round, lean ones.
        label: the size of the filled database.
    """
    twin = base.copy_to("sequenced")
    seal(twin)  # who asked the filled one for a token left events about it
    raw = base.raw("raw", like=True)
    rates, copies, cpu = [], [], []
    for number in range(ROUNDS + 1):
        rows = _rows(number, organizations, events)
        with twin.inserting(clock) as insert:
            for batch in rows:
                insert(batch)
        copies.append(raw.write([raw.ready(batch, clock()) for batch in rows]))
        used = time.process_time()
        rates.append(events / _sequence(twin, events))
        cpu.append((time.process_time() - used) / events * 1e6)
    raw.close()
    twin.drop()
    name = f"sequencing, {organizations:,} organization{'s' if organizations > 1 else ''}, {label}"
    note = f"{median(cpu[1:]):.1f} microseconds of one core a leaf on our side"
    results.add(
        at_least(f"{name}, beside COPY of events", rates[1:], copies[1:], 0.6, unit="leaves/s", note=note)
    )


def _rows(seed: int, organizations: int, events: int) -> list[list[Row]]:
    made, source = intake(), Source(seed, lean=True)
    batches = []
    for start in range(0, events, BATCH):
        drafts = [
            msgspec.structs.replace(draft, organization=f"org-{number % organizations:06}")
            for number, draft in enumerate(source.drafts(min(BATCH, events - start)), start)
        ]
        batches.append(made.prepare(drafts, organization=None))
    return batches


def _sequence(base: PostgresBase, events: int) -> float:
    """Seconds until every event has its leaf on the disk."""
    writer = PostgresLogWriter(base.address)
    sequencer = Sequencer(writer, writer, writer, host="bench.example", clock=clock, entropy=os.urandom)
    begun = time.perf_counter()
    done = 0
    while taken := sequencer.step():
        done += taken
    seconds = time.perf_counter() - begun
    writer.close()
    if done != events:
        raise RuntimeError(f"{done} of {events} events were sequenced")
    return seconds
