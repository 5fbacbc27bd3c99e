"""New incarnations in the log file, and which events already have their leaf when the queue goes back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affidavit.core.row import COLUMNS
from affidavit.core.sealing import home_of
from affidavit.storage.repair import Opening
from affidavit.storage.sql.log_cutting import NEWEST_TREES, begin, cut, grown
from affidavit.storage.sqlite.connect import connect, translated
from affidavit.storage.sqlite.log_replay import hash_of, sealed_already
from affidavit.storage.sqlite.log_writer import SqliteLogWriter

__all__ = ["SqliteLogRepair"]

_PIECE = 1_000
_ORGANIZATION = COLUMNS.index("organization")


class SqliteLogRepair:
    """See :class:`affidavit.storage.repair.LogRepair`.

    Args:
        database: the app's file, which is only read.
        log: the log file.
        writer: of the log file.
    """

    def __init__(self, database: Path, log: Path, writer: SqliteLogWriter) -> None:
        self._database = database
        self._path = log
        self._writer = writer

    def last_match(self) -> int:
        """See the role."""
        with self._writer.reading() as log, self._events() as events:
            for seq, digest, hex_digits, organization in _from_the_end(log):
                if _leaf(events, seq, hex_digits, organization) == digest:
                    return seq
        return 0

    def beyond(self, seq: int) -> list[str]:
        """See the role."""
        with self._writer.reading() as log:
            rows = log.execute(
                f"SELECT organization FROM ({NEWEST_TREES}) n WHERE EXISTS"
                " (SELECT 1 FROM affidavit_leaves l WHERE l.tree = n.tree AND l.seq > ?)"
                " ORDER BY organization",
                (seq,),
            )
            return [organization for (organization,) in rows]

    def reopen(self, openings: Sequence[Opening], matched: int) -> None:
        """See the role."""
        with self._writer.transaction() as log:
            (place,) = log.execute("SELECT seq FROM affidavit_position").fetchone()
            place = min(place, matched)
            for opening in openings:
                for tree, published in grown(log, opening.organization):
                    (first,) = log.execute(
                        "SELECT min(seq) FROM affidavit_leaves WHERE tree = ? AND idx >= ?", (tree, published)
                    ).fetchone()
                    place = min(place, first - 1)
                    cut(log, tree, published)
                _begin(log, opening)
            self._move(log, place)
        self._writer.forget()

    def _move(self, log: sqlite3.Connection, place: int) -> None:
        """Let the queue stand at the last event up to a place that has its leaf, or at the beginning."""
        anchor: tuple[int, bytes | None, bytes | None] = (0, None, None)
        with self._events() as events:
            rows = events.execute(
                f"SELECT seq, {', '.join(COLUMNS)} FROM affidavit_events WHERE seq <= ? ORDER BY seq DESC",
                (place,),
            )
            for seq, *values in rows:
                if (leaf := sealed_already(log, seq, values)) is not None:
                    anchor = (seq, values[0], leaf)
                    break
        log.execute("UPDATE affidavit_position SET seq = ?, id = ?, leaf = ?", anchor)

    @contextmanager
    def _events(self) -> Iterator[sqlite3.Connection]:
        """The app's file, texts as they stand."""
        events = connect(self._database, writer=False)
        events.text_factory = bytes
        try:
            with translated(self._database):
                yield events
        finally:
            events.close()


def _from_the_end(log: sqlite3.Connection) -> Iterator[tuple[int, bytes, str, str]]:
    """Place, hash, hex digits and organization of the leaves of the newest trees, the last place first."""
    newest = {
        tree: (organization, hex_digits) for tree, organization, hex_digits in log.execute(NEWEST_TREES)
    }
    (before,) = log.execute("SELECT coalesce(max(seq), 0) + 1 FROM affidavit_leaves").fetchone()
    while True:
        rows = log.execute(
            "SELECT seq, tree, hash FROM affidavit_leaves WHERE seq < ? ORDER BY seq DESC LIMIT ?",
            (before, _PIECE),
        ).fetchall()
        if not rows:
            return
        # One place may have leaves of several trees: all of the last one are read with the next piece.
        whole = (
            rows
            if len(rows) < _PIECE or rows[0][0] == rows[-1][0]
            else [row for row in rows if row[0] > rows[-1][0]]
        )
        for seq, tree, digest in whole:
            if tree in newest:
                organization, hex_digits = newest[tree]
                yield seq, digest, hex_digits, organization
        before = whole[-1][0]


def _leaf(events: sqlite3.Connection, seq: int, hex_digits: str, organization: str) -> bytes | None:
    """The hash of the leaf of the row at a place; ``None`` where it has none in this organization's tree."""
    row = events.execute(
        f"SELECT {', '.join(COLUMNS)} FROM affidavit_events WHERE seq = ?", (seq,)
    ).fetchone()
    if row is None or home_of(row[_ORGANIZATION]) != organization:
        return None
    return hash_of(row, hex_digits)


def _begin(log: sqlite3.Connection, opening: Opening) -> None:
    number = begin(log, *opening[:-1])
    log.execute(
        "INSERT INTO affidavit_leaves (tree, idx, seq, hash) VALUES (?, 0, ?, ?)",
        (number, opening.seq, opening.leaf),
    )
