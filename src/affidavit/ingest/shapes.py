"""Text formats whose lines are records: comma-separated values, and lines that one pattern describes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Any

from affidavit.ingest.rejects import RejectedRecord

__all__ = ["CsvShape", "PatternShape"]


class CsvShape:
    """RFC 4180 rows.

    Args:
        columns: their names; without them the first row is the header.
        delimiter: one character.
    """

    def __init__(self, columns: tuple[str, ...] = (), delimiter: str = ",") -> None:
        self._columns = columns
        self._delimiter = delimiter

    def parse(
        self, lines: Iterator[tuple[int, str]]
    ) -> Iterator[tuple[int, dict[str, Any] | RejectedRecord, str]]:
        """See :class:`affidavit.ingest.records.LineShape`; a row starts at the first of its lines."""
        rows = _Rows(lines)
        reader = csv.reader(rows, delimiter=self._delimiter, strict=True)
        columns = self._columns
        while True:
            rows.start_row()
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield (
                    rows.line,
                    RejectedRecord("", "csv", f"is no row of comma-separated values: {error}"),
                    rows.text,
                )
                reader = csv.reader(rows, delimiter=self._delimiter, strict=True)
                continue
            if row is None:
                return
            if not columns:
                columns = tuple(row)
            elif len(row) != len(columns):
                message = f"has {len(row)} columns instead of {len(columns)}"
                yield rows.line, RejectedRecord("", "columns", message), rows.text
            else:
                yield (
                    rows.line,
                    {name: value for name, value in zip(columns, row, strict=True) if value},
                    rows.text,
                )


class _Rows(Iterator[str]):
    """Lines for ``csv``, which joins those of one row; remembers where the row began."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._parts: list[str] = []
        self.line = 1

    def start_row(self) -> None:
        self._parts = []

    @property
    def text(self) -> str:
        return "\n".join(self._parts)

    def __next__(self) -> str:
        number, text = next(self._lines)
        if not self._parts:
            self.line = number
        self._parts.append(text.rstrip("\r"))
        return text.rstrip("\r") + "\n"


class PatternShape:
    """Lines that a regular expression with named groups takes apart; the groups are the record's fields."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def parse(
        self, lines: Iterator[tuple[int, str]]
    ) -> Iterator[tuple[int, dict[str, Any] | RejectedRecord, str]]:
        """See :class:`affidavit.ingest.records.LineShape`."""
        for number, line in lines:
            text = line.rstrip("\r")
            match = self._pattern.match(text)
            if match is None:
                yield number, RejectedRecord("", "pattern", "does not fit the pattern of the map"), text
            else:
                fields = {name: value for name, value in match.groupdict().items() if value is not None}
                yield number, {"line": text, **fields}, text
