"""Batches of 1,000 recorded in process, against the raw engine, worker off and worker on."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

from affidavit.wiring import clock
from bench.base import Base
from bench.data import Source
from bench.lag import Lag
from bench.results import Results, at_least, at_most
from bench.stores import BATCH, intake, opened, worker

__all__ = ["measure"]

ROUNDS: Final = 7
OFF, ON = 15, 40
"""Batches of a round; with the worker enough of them that its last one weighs little."""


def measure(results: Results, base: Base, label: str, *, empty: bool = False) -> None:
    """Add the rows of one table size.

    Args:
        results: gets them.
        base: a filled database, of which copies are measured.
        label: the table's size in words.
        empty: start with an empty table instead.
    """
    rates, raws = _rounds(base, OFF, None, empty=empty)
    name = f"library batches of 1,000, {label}"
    results.add(at_least(f"{name}, worker off", rates, raws, 0.65, unit="events/s"))
    lags: list[float] = []
    rates, raws = _rounds(base, ON, lags, empty=empty)
    results.add(
        at_least(f"{name}, worker on and current", rates, raws, 0.4, unit="events/s"),
        at_most(f"worker behind the library, {label}", max(lags), 2.0, unit="s"),
    )


def _rounds(
    base: Base, batches: int, lags: list[float] | None, *, empty: bool
) -> tuple[list[float], list[float]]:
    """Ours and raw in turns; events a second of each round, the first left out."""
    made, source = intake(), Source(11, lean=True)
    twin = base.beside("library") if empty else base.copy_to("library")
    if empty:
        twin.make()
    rates: list[float] = []
    raws: list[float] = []
    with ExitStack() as stack:
        raw = base.raw("raw", like=not empty)
        stack.callback(raw.close)
        instance = stack.enter_context(opened(twin))
        if lags is not None:
            stack.enter_context(worker(twin))
        lag = stack.enter_context(Lag(twin))
        for _ in range(ROUNDS + 1):
            drafts = [source.drafts(BATCH) for _ in range(batches)]
            ready = [raw.ready(made.prepare(batch, organization=None), clock()) for batch in drafts]
            if lags is not None:
                lag.wait(0)
            raws.append(raw.write(ready))
            begun = time.perf_counter()
            for batch in drafts:
                instance.intake.record(batch, organization=None)
            if lags is not None:
                lags.append(lag.wait())
            rates.append(batches * BATCH / (time.perf_counter() - begun))
    twin.drop()
    return rates[1:], raws[1:]
