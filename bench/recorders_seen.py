"""What each recorder records of each operation: done for real, and counted in plain SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.recorders_operations import OF_SESSIONS
from bench.recorders_places import Child, OnPostgres, OnSqlite
from bench.recorders_queries import OF_QUERYSETS
from bench.recorders_record import Cell, Recorder

__all__ = ["NAMES", "SEEN", "WITHOUT", "look", "look_at"]

NAMES: Final = {
    "ours": "Affidavit, `record`",
    "capture": "Affidavit, `capture`",
    "triggers": "Affidavit, triggers",
    "auditlog": "django-auditlog",
    "easyaudit": "django-easy-audit",
    "simple_history": "django-simple-history",
    "pghistory": "django-pghistory",
    "continuum": "SQLAlchemy-Continuum",
    "native": "SQLAlchemy-Continuum, native",
}
"""Of the sides, as people know them."""

SEEN: Final = {
    ("Django", "SQLite"): ("ours", "capture", "auditlog", "easyaudit", "simple_history"),
    ("Django", "PostgreSQL"): (
        *("ours", "capture", "triggers"),
        *("auditlog", "easyaudit", "simple_history", "pghistory"),
    ),
    ("SQLAlchemy", "SQLite"): ("ours", "capture", "continuum"),
    ("SQLAlchemy", "PostgreSQL"): ("ours", "capture", "triggers", "continuum", "native"),
}
_STACKS: Final = {"Django": ("Django", OF_QUERYSETS), "SQLAlchemy": ("SQLAlchemy Session", OF_SESSIONS)}


WITHOUT: Final = "a change whose event cannot be stored"
"""The last operation, for which the audit tables are taken away: whether the change is kept all the same."""
CHANGE: Final = {"Django": "`save()` of a changed object", "SQLAlchemy": "an object changed"}
_SEATS: Final = "SELECT sum(seats) FROM customers"


def look(makers: OnSqlite | OnPostgres, say: Callable[[str], None] = print) -> list[Recorder]:
    """Ask every recorder on an engine for every operation."""
    found = []
    for (stack, engine), sides in SEEN.items():
        if engine == makers.label:
            for side in sides:
                found.append(look_at(makers, stack, side))
                say(f"looked at {NAMES[side]} on {engine}")
    return found


def look_at(makers: OnSqlite | OnPostgres, stack: str, side: str) -> Recorder:
    """Ask one recorder for every operation.

    Args:
        makers: of its database.
        stack: ``Django`` or ``SQLAlchemy``.
        side: the recorder.
    """
    holder, operations = _STACKS[stack]
    child = Child(holder, side, makers.make(customers=False, by_hand=False))
    try:
        said = child.begun()
        cells = {}
        for name in operations:
            answer, events = child.ask(do="operation", name=name)
            if answer["rows"] is not None or answer["error"]:
                cells[name] = Cell(answer["rows"] or 0, events, tuple(answer["warned"]), answer["error"])
        cells[WITHOUT] = _without(child, CHANGE[stack])
        return Recorder(stack, makers.label, NAMES[side], said["setup"], said["versions"], cells)
    finally:
        child.end()


def _without(child: Child, operation: str) -> Cell:
    """Change something when no event can be stored; how many rows changed for good."""
    before = child.place.ask(_SEATS)
    for table in child.tables:
        child.place.take_away(table)
    answer = child.tell(do="operation", name=operation)
    return Cell(rows=child.place.ask(_SEATS) - before, error=answer["error"])
