"""SIGKILL of the processes of an app that called ``audit.start()``: no orphan, and soon a worker again."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from itertools import count
from random import Random

import pytest

from tests.recorder.apps import App, app, postgres_engine
from tests.recorder.started import Served, eventually, parent_of, served

__all__ = ["app", "postgres_engine"]

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""Rounds of ``make soak``; ``make test`` has five."""
SERVER = "gunicorn --bind unix:{socket} --graceful-timeout 5 --workers 2 served:wsgi"


class Recording:
    """Records through the app without pause; knows what was answered."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._markers = count()
        self._ended = threading.Event()

    def during(self, running: Served) -> threading.Thread:
        """Record through this server until :meth:`end`."""
        self._ended.clear()
        thread = threading.Thread(target=self._record, args=(running,))
        thread.start()
        return thread

    def _record(self, running: Served) -> None:
        while not self._ended.wait(0.01):
            marker = f"m-{next(self._markers)}"
            if running.ask(marker) is not None:
                self.said.append(marker)

    def end(self, thread: threading.Thread) -> None:
        """Record no more."""
        self._ended.set()
        thread.join()

    def more(self, events: int) -> None:
        """Wait for that many further answers."""
        goal = len(self.said) + events
        eventually(lambda: len(self.said) >= goal, "it stopped recording")


def holder_rounds(running: Served, recording: Recording, kills: int, random: Random) -> None:
    """Kill, by turns, the process that has the worker and the worker itself; another is there soon."""
    for take in range(kills):
        recording.more(random.randrange(1, 20))
        worker = running.one_worker()
        holder = parent_of(worker)
        assert holder is not None
        os.kill(worker if take % 3 == 2 else holder, signal.SIGKILL)
        next_one = running.one_worker(beside=worker)
        assert take % 3 == 2 or parent_of(next_one) != holder
        recording.more(1)


def rounds(app: App, kills: int) -> None:
    """The same, then the death of the whole server; each answered event is there once, sealed."""
    recording = Recording()
    with served(app, SERVER) as running:
        thread = recording.during(running)
        try:
            recording.more(1)
            holder_rounds(running, recording, kills - 1, Random(kills))
        finally:
            recording.end(thread)
        running.kill()
        eventually(lambda: not running.workers(), "a worker goes on without its app")
    with served(app, SERVER) as running:
        assert len(recording.said) >= kills
        running.recorded("last")
        running.one_worker()
        eventually(lambda: set(recording.said) <= set(stored(app)), "an event is lost")
        running.sealed(len(recording.said))
    assert stored(app).most_common(1)[0][1] == 1, "an event is there twice"


def stored(app: App) -> Counter[str]:
    """How often each marker is there."""
    return Counter(json.loads(text)["resources"][0]["id"] for (text,) in app.events("resources"))


@pytest.mark.slow
def test_five_kills_leave_one_worker_and_every_event(app: App) -> None:
    """Processes that have the worker die, the worker dies, then the whole app, which is started again."""
    rounds(app, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_kills_leave_one_worker_and_every_event(app: App) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    rounds(app, SOAK_KILLS)
