"""The worker's lease: one holder, followed soon after its death, and a fence for the one that overslept."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from affidavit.errors import LogMoved
from affidavit.storage.log import Alarm
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.lease import Lease
from affidavit.storage.postgres.log_store import PostgresLog
from affidavit.storage.postgres.log_writer import PostgresLogWriter
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server

PATIENCE_SECONDS = 60.0
TAKEOVER_SECONDS = 5.0

HOLDER = """
import sys
from affidavit.errors import LogMoved
from affidavit.storage.log import Alarm
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.lease import Lease
from affidavit.storage.postgres.log_writer import PostgresLogWriter

lease = Lease(Address(sys.argv[1]))
assert lease.take()
writer = PostgresLogWriter(Address(sys.argv[1]), fence=lease.check)
print("held", flush=True)
for line in sys.stdin:
    if line == "open\\n":
        with writer.transaction() as session:
            print("opened", flush=True)
            sys.stdin.readline()
    try:
        writer.sound(Alarm("overslept", "", 1, "A test."))
        print("stored", flush=True)
    except LogMoved:
        print("refused", lease.held, flush=True)
"""


@pytest.fixture
def address(postgres: Server) -> Iterator[Address]:
    """An empty database."""
    engine = PostgresEngine(postgres, clock=None)
    yield Address(engine.create())
    engine.close()


@pytest.fixture
def leases(address: Address) -> Iterator[Callable[[], Lease]]:
    """Makes leases of this process, and gives all of them back."""
    made: list[Lease] = []

    def make() -> Lease:
        made.append(Lease(address))
        return made[-1]

    yield make
    for lease in made:
        lease.release()


class Holder:
    """Another process that holds the lease and writes when it is told to."""

    def __init__(self, address: Address) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, address.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "held"

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def holder(address: Address) -> Iterator[Holder]:
    """It holds the lease."""
    made = Holder(address)
    yield made
    made.end()


def seconds_left(address: Address) -> float:
    """For how long the lease is still held, by the clock of the database; whoever waits has it then."""
    ((left,),) = sql(
        address,
        "SELECT until / 1e6::float8 - extract(epoch FROM clock_timestamp())::float8 FROM affidavit_leases",
    )
    return float(left)


def wait_for(lease: Lease) -> None:
    """Ask for it, as a worker does that waits, until it is there."""
    until = time.monotonic() + PATIENCE_SECONDS
    waiting = threading.Event()
    while not lease.take():
        assert time.monotonic() < until, "nobody took over"
        waiting.wait(0.05)


def sql(address: Address, statement: str) -> list[Any]:
    """Look behind the program's back."""
    import psycopg

    with psycopg.connect(address.url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def test_one_of_two_holds_it_until_it_is_given_back(leases: Callable[[], Lease]) -> None:
    """Taking what is held is keeping it; what is given back is free at once, under a greater number."""
    first, second = leases(), leases()
    assert [first.take(), first.held, second.take(), second.held] == [True, True, False, False]
    before = first.fence
    assert first.take()
    assert first.fence == before
    first.release()
    assert [first.held, second.take(), first.renew()] == [False, True, False]
    assert second.fence > before


@pytest.mark.slow
def test_a_killed_holder_is_followed_within_five_seconds(
    leases: Callable[[], Lease], holder: Holder, address: Address
) -> None:
    """While it lives nobody else gets the lease, however long; after SIGKILL somebody has it soon."""
    mine = leases()
    ended = time.monotonic() + TAKEOVER_SECONDS
    waiting = threading.Event()
    while time.monotonic() < ended:
        assert not mine.take()
        waiting.wait(0.2)
    holder.signal(signal.SIGKILL)
    assert seconds_left(address) <= TAKEOVER_SECONDS
    wait_for(mine)
    writer = PostgresLogWriter(address, fence=mine.check)
    writer.sound(Alarm("mine", "", 1, "A test."))
    writer.close()


@pytest.mark.slow
def test_a_holder_that_overslept_stores_nothing_more(
    leases: Callable[[], Lease], holder: Holder, address: Address
) -> None:
    """SIGSTOP, takeover, SIGCONT: the fence has moved on, and the sleeper learns it from the database."""
    holder.tell("write")
    assert holder.answer() == "stored"
    sql(address, "DELETE FROM affidavit_alarms")
    holder.signal(signal.SIGSTOP)
    assert seconds_left(address) <= TAKEOVER_SECONDS
    wait_for(leases())
    holder.signal(signal.SIGCONT)
    holder.tell("write")
    assert holder.answer() == "refused False"
    assert sql(address, "SELECT kind FROM affidavit_alarms") == []


@pytest.mark.slow
def test_a_holder_that_is_stopped_within_a_transaction_does_not_block_for_ever(
    leases: Callable[[], Lease], holder: Holder, address: Address
) -> None:
    """The server ends a transaction of the worker in which nothing happens; then somebody takes over."""
    holder.tell("open")
    assert holder.answer() == "opened"
    holder.signal(signal.SIGSTOP)
    assert seconds_left(address) <= TAKEOVER_SECONDS
    wait_for(leases())
    holder.signal(signal.SIGCONT)


def test_whoever_lost_it_is_refused_and_the_transaction_leaves_nothing(
    leases: Callable[[], Lease], address: Address
) -> None:
    """The fence is looked at in the transaction that writes."""
    first, second = leases(), leases()
    assert first.take()
    writer = PostgresLogWriter(address, fence=first.check)
    writer.sound(Alarm("one", "", 1, "A test."))
    sql(address, "UPDATE affidavit_leases SET until = 0")
    assert second.take()
    with pytest.raises(LogMoved, match="taken over"):
        writer.sound(Alarm("two", "", 2, "A test."))
    assert not first.renew()
    log = PostgresLog.opened(address)
    assert [alarm.kind for alarm in log.alarms()] == ["one"]
    log.close()
    writer.close()


def test_nobody_takes_over_while_the_holder_writes(leases: Callable[[], Lease], address: Address) -> None:
    """The lease has run out within a transaction that looked at it: that one locks the row to its end."""
    first, second = leases(), leases()
    assert first.take()
    writer = PostgresLogWriter(address, fence=first.check)
    sql(address, "UPDATE affidavit_leases SET until = 0")
    with writer.transaction():
        assert not second.take()
    writer.close()


def test_the_clock_of_a_process_says_nothing(
    leases: Callable[[], Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends are written and compared by the database's clock; one that it was set back from is no end."""
    first, second = leases(), leases()
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, lambda: pytest.fail("the process's clock was asked"))
    assert first.take()
    assert first.renew()
    assert not second.take()


def test_an_end_that_no_lease_reaches_is_no_end(leases: Callable[[], Lease], address: Address) -> None:
    """The database's clock was set back by a day: nobody waits for a day."""
    first, second = leases(), leases()
    assert first.take()
    first._let_go.set()
    sql(address, "UPDATE affidavit_leases SET until = until + 86400000000")
    assert second.take()
