"""What commands print: tables for people on a terminal, JSON lines for programs.

A command that lists or reports prints JSON lines when ``--json`` is given or standard output is no
terminal; ``--no-json`` gives the table all the same. Results go to standard output, everything said to
a person beside them (notes, progress, errors) to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter

from affidavit.cli.terminal import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["Json", "console", "line", "note", "print_json", "print_table", "table", "wants_json"]

Json = Annotated[
    bool | None,
    Parameter(
        name="--json",
        negative="--no-json",
        show_default=False,
        help="JSON lines, the default where standard output is no terminal; --no-json: a table.",
    ),
]
"""The flag of every command that lists or reports; None where it is not given."""


def wants_json(flag: bool | None) -> bool:
    """Whether to print JSON: what the flag says, else whether standard output is no terminal."""
    return not sys.stdout.isatty() if flag is None else flag


def print_json(value: Any) -> None:
    """Print one JSON document on a line of its own; encoded bytes are taken as they are."""
    encoded = value if isinstance(value, bytes) else msgspec.json.encode(value)
    line(encoded.decode(), json=True)


def line(text: str, *, json: bool = False) -> None:
    """Print one line to standard output, made safe for a terminal where it is one."""
    if sys.stdout.isatty():
        text = visible_json(text) if json else visible(text)
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Say something to the person at the terminal, on standard error."""
    sys.stdout.flush()
    sys.stderr.write(visible(text) + "\n")
    sys.stderr.flush()


def console(*, error: bool = False) -> Console:
    """A rich console on standard output or error that knows no markup: text is text."""
    from rich.console import Console

    return Console(stderr=error, markup=False, emoji=False, highlight=False, soft_wrap=False)


def table(columns: Sequence[str], *, whole: Sequence[str] = ()) -> Table:
    """An empty table whose cells fold rather than cut, so that nothing is silently missing.

    Args:
        columns: headings.
        whole: columns that keep their width.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in whole)
    return made


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str, whole: Sequence[str] = ()
) -> None:
    """Print rows as a table.

    Args:
        columns: headings.
        rows: a cell is a value, or ``(value, style)`` with a rich style.
        empty: what to say when there are no rows.
        whole: columns that keep their width.
    """
    from rich.text import Text

    made = table(columns, whole=whole)
    for row in rows:
        cells = (cell if isinstance(cell, tuple) else (cell, "") for cell in row)
        made.add_row(*(Text(_cell(value), style=style) for value, style in cells))
    if made.row_count:
        console().print(made)
    else:
        note(empty)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return visible(", ".join(map(str, value)))
    if isinstance(value, Mapping):
        return visible(msgspec.json.encode(value).decode())
    return visible(str(value))
