"""What was erased stays erased: repeats, importers and backups bring nothing back."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.access.operator import local_credential
from affidavit.config import Settings
from affidavit.core.event import Actor
from affidavit.log.erasure.account import ACCOUNT
from affidavit.recorder.intake import Rights
from affidavit.testing.postgres import PostgresEngine
from affidavit.wiring import open_store, reapply_manifests
from affidavit.wiring.log import recorder, reopen_log
from tests.e2e.program import Program
from tests.erased import ACME, House, leaks, leaks_in_tables
from tests.faults.load import Client, eventually
from tests.postgres import Server
from tests.shared_data import shared_data

CANARY = "canary-q7x@example.org"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker claims and signs whenever it can, not once a second."""
    monkeypatch.setattr("affidavit.log.signer.EVERY", 0.0)
    monkeypatch.setattr("affidavit.log.upkeep.AGE", 0.0)


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """A small one on each engine."""
    if request.param == "sqlite":
        made = House(tmp_path / "data")
        yield made
        made.close()
        return
    engine = PostgresEngine(request.getfixturevalue("postgres"), clock=None)
    made = House(tmp_path / "data", engine.create())
    yield made
    made.close()
    engine.close()


def person() -> Actor:
    """The subject."""
    return Actor(type="user", id=CANARY, email=CANARY)


def test_a_repeat_with_the_same_key_is_a_duplicate(house: House) -> None:
    """A client that sends an erased event again gets duplicate and revives nothing."""
    body = {
        "action": "user.update",
        "actor": {"type": "user", "id": CANARY},
        "idempotency_key": "k-1",
        "occurred_at": "2026-01-05T00:00:00Z",
        "metadata": {"n": 1},
    }

    def send(**changed: object) -> list[tuple[str, bool]]:
        rows = house.instance.intake.prepare_json(
            json.dumps({**body, **changed}).encode(),
            organization=ACME,
            by=None,
            rights=Rights(may_import=True),
        )
        return [(one.id.hex(), one.duplicate) for one in house.instance.insert(rows)]

    ((first, duplicate),) = send()
    assert not duplicate
    house.erase(CANARY)
    assert house.find(first).redacted == ("actor",)
    assert send() == [(first, True)]
    assert house.find(first).redacted == ("actor",)
    assert house.leaks(CANARY) == []


@pytest.mark.parametrize("sealed", [True, False])
def test_a_restored_postgresql_database_is_erased_again_and_says_so(
    tmp_path: Path, postgres: Server, *, sealed: bool
) -> None:
    """Database from before the erasure, guard from after it: the manifest is applied, kept and cited."""
    engine = PostgresEngine(postgres, clock=None)
    house = House(tmp_path / "data", engine.create())
    first = house.record(actor=person(), reason="kept")
    house.seal()
    second = house.record(actor=person(), metadata={"n": 2})
    third = house.record(reason="bystander")
    if sealed:
        house.seal()
    house.close()
    restored = copied(postgres, house)
    house.open()
    house.erase(CANARY)
    house.close()
    assert leaks_in_tables(restored, CANARY) != []
    store = open_store(Settings(data_dir=house.folder, database=restored))
    applied = reapply_manifests(store.settings, store.database)
    assert [(each.events, each.problem) for each in applied] == [(2, None)]
    found = store.database.events.fetch(ACME, [bytes.fromhex(each) for each in (first, second, third)])
    redacted = {event.id.hex(): event.redacted for event in found}
    store.close()
    assert redacted == {first: ("actor",), second: ("actor",), third: ()}
    assert leaks_in_tables(restored, CANARY) == []
    engine.close()


