"""SIGKILL of the program that records over HTTP, and of the server under it: each event once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from affidavit.recorder.client import AuditClient
from affidavit.recorder.fields import system
from tests.faults.load import Client, eventually
from tests.faults.test_kills import SOAK_KILLS, Service

APP = """
import itertools, sys
from affidavit.recorder.client import AuditClient
from affidavit.recorder.fields import system
address, token, spool, life = sys.argv[1:]
client = AuditClient(address, token, spool=spool, organization="acme")
for number in itertools.count():
    client.record("team.update", actor=system("app"), resource=("team", f"{life}-{number}"))
    print(f"{life}-{number}", flush=True)
"""


class App:
    """A program that records without pause, and says of each event when it was handed in."""

    def __init__(self, service: Service, spool: Path, life: int) -> None:
        client = service.client
        assert client is not None
        token = client.headers["authorization"].removeprefix("Bearer ")
        command = [sys.executable, "-c", APP, client.address, token, str(spool), str(life)]
        self.said: list[str] = []
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        # A line that was cut off was not said.
        self.said.extend(line.strip() for line in self._process.stdout if line.endswith("\n"))

    def kill(self) -> list[str]:
        """SIGKILL; what it had said."""
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self.said


def more(said: list[str], events: int) -> None:
    """Wait until that many further events were handed in."""
    goal = len(said) + events
    eventually(lambda: len(said) >= goal, "it stopped recording")


def stored(client: Client) -> Counter[str]:
    """How often each marker is on the server."""
    events = client.events("action=team.update")
    return Counter(event["resources"][0]["id"] for event in events)


def check(client: Client, said: list[str]) -> None:
    """Everything that was said is there, and nothing is there twice."""
    found = stored(client)
    assert [marker for marker, times in found.items() if times > 1] == []
    assert sorted(set(said) - set(found)) == []


def token_of(service: Service) -> str:
    """The operator's token."""
    return (service.database.parent / "operator.token").read_text().strip()


@contextmanager
def served(folder: Path) -> Iterator[Service]:
    """A server; ended at the end."""
    service = Service(folder)
    service.start()
    with ExitStack() as stack:
        stack.callback(service.end)
        yield service


def kill_programs(folder: Path, kills: int) -> None:
    """Kill the program that records in mid-send, again and again; a last client sends what is left."""
    random = Random(kills)
    spool = folder / "spool.db"
    with served(folder) as service:
        said: list[str] = []
        for life in range(kills):
            app = App(service, spool, life)
            more(app.said, random.randrange(5, 60))
            # A server that stands still: the program dies with a request under way, which is answered after
            # its death, or never arrives because the server dies, too.
            assert service.process is not None
            service.process.send_signal(signal.SIGSTOP)
            try:
                more(app.said, 10)
                said += app.kill()
            finally:
                if life % 2:
                    service.process.send_signal(signal.SIGCONT)
                else:
                    service.kill()
                    service.start()
        client = service.client
        assert client is not None
        assert len(said) >= 5 * kills
        with AuditClient(client.address, token_of(service), spool=spool) as last:
            assert last.flush(60)
            assert last.dead_letters() == []
        check(client, said)


def kill_servers(folder: Path, kills: int) -> None:
    """Kill the server under one client that goes on recording; it comes back at the same place."""
    random = Random(kills)
    with served(folder) as service, ExitStack() as stack:
        first = service.client
        assert first is not None
        port = first.address.rpartition(":")[2]
        service.kill()
        restart(service, port)
        client = AuditClient(
            f"http://127.0.0.1:{port}",
            token_of(service),
            spool=folder / "spool.db",
            organization="acme",
            seconds=5,
        )
        stack.callback(client.close, 0.0)
        said: list[str] = []
        ended = threading.Event()

        def record() -> None:
            while not ended.is_set():
                marker = f"m-{len(said)}"
                client.record("team.update", actor=system("app"), resource=("team", marker))
                said.append(marker)

        thread = threading.Thread(target=record)
        thread.start()
        stack.callback(thread.join)
        stack.callback(ended.set)
        for _ in range(kills):
            more(said, random.randrange(10, 80))
            service.kill()
            more(said, 10)
            restart(service, port)
        ended.set()
        thread.join()
        assert client.flush(90), client.last_error
        assert client.dead_letters() == []
        asked = service.client
        assert asked is not None
        assert stored(asked) == Counter(said)


def restart(service: Service, port: str) -> None:
    """Start the server where it was."""
    process = service.program.start("serve", f"--listen=127.0.0.1:{port}", stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.readline()
    assert "serves http" in said, said
    service.client = Client(f"http://127.0.0.1:{port}", token_of(service))
    service.process = process


@pytest.mark.slow
def test_a_program_that_is_killed_in_mid_send_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Five programs die, one after the other, over one spool."""
    kill_programs(tmp_path, 5)


@pytest.mark.slow
def test_a_server_that_is_killed_under_a_client_has_every_event_once(tmp_path: Path) -> None:
    """Five times; the client never stops recording, and sends by itself once the server is back."""
    kill_servers(tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_programs_that_are_killed_fifty_times(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    kill_programs(tmp_path, SOAK_KILLS)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_server_that_is_killed_fifty_times(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_KILLS says."""
    kill_servers(tmp_path, SOAK_KILLS)
