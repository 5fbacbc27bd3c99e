"""``make bench``: every row that exists so far, printed and kept in ``bench/results.json``."""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench import export, footprint, library, pages, peers, recording, sequencing, verification
from bench.results import RESULTS, Results
from bench.stores import fill

MILLION = 1_000_000
PARTS = (
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


def main() -> None:
    """Measure."""
    arguments = _arguments()
    logging.basicConfig(level="WARNING")
    events = arguments.events or (10 * MILLION if arguments.large else MILLION)
    label = f"{events / MILLION:g} million"
    results = Results(arguments.output)
    begun = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(arguments.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        folder.mkdir(parents=True, exist_ok=True)
        for name, work in _parts(results, folder, events, label, large=arguments.large):
            if not arguments.part or name in arguments.part:
                work()
                print(f"-- {name}: {time.perf_counter() - begun:.0f} s since the start", flush=True)
    results.finish()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--large", action="store_true", help="ten million events")
    parser.add_argument("--events", type=int, help="so many instead")
    parser.add_argument("--folder", help="keep the filled store here, and use it again")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON file")
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help="only these parts")
    return parser.parse_args()


def _parts(
    results: Results, folder: Path, events: int, label: str, *, large: bool
) -> list[tuple[str, Callable[[], None]]]:
    store, lean = folder / "filled.db", folder / "lean.db"
    few = 200_000

    def filled() -> Path:
        fill(store, events)
        return store

    def measure_bytes() -> None:
        fill(lean, few, lean=True)
        footprint.measure_bytes(results, lean, few)

    def measure_sequencing() -> None:
        sequencing.measure(results, folder, 1, 60_000)
        sequencing.measure(results, folder, 1_000, 60_000)
        if large:
            sequencing.measure(results, folder, 100_000, 400_000)

    empty = not large
    return [
        ("sequencing", measure_sequencing),
        ("peers", lambda: peers.measure(results)),
        ("bytes", measure_bytes),
        ("library", lambda: library.measure(results, folder, None, "empty table") if empty else None),
        ("library", lambda: library.measure(results, folder, filled(), label)),
        ("batches", lambda: recording.measure_batches(results, folder, filled(), label)),
        ("single", lambda: recording.measure_single(results, folder, filled(), label)),
        ("export", lambda: export.measure(results, filled(), label)),
        ("memory", lambda: footprint.measure_memory(results, folder, filled(), label)),
        ("verify", lambda: verification.measure(results, folder, filled(), label)),
        ("pages", lambda: pages.measure(results, filled(), label)),
    ]


if __name__ == "__main__":
    main()
