"""``make bench``: every row so far, for both engines, printed and kept in ``bench/results.json``."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from bench import (
    entry_point,
    export,
    footprint,
    library,
    pages,
    peers,
    recorders,
    recorders_page,
    recording,
    sequencing,
    sequencing_postgres,
    verification,
)
from bench.base import Base
from bench.postgres import PostgresBase, running
from bench.recorders_places import OnPostgres, OnSqlite
from bench.recorders_record import RECORD
from bench.results import RESULTS, Results
from bench.sqlite import SqliteBase
from bench.stores import fill

MILLION: Final = 1_000_000
FEW: Final = 200_000
"""Events of the database whose bytes are counted, and of the contents that ten million are made of."""
ENGINES: Final = ("sqlite", "postgresql")
PARTS: Final = (
    "entry",
    "recorders",
    "library",
    "batches",
    "single",
    "pages",
    "export",
    "memory",
    "bytes",
    "sequencing",
    "verify",
    "peers",
)
LARGE: Final = ("pages",)
"""What ten million events are for."""

Part = tuple[str, Callable[[], None]]
B = TypeVar("B", bound=Base)


def main() -> None:
    """Measure."""
    arguments = _arguments()
    logging.basicConfig(level="WARNING")
    results = Results(arguments.output)
    begun = time.perf_counter()
    wanted = arguments.part or (LARGE if arguments.large else PARTS)
    engines = arguments.engine or (ENGINES[1:] if arguments.large else ENGINES)
    print(f"load of this machine: {os.getloadavg()[0]:.1f}", flush=True)
    with ExitStack() as stack:
        folder = Path(arguments.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        parts: list[Part] = []
        if "sqlite" in engines:
            parts += _on_sqlite(results, folder, arguments)
        if "postgresql" in engines:
            parts += _on_postgres(results, folder, arguments, stack)
        for name, work in parts:
            if name in wanted:
                work()
                print(f"-- {name}: {time.perf_counter() - begun:.0f} s since the start", flush=True)
    results.finish()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="the pages at ten million events, on PostgreSQL")
    parser.add_argument("--events", type=int, help="so many instead")
    parser.add_argument("--folder", help="keep the filled databases here, and use them again")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("--rounds", type=int, default=recorders.ROUNDS, help="so many of the recorders")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="only this engine")
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="only these parts")
    arguments = parser.parse_args()
    arguments.events = arguments.events or (10 * MILLION if arguments.large else MILLION)
    return arguments


def _on_sqlite(results: Results, folder: Path, arguments: argparse.Namespace) -> list[Part]:
    filled, lean = SqliteBase(folder, "filled"), SqliteBase(folder, "lean")

    def measure_sequencing() -> None:
        sequencing.measure(results, folder, 1, 60_000)
        sequencing.measure(results, folder, 1_000, 60_000)

    return [
        ("sequencing", measure_sequencing),
        ("peers", lambda: peers.measure(results)),
        ("recorders", lambda: _recorders(results, OnSqlite(folder), arguments)),
        *_on_both(results, folder, filled, lean, arguments),
    ]


def _on_postgres(
    results: Results, folder: Path, arguments: argparse.Namespace, stack: ExitStack
) -> list[Part]:
    server = stack.enter_context(running(folder))
    base = partial(PostgresBase, server, folder)

    filled = base("filled")

    def measure_sequencing() -> None:
        full, label = _filled(filled, arguments)
        sequencing_postgres.measure(results, full, 1, 30_000, label)
        sequencing_postgres.measure(results, full, 1_000, 30_000, label)

    return [
        ("entry", lambda: entry_point.measure(results, filled)),
        ("recorders", lambda: _recorders(results, OnPostgres(server, folder), arguments)),
        *_on_both(results, folder, filled, base("lean"), arguments),
        ("sequencing", measure_sequencing),
    ]


def _recorders(results: Results, makers: OnSqlite | OnPostgres, arguments: argparse.Namespace) -> None:
    record = arguments.output.with_name(RECORD.name)
    recorders.see(makers, results, record)
    recorders.measure(makers, results, record, rounds=arguments.rounds)
    if record == RECORD:
        recorders_page.update()


def _filled(base: B, arguments: argparse.Namespace) -> tuple[B, str]:
    """The filled database, made where it is not there yet, and its size in words."""
    fill(base, arguments.events, pool=FEW if arguments.large else None)
    return base, f"{arguments.events / MILLION:g} million, {base.engine}"


def _on_both(
    results: Results, folder: Path, filled: Base, lean: Base, arguments: argparse.Namespace
) -> Iterator[Part]:
    few = min(FEW, arguments.events)

    def measure_bytes() -> None:
        name = f"{few:,} events, {filled.engine}"
        footprint.measure_bytes(results, fill(lean, few, lean=True), few, name)

    def on_filled(measure: Callable[[Results, Base, str], None]) -> Callable[[], None]:
        return lambda: measure(results, *_filled(filled, arguments))

    yield from (
        ("bytes", measure_bytes),
        ("library", lambda: library.measure(results, filled, f"empty table, {filled.engine}", empty=True)),
        ("library", on_filled(library.measure)),
        ("batches", on_filled(recording.measure_batches)),
        ("single", on_filled(recording.measure_single)),
        ("export", on_filled(export.measure)),
        ("memory", on_filled(footprint.measure_memory)),
        ("pages", on_filled(pages.measure)),
    )
    if filled.engine == "SQLite":  # what is read from a bundle came from either
        yield "verify", lambda: verification.measure(results, folder, *_filled(filled, arguments))


if __name__ == "__main__":
    main()
