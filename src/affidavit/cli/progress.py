"""A bar or counter for long work, on standard error and only where that is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Counter", "counter"]


class Counter:
    """Counts what was done, and shows it where there is a terminal."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self.done = 0
        self._progress = progress
        self._task = task

    def total(self) -> int:
        """How much was done so far."""
        return self.done

    def add(self, number: int) -> None:
        """So many more are done."""
        self.done += number
        self._show(completed=self.done)

    def at(self, done: int, total: int | None) -> None:
        """So many are done, of a total where it is known."""
        self.done = done
        self._show(completed=done, total=total)

    def _show(self, *, completed: int, total: int | None = None) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=completed, total=total)


@contextmanager
def counter(what: str, *, unit: str = "events", quiet: bool = False) -> Iterator[Counter]:
    """A counter that is shown while the block runs.

    Args:
        what: is done, such as "Exporting".
        unit: of what is counted.
        quiet: never show it.
    """
    if quiet or not sys.stderr.isatty():
        yield Counter(None, None)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from affidavit.cli.output import console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(error=True), transient=True) as progress:
        yield Counter(progress, progress.add_task(what, total=None))
