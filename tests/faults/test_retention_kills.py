"""SIGKILL in the middle of expiry and pruning, and recording while a purge runs; real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from affidavit.config import Settings
from affidavit.core.event import Actor
from affidavit.core.ids import last_id
from affidavit.core.times import format_time
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.testing.author import Author, Clock, draft
from affidavit.wiring.work import open_parts
from tests.e2e.program import Program
from tests.faults.load import eventually
from tests.programs import Programs, insert, leaks_of, literal
from tests.programs import ask as rows_of

DAY = 86_400_000_000
ACME = ("--organization", "acme")
PURGED = 20_000
USUAL, LONGEST = 0.25, 4.0
"""Seconds that a usual recording, and the longest one, stay below while a purge runs.

Its transactions hold the write lock for 10 ms; the rest is what other tests do to the machine meanwhile.
"""


def fill(program: Program, events: int) -> Program:
    """A database that recorded so many events 100 days ago, and one now; all sealed and signed."""
    data = program.folder / "affidavit-data"
    data.mkdir(mode=0o700)
    settings = Settings(data_dir=data)
    if program.database is None:
        migrate_file(data / "affidavit.db")
    else:
        settings = Settings(data_dir=data, database=program.database)
    now = time.time_ns() // 1000
    clock = Clock(now - 100 * DAY)
    author = Author(clock)
    for start in range(0, events, 1000):
        clock.forward()
        made = [
            draft(
                "auth.login",
                actor=Actor(type="user", id=f"canary-{number}"),
                ip="10.0.0.1",
                reason="x" * 300,
            )
            for number in range(start, min(events, start + 1000))
        ]
        insert(program, author.rows(*made), clock)
    clock.now = now
    insert(program, author.rows(draft("auth.login", actor=Actor(type="user", id="young"))), clock)
    parts = open_parts(settings)
    try:
        while parts.sequencer.step():
            pass
        parts.signer.step()
    finally:
        parts.close()
    return program


def ask(program: Program, statement: str) -> Any:
    """One value from the database."""
    return rows_of(program, statement)[0][0]


def kill(process: subprocess.Popen[str]) -> None:
    """End a process as a power cut does."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def fewer(program: Program, statement: str, than: int) -> Callable[[], bool]:
    """Whether a count has gone below a number."""
    return lambda: bool(ask(program, statement) < than)


def killed_when(
    program: Program, flags: tuple[str, ...], condition: Callable[[], bool], random: Random
) -> None:
    """Start a command and kill it a moment after something has come about, unless it has ended."""
    process = program.start(*flags, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: process.poll() is not None or condition(), "nothing happens")
    time.sleep(random.random() * 0.03)
    if process.poll() is None:
        kill(process)


ALIVE = "SELECT count(*) FROM affidavit_events WHERE action = 'auth.login' AND secret IS NOT NULL"
HALF = (
    "SELECT count(*) FROM affidavit_events"
    " WHERE (secret IS NULL) <> (actor IS NULL) OR (actor IS NULL) <> (details IS NULL)"
)
OPEN = "SELECT count(*) FROM affidavit_tasks WHERE state IN ('waiting', 'running')"


@pytest.mark.postgres
def test_expiry_that_is_killed_again_and_again_ends_well(tmp_path: Path, programs: Programs) -> None:
    """No row is half empty at any moment; it ends like a run that nobody disturbed; fsck is clean."""
    events = 4_000 if programs.on_sqlite else 800  # each of its transactions is an exchange with a server
    program = fill(programs(tmp_path), events)
    program.json("retention", "set", *ACME, "--class", "auth.*", "--days", "90")
    random = Random(1)
    seen = {events + 1}
    for _ in range(5):
        flags = ("retention", "run", *ACME)
        killed_when(program, flags, fewer(program, ALIVE, min(seen)), random)
        seen.add(ask(program, ALIVE))
        assert ask(program, HALF) == 0
    assert len(seen) > 2, "it was never killed in the middle"
    while program.json("retention", "run", *ACME)[0]["expired"]:
        pass
    assert ask(program, ALIVE) == 1
    counts = "SELECT count(*) FROM affidavit_events WHERE action = 'audit.retention.{}'"
    assert ask(program, counts.format("completed")) >= 1
    assert ask(program, counts.format("expired")) == 1, "an interrupted run goes on"
    verdict = program.run("fsck", "--json")
    assert verdict.code == 0, verdict
    (document,) = verdict.documents
    assert (document["expired"], document["failed"]) == (events, 0)
    assert leaks_of(program, "canary-") == []


