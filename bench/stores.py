"""Databases to measure on: filled with ninety days of events, sealed and indexed by a real worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

import msgspec

from affidavit.catalogs import ready_made
from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS, Row
from affidavit.core.times import DAY
from affidavit.recorder.intake import Intake, Rights
from affidavit.supervisor import Supervisor
from affidavit.wiring import Instance, clock, open_follower, open_store
from affidavit.wiring.work import open_parts
from bench.base import Base
from bench.data import DAYS, Source
from bench.lag import Lag

__all__ = ["BATCH", "fill", "intake", "opened", "prepared", "seal", "worker"]

BATCH: Final = 1_000
_IMPORTS = Rights(may_import=True)
_ID, _SECRET = COLUMNS.index("id"), COLUMNS.index("secret")


def intake(now: Callable[[], int] = clock) -> Intake:
    """What makes rows of drafts, and stores none."""
    catalogs = ready_made()
    return Intake(
        lambda _: [],
        clock=now,
        entropy=os.urandom,
        catalogs=lambda: catalogs,
        organization_secret=lambda _: bytes(32),
    )


def prepared(made: Intake, source: Source, count: int, *, at: int | None = None, step: int = 0) -> list[Row]:
    """The next events of a source as rows."""
    return made.prepare(source.drafts(count, at=at, step=step), organization=None, rights=_IMPORTS)


def fill(
    base: Base,
    events: int,
    *,
    lean: bool = False,
    pool: int | None = None,
    say: Callable[[str], None] = print,
) -> Base:
    """Make a database of so many events, ending now, sealed and indexed; leave it as it is where it exists.

    Args:
        base: which.
        events: how many.
        lean: see :class:`bench.data.Source`.
        pool: make only so many different contents, and use them again and again under new ids and secrets.
        say: prints a line.
    """
    if base.whole():
        say(f"{base.engine} {base.name} is there already")
        return base
    begun = time.perf_counter()
    now = clock() - DAYS * DAY
    step = DAYS * DAY // events
    base.make(since=now)
    stream = _again if pool is not None else _fresh
    rows = stream(Source(7, lean=lean), now, step, pool or events)
    with worker(base), Lag(base) as lag, base.inserting(lambda: now) as insert:
        for _ in range(0, events, BATCH):
            insert(list(islice(rows, BATCH)))
            now += BATCH * step
        recorded = time.perf_counter() - begun
        lag.wait(0)
    settle(base)
    seal(base)
    base.finished()
    say(
        f"filled {base.engine} {base.name}: {events:,} events in {recorded:.0f} s,"
        f" indexed after {time.perf_counter() - begun:.0f} s"
    )
    return base


def _fresh(source: Source, now: int, step: int, _events: int) -> Iterator[Row]:
    """Every event made for itself."""
    made = intake(lambda: now)
    while True:
        yield from prepared(made, source, BATCH, at=now - (BATCH - 1) * step, step=step)
        now += BATCH * step


def _again(source: Source, now: int, step: int, pool: int) -> Iterator[Row]:
    """Some contents, one after the other, each time as other events."""
    maker = intake(lambda: now)
    made = [row for _ in range(0, pool, BATCH) for row in prepared(maker, source, BATCH, at=now - DAY)]
    while True:
        random = os.urandom(40 * len(made))
        for number, row in enumerate(made):
            piece = random[40 * number : 40 * number + 40]
            event_id = make_id(now, int.from_bytes(piece[:8], "big") >> 2)
            values = list(row.values)
            values[_ID], values[_SECRET] = event_id, piece[8:]
            yield msgspec.structs.replace(row, id=event_id, values=tuple(values))
            now += step


def settle(base: Base) -> None:
    """Merge the index as far as it goes: what a worker does when nothing waits."""
    follower = open_follower(base.settings)
    while follower.step() or follower.tidy():
        pass
    follower.close()


def seal(base: Base) -> None:
    """Give every event its leaf, and every tree its checkpoint."""
    parts = open_parts(base.settings)
    while parts.sequencer.step():
        pass
    while parts.signer.step():
        pass
    parts.close()


@contextmanager
def opened(base: Base) -> Iterator[Instance]:
    """The product on a database that exists."""
    instance = open_store(base.settings)
    try:
        yield instance
    finally:
        instance.close()


@contextmanager
def worker(base: Base) -> Iterator[None]:
    """A worker process on a database."""
    with Supervisor(base.settings):
        yield
