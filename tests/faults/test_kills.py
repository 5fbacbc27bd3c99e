"""SIGKILL of the server and of its worker under load: what was answered is there, once."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any
from urllib.request import Request, urlopen

import pytest

from affidavit.storage.sqlite.follower import IndexFollower
from tests.e2e.program import Program, children
from tests.faults.load import ACTIONS, Client, Load, eventually
from tests.faults.recount import check_index
from tests.properties.naive import Event, read_all

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_KILLS", "50"))
"""How many times ``make soak`` kills the server; ``make test`` kills it five times."""


NOT_OURS = "&not_action_group=access&not_action_group=audit&not_action_group=log"
"""Reading a log is an event of its own."""


class Service:
    """A server that is started again after each death, on a port of its own each time."""

    def __init__(self, folder: Path) -> None:
        self.program = Program(folder)
        self.database = folder / "affidavit-data" / "affidavit.db"
        self.index = folder / "affidavit-data" / "affidavit-index.db"
        self.client: Client | None = None
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        process = self.program.start("serve", "--listen=127.0.0.1:0", stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = process.stdout.readline()
        assert "serves http" in said, said
        token = (self.database.parent / "operator.token").read_text().strip()
        self.client = Client(said.split()[-1].removesuffix("/audit"), token)
        self.process = process

    @property
    def worker(self) -> int | None:
        """The process id of its worker."""
        assert self.process is not None
        found = children(self.process.pid)
        return found[0] if found else None

    def kill_worker(self) -> None:
        """Kill it, and wait until the server has started another."""
        first = self.worker
        if first is not None:
            os.kill(first, signal.SIGKILL)
        eventually(lambda: self.worker not in (None, first), "no other worker was started")

    def end(self) -> None:
        """Kill it, if it still runs."""
        if self.process is not None:
            self.kill()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End the server by a signal; its worker ends by itself."""
        assert self.process is not None
        assert self.process.stdout is not None
        worker = self.worker
        self.client = None
        self.process.send_signal(number)
        self.process.wait()
        self.process.stdout.close()
        self.process = None
        if worker is not None:
            eventually(lambda: not alive(worker), "the worker outlived its server")


Meant = Callable[[dict[str, Any], dict[str, Any]], bool]
QUESTIONS: dict[str, Meant] = {
    "actor=u-3": lambda said, _: bool(said["actor"]["id"] == "u-3"),
    "actor=u1@X.IO": lambda said, _: bool(said["actor"]["email"].casefold() == "u1@x.io"),
    "resource=STRASSE&outcome=failure": lambda _, clear: bool(clear["outcome"] == "failure"),
    "ip=10.0.0.0/31": lambda said, _: said["ip"] in ("10.0.0.0", "10.0.0.1"),
    "not_resource=r-1": lambda said, _: bool(said["resources"][0]["id"] != "r-1"),
}


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody asked for its status yet does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def recorded(database: Path) -> list[Event]:
    """The events of the load; the product's own, such as that somebody read, are left out."""
    return [event for event in read_all(database) if event.clear["action"] in ACTIONS]


def check_events(database: Path, load: Load) -> None:
    """Every answered event is there under the id of the answer; no event is there twice."""
    events = recorded(database)
    ids = {event.said["request"]["id"]: event.id.hex() for event in events}
    markers = Counter(event.said["request"]["id"] for event in events)
    assert markers.most_common(1)[0][1] == 1, "an event is there twice"
    lost = {marker for marker, id_ in load.answered.items() if ids.get(marker) != id_.replace("-", "")}
    assert lost == set(), "an answered event is not there"
    seqs = [event.seq or 0 for event in events]
    assert seqs == sorted(set(seqs))


def survive(folder: Path, kills: int) -> None:
    """Record while server and worker are killed in turn, then count everything again."""
    random = Random(kills)
    service = Service(folder)
    service.start()
    with ExitStack() as stack:
        stack.callback(service.end)
        load = stack.enter_context(Load(lambda: service.client, seed=kills))
        for _ in range(kills):
            load.more(random.randrange(20, 300))
            service.kill_worker()
            load.more(random.randrange(1, 150))
            service.kill()
            service.start()
        load.more(100)
    assert load.refused == []
    assert len(load.answered) > 100 * kills
    check_events(service.database, load)
    follower = IndexFollower(service.database, service.index)
    while follower.step():
        pass
    while follower.tidy():
        pass
    assert follower.progress().behind == 0
    follower.close()
    check_index(service.database, service.index)


@pytest.mark.slow
def test_what_was_answered_survives_five_kills(tmp_path: Path) -> None:
    """Server and worker five times each; afterwards events, terms and counts are exact."""
    survive(tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_what_was_answered_survives_fifty_kills(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    survive(tmp_path, SOAK_KILLS)


@pytest.mark.slow
def test_a_deleted_index_comes_back_while_answers_stay_right(tmp_path: Path) -> None:
    """Deleted under a running server: answers in between are whole, and the worker makes the file anew."""
    service = Service(tmp_path)
    service.start()
    with ExitStack() as stack:
        stack.callback(service.end)
        with Load(lambda: service.client) as load:
            load.more(300)
        client = service.client
        assert client is not None
        stored = recorded(service.database)
        expected = {
            query: {event.id.hex() for event in stored if meant(event.said, event.clear)}
            for query, meant in QUESTIONS.items()
        }

        def answers() -> dict[str, set[str]]:
            return {
                query: {event["id"].replace("-", "") for event in client.events(f"{query}{NOT_OURS}")}
                for query in QUESTIONS
            }

        eventually(service.index.exists, "the index was never made")
        for round_ in range(3):
            assert answers() == expected, round_
            service.index.unlink()
            assert answers() == expected, round_
            eventually(service.index.exists, "the index did not come back")
            assert answers() == expected, round_
        eventually(lambda: behind(client) == 0, "the index did not catch up")
        assert answers() == expected
        service.kill(signal.SIGTERM)
    check_index(service.database, service.index)


def behind(client: Client) -> int:
    """How many events the index lacks, as the server says."""
    request = Request(f"{client.address}/metrics", headers=client.headers)
    with urlopen(request) as answer:
        text = answer.read().decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return int(float(next(value for name, value in lines.items() if "index_behind_events" in name)))
