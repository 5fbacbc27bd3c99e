"""The queue of PostgreSQL while everything goes wrong at once: slow, aborted and nested transactions, kills.

The same code runs for seconds in ``make test`` and for an hour in ``make soak``; AFFIDAVIT_SOAK_QUEUE_SECONDS
says for how long.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from affidavit.storage.postgres.connect import Address, connect
from affidavit.testing.postgres import PostgresEngine
from tests.faults.chaos import Application, Sequencers, Sleeper, Watch, check_log
from tests.faults.load import eventually
from tests.postgres import Server, free_port, server_on
from tools.postgres import pgbouncer

WRITERS = 8
SOAK_SECONDS = float(os.environ.get("AFFIDAVIT_SOAK_QUEUE_SECONDS", "3600"))
AGE, AGE_IN_TAKEOVER = 2.0, 7.0
"""Seconds that a committed event waits for its leaf at most, and within ``AGE_IN_TAKEOVER`` after a kill."""


@pytest.fixture
def server() -> Iterator[Server]:
    """One that syncs, as it comes."""
    with server_on("18") as made:
        yield made


@contextmanager
def pooled(server: Server, folder: Path) -> Iterator[int]:
    """A PgBouncer in transaction mode before a server; its port."""
    program = pgbouncer()
    assert program is not None, "no PgBouncer: make postgres installs it, or says what to do"
    port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        "[databases]\n"
        f"* = host=127.0.0.1 port={server.port} user=postgres\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 100\n"
    )
    settings.chmod(0o644)
    for each in (folder, *folder.parents[:3]):
        each.chmod(each.stat().st_mode | 0o055)
    started = subprocess.Popen(
        [program, "-q", settings], user=server.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        started.kill()
        started.wait()


class Outcome(NamedTuple):
    """What a run showed.

    Attributes:
        events: that were committed.
        age, takeover: seconds that a row waited at most, apart from and in the time after a kill.
        sizes: bytes of the queue with its indexes, each second.
    """

    events: int
    age: float
    takeover: float
    sizes: list[int]


def run(
    address: Address, reached: Address, mode: str, seconds: float, asleep: float, every: float
) -> Outcome:
    """Let applications record and sequencers die for a while, then look at everything.

    Args:
        address: of the database.
        reached: the same, as applications and sequencers reach it.
        mode: of the sequencers.
        seconds: how long.
        asleep: seconds of the long transactions beside.
        every: seconds between two kills, on average.
    """
    stop, random = threading.Event(), Random(7)
    applications = [Application(reached, number, stop) for number in range(WRITERS)]
    sleeper, watch = Sleeper(reached, asleep, stop), Watch(address, stop)
    with Sequencers(reached, mode) as sequencers:
        threads = (*applications, sleeper, watch)
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        while not stop.wait(min(every * random.uniform(0.5, 1.5), max(0.0, until - time.monotonic()))):
            if time.monotonic() >= until:
                stop.set()
            else:
                sequencers.kill(random.randrange(2))
        for thread in threads:
            thread.join()
        session = connect(address)
        eventually(
            lambda: session.execute("SELECT FROM affidavit_pending LIMIT 1").fetchone() is None,
            "the queue was never empty",
        )
        session.close()
    assert [each.failed for each in applications if each.failed is not None] == []
    committed = sleeper.committed.union(*(each.committed for each in applications))
    withdrawn = set[bytes]().union(*(each.withdrawn for each in applications))
    assert withdrawn, "nothing was rolled back"
    check_log(address, committed, withdrawn)
    after = [
        (age, any(kill <= moment <= kill + AGE_IN_TAKEOVER for kill in sequencers.kills))
        for moment, age in watch.ages
    ]
    made = Outcome(
        len(committed),
        max((age for age, taken in after if not taken), default=0.0),
        max((age for age, taken in after if taken), default=0.0),
        [size for _, size in watch.sizes],
    )
    print(
        f"\n{mode}: {made.events} events, {len(withdrawn)} rolled back, {len(sequencers.kills)} kills,"
        f" queue age {made.age:.2f} s, {made.takeover:.2f} s in takeovers,"
        f" queue {max(made.sizes) >> 10} KiB at most, {made.sizes[-1] >> 10} KiB at the end"
    )
    return made


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["free", "lease"])
def test_every_committed_event_is_sequenced_once(server: Server, mode: str) -> None:
    """Slow, aborted and nested transactions, a long one beside, two sequencers that die now and then."""
    engine = PostgresEngine(server, clock=None)
    address = Address(engine.create())
    made = run(address, address, mode, seconds=10, asleep=6, every=2.5)
    assert made.events > 500
    engine.close()


@pytest.mark.slow
def test_the_same_through_a_pooler_that_shares_connections(server: Server, tmp_path: Path) -> None:
    """PgBouncer in transaction mode: recording, lease and sequencing need no session of their own."""
    engine = PostgresEngine(server, clock=None)
    address = Address(engine.create())
    with pooled(server, tmp_path) as port:
        reached = Address(address.url.replace(f":{server.port}/", f":{port}/"))
        eventually(lambda: answers(reached), "the pooler does not answer")
        made = run(address, reached, "lease", seconds=8, asleep=3, every=4)
    assert made.events > 300
    engine.close()


def answers(address: Address) -> bool:
    """Whether a database can be reached."""
    from affidavit.errors import StorageError

    try:
        connect(address).close()
    except StorageError:
        return False
    return True


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("version", ["18", "15"])
def test_for_an_hour_the_queue_keeps_its_size_and_its_pace(version: str) -> None:
    """Half an hour on each version, a transaction of 30 seconds always open, a kill now and then."""
    seconds = SOAK_SECONDS / 2
    with server_on(version) as server:  # type: ignore[arg-type]
        engine = PostgresEngine(server, clock=None)
        address = Address(engine.create())
        made = run(address, address, "lease", seconds=seconds, asleep=min(30, seconds / 3), every=20)
        third = len(made.sizes) // 3
        assert made.age <= AGE
        assert made.takeover <= AGE_IN_TAKEOVER
        assert max(made.sizes[2 * third :]) <= 1.25 * max(made.sizes[third : 2 * third]) + 1_000_000
        engine.close()
