"""SIGKILL of the real server and of its worker under load: what was answered with 201 is there, once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from affidavit.core.ids import microseconds_of
from affidavit.core.times import HOUR, format_time
from affidavit.storage.sqlite.terms import email_hash, terms_of
from tests.e2e.program import Program, children

IN_TESTS, IN_SOAK = 5, 50
WRITERS = 3
PATIENCE = 60.0


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition of another process."""
    until = time.monotonic() + PATIENCE
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < until, what
        tick.wait(0.05)


class Load:
    """Writers that send events under keys of their own, and remember what was acknowledged.

    After an answer that never came the same request is sent again, as a client with a spool would do: that
    must give no event twice.
    """

    def __init__(self, token: str) -> None:
        self.address = ""
        self.sent: set[str] = set()
        self.acknowledged: dict[str, str] = {}
        self.refused: list[tuple[int, bytes]] = []
        self._token = token
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(WRITERS)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send in the background for the length of the block."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until so many events are acknowledged."""
        eventually(lambda: len(self.acknowledged) > count, "no load")

    def _run(self, writer: int) -> None:
        number = 0
        while not self._stop.is_set():
            size = 1 if number % 3 else 20
            keys = [f"{writer}-{number}-{item}" for item in range(size)]
            number += 1
            self.sent.update(keys)
            events = [self._event(key) for key in keys]
            while not self._send(keys, {"events": events}) and not self._stop.is_set():
                self._stop.wait(0.05)

    @staticmethod
    def _event(key: str) -> dict[str, Any]:
        return {
            "action": "load.test" if len(key) % 2 else "load.other",
            "idempotency_key": key,
            "occurred_at": format_time(time.time_ns() // 1000),
            "actor": {"type": "user", "id": f"u-{len(key)}", "email": f"u{len(key)}@example.org"},
            "resources": [{"type": "thing", "id": key}],
            "ip": "192.0.2.7",
            "outcome": "failure" if key.endswith("7") else "success",
        }

    def _send(self, keys: list[str], body: dict[str, Any]) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=20)
        try:
            connection.request(
                "POST",
                "/api/v1/events",
                json.dumps(body),
                {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status not in (200, 201):
            self.refused.append((answer.status, text))
            return False
        for key, event in zip(keys, json.loads(text)["events"], strict=True):
            self.acknowledged[key] = event["id"]
        return True


def is_gone(server: int, worker: int) -> bool:
    """Whether the server has no such child any more."""
    return worker not in children(server)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program in an empty folder."""
    return Program(tmp_path)


def token(program: Program) -> str:
    """A token that records for acme."""
    made = program.json("token", "create", "--organization", "acme", "--ability", "events:write", "--json")
    return str(made[0]["token"])


@contextmanager
def served(program: Program) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that the test may kill; whatever is left of it at the end is killed too."""
    process = program.start("serve", "--listen", "127.0.0.1:0", stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "serves http" in line, line
        yield process, line.split()[-1].removesuffix("/audit")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def stored(folder: Path) -> Counter[str]:
    """How often each key is in the database, read by SQL alone."""
    with sqlite3.connect(folder / "affidavit-data" / "affidavit.db") as connection:
        rows = connection.execute(
            "SELECT resources FROM affidavit_events WHERE action LIKE 'load.%'"
        ).fetchall()
    connection.close()
    return Counter(json.loads(text)["resources"][0]["id"] for (text,) in rows)


def check(folder: Path, load: Load) -> None:
    """Nothing acknowledged is lost, nothing is there twice, and nothing that was never sent."""
    found = stored(folder)
    assert load.refused == []
    assert load.acknowledged
    assert [key for key in load.acknowledged if found[key] != 1] == []
    assert [key for key, count in found.items() if count != 1 or key not in load.sent] == []


def check_index(folder: Path) -> None:
    """Terms, counts and addresses of the index are those of a recount over all rows."""
    database = sqlite3.connect(folder / "affidavit-data" / "affidavit.db")
    index = sqlite3.connect(folder / "affidavit-data" / "affidavit-index.db")
    key, seq = index.execute("SELECT key, seq FROM affidavit_index").fetchone()
    rows = database.execute(
        "SELECT seq, id, organization, action, outcome, severity, parent_id, actor, resources, context"
        " FROM affidavit_events ORDER BY seq"
    ).fetchall()
    assert seq == rows[-1][0]
    hours: Counter[tuple[Any, ...]] = Counter()
    terms: set[bytes] = set()
    emails: set[tuple[str, bytes, str]] = set()
    for _, id_, organization, action, outcome, severity, parent, actor, resources, context in rows:
        hours[organization, microseconds_of(id_) // HOUR, action, outcome, severity] += 1
        found = terms_of(key, organization, parent, actor, resources, context)
        terms.update(prefix + id_ for prefix in found.keys)
        emails.update((organization, email_hash(key, address), id_of) for address, id_of in found.emails)
    kept = [k for (k,) in index.execute("SELECT k FROM affidavit_terms JOIN affidavit_runs USING (run)")]
    assert len(kept) == len(terms)
    assert set(kept) == terms
    assert dict(hours) == {row[:5]: row[5] for row in index.execute("SELECT * FROM affidavit_hourly")}
    assert emails == set(index.execute("SELECT * FROM affidavit_emails"))
    database.close()
    index.close()


def caught_up(folder: Path) -> bool:
    """Whether the index has the newest event."""
    database = sqlite3.connect(folder / "affidavit-data" / "affidavit.db")
    index = sqlite3.connect(folder / "affidavit-data" / "affidavit-index.db")
    try:
        (last,) = database.execute("SELECT max(seq) FROM affidavit_events").fetchone()
        return bool(index.execute("SELECT seq FROM affidavit_index").fetchone() == (last,))
    except sqlite3.OperationalError:
        return False  # the worker has not made the file anew yet
    finally:
        database.close()
        index.close()


def kill_servers(program: Program, kills: int) -> None:
    """Kill the server under load and start it again, so many times."""
    load = Load(token(program))
    with load.running():
        for _ in range(kills):
            with served(program) as (process, address):
                load.address = address
                before = len(load.acknowledged)
                load.wait_for(before + 30)
                process.send_signal(signal.SIGKILL)
                process.wait()
    check(program.folder, load)
    with served(program):
        eventually(lambda: caught_up(program.folder), "the index did not catch up")
    check(program.folder, load)
    check_index(program.folder)


def kill_workers(program: Program, kills: int) -> None:
    """Kill the worker under load, so many times; the server starts it again each time."""
    load = Load(token(program))
    with served(program) as (process, address):
        load.address = address
        with load.running():
            for _ in range(kills):
                eventually(lambda: len(children(process.pid)) == 1, "no worker")
                (worker,) = children(process.pid)
                before = len(load.acknowledged)
                load.wait_for(before + 30)
                os.kill(worker, signal.SIGKILL)
                eventually(partial(is_gone, process.pid, worker), "the killed worker was not noticed")
        eventually(lambda: caught_up(program.folder), "the index did not catch up")
    check(program.folder, load)
    check_index(program.folder)


@pytest.mark.slow
def test_what_was_acknowledged_survives_the_killing_of_the_server(program: Program) -> None:
    """Five SIGKILLs of the server under load: every 201 is there, once, and the index is exact."""
    kill_servers(program, IN_TESTS)


@pytest.mark.slow
def test_a_killed_worker_comes_back_and_its_index_is_exact(program: Program) -> None:
    """Five SIGKILLs of the worker under load: recording goes on, the worker comes back, no term twice."""
    kill_workers(program, IN_TESTS)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_kills_of_the_server(program: Program) -> None:
    """The same, fifty times."""
    kill_servers(program, IN_SOAK)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_fifty_kills_of_the_worker(program: Program) -> None:
    """The same, fifty times."""
    kill_workers(program, IN_SOAK)


@pytest.mark.slow
def test_a_deleted_index_comes_back_and_answers_stay_right(program: Program) -> None:
    """Deleted under a running server and worker: no answer changes, and a new file is made."""
    load = Load(token(program))
    with served(program) as (_, address):
        load.address = address
        with load.running():
            eventually(lambda: len(load.acknowledged) > 300, "no load")
        eventually(lambda: caught_up(program.folder), "the index did not catch up")
        reader = program.json(
            "token", "create", "--organization", "acme", "--ability", "audit-log:list", "--json"
        )[0]["token"]

        def count(parameters: str) -> int:
            connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
            path, total = f"/api/v1/events?limit=1000&{parameters}", 0
            following = ""
            while True:
                connection.request("GET", path + following, headers={"Authorization": f"Bearer {reader}"})
                answer = json.loads(connection.getresponse().read())
                total += len(answer["events"])
                if answer["continuation_token"] is None:
                    connection.close()
                    return total
                following = f"&continuation_token={answer['continuation_token']}"

        one = next(iter(load.acknowledged))
        questions = [
            "ip=192.0.2.7",
            "resource_type=thing",
            f"resource={one}",
            "ip=192.0.2.0/24&outcome=failure",
        ]
        stands = [count(question) for question in questions]
        assert stands[0] == len(stored(program.folder))
        assert stands[2] == 1
        (program.folder / "affidavit-data" / "affidavit-index.db").unlink()
        assert [count(question) for question in questions] == stands
        eventually(lambda: caught_up(program.folder), "the index did not come back")
        assert [count(question) for question in questions] == stands
    check_index(program.folder)
