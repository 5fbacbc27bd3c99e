"""The tables of docs/comparison.md and docs/benchmarks.md that ``make bench`` writes: nobody types them.

``python -m bench.recorders_page`` writes them anew from the committed results; ``--check`` fails where a page
says anything else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.recorders_operations import OF_SESSIONS
from bench.recorders_queries import OF_QUERYSETS
from bench.recorders_record import Cell, Comparison, Recorder, Timing, read
from bench.recorders_seen import WITHOUT
from bench.results import RESULTS, Row

__all__ = ["PAGES", "filled", "main", "update"]

DOCS: Final = Path(__file__).parent.parent / "docs"
_PART: Final = re.compile(
    r"(<!-- begin of (\S+), written by make bench -->\n).*?(<!-- end of \2 -->)", re.DOTALL
)
STACKS: Final = ("Django", "SQLAlchemy")
ORDER: Final = {"Django": OF_QUERYSETS, "SQLAlchemy": OF_SESSIONS}
SHOWN: Final = "PostgreSQL"
"""The engine on which all recorders run; of the other one only what differs is said."""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def words(name: str, cell: Cell | None) -> str:
    """What became of an operation, in a few words."""
    if cell is None:
        return "-"
    if name == WITHOUT:
        if cell.rows:
            return "**kept without it**" + (", then an error" if cell.error else "")
        return "refused, right"
    if cell.error:
        return f"fails: {cell.error.partition(':')[0]}"
    if not cell.rows:
        return "**recorded, wrong**" if cell.events else "nothing, right"
    warned = f", warned ({', '.join(cell.warned)})" if cell.warned else ""
    if not cell.events:
        return ("**no**" if cell.rows == 1 else f"**0 of {cell.rows}**") + warned
    if cell.rows == 1:
        return "yes" if cell.events == 1 else f"yes, in {cell.events}"
    if cell.events == 1:
        return f"one event for {cell.rows}"
    return f"{cell.events} of {cell.rows}"


def _of(found: Comparison, stack: str, engine: str) -> list[Recorder]:
    return [each for each in found.recorders if (each.stack, each.engine) == (stack, engine)]


def seen(found: Comparison) -> Iterator[str]:
    """A table for each stack: operations by recorders."""
    for stack in STACKS:
        recorders = _of(found, stack, SHOWN)
        asked_for = {name for each in recorders for name in each.cells}
        operations = [name for name in (*ORDER[stack], WITHOUT) if name in asked_for]
        rows = [[name, *(words(name, each.cells.get(name)) for each in recorders)] for name in operations]
        yield from (f"### {stack}, on {SHOWN}", "")
        yield from _table(["operation", *(each.name for each in recorders)], rows)
        yield ""
        for each in _of(found, stack, "SQLite"):
            twin = next(other for other in recorders if other.name == each.name)
            apart = [
                f"{name}: {words(name, cell)}"
                for name, cell in each.cells.items()
                if words(name, cell) != words(name, twin.cells.get(name))
            ]
            yield f"* {each.name} on SQLite: {'; '.join(apart) if apart else 'the same'}."
        yield ""
    yield f"Asked on {found.measured}."


def asked(found: Comparison) -> Iterator[str]:
    """How each recorder was set up."""
    rows = []
    for stack in STACKS:
        for each in _of(found, stack, SHOWN):
            versions = ", ".join(f"{name} {version}" for name, version in each.versions.items())
            rows.append([each.name, versions, each.setup])
    yield from _table(["recorder", "versions", "set up by"], rows)


def cost(found: Comparison) -> Iterator[str]:
    """What each recorder costs, a table for each stack and engine."""
    head = ["recorder", "one change, ms", "x bare", "x core", "100 changes, ms", "x bare", "x core"]
    for place in dict.fromkeys((each.stack, each.engine) for each in found.timings):
        rows = [_costs(each) for each in found.timings if (each.stack, each.engine) == place]
        yield from (f"### {place[0]}, on {place[1]}", "")
        yield from _table(head, rows)
        yield ""
    yield f"Measured on {found.timed}"


def _costs(of: Timing) -> list[str]:
    numbers = (of.one, of.one_ratio, of.one_cpu, of.saves, of.saves_ratio, of.saves_cpu)
    return [of.name, *(f"{number:,.2f}" for number in numbers)]


def adapters(rows: Sequence[Row]) -> Iterator[str]:
    """The rows of every adapter beside what a person writes by hand."""
    chosen = [row for row in rows if re.match(r"(one|100) (event|change)s? in a transaction, ", row.name)]
    yield from _table(
        ["what", "ours, ms", "beside, ms", "ratio", "target", ""],
        [
            [
                row.name,
                f"{row.ours:,.2f}",
                f"{row.reference or 0:,.2f}",
                f"{row.ratio:.2f}",
                row.target,
                f"{'met' if row.met else 'missed'}; {row.note}",
            ]
            for row in chosen
        ],
    )
    loads: dict[str, list[float]] = {}
    for row in chosen:
        where, _, load = row.measured.rpartition(", load ")
        loads.setdefault(where, []).append(float(load))
    yield ""
    for where, found in loads.items():
        yield f"Measured on {where}, load {min(found):g} to {max(found):g}."


def _results() -> list[Row]:
    return msgspec.json.decode(RESULTS.read_bytes(), type=list[Row])


PARTS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "seen": lambda: seen(read()),
    "asked": lambda: asked(read()),
    "cost": lambda: cost(read()),
    "adapters": lambda: adapters(_results()),
}
PAGES: Final = (DOCS / "comparison.md", DOCS / "benchmarks.md")


def filled(page: str) -> str:
    """A page with its parts as the results have them."""
    return _PART.sub(lambda part: f"{part[1]}{chr(10).join(PARTS[part[2]]())}\n{part[3]}", page)


def update() -> None:
    """Write the parts of every page anew."""
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")


def main(words: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` say which of them is not as the results are."""
    if list(words) != ["--check"]:
        update()
        return 0
    stale = [path.name for path in PAGES if filled(text := path.read_text(encoding="utf-8")) != text]
    for name in stale:
        print(f"docs/{name} is not what bench/ found; run: python -m bench.recorders_page", file=sys.stderr)
    return len(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