@pytest.mark.postgres
def test_a_prune_that_is_killed_again_and_again_ends_well(tmp_path: Path, programs: Programs) -> None:
    """Every row of the range goes, none outside of it; at the end fsck finds everything sound."""
    events = 3_000 if programs.on_sqlite else 800
    program = fill(programs(tmp_path), events)
    program.json("retention", "set", *ACME, "--class", "auth.*", "--days", "90")
    program.json("retention", "run", *ACME)
    day = format_time(time.time_ns() // 1000 - 95 * DAY)
    rows = "SELECT count(*) FROM affidavit_events WHERE action = 'auth.login'"
    random = Random(2)
    for _ in range(4):
        before = ask(program, rows)
        flags = ("retention", "prune", *ACME, "--before", day)
        killed_when(
            program,
            flags,
            fewer(program, rows, before),
            random,
        )
    worker = program.start("worker")
    try:
        eventually(lambda: ask(program, rows) == 1, "the worker did not go on with the prune")
        eventually(
            lambda: (
                ask(program, "SELECT count(*) FROM affidavit_tasks WHERE state IN ('waiting', 'running')")
                == 0
            ),
            "a task did not end",
        )
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()
    verdict = program.run("fsck", "--json")
    assert verdict.code == 0, verdict
    (document,) = verdict.documents
    assert (document["pruned"], document["failed"]) == (events, 0)
    last = literal(program, last_id(_micro(95)).hex())
    assert ask(program, f"SELECT count(*) FROM affidavit_events WHERE id <= {last}") == 0


def _micro(days: int) -> int:
    return time.time_ns() // 1000 - days * DAY


@pytest.fixture
def purging(tmp_path: Path) -> Iterator[Program]:
    """A worker that is about to purge 20,000 rows."""
    program = fill(Program(tmp_path), PURGED)
    program.json("retention", "set", *ACME, "--class", "auth.*", "--days", "90")
    worker = program.start("worker")
    try:
        yield program
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait()


@pytest.mark.slow
def test_recording_goes_on_while_a_purge_runs(purging: Program) -> None:
    """20,000 rows are emptied by another process; one recording after the other gets through."""
    run = purging.start("retention", "run", *ACME, stdout=subprocess.DEVNULL)
    clock = Clock(time.time_ns() // 1000)
    database = SqliteDatabase(purging.folder / "affidavit-data" / "affidavit.db", clock=clock)
    author = Author(clock, seed=9)
    waits: list[float] = []
    during: list[float] = []
    try:
        while run.poll() is None or not waits:
            clock.now = time.time_ns() // 1000
            rows = author.rows(draft("team.update", actor=Actor(type="user", id="kim")))
            begun = time.monotonic()
            database.events.insert(rows)
            waits.append(time.monotonic() - begun)
            if len(waits) % 50 == 0 and 1 < ask(purging, ALIVE) < PURGED:
                during.extend(waits[-50:])
    finally:
        database.close()
    assert run.returncode == 0
    assert ask(purging, ALIVE) == 1
    assert during, "nothing was recorded while rows were emptied"
    waits.sort()
    assert waits[len(waits) // 2] < USUAL, waits[-20:]
    assert waits[-1] < LONGEST, waits[-5:]
