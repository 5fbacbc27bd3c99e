"""A CSV export of everything, against ``csv.writer`` alone on the same cells."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

from affidavit.catalogs import ready_made
from affidavit.core.filter import Filter
from affidavit.core.row import StoredEvent
from affidavit.export.csv import rows
from bench.base import Base
from bench.data import MAIN
from bench.results import Results, at_least
from bench.stores import opened

__all__ = ["measure"]

ROUNDS: Final = 5
EVENTS: Final = 30_000


def measure(results: Results, base: Base, label: str) -> None:
    """Add the row of a CSV export that reads, checks, escapes and writes."""
    catalogs = ready_made()
    ours: list[float] = []
    alone: list[float] = []
    with opened(base) as instance:
        for _ in range(ROUNDS + 1):
            begun = time.perf_counter()
            text = b"".join(rows(_first(instance.reader.export((MAIN,), Filter())), catalogs))
            ours.append(EVENTS / (time.perf_counter() - begun))
            cells = list(csv.reader(io.StringIO(text.decode(), newline="")))[1:]
            begun = time.perf_counter()
            for start in range(0, len(cells), 1_000):
                buffer = io.StringIO()
                csv.writer(buffer, lineterminator="\r\n").writerows(cells[start : start + 1_000])
                buffer.getvalue().encode()
            alone.append(len(cells) / (time.perf_counter() - begun))
    results.add(at_least(f"CSV export, {label}", ours[1:], alone[1:], 0.5, unit="rows/s"))


def _first(batches: Iterator[list[StoredEvent]]) -> Iterator[list[StoredEvent]]:
    return islice(batches, EVENTS // 1_000)
