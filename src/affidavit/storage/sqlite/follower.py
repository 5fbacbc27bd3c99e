"""The worker's side of the index: takes events in behind the watermark, merges runs, notices a lost file.

Every batch is one transaction of the index file: keys, counts, addresses and the new watermark, so a kill at
any instruction leaves it complete up to the old place or the new one. The app's file is only read.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from affidavit import errors
from affidavit.core.ids import microseconds_of
from affidavit.core.times import HOUR
from affidavit.storage.protocols import Progress
from affidavit.storage.sqlite import index_file
from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.index_file import IndexState
from affidavit.storage.sqlite.terms import email_hash, terms_of

__all__ = ["BATCH", "IndexFollower"]

BATCH = 4_096
"""Events taken in at once."""
FAN_IN = 16
"""Runs of one level that are merged into one of the next."""
SLICE = 12_000
"""Keys of one run in one transaction of a merge; with 16 runs under 65,000 events."""

_READ = (
    "SELECT seq, id, organization, action, outcome, severity, parent_id, actor, resources, context,"
    " recorded_at FROM affidavit_events WHERE seq > ? ORDER BY seq LIMIT ?"
)


class IndexFollower:
    """Keeps the index file of one database; only the holder of the worker's lease has one."""

    def __init__(self, database: Path, index: Path) -> None:
        self._database = database
        self._index = index
        self._events = self._open_events()
        self._inode = inode(database)
        self._file: sqlite3.Connection | None = None
        self._file_inode: tuple[int, int] | None = None
        self._merge: _Merge | None = None

    def _open_events(self) -> sqlite3.Connection:
        connection = connect(self._database, writer=False)
        # A text that is not UTF-8 must not stop everything behind it.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        return connection

    def step(self) -> int:
        """Take in up to :data:`BATCH` events; returns how many."""
        file, state = self._current()
        with translated(self._database):
            rows = self._events.execute(_READ, (state.seq, BATCH)).fetchall()
        if rows:
            with self._index_errors():
                self._store(file, state, rows)
        return len(rows)

    @contextmanager
    def _index_errors(self) -> Iterator[None]:
        """A damaged index file is thrown away; the next step makes it anew."""
        try:
            with translated(self._index):
                yield
        except errors.NotADatabase:
            self._drop()
            index_file.remove(self._index)
            raise

    def _drop(self) -> None:
        self._merge = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _current(self) -> tuple[sqlite3.Connection, IndexState]:
        """The open index file, made anew where it is gone, of another layout, or of another history."""
        if inode(self._database) != self._inode:
            self._events.close()
            self._events = self._open_events()
            self._inode = inode(self._database)
        # A file that was taken away before it was looked at has no inode, and is not the one that is open.
        if self._file is not None and self._file_inode is not None and inode(self._index) == self._file_inode:
            state = self._state(self._file)
            if state is not None:
                return self._file, state
        return self._reopen()

    def _reopen(self) -> tuple[sqlite3.Connection, IndexState]:
        self._drop()
        if inode(self._index) is not None:
            try:
                file = connect(self._index, writer=True, synchronous="NORMAL")
            except errors.NotADatabase:
                pass
            else:
                if (state := self._swept(file)) is not None:
                    self._file, self._file_inode = file, inode(self._index)
                    return file, state
                file.close()
        index_file.remove(self._index)
        file = index_file.create(self._index, self._database_id())
        self._file, self._file_inode = file, inode(self._index)
        state = self._state(file)
        if state is None:
            raise errors.IndexUnavailable(f"{self._index} cannot be made.")
        return file, state

    def _swept(self, file: sqlite3.Connection) -> IndexState | None:
        """The state of a file that was just opened, once it is clean; ``None`` where it cannot be used."""
        try:
            state = self._state(file)
            if state is not None:
                self._sweep(file)
        except errors.NotADatabase:
            return None
        return state

    def _database_id(self) -> str:
        with translated(self._database):
            (value,) = self._events.execute(
                "SELECT value FROM affidavit_meta WHERE key = 'database_id'"
            ).fetchone()
        return str(value)

    def _state(self, file: sqlite3.Connection) -> IndexState | None:
        """The state, unless the index belongs to another database or to a history that was rolled back."""
        try:
            with translated(self._index):
                state = index_file.read_state(file)
        except errors.NotADatabase:
            return None
        if state is None or state.database_id != self._database_id():
            return None
        if state.seq:
            with translated(self._database):
                stands = self._events.execute(
                    "SELECT id FROM affidavit_events WHERE seq = ?", (state.seq,)
                ).fetchone()
            if stands is None or stands[0] != state.id:
                return None
        return state

    def _store(self, file: sqlite3.Connection, state: IndexState, rows: list[tuple[Any, ...]]) -> None:
        keys: list[bytes] = []
        emails: set[tuple[str, bytes, str]] = set()
        hours: Counter[tuple[str, int, str, str, str]] = Counter()
        ids: list[bytes] = []
        for _, id_, organization, action, outcome, severity, parent, actor, resources, context, _ in rows:
            found = terms_of(state.key, organization, parent, actor, resources, context)
            keys.extend(prefix + id_ for prefix in found.keys)
            emails.update(
                (organization, email_hash(state.key, email), actor_id) for email, actor_id in found.emails
            )
            hours[organization, microseconds_of(id_) // HOUR, action, outcome, severity] += 1
            ids.append(id_)
        keys.sort()
        last = rows[-1]
        file.execute("BEGIN IMMEDIATE")
        try:
            if keys:
                run = self._next_run(file)
                file.executemany("INSERT INTO affidavit_terms VALUES (?, ?)", ((run, key) for key in keys))
                file.execute(
                    "INSERT INTO affidavit_runs VALUES (?, 0, ?, ?, ?, ?)",
                    (run, len(keys), len(rows), min(ids), max(ids)),
                )
            file.executemany("INSERT OR IGNORE INTO affidavit_emails VALUES (?, ?, ?)", sorted(emails))
            file.executemany(
                "INSERT INTO affidavit_hourly VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET n = n + excluded.n",
                ((*kind, count) for kind, count in sorted(hours.items())),
            )
            file.execute(
                "UPDATE affidavit_index SET seq = ?, id = ?, recorded_at = ?", (last[0], last[1], last[10])
            )
            file.execute("COMMIT")
        except BaseException:
            if file.in_transaction:
                file.execute("ROLLBACK")
            raise

    @staticmethod
    def _next_run(file: sqlite3.Connection) -> int:
        (used,) = file.execute(
            "SELECT max(coalesce((SELECT max(run) FROM affidavit_runs), 0),"
            " coalesce((SELECT max(run) FROM affidavit_terms), 0))"
        ).fetchone()
        return int(used) + 1

    def tidy(self) -> bool:
        """One bounded transaction of a merge, if there is one to do; whether there may be more."""
        file, _ = self._current()
        with self._index_errors():
            if self._merge is None:
                row = file.execute(
                    "SELECT level FROM affidavit_runs GROUP BY level HAVING count(*) >= ?"
                    " ORDER BY level LIMIT 1",
                    (FAN_IN,),
                ).fetchone()
                if row is None:
                    return False
                self._merge = _Merge(file, row[0], self._next_run(file))
            if self._merge.step():
                self._merge = None
            return True

    def _sweep(self, file: sqlite3.Connection) -> None:
        """Take away the keys of runs that no merge finished or that one had replaced."""
        with translated(self._index):
            runs, last = set(), 0
            while row := file.execute(
                "SELECT min(run) FROM affidavit_terms WHERE run > ?", (last,)
            ).fetchone():
                if row[0] is None:
                    break
                last = row[0]
                runs.add(last)
            known = {run for (run,) in file.execute("SELECT run FROM affidavit_runs")}
            for run in runs - known:
                file.execute("DELETE FROM affidavit_terms WHERE run = ?", (run,))

    def progress(self) -> Progress:
        """Where the index stands, read without a change to it."""
        _, state = self._current()
        with translated(self._database):
            (last,) = self._events.execute("SELECT coalesce(max(seq), 0) FROM affidavit_events").fetchone()
            since = index_file.oldest_beyond(self._events, state.seq)
        return Progress(state.seq, state.recorded_at, last - state.seq, since)

    def close(self) -> None:
        """Close the files."""
        if self._file is not None:
            self._file.close()
        self._events.close()


class _Merge:
    """The oldest sixteen runs of one level become one of the next, slice by slice.

    The new run is not listed until it is whole; then one transaction lists it and drops the old ones from the
    list, and further ones take away their keys.
    """

    def __init__(self, file: sqlite3.Connection, level: int, target: int) -> None:
        self._file = file
        self._level = level
        self._target = target
        self._old = [
            run
            for (run,) in file.execute(
                "SELECT run FROM affidavit_runs WHERE level = ? ORDER BY run LIMIT ?", (level, FAN_IN)
            )
        ]
        self._after = b""
        self._listed = False

    def step(self) -> bool:
        """One transaction; whether the merge is done."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            done = self._delete() if self._listed else self._copy()
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise
        return done

    def _marks(self) -> str:
        return ",".join("?" * len(self._old))

    def _copy(self) -> bool:
        bound = self._bound()
        upper, parameters = ("AND k <= ?", [bound]) if bound is not None else ("", [])
        self._file.execute(
            f"INSERT INTO affidavit_terms SELECT ?, k FROM affidavit_terms"
            f" WHERE run IN ({self._marks()}) AND k > ? {upper} ORDER BY k",
            [self._target, *self._old, self._after, *parameters],
        )
        if bound is not None:
            self._after = bound
            return False
        self._file.execute(
            "INSERT INTO affidavit_runs SELECT ?, ?, sum(keys), sum(events), min(low), max(high)"
            f" FROM affidavit_runs WHERE run IN ({self._marks()})",
            [self._target, self._level + 1, *self._old],
        )
        self._file.execute(f"DELETE FROM affidavit_runs WHERE run IN ({self._marks()})", self._old)
        self._listed = True
        return False

    def _bound(self) -> bytes | None:
        """The key up to which this slice goes; ``None`` when it takes the rest of all runs."""
        bounds = []
        for run in self._old:
            (count, key) = self._file.execute(
                "SELECT count(*), max(k) FROM"
                " (SELECT k FROM affidavit_terms WHERE run = ? AND k > ? ORDER BY k LIMIT ?)",
                (run, self._after, SLICE),
            ).fetchone()
            if count == SLICE:
                bounds.append(key)
        return min(bounds) if bounds else None

    def _delete(self) -> bool:
        run = self._old[0]
        cursor = self._file.execute(
            "DELETE FROM affidavit_terms WHERE run = ? AND k <= coalesce((SELECT max(k) FROM"
            " (SELECT k FROM affidavit_terms WHERE run = ? ORDER BY k LIMIT ?)), x'')",
            (run, run, 8 * SLICE),
        )
        if cursor.rowcount < 8 * SLICE:
            self._old.pop(0)
        return not self._old
