"""What was measured: one row a question, printed as a table and kept in ``bench/results.json``."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

__all__ = ["RESULTS", "Results", "Row", "at_least", "at_most", "at_most_ratio", "median", "paired"]

RESULTS = Path(__file__).with_name("results.json")


class Row(msgspec.Struct, kw_only=True):
    """One measured question.

    Attributes:
        name: of the question.
        ours: what Affidavit reaches.
        reference: what the raw engine or peer reaches in the same run; ``None`` where the target is absolute.
        unit: of both.
        ratio: the median of the ratios of neighbouring rounds, ours to the reference; ``None`` without one.
        target: in words.
        met: whether it is reached.
        note: what else belongs to it, such as the median beside a 95th percentile.
        measured: when, on what, at which commit.
    """

    name: str
    ours: float
    reference: float | None
    unit: str
    ratio: float | None
    target: str
    met: bool
    note: str = ""
    measured: str = ""


def median(values: Sequence[float]) -> float:
    """The median; 0 where there is nothing."""
    return statistics.median(values) if values else 0.0


def paired(ours: Sequence[float], reference: Sequence[float]) -> float:
    """The median ratio of rounds that ran one after the other, so that a busy machine hits both sides."""
    return median([mine / its for mine, its in zip(ours, reference, strict=True)])


def at_least(
    name: str, ours: Sequence[float], reference: Sequence[float], target: float, *, unit: str, note: str = ""
) -> Row:
    """A row whose target is a ratio to the reference."""
    ratio = paired(ours, reference)
    return Row(
        name=name,
        ours=round(median(ours), 1),
        reference=round(median(reference), 1),
        unit=unit,
        ratio=round(ratio, 3),
        target=f">= {target}x",
        met=ratio >= target,
        note=note,
    )


def at_most(
    name: str,
    ours: float,
    target: float,
    *,
    unit: str,
    note: str = "",
    reference: float | None = None,
) -> Row:
    """A row whose target is a bound; with a reference the bound is on the difference."""
    bound = target if reference is None else reference + target
    return Row(
        name=name,
        ours=round(ours, 3),
        reference=None if reference is None else round(reference, 3),
        unit=unit,
        ratio=None if reference is None else round(ours / reference, 2),
        target=f"<= {target:g}" if reference is None else f"<= reference + {target:g}",
        met=ours <= bound,
        note=note,
    )


def at_most_ratio(
    name: str, ours: Sequence[float], reference: Sequence[float], target: float, *, unit: str, note: str = ""
) -> Row:
    """A row of times, whose target is a ratio to the reference."""
    ratio = paired(ours, reference)
    return Row(
        name=name,
        ours=round(median(ours), 3),
        reference=round(median(reference), 3),
        unit=unit,
        ratio=round(ratio, 3),
        target=f"<= {target}x",
        met=ratio <= target,
        note=note,
    )


class Results:
    """The rows of a run, written after each, so that an interrupted run leaves what it has.

    Args:
        path: of the JSON file; rows of other names in it are kept.
        say: prints a line.

    Attributes:
        measured: when, at which commit, on what.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = print) -> None:
        self._path = path
        self._say = say
        # A row that goes by the clock says little where others used the same cores.
        self.measured = f"{datetime.now(UTC):%Y-%m-%d} at {_commit()} on {machine()}"
        self._rows: list[Row] = []

    def add(self, *rows: Row) -> None:
        """Print rows and keep them."""
        kept = {row.name: row for row in self._read()}
        for row in rows:
            row.measured = f"{self.measured}, load {os.getloadavg()[0]:.1f}"
            kept[row.name] = row
            self._rows.append(row)
            self._say(line(row))
        encoded = msgspec.json.format(msgspec.json.encode(list(kept.values())), indent=1)
        self._path.write_bytes(encoded + b"\n")

    def _read(self) -> list[Row]:
        if not self._path.exists():
            return []
        return msgspec.json.decode(self._path.read_bytes(), type=list[Row])

    def finish(self) -> None:
        """Print what was reached, and where."""
        missed = [row.name for row in self._rows if not row.met]
        self._say(f"\n{self.measured}")
        self._say(f"{len(self._rows) - len(missed)} of {len(self._rows)} targets reached.")
        for name in missed:
            self._say(f"  missed: {name}")


def line(row: Row) -> str:
    """A row as a line of the table."""
    reference = "" if row.reference is None else f"{row.reference:,.5g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
    met = "ok" if row.met else "MISSED"
    return (
        f"{row.name:<58} {row.ours:>10,.5g} {reference:>10} {row.unit:<9} {ratio:>6}"
        f"  {row.target:<20} {met:<6} {row.note}"
    )


def machine() -> str:
    """The machine in one phrase."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    cores = 0
    if cpuinfo.exists():
        for entry in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = entry.partition(":")
            if name.strip() == "model name":
                model, cores = value.strip(), cores + 1
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{cores or '?'} cores of {model}, Python {python}, SQLite {sqlite3.sqlite_version}"


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "an unknown commit"
