"""An erasure that is killed goes on: cut off after each of its pieces, and by SIGKILL in the real program."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from affidavit.core.event import Actor, Resource
from affidavit.log.erasure import find, manifests, registry
from affidavit.testing.postgres import PostgresEngine
from tests.e2e.program import Program
from tests.erased import ACME, House
from tests.faults.load import eventually

CANARY = "canary-q7x@example.org"
KILLS = 5


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """The worker claims and signs whenever it can; pieces are small, so that there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("affidavit.log.signer.EVERY", 0.0)
        patch.setattr("affidavit.log.upkeep.AGE", 0.0)
        patch.setattr(find, "PIECE", 0.0)
        patch.setattr(find, "ROWS", 5)
        patch.setattr(manifests, "PIECE", 2)
        patch.setattr(registry, "PIECE", 2)
        yield


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """URL of an empty PostgreSQL database; none for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    engine = PostgresEngine(request.getfixturevalue("postgres"), clock=None)
    yield engine.create()
    engine.close()


def fill(house: House, number: int) -> None:
    """Events, a third of which hold the canary."""
    for at in range(number):
        who = CANARY if at % 3 == 0 else f"u-{at}"
        house.record(
            actor=Actor(type="user", id=who, email=CANARY if at % 3 == 0 else None),
            resources=(Resource(type="user", id=who),),
        )


def check(house: House) -> None:
    """One request, one completion, nothing left, everything explained."""
    house.seal()
    assert house.leaks(CANARY) == []
    assert len(house.of("audit.erasure.requested")) == 1
    assert len(house.of("audit.erasure.completed")) == 1
    findings = house.fsck()
    assert findings.rest.failures == []
    (verdict,) = findings.trees.values()
    assert verdict.failures == []
    assert verdict.redacted == sum(bool(event.redacted) for event in house.events())
    assert verdict.redacted > 0


def test_an_erasure_goes_on_from_every_piece(tmp_path: Path, database: str | None) -> None:
    """Cut off after one round of the worker, after two, and so on, until it ends without a cut."""
    house = House(tmp_path / "data", database)
    fill(house, 20)
    house.seal()
    task = house.order(CANARY)
    cuts = 0
    while True:
        for _ in range(cuts + 1 if cuts < 25 else 200):
            house.work()
        found = house.instance.tasks.get(task.id)
        assert found is not None
        if found.ended:
            break
        cuts += 1
        house.close()
        house.open()
    assert found.state == "done", found
    assert cuts >= 10
    check(house)
    house.close()


@pytest.mark.parametrize(
    "step", ["manifests", "guard", "requested", "redact", "scrub", "completed", "forget"]
)
def test_a_write_that_was_applied_but_failed_is_repeated(
    tmp_path: Path, step: str, database: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each kind of write an error of the disk: the task starts again, and the end is the same."""
    from affidavit.errors import StorageError
    from affidavit.storage.postgres.events import PostgresEvents
    from affidavit.storage.postgres.log_writer import PostgresLogWriter
    from affidavit.storage.postgres.redaction import PostgresRedactor
    from affidavit.storage.sql.tasks import SqlTasks
    from affidavit.storage.sqlite.events import SqliteEvents
    from affidavit.storage.sqlite.log_writer import SqliteLogWriter
    from affidavit.storage.sqlite.redaction import SqliteRedactor
    from affidavit.wiring.retention import GuardedManifests

    writer, events, redactor = (
        (SqliteLogWriter, SqliteEvents, SqliteRedactor)
        if database is None
        else (PostgresLogWriter, PostgresEvents, PostgresRedactor)
    )
    places: dict[str, tuple[type, str]] = {
        "manifests": (writer, "add"),
        "guard": (GuardedManifests, "add"),
        "requested": (events, "insert"),
        "redact": (redactor, "redact"),
        "scrub": (redactor, "scrub"),
        "completed": (events, "insert"),
        "forget": (SqlTasks, "forget"),
    }
    house = House(tmp_path / "data", database)
    fill(house, 9)
    house.seal()
    owner, name = places[step]
    original = getattr(owner, name)
    failed: list[str] = []
    skipped = 1 if step == "completed" else 0
    calls: list[int] = []

    def applied_but_failed(self: object, *arguments: object) -> object:
        answer = original(self, *arguments)
        calls.append(1)
        if not failed and len(calls) > skipped:
            failed.append(step)
            raise StorageError("the disk said no, after it had written")
        return answer

    monkeypatch.setattr("affidavit.log.tasks.RETRY", 0.0)
    house.close()
    monkeypatch.setattr(owner, name, applied_but_failed)
    house.open()
    task = house.finish(house.order(CANARY))
    assert failed == [step]
    assert task.state == "done", task
    check(house)
    house.close()


@pytest.mark.slow
def test_an_erasure_survives_five_kills_of_the_program(tmp_path: Path, database: str | None) -> None:
    """The worker's process is killed at random moments while it erases; the task ends well all the same."""
    random = Random(5)
    house = House(tmp_path / "affidavit-data", database)
    fill(house, 400)
    house.seal()
    task = house.order(CANARY)
    instance = house.instance
    house.follower.close()
    house.upkeep.close()
    program = Program(tmp_path, database=database)
    unfinished = 0
    for _ in range(KILLS):
        with program.start("worker") as process:
            with suppress(subprocess.TimeoutExpired):
                process.wait(random.uniform(0.4, 1.1))
            process.kill()
            process.wait()
        assert process.returncode == -signal.SIGKILL
        found = instance.tasks.get(task.id)
        assert found is not None
        unfinished += not found.ended
    assert unfinished > 1
    with program.start("worker") as process:

        def ended() -> bool:
            found = instance.tasks.get(task.id)
            return found is not None and found.ended

        eventually(ended, "the erasure does not end")
        process.send_signal(signal.SIGTERM)
        process.wait()
    instance.close()
    house.open()
    found = house.instance.tasks.get(task.id)
    assert found is not None
    assert found.state == "done", found
    check(house)
    (verdict,) = house.fsck().trees.values()
    assert verdict.redacted == 134
    assert house.instance.log.trees(ACME)[0].size == len(house.events())
    house.close()
