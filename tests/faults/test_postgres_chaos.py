"""The queue of PostgreSQL while everything goes wrong at once: slow, aborted and nested transactions, kills.

The same code runs for seconds in ``make test`` and for an hour in ``make soak``; AFFIDAVIT_SOAK_QUEUE_SECONDS
says for how long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest

from affidavit.storage.postgres.connect import Address, connect
from affidavit.testing.postgres import PostgresEngine
from tests.faults.chaos import Application, Sequencers, Sleeper, Watch, check_log, lease_holder
from tests.faults.load import eventually
from tests.pgbouncer import bouncer_on
from tests.postgres import Server, server_on

WRITERS = 8
SOAK_SECONDS = float(os.environ.get("AFFIDAVIT_SOAK_QUEUE_SECONDS", "3600"))
AGE, AGE_IN_TAKEOVER = 2.0, 7.0
"""Seconds that a committed event waits for its leaf at most, and within ``AGE_IN_TAKEOVER`` after a kill."""


@pytest.fixture
def server() -> Iterator[Server]:
    """One that syncs, as it comes."""
    with server_on("18") as made:
        yield made


class Outcome(NamedTuple):
    """What a run showed.

    Attributes:
        events: that were committed.
        kills: of sequencers.
        age, takeover: seconds that a row waited at most, apart from and in the time after a start or a kill.
        sizes: bytes of the queue with its indexes, each second.
    """

    events: int
    kills: int
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
                sequencers.kill(lease_holder(address))
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
    started = watch.ages[0][0]
    after = [
        (age, any(kill <= moment <= kill + AGE_IN_TAKEOVER for kill in (started, *sequencers.kills)))
        for moment, age in watch.ages
    ]
    made = Outcome(
        len(committed),
        len(sequencers.kills),
        max((age for age, taken in after if not taken), default=0.0),
        max((age for age, taken in after if taken), default=0.0),
        [size for _, size in watch.sizes],
    )
    print(
        f"\n{mode}: {made.events} events, {len(withdrawn)} rolled back, {made.kills} kills,"
        f" queue age {made.age:.2f} s, {made.takeover:.2f} s in takeovers,"
        f" queue {max(made.sizes) >> 10} KiB at most, {made.sizes[-1] >> 10} KiB at the end"
    )
    return made


@pytest.mark.slow
def test_every_committed_event_is_sequenced_once(server: Server) -> None:
    """Slow, aborted and nested transactions, a long one beside, two sequencers at once, of which one dies."""
    engine = PostgresEngine(server, clock=None)
    address = Address(engine.create())
    made = run(address, address, "free", seconds=9, asleep=5, every=1.4)
    assert made.events > 100
    assert made.kills >= 3
    engine.close()


@pytest.mark.slow
def test_the_same_under_a_lease_through_a_pooler_that_shares_connections(server: Server) -> None:
    """PgBouncer in transaction mode: recording, lease and sequencing need no session of their own."""
    engine = PostgresEngine(server, clock=None)
    address = Address(engine.create())
    with bouncer_on(server, size=20) as port:
        reached = Address(address.url.replace(f":{server.port}/", f":{port}/"))
        made = run(address, reached, "lease", seconds=8, asleep=3, every=4)
    assert made.events > 100
    engine.close()


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
