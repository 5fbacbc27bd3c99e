"""Sequencing on SQLite: leaf built, hashed and stored, beside leaf hashes that are ready.

Once beside an insert of them into the same tables and nothing else, once beside the same work with them: read
from the queue, folded into the tree, stored.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from affidavit.core.merkle import Frontier
from affidavit.log.sequencer import BATCH, Sequencer
from affidavit.storage.log import Grown, Sealed, Tree
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.storage.sqlite.log_file import log_path, open_log
from affidavit.storage.sqlite.log_writer import SqliteLogWriter
from affidavit.wiring import clock
from bench.data import Source
from bench.results import Results, at_least, median
from bench.stores import intake

__all__ = ["measure"]

ROUNDS: Final = 5
_ORGANIZATION: Final = 2
_LEAVES = "INSERT INTO affidavit_leaves (tree, idx, seq, hash) VALUES (?, ?, ?, ?)"
_TILES = "INSERT INTO affidavit_tiles (tree, level, idx, hash) VALUES (?, ?, ?, ?)"
_GROWN = "UPDATE affidavit_trees SET size = size + ?, frontier = frontier WHERE tree = ?"
_POSITION = "UPDATE affidavit_position SET seq = ?, id = zeroblob(16), leaf = zeroblob(32)"


class _Batch(NamedTuple):
    """What one transaction of the reference stores: rows as the driver takes them."""

    leaves: list[tuple[int, int, int, bytes]]
    tiles: list[tuple[int, int, int, bytes]]
    grown: list[tuple[int, int]]


def measure(results: Results, folder: Path, organizations: int, events: int) -> None:
    """Add the rows of one number of organizations.

    Args:
        results: gets them.
        folder: for files.
        organizations: over which the events are spread, one after the other.
        events: that wait, lean ones.
    """
    pending = folder / "pending.db"
    _record(pending, organizations, events)
    rates, inserts, ready, cpu, ready_cpu = [], [], [], [], []
    for _ in range(ROUNDS + 1):
        path = folder / "sequenced.db"
        shutil.copyfile(pending, path)
        used = time.process_time()
        rates.append(events / _sequence(path, events))
        cpu.append((time.process_time() - used) / events * 1e6)
        inserts.append(events / _store_ready(path, folder / "ready-log.db"))
        used = time.process_time()
        ready.append(events / _sequence_ready(path))
        ready_cpu.append((time.process_time() - used) / events * 1e6)
        for file in (*folder.glob("sequenced*"), *folder.glob("ready*")):
            file.unlink()
    pending.unlink()
    label = f"sequencing, {organizations:,} organization{'s' if organizations > 1 else ''}"
    own, other = (f"{median(each[1:]):.1f} microseconds of one core a leaf" for each in (cpu, ready_cpu))
    results.add(
        at_least(f"{label}, beside an insert", rates[1:], inserts[1:], 0.5, unit="leaves/s", note=own),
        at_least(
            f"{label}, beside ready hashes",
            rates[1:],
            ready[1:],
            0.5,
            unit="leaves/s",
            note=f"the other {other}",
        ),
    )


def _record(path: Path, organizations: int, events: int) -> None:
    """A database in which so many events wait for their leaves."""
    migrate_file(path)
    database = SqliteDatabase(path, clock=clock)
    made, source = intake(), Source(23, lean=True)
    for start in range(0, events, 1_000):
        drafts = [
            msgspec.structs.replace(draft, organization=f"org-{number % organizations:06}")
            for number, draft in enumerate(source.drafts(min(1_000, events - start)), start)
        ]
        database.events.insert(made.prepare(drafts, organization=None))
    database.close()


def _sequence(path: Path, events: int) -> float:
    """Seconds until every event has its leaf on the disk."""
    writer = SqliteLogWriter(path, log_path(path))
    sequencer = Sequencer(writer, writer, writer, host="bench.example", clock=clock, entropy=os.urandom)
    begun = time.perf_counter()
    done = 0
    while taken := sequencer.step():
        done += taken
    seconds = time.perf_counter() - begun
    writer.close()
    if done != events:
        raise RuntimeError(f"{done} of {events} events were sequenced")
    return seconds


def _sequence_ready(path: Path) -> float:
    """Seconds to do the same once more with leaf hashes that are ready: claimed, folded, stored."""
    with closing(sqlite3.connect(log_path(path))) as file:
        hashes = dict(file.execute("SELECT seq, hash FROM affidavit_leaves"))
        names = dict(file.execute("SELECT organization, hex FROM affidavit_trees"))
    for old in path.parent.glob(f"{log_path(path).name}*"):
        old.unlink()
    writer = SqliteLogWriter(path, log_path(path))
    heads: dict[bytes, tuple[Tree, Frontier]] = {}
    begun = time.perf_counter()
    while claimed := writer.claim(BATCH):
        growing: dict[bytes, tuple[list[Sealed], list[tuple[int, int, bytes]]]] = {}
        for seq, values in claimed:
            name = values[_ORGANIZATION]
            if name not in heads:
                text = name.decode()
                tree = Tree(len(heads) + 1, text, "bench.example", names[text], 1, None, 0, 0)
                heads[name] = tree, Frontier()
            leaves, tiles = growing.setdefault(name, ([], []))
            frontier = heads[name][1]
            leaves.append(Sealed(seq, frontier.size, hashes[seq]))
            frontier.append(hashes[seq], lambda *tile, tiles=tiles: tiles.append(tile))
        writer.settle(claimed)
        writer.append(
            claimed, [Grown(heads[name][0], *made, heads[name][1]) for name, made in growing.items()]
        )
        for name in growing:
            tree, frontier = heads[name]
            heads[name] = tree._replace(size=frontier.size), frontier
    seconds = time.perf_counter() - begun
    writer.close()
    return seconds


def _store_ready(path: Path, to: Path) -> float:
    """Seconds to write what stands in the log of ``path`` into another one, in batches of the same size."""
    batches, trees = _ready(log_path(path))
    with closing(open_log(to, "bench", make=True)) as log:
        begun = time.perf_counter()
        for number, batch in enumerate(batches):
            log.execute("BEGIN IMMEDIATE")
            if number == 0:
                log.executemany(
                    f"INSERT INTO affidavit_trees VALUES ({', '.join('?' * len(trees[0]))})", trees
                )
            else:
                log.executemany(_GROWN, batch.grown)
            log.executemany(_LEAVES, batch.leaves)
            log.executemany(_TILES, batch.tiles)
            log.execute(_POSITION, (batch.leaves[-1][2],))
            log.execute("COMMIT")
        return time.perf_counter() - begun


def _ready(log: Path) -> tuple[list[_Batch], list[tuple[object, ...]]]:
    """The rows of a log in the order in which they were stored, in the sequencer's batches."""
    with closing(sqlite3.connect(log)) as file:
        leaves = file.execute("SELECT tree, idx, seq, hash FROM affidavit_leaves ORDER BY seq").fetchall()
        tiles = file.execute("SELECT tree, level, idx, hash FROM affidavit_tiles").fetchall()
        trees = file.execute("SELECT * FROM affidavit_trees").fetchall()
    batches = []
    for start in range(0, len(leaves), BATCH):
        # One tree after the other, as the sequencer hands them over.
        batch = sorted(leaves[start : start + BATCH])
        grown: dict[int, int] = {}
        for leaf in batch:
            grown[leaf[0]] = grown.get(leaf[0], 0) + 1
        # A few hundred rows: all with the first batch.
        batches.append(_Batch(batch, tiles if start == 0 else [], [(n, tree) for tree, n in grown.items()]))
    return batches, trees