def test_what_waited_for_its_leaf_is_accounted_for_in_a_new_incarnation(
    tmp_path: Path, postgres: Server
) -> None:
    """Restored, erased again before it had a leaf, log reopened: its new tree explains what is missing."""
    engine = PostgresEngine(postgres, clock=None)
    house = House(tmp_path / "data", engine.create())
    house.record(reason="kept")
    house.seal()
    waited = house.record(actor=person(), metadata={"n": 2})
    house.close()
    restored = copied(postgres, house)
    house.open()
    house.record(reason="lost with the backup")
    house.erase(CANARY)
    house.close()
    again = House(house.folder, restored)
    for _ in range(5):
        again.work()  # the row gets a leaf that the guard does not let anybody sign
    assert again.find(waited).redacted == ("actor",)
    (task,) = [each for each in again.instance.tasks.open() if each.kind == ACCOUNT]
    instance = again.instance
    record = recorder(instance.database, instance.access_events, local_credential("kim"))
    again.upkeep.close()
    (reopened,) = reopen_log(instance.engine, instance.database, record)
    assert reopened.origin.endswith("/2")
    again.close()
    again.open()
    done = again.finish(task)
    assert (done.state, done.outcome and done.outcome["events"]) == ("done", 1), done
    again.seal()
    findings = again.fsck().total()
    assert findings.exit_code == 0, findings.failures
    assert findings.redacted == 1
    assert leaks_in_tables(restored, CANARY) == []
    again.close()
    engine.close()


def copied(server: Server, house: House) -> str:
    """URL of a copy of the database of a house that is closed; it goes with the server."""
    assert house.database is not None
    name = house.database.rpartition("/")[2]
    with server.connect() as session:
        session.execute(f"CREATE DATABASE {name}_restored TEMPLATE {name}".encode())
    return f"{house.database}_restored"


def test_an_importer_that_runs_again_revives_nothing(tmp_path: Path) -> None:
    """2,900 real CloudTrail events, imported twice with an erasure in between: duplicates only."""
    program = Program(tmp_path)
    folder = tmp_path / "affidavit-data"
    acme = ("--organization", ACME, "--json")
    files = shared_data("cloudtrail", "invictus")
    (first,) = program.json("import", "cloudtrail", files, *acme)
    assert first["recorded"] == 2_900

    def actors() -> dict[bytes, str | None]:
        connection = sqlite3.connect(folder / "affidavit.db")
        found = connection.execute("SELECT id, actor FROM affidavit_events WHERE action LIKE 'aws.%'")
        rows = dict(found.fetchall())
        connection.close()
        return rows

    before = actors()
    names = [json.loads(actor or "{}")["actor"].get("name", "") for actor in before.values()]
    # Somebody with a name of some length who acts now and then.
    name, events = next(
        (each, count) for each, count in Counter(names).most_common() if "@" in each or len(each) > 8
    )
    subject = ("--subject", name, "--basis", "case 17", "--include-substrings")
    (done,) = program.json("erase", *acme, *subject)
    assert done["hits"]["actor.name"] == events
    assert leaks(folder, name) == []
    (again,) = program.json("import", "cloudtrail", files, *acme)
    assert (again["recorded"], again["duplicates"]) == (0, 2_900)
    after = actors()
    assert after.keys() == before.keys()
    expected = {event_id for event_id, actor in before.items() if name.lower() in (actor or "").lower()}
    assert {event_id for event_id, actor in after.items() if actor is None} == expected
    assert leaks(folder, name) == []


def copy(source: Path, target: Path, *names: str) -> None:
    """Copy files of an instance that is closed."""
    target.mkdir(exist_ok=True)
    for name in names:
        shutil.copy(source / name, target / name)


def test_a_restored_app_file_is_erased_again_when_the_worker_starts(tmp_path: Path) -> None:
    """The app's file from before the erasure, beside the log and guard from after it: nothing comes back."""
    house = House(tmp_path / "data")
    event_id = house.record(actor=person(), reason="kept")
    for number in range(5):
        house.record(reason=f"r{number}")
    house.seal()
    house.close()
    copy(house.folder, tmp_path / "old", "affidavit.db")
    house.open()
    house.erase(CANARY)
    house.close()
    for name in ("affidavit.db-wal", "affidavit.db-shm"):
        (house.folder / name).unlink(missing_ok=True)
    copy(tmp_path / "old", house.folder, "affidavit.db")
    assert "affidavit.db: as it is" in leaks(house.folder, CANARY)
    house.open()
    assert house.find(event_id).redacted == ("actor",)
    assert leaks(house.folder, CANARY) == []
    house.close()


