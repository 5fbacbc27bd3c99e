"""The worker: one at a time, restarted when it dies, and following as batches come in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from affidavit.config import Settings
from affidavit.errors import StorageBusy
from affidavit.storage.protocols import Progress
from affidavit.storage.sqlite.database import migrate_file
from affidavit.supervisor import PARENT_VARIABLE, SETTINGS_VARIABLE, Supervisor, packed
from affidavit.wiring.lease import FileLease
from affidavit.worker import FULL_BATCH, follow

PATIENCE = 30.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition of another process."""
    until = time.monotonic() + PATIENCE
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < until, what
        tick.wait(0.02)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty database."""
    migrate_file(tmp_path / "a.db")
    return Settings(data_dir=tmp_path, database=f"sqlite:///{tmp_path}/a.db")


HOLDER = """
import signal, sys
from pathlib import Path
from affidavit.wiring.lease import FileLease
lease = FileLease(Path(sys.argv[1]))
assert lease.take()
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lease_has_one_holder_and_falls_free_when_that_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    """SIGKILL gives the lease back at once; nothing has to run out."""
    lease = FileLease(tmp_path / "lock")
    assert not lease.take()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lease.take()
    assert lease.take(), "taking it twice is holding it"
    other = FileLease(tmp_path / "lock")
    assert not other.take()
    lease.release()
    assert other.take()
    other.release()


def test_a_killed_worker_is_started_again(settings: Settings) -> None:
    """The supervisor sees the death of its worker and starts another one; leaving ends it."""
    with Supervisor(settings) as supervisor:
        first = supervisor.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        eventually(lambda: supervisor.pid not in (None, first), "no other worker was started")
        second = supervisor.pid
    assert second is not None
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


def test_a_worker_that_does_not_end_when_it_is_told_to_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ends does not wait for a worker that hangs."""
    monkeypatch.setattr(Supervisor, "GRACE", 0.2)
    with Supervisor(settings) as supervisor:
        pid = supervisor.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_whose_server_is_gone_already_ends(settings: Settings) -> None:
    """A server that is killed while its worker is still starting leaves no worker behind."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    environment = {**os.environ, SETTINGS_VARIABLE: packed(settings), PARENT_VARIABLE: str(gone.pid)}
    worker = subprocess.run(
        [sys.executable, "-m", "affidavit.worker"], env=environment, timeout=PATIENCE, check=False
    )
    assert worker.returncode == 0


class Queue:
    """A follower of a queue that fills up as time passes."""

    def __init__(self, arrivals: list[int]) -> None:
        self.now = 0.0
        self.arrivals = arrivals
        self.waiting = 0
        self.steps: list[tuple[float, int]] = []
        self.tidied = 0
        self.failures = 0

    def wait(self, seconds: float) -> bool:
        """Let time pass; each tick brings the next arrivals."""
        self.now += seconds
        if not self.arrivals:
            return True
        self.waiting += self.arrivals.pop(0)
        return False

    def step(self) -> int:
        if self.failures:
            self.failures -= 1
            raise StorageBusy
        taken = min(FULL_BATCH, self.waiting)
        self.waiting -= taken
        self.steps.append((self.now, taken))
        return taken

    def tidy(self) -> bool:
        self.tidied += 1
        return False

    def progress(self) -> Progress:
        return Progress(0, None, self.waiting)

    def close(self) -> None:
        pass


def test_few_events_wait_a_second_and_many_do_not() -> None:
    """A batch is taken in when it is full or one second old."""
    queue = Queue([1, *[0] * 3, 1, *[0] * 6, FULL_BATCH, 0])
    follow(queue, queue.wait, monotonic=lambda: queue.now)
    assert [taken for _, taken in queue.steps] == [1, 1, FULL_BATCH]
    (first, _), (second, _), (third, _) = queue.steps
    assert second - first >= 1.0
    assert third - second < 1.5


def test_a_backlog_is_worked_off_without_pauses() -> None:
    """While batches are full the worker does not wait between them, and merges go on beside."""
    queue = Queue([5 * FULL_BATCH, *[0] * 6])
    follow(queue, queue.wait, monotonic=lambda: queue.now)
    assert [taken for _, taken in queue.steps] == [FULL_BATCH] * 5
    assert queue.steps[-1][0] == queue.steps[0][0]
    assert queue.tidied >= 5


def test_an_error_of_the_database_does_not_end_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its category, and the same events are tried again."""
    queue = Queue([3, *[0] * 12])
    queue.failures = 2
    follow(queue, queue.wait, monotonic=lambda: queue.now)
    assert [taken for _, taken in queue.steps] == [3]
    assert sum("storage_busy" in message for message in caplog.messages) == 2
