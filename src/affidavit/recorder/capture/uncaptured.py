"""What changed a captured table and made no event: counted, and warned about once for each table and kind."""

from __future__ import annotations

import threading
import warnings
from collections import Counter

__all__ = ["UncapturedChange", "count", "counted", "exposition"]


class UncapturedChange(UserWarning):
    """Rows of a captured table were changed by a statement that shows no objects."""


_counts: Counter[tuple[str, str]] = Counter()
_lock = threading.Lock()


def count(table: str, operation: str, rows: int) -> None:
    """Count rows, and warn where these are the first of their kind in this process.

    Args:
        table: that was changed.
        operation: ``insert``, ``update`` or ``delete``.
        rows: how many; less than 0 where the driver does not say, which counts as one.
    """
    if rows == 0:
        return
    with _lock:
        first = (table, operation) not in _counts
        _counts[table, operation] += max(rows, 1)
    if first:
        warnings.warn(
            f"{operation} of {table} by a statement that shows no objects: no event was recorded. Record one"
            " beside it, or change objects. Further ones are counted in affidavit_uncaptured_total.",
            UncapturedChange,
            stacklevel=3,
        )


def counted() -> dict[tuple[str, str], int]:
    """Rows of this process so far, by table and operation."""
    with _lock:
        return dict(_counts)


def exposition() -> str:
    """The counter ``affidavit_uncaptured_total`` in the text format of Prometheus, for the app's metrics."""
    lines = [
        "# HELP affidavit_uncaptured_total Rows of captured tables that changed without an event.",
        "# TYPE affidavit_uncaptured_total counter",
    ]
    for (table, operation), rows in sorted(counted().items()):
        name = table.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        lines.append(f'affidavit_uncaptured_total{{table="{name}",operation="{operation}"}} {rows}')
    return "\n".join(lines) + "\n"
