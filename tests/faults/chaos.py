"""Applications that record in transactions of every kind, and what a stranger makes of the log afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Self

import psycopg

from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.storage.postgres.connect import Address, Session, connect
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from affidavit.storage.postgres.writer import insert_rows
from affidavit.testing.author import Author
from tests.sealed import naive_root
from tests.unit.log.test_sequencer import naive_leaf

ORGANIZATIONS = ("acme", "beta", "gamma", "delta")
ROOT = Path(__file__).resolve().parents[2]


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Application(threading.Thread):
    """Records in transactions of 0 to 200 ms; a third is rolled back, many have savepoints.

    Attributes:
        committed: the ids that must get a leaf.
        withdrawn: those that must not.
        failed: what went wrong, if anything did.
    """

    def __init__(self, address: Address, seed: int, stop: threading.Event) -> None:
        super().__init__(name=f"application {seed}")
        self._address = address
        self._random = Random(seed)
        self._author = Author(now, seed)
        self._stop_it = stop
        self.committed: set[bytes] = set()
        self.withdrawn: set[bytes] = set()
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Until it is told to stop."""
        try:
            session = connect(self._address)
            try:
                while not self._stop_it.is_set():
                    self._transaction(session)
            finally:
                session.close()
        except BaseException as error:  # noqa: BLE001  # shown by the test that started it
            self.failed = error

    def _transaction(self, session: Session) -> None:
        kept: set[bytes] = set()
        aborted = self._random.random() < 1 / 3
        target = self.withdrawn if aborted else self.committed
        with session.transaction():
            for _ in range(self._random.randrange(1, 4)):
                kept |= self._part(session)
                self._stop_it.wait(self._random.uniform(0, 0.2) / 3)
            if aborted:
                raise psycopg.Rollback
        target.update(kept)

    def _part(self, session: Session) -> set[bytes]:
        """Some events, every second time within a savepoint that may be rolled back to."""
        if self._random.random() < 0.5:
            return self._record(session)
        kept: set[bytes] = set()
        with session.transaction():
            kept = self._record(session)
            if self._random.random() < 0.5:
                self.withdrawn |= kept
                kept = set()
                raise psycopg.Rollback
        return kept

    def _record(self, session: Session) -> set[bytes]:
        organization = self._random.choice(ORGANIZATIONS)
        count = self._random.randrange(1, 6)
        rows = [self._author.row(organization=organization, metadata={"n": at}) for at in range(count)]
        insert_rows(session, rows, None)
        return {row.id for row in rows}


class Sleeper(threading.Thread):
    """Holds one transaction open that has recorded something, and commits it at last; again and again."""

    def __init__(self, address: Address, seconds: float, stop: threading.Event) -> None:
        super().__init__(name="sleeper")
        self._address = address
        self._author = Author(now, 999)
        self._seconds = seconds
        self._stop_it = stop
        self.committed: set[bytes] = set()

    def run(self) -> None:
        """Until it is told to stop."""
        session = connect(self._address)
        while not self._stop_it.is_set():
            row = self._author.row(organization="late")
            with session.transaction():
                session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                insert_rows(session, [row], None)
                self._stop_it.wait(self._seconds)
            self.committed.add(row.id)
        session.close()


class Watch(threading.Thread):
    """Sees how long rows wait in the queue once they can be seen there.

    Attributes:
        ages: moment and age in seconds of the row that waits longest.
        sizes: moment and bytes of the queue's table with its indexes.
    """

    def __init__(self, address: Address, stop: threading.Event, every: float = 0.05) -> None:
        super().__init__(name="watch")
        self._address = address
        self._stop_it = stop
        self._every = every
        self.ages: list[tuple[float, float]] = []
        self.sizes: list[tuple[float, int]] = []

    def run(self) -> None:
        """Until it is told to stop."""
        session = connect(self._address)
        seen: dict[int, float] = {}
        while not self._stop_it.wait(self._every):
            moment = time.monotonic()
            rows = session.execute("SELECT seq FROM affidavit_pending").fetchall()
            seen = {seq: seen.get(seq, moment) for (seq,) in rows}
            self.ages.append((moment, moment - min(seen.values(), default=moment)))
            if not self.sizes or moment - self.sizes[-1][0] >= 1:
                (size,) = session.execute(
                    "SELECT pg_total_relation_size('affidavit_pending')"
                ).fetchone() or (0,)
                self.sizes.append((moment, size))
        session.close()


