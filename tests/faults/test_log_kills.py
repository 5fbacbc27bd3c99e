"""SIGKILL of the worker under load: no lost event, no second index, never two signed heads that disagree."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults.load import Load, eventually
from tests.faults.test_kills import Service, recorded
from tests.sealed import Note, World, check, read_note

SOAK_KILLS = int(os.environ.get("AFFIDAVIT_SOAK_LOG_KILLS", "200"))
"""How many times ``make soak`` kills the worker; ``make test`` kills it five times."""


def log_of(service: Service) -> Path:
    """The log file of a server."""
    return service.database.with_name("affidavit-log.db")


def signed(service: Service) -> list[Note]:
    """The checkpoints that stand in the log file at this moment, read beside the worker."""
    if not log_of(service).exists():
        return []
    connection = sqlite3.connect(f"file:{log_of(service)}?mode=ro", uri=True, timeout=30)
    try:
        if not connection.execute(
            "SELECT 1 FROM sqlite_schema WHERE name = 'affidavit_checkpoints'"
        ).fetchone():
            return []  # it is being made
        rows = connection.execute("SELECT note FROM affidavit_checkpoints").fetchall()
    finally:
        connection.close()
    return [read_note(note) for (note,) in rows]


def behind(service: Service) -> int:
    """Leaves that no checkpoint covers yet, and events without a leaf."""
    log = sqlite3.connect(f"file:{log_of(service)}?mode=ro", uri=True, timeout=30)
    events = sqlite3.connect(f"file:{service.database}?mode=ro", uri=True, timeout=30)
    try:
        if not log.execute("SELECT 1 FROM sqlite_schema WHERE name = 'affidavit_position'").fetchone():
            return 1  # it is being made
        (unsigned,) = log.execute("SELECT coalesce(sum(size - published), 0) FROM affidavit_trees").fetchone()
        (place,) = log.execute("SELECT seq FROM affidavit_position").fetchone()
        (last,) = events.execute("SELECT coalesce(max(seq), 0) FROM affidavit_events").fetchone()
    finally:
        log.close()
        events.close()
    return int(unsigned + last - place)


def verdict(service: Service) -> dict[str, Any]:
    """What ``affidavit fsck`` says of the live database; its exit code is that of its verdict."""
    ended = service.program.run("fsck", "--json")
    assert ended.code in (0, 1), ended.err
    (document,) = ended.documents
    assert document["sound"] is (ended.code == 0)
    found: dict[str, Any] = document
    return found


def survive(folder: Path, kills: int) -> None:
    """Record while the worker is killed at chosen and at random moments, then look at everything."""
    random = Random(kills)
    service = Service(folder)
    service.start()
    seen: list[Note] = []
    answered: set[str] = set()
    with ExitStack() as stack:
        stack.callback(service.end)
        eventually(lambda: log_of(service).exists(), "the log was never made")
        for number in range(kills):
            with Load(lambda: service.client, seed=number) as load:
                load.more(random.randrange(1, 200))
                service.kill_worker()
                seen += signed(service)
                load.more(random.randrange(1, 50))
            assert load.refused == []
            answered |= set(load.answered.values())
            eventually(lambda: behind(service) == 0, "the worker did not catch up")
            seen += signed(service)
            found = verdict(service)
            assert found["sound"], found["failures"][:5]
    stored = {event.id.hex() for event in recorded(service.database)}
    assert {each.replace("-", "") for each in answered} <= stored, "an answered event is not there"
    world = World(service.database.parent)
    world.work()
    check(world, signed=seen)
    assert world.kinds() == []
    assert len({(note.origin, note.size) for note in seen}) == len(
        {(note.origin, note.size, note.root) for note in seen}
    )
    world.close()


@pytest.mark.slow
def test_the_log_survives_five_kills_of_its_worker(tmp_path: Path) -> None:
    """Attack case 17, at moments that nobody chose; fsck is asked after each kill."""
    survive(tmp_path, 5)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_log_survives_two_hundred_kills(tmp_path: Path) -> None:
    """The same, as often as AFFIDAVIT_SOAK_LOG_KILLS says."""
    survive(tmp_path, SOAK_KILLS)


@pytest.mark.slow
def test_signing_stops_and_the_server_stays_ready(tmp_path: Path) -> None:
    """Without its log file and its guard a server records and reads on, and says what is wrong."""
    service = Service(tmp_path)
    service.start()
    with ExitStack() as stack:
        stack.callback(service.end)
        with Load(lambda: service.client, seed=1) as load:
            load.more(50)
            eventually(lambda: bool(signed(service)), "nothing was signed")
        service.kill()
        guard = service.database.with_name("guard.db")
        guard.rename(guard.with_name("guard.away"))
        service.start()
        client = service.client
        assert client is not None
        before = signed(service)
        with Load(lambda: service.client, seed=2) as load:
            load.more(50)
        eventually(
            lambda: [each["kind"] for each in status(service)["alarms"]] == ["guard_missing"],
            "the missing guard was never named",
        )
        assert client.ask("GET", "/readyz") == (200, {"ready": True})
        assert signed(service) == before
        doctor = service.program.run("doctor", "--json")
        assert doctor.code == 1
        assert any(
            each["check"] == "log" and each["state"] == "fail" and "guard_missing" in each["found"]
            for each in doctor.documents
        )
        guard.with_name("guard.away").rename(guard)
        eventually(lambda: behind(service) == 0, "signing did not go on with the guard back")
        eventually(lambda: status(service)["alarms"] == [], "the alarm was not cleared")
    world = World(service.database.parent)
    check(world, signed=before)
    world.close()


@pytest.mark.slow
@pytest.mark.parametrize("case", ["log lost", "events from before"])
def test_a_running_worker_reopens_the_log_on_order(tmp_path: Path, case: str) -> None:
    """The worker stops at files that do not belong together, does what log reopen orders, and goes on."""
    service = Service(tmp_path)
    service.start()
    with ExitStack() as stack:
        stack.callback(service.end)
        with Load(lambda: service.client, seed=1) as load:
            load.more(30)
        eventually(lambda: bool(signed(service)) and behind(service) == 0, "nothing was signed")
        kept = tmp_path / "kept.db"
        copy(service.database, kept)
        with Load(lambda: service.client, seed=2) as load:
            load.more(30)
        eventually(lambda: behind(service) == 0, "the worker did not catch up")
        service.kill()
        before = signed(service)
        lost = log_of(service) if case == "log lost" else service.database
        for suffix in ("", "-wal", "-shm"):
            lost.with_name(f"{lost.name}{suffix}").unlink(missing_ok=True)
        if case != "log lost":
            kept.rename(service.database)
        service.start()
        with Load(lambda: service.client, seed=3) as load:
            load.more(30)
        eventually(lambda: status(service)["alarms"] != [], "nothing was named")
        assert signed(service) == before or case == "log lost"
        ended = service.program.run("log", "reopen", "--json")
        assert ended.code == 0, ended.err
        (document,) = ended.documents
        newest = {note.origin: note for note in sorted(before, key=lambda note: note.size)}
        quoted = {each["checkpoint"] for each in document["reopened"]}
        assert "" not in quoted
        assert quoted <= {note.text for note in newest.values()}
        assert any(each["organization"] == "acme" for each in document["reopened"])
        eventually(lambda: behind(service) == 0, "the new log was not signed to its end")
        eventually(lambda: status(service)["alarms"] == [], "an alarm stays although all is settled")
    world = World(service.database.parent)
    check(world, signed=() if case == "log lost" else before)
    world.close()


def copy(source: Path, target: Path) -> None:
    """Back a database up while it is used."""
    opened, made = sqlite3.connect(source), sqlite3.connect(target)
    opened.backup(made)
    opened.close()
    made.close()


def status(service: Service) -> dict[str, Any]:
    """What ``affidavit log status`` says."""
    ended = service.program.run("log", "status", "--json")
    (document,) = ended.documents
    assert ended.code == (1 if document["alarms"] else 0)
    found: dict[str, Any] = document
    return found
