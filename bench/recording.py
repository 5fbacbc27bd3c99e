"""Recording over HTTP: batches against the raw engine, single events against an echo handler."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

import msgspec

from affidavit.wiring import clock
from bench.base import Base
from bench.data import MAIN, Source
from bench.lag import Lag
from bench.load import generator, post
from bench.results import Results, at_least, at_most, median
from bench.servers import echo, serve, token
from bench.stores import BATCH, intake

__all__ = ["bodies", "measure_batches", "measure_single"]

ROUNDS: Final = 5
SECONDS: Final = 4
CLIENTS: Final = 32
ECHO: Final = {"SQLite": 0.35, "PostgreSQL": 0.45}
"""Of the echo handler's rate."""
SENDERS: Final = 4
"""Connections that post batches."""


def bodies(source: Source, batch: int, count: int) -> list[bytes]:
    """Ready requests of so many events each, of the organization of the token."""
    made = []
    for _ in range(count):
        drafts = [
            msgspec.structs.replace(draft, organization=None, occurred_at=None)
            for draft in source.drafts(batch)
        ]
        made.append(msgspec.json.encode(drafts[0] if batch == 1 else {"events": drafts}))
    return made


def measure_batches(results: Results, base: Base, label: str) -> None:
    """Add the rows of batches of 100 and 1,000, worker off and on."""
    for on in (False, True):
        for batch in (100, 1_000):
            _measure_batches(results, base, label, batch, on=on)


def _measure_batches(results: Results, base: Base, label: str, batch: int, *, on: bool) -> None:
    made, source = intake(), Source(13, lean=True)
    served = base.copy_to("served")
    key = token(served.settings, MAIN)
    posted = bodies(source, batch, 30_000 // batch)
    rates: list[float] = []
    raws: list[float] = []
    lags: list[float] = []
    with ExitStack() as stack:
        raw = base.raw("raw", like=True)
        stack.callback(raw.close)
        server = stack.enter_context(serve(served.settings, worker=on))
        lag = stack.enter_context(Lag(served)) if on else None
        for _ in range(ROUNDS + 1):
            batches = [
                raw.ready(made.prepare(source.drafts(BATCH), organization=None), clock()) for _ in range(15)
            ]
            if lag is not None:
                lag.wait(0)
            raws.append(raw.write(batches))
            begun = time.perf_counter()
            load = post(
                f"{server.url}/api/v1/events", posted, token=key, connections=SENDERS, seconds=SECONDS
            )
            seconds = load.seconds
            if lag is not None:
                lags.append(lag.wait())
                seconds = max(seconds, time.perf_counter() - begun - _STARTING)
            rates.append(load.requests * batch / seconds)
    name = f"HTTP batches of {batch:,}, {label}, {'worker on and current' if on else 'worker off'}"
    results.add(
        at_least(
            name,
            rates[1:],
            raws[1:],
            0.4 if on else 0.5,
            unit="events/s",
            note=f"{SENDERS} connections, {generator()}",
        )
    )
    if on:
        results.add(at_most(f"worker behind HTTP batches of {batch:,}, {label}", max(lags), 2.0, unit="s"))
    served.drop()


_STARTING: Final = 0.1
"""Seconds that the load generator needs before and after its load, about."""


def measure_single(results: Results, base: Base, label: str) -> None:
    """Add the rows of one event a request at 32 connections."""
    served = base.copy_to("served")
    key = token(served.settings, MAIN)
    posted = bodies(Source(17, lean=True), 1, 5_000)
    rates: list[float] = []
    echoes: list[float] = []
    slowest: list[float] = []
    lags: list[float] = []
    with serve(served.settings, worker=True) as server, echo() as peer, Lag(served) as lag:
        for _ in range(ROUNDS + 1):
            lag.wait(0)
            echoed = post(f"{peer.url}/events", posted, connections=CLIENTS, seconds=SECONDS)
            load = post(
                f"{server.url}/api/v1/events", posted, token=key, connections=CLIENTS, seconds=SECONDS
            )
            lags.append(lag.wait())
            rates.append(load.rate)
            echoes.append(echoed.rate)
            slowest.append(load.p99)
    note = f"{CLIENTS} connections, {generator()}, worker on"
    results.add(
        at_least(
            f"HTTP single events, {label}",
            rates[1:],
            echoes[1:],
            ECHO[base.engine],
            unit="events/s",
            note=note,
        ),
        at_most(f"HTTP single events, {label}, p99", median(slowest[1:]), 25, unit="ms", note=note),
        at_most(f"worker behind HTTP single events, {label}", max(lags), 2.0, unit="s"),
    )
    served.drop()
