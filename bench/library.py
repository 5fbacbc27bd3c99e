"""Batches of 1,000 recorded in process, against the raw engine, worker off and worker on."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from affidavit.wiring import clock
from bench.data import Source
from bench.lag import Lag
from bench.raw import Raw, ready
from bench.results import Results, at_least, at_most
from bench.stores import BATCH, copy, intake, opened, worker

__all__ = ["measure"]

ROUNDS: Final = 7
OFF, ON = 15, 40
"""Batches of a round; with the worker enough of them that its last one weighs little."""


def measure(results: Results, folder: Path, filled: Path | None, label: str) -> None:
    """Add the rows of one table size.

    Args:
        results: gets them.
        folder: for files.
        filled: a store to start from; ``None`` for an empty table.
        label: the table's size in words.
    """
    rates, raws = _rounds(folder, filled, OFF, None)
    name = f"library batches of 1,000, {label}"
    results.add(at_least(f"{name}, worker off", rates, raws, 0.65, unit="events/s"))
    lags: list[float] = []
    rates, raws = _rounds(folder, filled, ON, lags)
    results.add(
        at_least(f"{name}, worker on and current", rates, raws, 0.4, unit="events/s"),
        at_most(f"worker behind the library, {label}", max(lags), 2.0, unit="s"),
    )


def _rounds(
    folder: Path, filled: Path | None, batches: int, lags: list[float] | None
) -> tuple[list[float], list[float]]:
    """Ours and raw in turns; events a second of each round, the first left out."""
    made, source = intake(), Source(11, lean=True)
    path, raw_path = folder / "library.db", folder / "raw.db"
    if filled is not None:
        copy(filled, path)
    rates: list[float] = []
    raws: list[float] = []
    with ExitStack() as stack:
        instance = stack.enter_context(opened(path))
        raw = Raw(raw_path, filled)
        stack.callback(raw.close)
        if lags is not None:
            stack.enter_context(worker(path))
        lag = stack.enter_context(Lag(path))
        for _ in range(ROUNDS + 1):
            drafts = [source.drafts(BATCH) for _ in range(batches)]
            tuples = [ready(made.prepare(batch, organization=None), clock()) for batch in drafts]
            if lags is not None:
                lag.wait(0)
            raws.append(raw.write(tuples))
            begun = time.perf_counter()
            for batch in drafts:
                instance.intake.record(batch, organization=None)
            if lags is not None:
                lags.append(lag.wait())
            rates.append(batches * BATCH / (time.perf_counter() - begun))
    for file in (*folder.glob("library*"), *folder.glob("raw.db*")):
        file.unlink()
    return rates[1:], raws[1:]
