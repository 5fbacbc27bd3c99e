"""Everything that the three files hold, raw, for ``affidavit fsck``; nothing is written, nothing is believed.

Texts are read as bytes, so that no edited value can stop a reader. Each call is one short read transaction,
except those whose docstring says that they read a whole file.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from affidavit import errors
from affidavit.core.row import COLUMNS
from affidavit.storage.evidence import Fault, RawEvent, RawLeaf, Record
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import translate
from affidavit.storage.sqlite.evidence_file import EvidenceFile
from affidavit.storage.sqlite.index_file import INDEX_VERSION
from affidavit.storage.sqlite.schema import layout, type_condition, type_faults
from affidavit.storage.sqlite.terms import email_hash, terms_of

__all__ = ["SqliteEvidence", "SqliteIndexEvidence", "SqliteLogEvidence"]

PIECE = 4_096
"""Rows read in one transaction."""
_ROW = f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events NOT INDEXED"
_LEAF = "SELECT tree, idx, seq, hash FROM affidavit_leaves"
_STREAMED = frozenset(
    {"affidavit_events", "affidavit_leaves", "affidavit_tiles", "affidavit_checkpoints", "affidavit_terms"}
)
_INTEGRITY_ERRORS = 100
_NAMES = re.compile(r"\baffidavit_\w+")


class SqliteEvidence:
    """:class:`affidavit.storage.evidence.Evidence` of one SQLite store.

    Args:
        database: the app's file.
        log: the log file.
        index: the index file.

    Raises:
        StorageError: the app's file is missing or cannot be opened.
    """

    def __init__(self, database: Path, log: Path, index: Path) -> None:
        self._file = EvidenceFile(database, migrate.EVENTS)
        self._others = (EvidenceFile(log, migrate.LOG), EvidenceFile(index, "index"))
        if not self._file.exists:
            raise errors.SchemaMissing(f"There is no database at {database}; run: affidavit migrate")

    def faults(self) -> Iterator[Fault]:
        """See the role. Reads each whole file once, in one transaction."""
        yield from self._file.faults(whole=False)
        for other in self._others:
            if other.exists:
                yield from other.faults(whole=True)
        yield from self._wrong_types()

    def _wrong_types(self) -> Iterator[Fault]:
        condition = type_condition("affidavit_events", migrate.EVENTS)
        after = -(2**63)
        while True:
            try:
                rows = self._file.all(
                    f"SELECT seq, {condition} FROM affidavit_events NOT INDEXED WHERE seq > ? ORDER BY seq"
                    " LIMIT ?",
                    (after, PIECE),
                )
                wrong = [str(int(seq)) for seq, right in rows if not right]
                if wrong:
                    where = f"seq IN ({','.join(wrong)})"
                    yield from type_faults(self._file.connection, "affidavit_events", migrate.EVENTS, where)
            except errors.StorageError as error:
                yield Fault("affidavit_events", "", "", "cannot be read", "", error.message[:300])
                return
            if len(rows) < PIECE:
                return
            after = rows[-1][0]

    def settings(self) -> tuple[Mapping[str, list[Record]], int]:
        """See the role."""
        with self._file.transaction():
            tables = {}
            there = {
                name.decode("utf-8", "replace")
                for (name,) in self._file.all("SELECT name FROM sqlite_schema WHERE type = 'table'")
            }
            for table in layout(migrate.EVENTS).columns:
                if table not in _STREAMED and table in there:
                    tables[table] = self._file.records(table)
            ((last,),) = self._file.all("SELECT coalesce(max(seq), 0) FROM affidavit_events")
        return tables, last

    def warnings(self) -> Iterator[str]:
        """See the role: nothing here is worth a warning."""
        return iter(())

    def waiting(self) -> Iterator[Sequence[RawEvent]]:
        """See the role: an event has its place when it is stored."""
        return iter(())

    def events(self, after: int, limit: int) -> Sequence[RawEvent]:
        """See the role."""
        rows = self._file.all(f"{_ROW} WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [RawEvent(row[0], row[1:]) for row in rows]

    def events_at(self, places: Sequence[int]) -> Mapping[int, RawEvent]:
        """See the role."""
        marks = ",".join("?" * len(places))
        rows = self._file.all(f"{_ROW} WHERE seq IN ({marks})", places)
        return {row[0]: RawEvent(row[0], row[1:]) for row in rows}

    def explaining(self, organization: str) -> Sequence[RawEvent]:
        """See the role. The index is not believed: it only says where to look."""
        places = [
            seq
            for first, last in (("audit.", "audit/"), ("log.", "log/"))
            for (seq,) in self._file.all(
                "SELECT seq FROM affidavit_events WHERE organization = ? AND action >= ? AND action < ?",
                (organization, first, last),
            )
        ]
        found: dict[int, RawEvent] = {}
        for at in range(0, len(places), 1_000):
            found.update(self.events_at(places[at : at + 1_000]))
        return [found[seq] for seq in sorted(found)]

    def close(self) -> None:
        """Close the files."""
        for each in (self._file, *self._others):
            each.close()


class SqliteLogEvidence:
    """:class:`affidavit.storage.evidence.LogEvidence` of one SQLite store.

    Args:
        log: the log file; it may be missing.
    """

    def __init__(self, log: Path) -> None:
        self._file = EvidenceFile(log, migrate.LOG)

    def tables(self) -> Mapping[str, list[Record]] | None:
        """See the role."""
        return self._file.tables() if self._file.exists else None

    def head(self, tree: int) -> tuple[Record | None, Sequence[Record]]:
        """See the role."""
        with self._file.transaction():
            rows = self._file.records("affidavit_trees", "WHERE tree = ?", (tree,))
            checkpoints = self._file.records("affidavit_checkpoints", "WHERE tree = ?", (tree,))
        return (rows[0] if rows else None), checkpoints

    def size(self, tree: int) -> int:
        """See the role."""
        rows = self._file.all("SELECT size FROM affidavit_trees WHERE tree = ?", (tree,))
        return rows[0][0] if rows and type(rows[0][0]) is int else 0

    def leaves(self, tree: int, start: int, limit: int) -> Sequence[RawLeaf]:
        """See the role."""
        rows = self._file.all(
            f"{_LEAF} WHERE tree = ? AND idx >= ? ORDER BY idx LIMIT ?", (tree, start, limit)
        )
        return [RawLeaf(*row) for row in rows]

    def leaves_after(self, seq: int, limit: int) -> Sequence[RawLeaf]:
        """See the role."""
        where = "seq > ? AND typeof(seq) = 'integer'"
        rows = self._file.all(f"{_LEAF} WHERE {where} ORDER BY seq, tree LIMIT ?", (seq, limit))
        return [RawLeaf(*row) for row in rows]

    def leaves_at(self, places: Sequence[int]) -> Sequence[RawLeaf]:
        """See the role."""
        marks = ",".join("?" * len(places))
        return [
            RawLeaf(*row)
            for row in self._file.all(f"{_LEAF} WHERE seq IN ({marks}) ORDER BY seq, tree", places)
        ]

    def tiles(self, tree: int, level: int) -> Iterator[tuple[Any, Any]]:
        """See the role."""
        after = -(2**63)
        while rows := self._file.all(
            "SELECT idx, hash FROM affidavit_tiles WHERE tree = ? AND level = ? AND idx > ?"
            " ORDER BY idx LIMIT ?",
            (tree, level, after, PIECE),
        ):
            yield from rows
            after = rows[-1][0]

    def strays(self) -> Sequence[tuple[str, int]]:
        """See the role. Looks up the next tree instead of scanning."""
        found = []
        for table in ("affidavit_leaves", "affidavit_tiles", "affidavit_checkpoints"):
            after: Any = -(2**63)
            while rows := self._file.all(
                f"SELECT tree FROM {table} WHERE tree > ? ORDER BY tree LIMIT 1", (after,)
            ):
                after = rows[0][0]
                found.append((table, after))
        known = {row[0] for row in self._file.all("SELECT tree FROM affidavit_trees")}
        return [each for each in found if each[1] not in known]

    def tile_levels(self, tree: int) -> Sequence[int]:
        """See the role."""
        rows = self._file.all("SELECT DISTINCT level FROM affidavit_tiles WHERE tree = ?", (tree,))
        return sorted(level for (level,) in rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class SqliteIndexEvidence:
    """:class:`affidavit.storage.evidence.IndexEvidence` of one SQLite store.

    Args:
        index: the index file; it may be missing.
    """

    def __init__(self, index: Path) -> None:
        self._file = EvidenceFile(index, "index")

    @contextmanager
    def moment(self) -> Iterator[bool]:
        """See the role. One read transaction; only the worker's own file waits for it."""
        if not self._file.exists:
            yield False
            return
        with self._file.transaction():
            yield True

    def tables(self) -> Mapping[str, list[Record]]:
        """See the role."""
        there = {name for (name,) in self._file.all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        return {
            table: self._file.records(table)
            for table in ("affidavit_index", "affidavit_runs")
            if table.encode() in there
        }

    @property
    def version(self) -> int:
        """Of the layout that this program makes."""
        return INDEX_VERSION

    def _stream(self, sql: str) -> Iterator[Sequence[tuple[Any, ...]]]:
        try:
            cursor = self._file.connection.execute(sql)
            while rows := cursor.fetchmany(PIECE):
                yield rows
        except sqlite3.Error as error:
            raise translate(error, self._file.path) from error

    def terms_stored(self) -> Iterator[Sequence[tuple[Any, Any]]]:
        """See the role."""
        yield from self._stream("SELECT run, k FROM affidavit_terms")

    def hourly(self) -> Iterator[tuple[Any, ...]]:
        """See the role."""
        for rows in self._stream(
            "SELECT organization, hour, action, outcome, severity, n FROM affidavit_hourly"
        ):
            yield from rows

    def emails(self) -> Iterator[tuple[Any, ...]]:
        """See the role."""
        for rows in self._stream("SELECT organization, hash, actor_id FROM affidavit_emails"):
            yield from rows

    def terms(self, key: bytes, event: RawEvent) -> tuple[set[bytes], set[tuple[bytes, bytes, bytes]]]:
        """See the role."""
        values = event.values
        try:
            organization = values[2].decode()
            texts = [None if text is None else text.decode() for text in values[12:15]]
            found = terms_of(key, organization, values[9], *texts)
        except (msgspec.MsgspecError, AttributeError, TypeError) as error:
            raise ValueError(str(error)) from error
        return (
            {prefix + values[0] for prefix in found.keys},
            {(values[2], email_hash(key, email), actor_id.encode()) for email, actor_id in found.emails},
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()