class Sequencers:
    """Processes that sequence, and how they die.

    Args:
        address: of the database, as they reach it.
        mode: ``lease`` or ``free``.
    """

    def __init__(self, address: Address, mode: str) -> None:
        self._command = [sys.executable, "-m", "tests.faults.sequencing", address.url, mode]
        self._running = [self._start() for _ in range(2)]
        self._next = 0
        self.kills: list[float] = []

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=ROOT)

    def kill(self, holder: int | None) -> None:
        """SIGKILL of one of them; another one is started in its place.

        Args:
            holder: the process that works; ``None`` takes the one that runs longest.
        """
        number = next((at for at, each in enumerate(self._running) if each.pid == holder), self._next)
        self._next = 1 - number
        assert self._running[number].poll() is None, "a sequencer ended by itself"
        self._running[number].send_signal(signal.SIGKILL)
        self.kills.append(time.monotonic())
        self._running[number].wait()
        self._running[number] = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.kill()
            process.wait()


def lease_holder(address: Address) -> int | None:
    """The process that holds the worker's lease; ``None`` where nobody asks for it."""
    session = connect(address)
    row = session.execute("SELECT holder FROM affidavit_leases WHERE name = 'worker'").fetchone()
    session.close()
    return None if row is None else int(row[0].split(":")[1])


def check_log(address: Address, committed: set[bytes], withdrawn: set[bytes]) -> None:
    """Every committed event has exactly one leaf, no other has one, nothing has a gap, each root is right."""
    session = connect(address)
    leaves = session.execute(
        "SELECT tree, idx, seq, id, hash FROM affidavit_leaves ORDER BY tree, idx"
    ).fetchall()
    places = sorted(seq for _, _, seq, _, _ in leaves)
    assert places == list(range(1, len(leaves) + 1)), "positions have a gap"
    given = Counter(event_id for _, _, _, event_id, _ in leaves)
    assert [event_id for event_id, count in given.items() if count > 1] == [], "sequenced twice"
    assert withdrawn & set(given) == set(), "an event of a rolled-back transaction has a leaf"
    assert committed - set(given) == set(), "a committed event has no leaf"
    assert set(given) - committed == set(), "an event that nobody committed has a leaf"
    (waiting,) = session.execute("SELECT count(*) FROM affidavit_pending").fetchone() or (-1,)
    assert waiting == 0
    session.close()
    check_trees(address, leaves)


def check_trees(address: Address, leaves: Sequence[tuple[int, int, int, bytes, bytes]]) -> None:
    """By the definitions alone: each leaf from its row, each root from its leaves."""
    session = connect(address)
    events = {
        row[0]: StoredEvent(0, row)
        for row in session.execute(f"SELECT {', '.join(COLUMNS)} FROM affidavit_events").fetchall()
    }
    trees = session.execute("SELECT tree, organization, hex, size FROM affidavit_trees").fetchall()
    session.close()
    writer = PostgresLogWriter(address)
    for number, organization, hex_digits, size in trees:
        own = [(index, event_id, digest) for tree, index, _, event_id, digest in leaves if tree == number]
        assert [index for index, _, _ in own] == list(range(size))
        for _, event_id, digest in own:
            assert events[event_id].organization == organization
            assert sha256(b"\x00" + naive_leaf(events[event_id], hex_digits)).digest() == digest
        (head, frontier) = writer.heads([organization])[organization]
        assert (head.number, head.size) == (number, size)
        assert frontier.root() == naive_root([digest for _, _, digest in own])
    writer.close()