@pytest.mark.parametrize("kept", [("affidavit.db",), ("affidavit.db", "affidavit-log.db")])
@pytest.mark.parametrize("sealed", [True, False])
def test_a_restored_instance_is_erased_again_and_says_so(
    tmp_path: Path, kept: tuple[str, ...], *, sealed: bool
) -> None:
    """App's file and log from before, sealed or with rows that wait: the manifest is applied and cited."""
    house = House(tmp_path / "data")
    first = house.record(actor=person(), reason="kept")
    house.seal()
    second = house.record(actor=person(), metadata={"n": 2})
    third = house.record(reason="bystander")
    if sealed:
        house.seal()
    house.close()
    copy(house.folder, tmp_path / "old", *kept)
    house.open()
    house.erase(CANARY)
    house.close()
    for name in ("affidavit.db", "affidavit-log.db", "affidavit-index.db"):
        for more in ("", "-wal", "-shm"):
            (house.folder / (name + more)).unlink(missing_ok=True)
    copy(tmp_path / "old", house.folder, *kept)
    served = open_store(house.settings)
    applied = reapply_manifests(house.settings, served.database)
    assert [(each.events, each.problem) for each in applied] == [(2, None)]
    found = served.database.events.fetch(ACME, [bytes.fromhex(each) for each in (first, second, third)])
    assert {event.id.hex(): event.redacted for event in found} == {
        first: ("actor",),
        second: ("actor",),
        third: (),
    }
    served.close()
    assert leaks(house.folder, CANARY) == []
    if "affidavit-log.db" in kept:
        house.open()
        (manifest,) = house.instance.log.manifests(ACME)
        (cited,) = [event for event in house.of("audit.erasure.requested") if event.facts]
        assert json.loads(cited.facts or "") == {"manifest": manifest.hash.hex()}
        house.close()


def test_a_manifest_without_the_key_of_the_log_erases_nothing(house: House) -> None:
    """A guard that somebody wrote into is no reason to erase: the note must be the log's."""
    from affidavit.core.manifest import manifest_hash
    from affidavit.wiring.retention import GuardedManifests

    event_id = house.record(actor=person())
    house.record(reason="other")
    house.seal()
    house.erase(CANARY)
    (manifest,) = GuardedManifests(house.settings).manifests()
    wider = manifest.body.replace(b'["actor"]', b'["actor","details"]')
    forged = manifest._replace(hash=manifest_hash(wider), body=wider)
    GuardedManifests(house.settings).add(forged)
    answers = reapply_manifests(house.settings, house.instance.database)
    assert sorted((each.events, each.problem is None) for each in answers) == [(0, False), (0, True)]
    assert house.find(event_id).redacted == ("actor",)


@pytest.mark.slow
def test_a_server_on_a_restored_file_never_shows_what_was_erased(tmp_path: Path) -> None:
    """Before the server answers its first request, the restored person is gone."""
    program = Program(tmp_path)
    acme = ("--organization", ACME)
    (made,) = program.json("record", "user.update", *acme, "--actor", f"user:{CANARY}", "--json")
    folder = tmp_path / "affidavit-data"
    copy(folder, tmp_path / "old", "affidavit.db")
    program.json("erase", *acme, "--subject", CANARY, "--basis", "case 17", "--json")
    copy(tmp_path / "old", folder, "affidavit.db")
    assert leaks(folder, CANARY) != []
    with program.serving("--no-worker") as serving:
        client = Client(serving.address, (folder / "operator.token").read_text().strip())
        (event,) = [each for each in client.events() if each["id"] == made["id"]]
        assert event["redacted"] == ["actor"]
        eventually(lambda: leaks(folder, CANARY) == [], "the canary stays in a file")
