"""One file of the store as it stands: rows of our tables with their types, and what SQLite finds in it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from affidavit import errors
from affidavit.storage.evidence import Fault, Record
from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.schema import layout, schema_faults, step_faults, type_faults

__all__ = ["EvidenceFile"]

_STREAMED = frozenset(
    {"affidavit_events", "affidavit_leaves", "affidavit_tiles", "affidavit_checkpoints", "affidavit_terms"}
)
_INTEGRITY_ERRORS = 100
_NAMES = re.compile(r"\baffidavit_\w+")


class EvidenceFile:
    """One connection that reads one file, opened at the first question."""

    def __init__(self, path: Path, part: str) -> None:
        self.path = path
        self.part = part
        self._connection: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether there is such a file."""
        return inode(self.path) is not None

    @property
    def connection(self) -> sqlite3.Connection:
        """To the file, opened at the first question."""
        if self._connection is None:
            self._connection = connect(self.path, writer=False)
            self._connection.text_factory = bytes
        return self._connection

    def all(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a question."""
        with translated(self.path):
            return self.connection.execute(sql, parameters).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One moment of the file, for the length of the block."""
        with translated(self.path):
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    def records(self, table: str, where: str = "", parameters: Sequence[Any] = ()) -> list[Record]:
        """Rows of a table of ours that is there, in the order of its key."""
        plan = layout(self.part)
        names = [column.name for column in plan.columns[table]]
        texts = {column.name for column in plan.columns[table] if "text" in column.types}
        rows = self.all(
            f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {', '.join(plan.keys[table])}",
            parameters,
        )
        return [
            {
                name: value.decode("utf-8", "replace") if name in texts and type(value) is bytes else value
                for name, value in zip(names, row, strict=True)
            }
            for row in rows
        ]

    def tables(self) -> dict[str, list[Record]]:
        """All tables of ours but those that are read in pieces, of one moment."""
        found = {}
        with self.transaction():
            there = {
                name.decode("utf-8", "replace")
                for (name,) in self.all("SELECT name FROM sqlite_schema WHERE type = 'table'")
            }
            for table in layout(self.part).columns:
                if table not in _STREAMED and table in there:
                    found[table] = self.records(table)
        return found

    def faults(self, *, whole: bool) -> Iterator[Fault]:
        """Schema, pages and types. An error of SQLite becomes a fault: a damaged file is a finding."""
        try:
            with connect_text(self.path) as connection:
                yield from schema_faults(connection, self.part, whole=whole)
                for (found,) in connection.execute(f"PRAGMA integrity_check({_INTEGRITY_ERRORS})"):
                    if found != "ok":
                        rule = f"PRAGMA integrity_check finds a fault in {self.path.name}"
                        named = _NAMES.search(str(found))
                        table = named[0] if named is not None else self.path.name
                        yield Fault(table, "", "", rule, "ok", str(found)[:300])
                yield from step_faults(connection, self.part)
                there = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
                for table in layout(self.part).columns:
                    if table in there and table not in _STREAMED:
                        yield from type_faults(connection, table, self.part)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            rule = "SQLite cannot read the file"
            yield Fault(self.path.name, "", "", rule, "", str(error)[:300])

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@contextmanager
def connect_text(path: Path) -> Iterator[sqlite3.Connection]:
    """A reader whose texts come as text, broken ones with replacement characters."""
    try:
        connection = connect(path, writer=False)
    except errors.StorageError as error:
        if isinstance(error.__cause__, sqlite3.Error):
            raise error.__cause__ from error
        raise
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
    try:
        yield connection
    finally:
        connection.close()
