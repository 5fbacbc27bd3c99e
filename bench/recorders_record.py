"""What the comparison of recorders found, as it stands in ``bench/recorders.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

__all__ = ["RECORD", "Cell", "Comparison", "Recorder", "Timing", "read", "write"]

RECORD: Final = Path(__file__).with_name("recorders.json")


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one operation.

    Attributes:
        rows: that it changed; 0 where all of it was undone.
        events: that were there afterwards and not before, counted in plain SQL.
        warned: the classes of the warnings that the app got.
        error: what it raised instead.
    """

    rows: int = 0
    events: int = 0
    warned: tuple[str, ...] = ()
    error: str = ""


class Recorder(msgspec.Struct, frozen=True):
    """One recorder on one engine, and what it recorded.

    Attributes:
        stack: ``Django`` or ``SQLAlchemy``.
        engine: ``SQLite`` or ``PostgreSQL``.
        name: as people know it.
        setup: how it was set up.
        versions: of the packages.
        cells: operation to what became of it.
    """

    stack: str
    engine: str
    name: str
    setup: str
    versions: dict[str, str]
    cells: dict[str, Cell]


class Timing(msgspec.Struct, frozen=True):
    """What one recorder costs, beside the same change without any.

    Attributes:
        stack: what holds the transaction.
        engine: ``SQLite`` or ``PostgreSQL``.
        name: of the recorder.
        one: milliseconds of a transaction with one change and its event, the median of all rounds.
        one_ratio: to the bare change, the median of the ratios of neighbouring rounds.
        one_cpu: the same ratio of what it takes of a core, in the app's process and in PostgreSQL for it.
        saves: as ``one``, of a hundred changes in a transaction.
        saves_ratio: as ``one_ratio``.
        saves_cpu: as ``one_cpu``.
    """

    stack: str
    engine: str
    name: str
    one: float
    one_ratio: float
    one_cpu: float
    saves: float
    saves_ratio: float
    saves_cpu: float


class Comparison(msgspec.Struct):
    """A whole run; ``measured`` and ``timed`` say when, on what and at which commit."""

    measured: str = ""
    timed: str = ""
    recorders: list[Recorder] = []
    timings: list[Timing] = []


def read(path: Path = RECORD) -> Comparison:
    """What the last run found; empty where there was none."""
    if not path.exists():
        return Comparison()
    return msgspec.json.decode(path.read_bytes(), type=Comparison)


def write(found: Comparison, path: Path = RECORD) -> None:
    """Keep it."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
