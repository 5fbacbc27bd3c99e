"""Erasure: nothing of the person is left anywhere, everything else is provable, and nobody else can do it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Any

import pytest

from affidavit.config import Settings
from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.event import GROUPS, Actor, Change, Request, Resource, Session
from affidavit.core.manifest import open_manifest, parse_manifest
from affidavit.core.proof import parse_proof, verify_proof
from affidavit.core.subject import Subject
from affidavit.errors import InvalidEvent, Refused
from affidavit.log.signatures import check_signature
from affidavit.recorder.intake import Rights
from affidavit.storage.copies import Copies, Erasure
from affidavit.storage.sqlite.index_copies import SqliteIndexCopies
from affidavit.testing.postgres import PostgresEngine
from affidavit.wiring import open_store
from affidavit.wiring.erasure import registry_of
from affidavit.wiring.log import key_file
from affidavit.wiring.retention import GuardedManifests
from tests.erased import ACME, KIM, House, leaks

CANARY = "canary-q7x@example.org"


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """The worker claims and signs whenever it can, not once a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("affidavit.log.signer.EVERY", 0.0)
        patch.setattr("affidavit.log.upkeep.AGE", 0.0)
        yield


def fill(house: House) -> dict[str, str]:
    """Events that hold the canary in every way an exact hit can, and some that do not; id by name."""
    person = Actor(type="user", id=CANARY, name=CANARY.upper(), email=CANARY.title())
    bob = Actor(type="user", id="bob", email="bob@example.org")
    long = "x" * 9_000
    events: dict[str, dict[str, Any]] = {
        "actor": {"actor": person},
        "behalf": {"actor": bob, "on_behalf_of": person},
        "session": {"actor": bob, "session": Session(type="web", id=CANARY, token_name=CANARY.upper())},
        "resource": {"resources": (Resource(type="user", id=CANARY, name=CANARY.upper()),)},
        "params": {"request": Request(id="r-1", params={"q": [CANARY.upper()]})},
        "changes": {"changes": {"email": Change(old=CANARY, new="other@example.org")}},
        "metadata": {"metadata": {"deep": [{"who": CANARY.upper(), "pad": long}], "pad": long}},
        "reason": {"reason": CANARY},
        "bystander": {"actor": bob, "metadata": {"who": "bob@example.org"}},
    }
    ids = {name: house.record(f"case.{name}", **fields) for name, fields in events.items()}
    for number in range(60):
        who = person if number % 5 == 0 else Actor(type="user", id=f"u-{number}", email=f"u{number}@x.io")
        house.record("filler.event", actor=who, resources=(Resource(type="doc", id=f"d-{number}"),))
    return ids


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, dict[str, str], Path]]:
    """A house after an erasure; the ids of its events; a copy of its files from before."""
    folder = tmp_path_factory.mktemp("erased")
    house = House(folder / "data")
    ids = fill(house)
    house.seal()
    house.close()
    shutil.copytree(folder / "data", folder / "before")
    house.open()
    assert leaks(folder / "before", CANARY)
    house.erase(CANARY)
    yield house, ids, folder / "before"
    house.close()


def test_the_canary_is_in_no_file(erased: tuple[House, dict[str, str], Path]) -> None:
    """Case 60: no file of the instance, while it runs, holds the person in any form or case."""
    house, _, before = erased
    assert "affidavit.db: as it is" in leaks(before, CANARY)
    assert leaks(house.folder, CANARY) == []
    assert {"affidavit.db", "affidavit-log.db", "affidavit-index.db", "guard.db"} <= {
        path.name for path in house.folder.iterdir()
    }


def searched(copies: Copies, erasure: Erasure) -> list[str]:
    """What a place finds."""
    search = copies.search(erasure)
    while True:
        try:
            next(search)
        except StopIteration as stop:
            found: list[str] = stop.value
            return found


def test_every_place_of_the_registry_is_searched(erased: tuple[House, dict[str, str], Path]) -> None:
    """Case 60: each place finds the copies that stood there before, and none after."""
    house, _, before = erased
    database = house.instance.database
    going = {event.id: event.redacted for event in house.events() if event.redacted}
    erasure = Erasure(ACME, Subject(CANARY), False, database.events.last_seq(), going, "test")
    engine = house.instance.engine
    redactor = engine.redactor()
    registry = registry_of(engine, database, redactor)
    redactor.close()
    assert {place.name: searched(place, erasure) for place in registry.copies} == {
        "events": [],
        "search index": [],
        "settings": [],
        "tasks": [],
        "spool": [],
    }
    old = open_store(Settings(data_dir=before))
    events = searched(registry_of(old.engine, old.database, redactor).copies[0], erasure)
    old.close()
    assert len(events) == 10  # examples
    index = SqliteIndexCopies(Path(engine.name), before / "affidavit-index.db")
    terms, addresses = searched(index, erasure)
    assert terms.endswith(" terms")
    assert addresses == "1 e-mail addresses"


def test_exactly_the_groups_with_the_person_are_gone(erased: tuple[House, dict[str, str], Path]) -> None:
    """What an event loses is what a look through its groups from before says, to the letter."""
    house, ids, before = erased
    connection = sqlite3.connect(f"file:{before}/affidavit.db?mode=ro", uri=True)
    expected = {}
    for event_id, *texts in connection.execute(f"SELECT id, {', '.join(GROUPS)} FROM affidavit_events"):
        holding = [group for group, text in zip(GROUPS, texts, strict=True) if CANARY in text.lower()]
        expected[event_id.hex()] = tuple(holding)
    connection.close()
    after = {event.id.hex(): event.redacted for event in house.events() if event.id.hex() in expected}
    assert after == expected
    assert expected[ids["bystander"]] == ()
    assert expected[ids["behalf"]] == ("actor",)
    shown = next(event for event in house.events() if event.id.hex() == ids["metadata"])
    assert shown.groups()["actor"]["id"] == "bob"
    assert shown.actor_id == "bob"


def test_fsck_and_counts_agree(erased: tuple[House, dict[str, str], Path]) -> None:
    """Everything still verifies: each missing value is explained, nothing failed, in the index neither."""
    house, _, _ = erased
    house.seal()
    findings = house.fsck()
    assert findings.rest.failures == []
    (verdict,) = findings.trees.values()
    redacted = [event for event in house.events() if event.redacted]
    assert verdict.failures == []
    assert (verdict.redacted, verdict.failed) == (len(redacted), 0)
    assert verdict.verified == len(house.events()) - len(redacted)


def test_the_two_events_cite_the_manifest_and_do_not_name_the_person(
    erased: tuple[House, dict[str, str], Path],
) -> None:
    """Requested and completed, in this order, with counts; the manifest is signed, in log and guard alike."""
    house, _, _ = erased
    (requested,) = house.of("audit.erasure.requested")
    (completed,) = house.of("audit.erasure.completed")
    (manifest,) = house.instance.log.manifests(ACME)
    facts = json.loads(requested.facts or "{}")
    assert facts == json.loads(completed.facts or "{}") == {"manifest": sha256(manifest.body).hexdigest()}
    assert requested.seq < completed.seq
    lost = [event for event in house.events() if event.redacted]
    said = requested.groups()["metadata"]
    assert said["basis"] == "case 17"
    assert said["events"] == len(lost)
    assert said["groups"] == {
        group: count for group in GROUPS if (count := sum(group in event.redacted for event in lost))
    }
    keys = key_file(house.settings).load()
    body = open_manifest(
        manifest.body, manifest.note, keys.verifiers(parse_manifest(manifest.body).origin), check_signature
    )
    covered = {
        (index, group) for entry in body.entries for index in range(entry.start, entry.end + 1)
        for group in entry.groups
    }  # fmt: skip
    assert covered == {
        (event.place.index, group) for event in lost if event.place for group in event.redacted
    }
    assert GuardedManifests(house.settings).manifests() == [manifest]


def test_what_is_left_of_a_digest_cannot_be_guessed(erased: tuple[House, dict[str, str], Path]) -> None:
    """Case 64: with the value itself in hand, nothing that is stored opens the digest of what is gone."""
    house, ids, before = erased
    connection = sqlite3.connect(f"file:{before}/affidavit.db?mode=ro", uri=True)
    row = connection.execute(
        "SELECT secret, actor FROM affidavit_events WHERE id = ?", (bytes.fromhex(ids["actor"]),)
    )
    secret, value = row.fetchone()
    connection.close()
    salt = urlsafe_b64encode(shake_256(secret).digest(80)[:16]).decode().rstrip("=")
    digest = sha256(f'["{salt}","actor",{value}]'.encode()).hexdigest()
    stored = house.find(ids["actor"])
    remains = json.loads(stored.remains or "")
    assert remains["actor"] == {"digest": digest}
    assert stored.secret is None
    salts = [left["salt"] for each in house.events() if each.remains for left in
             json.loads(each.remains).values() if "salt" in left]  # fmt: skip
    assert len(salts) > 50
    guesses = {sha256(f'["{each}","actor",{value}]'.encode()).hexdigest() for each in [*salts, ""]}
    assert digest not in guesses
    files = [path for path in house.folder.iterdir() if path.is_file()]
    kept = [path.name for path in files if secret in path.read_bytes() or salt.encode() in path.read_bytes()]
    assert kept == []


def test_the_task_forgets_whom_it_was_about(erased: tuple[House, dict[str, str], Path]) -> None:
    """The list of erasures keeps basis and counts, and no subject."""
    house, _, _ = erased
    (task,) = house.instance.erasures.list(ACME)
    assert "subject" not in task.request
    assert task.request["basis"] == "case 17"
    assert task.outcome is not None
    assert task.outcome["events"] > 0


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


def person(subject: str = CANARY) -> Actor:
    """An actor who is the subject."""
    return Actor(type="user", id=subject, email=subject)


def failures(house: House) -> list[str]:
    """What is wrong, by fsck."""
    findings = house.fsck()
    return [str(each) for verdict in (findings.rest, *findings.trees.values()) for each in verdict.failures]


def test_proofs_issued_before_still_verify(house: House) -> None:
    """Case 61: the proof and the receipt that a client fetched before the erasure hold after it."""
    event_id = house.record(actor=person())
    house.seal()
    event = house.find(event_id)
    proof = parse_proof(house.instance.receipts.proof(event))
    receipt = json.loads(house.instance.receipts.receipt(event))
    house.erase(CANARY)
    house.seal()
    after = json.loads(house.instance.receipts.receipt(house.find(event_id)))
    assert after["leaf"] == receipt["leaf"]
    assert len(after["disclosures"]) == len(receipt["disclosures"]) - 1
    assert CANARY not in json.dumps(after)
    keys = key_file(house.settings).load()
    origin = house.instance.log.trees(ACME)[0].origin
    opened = open_checkpoint(proof.checkpoint, keys.verifiers(origin), check=check_signature)
    verify_proof(proof, receipt["leaf"].encode(), opened)
    now = parse_proof(after["proof"].encode())
    verify_proof(now, after["leaf"].encode(), open_checkpoint(now.checkpoint, keys.verifiers(origin)))


def test_a_value_that_is_gone_without_a_manifest_is_a_failure(house: House) -> None:
    """Case 56: the very update that an erasure makes, made by hand, is named by event and group."""
    kept = house.record(actor=person(), reason="told")
    house.seal()
    ((secret, reason),) = house.ask("SELECT secret, details FROM affidavit_events")
    stream = shake_256(secret).digest(80)
    salts = [urlsafe_b64encode(stream[at : at + 16]).decode().rstrip("=") for at in range(0, 80, 16)]
    left: dict[str, dict[str, str]] = {
        group: {"salt": salt} for group, salt in zip(GROUPS, salts, strict=True)
    }
    left["details"] = {"digest": sha256(f'["{salts[4]}","details",{reason}]'.encode()).hexdigest()}
    remains = json.dumps(left, sort_keys=True, separators=(",", ":"))
    house.edit(f"UPDATE affidavit_events SET details = NULL, secret = NULL, remains = '{remains}'")
    found = failures(house)
    assert len(found) == 1
    assert kept in found[0].replace("-", "")
    assert "details" in found[0]


def test_another_group_cannot_ride_along_with_an_erasure(house: House) -> None:
    """Case 57: what an erasure took explains that group of that event, and no neighbour of it."""
    first = house.record(actor=person(), reason="kept")
    house.record(reason="kept too")
    house.erase(CANARY)
    stored = json.loads(house.find(first).remains or "")
    salt = stored["details"]["salt"]
    text = house.find(first).details
    stored["details"] = {"digest": sha256(f'["{salt}","details",{text}]'.encode()).hexdigest()}
    remains = json.dumps(stored, sort_keys=True, separators=(",", ":"))
    assert failures(house) == []
    house.edit(
        f"UPDATE affidavit_events SET details = NULL, remains = '{remains}' WHERE id = {house.literal(first)}"
    )
    found = failures(house)
    assert len(found) == 1
    assert first in found[0].replace("-", "")


def test_digests_cannot_change_places(house: House) -> None:
    """Case 58: what remains of two events, swapped between them or within one, is named."""
    first, second = house.record(actor=person(), reason=CANARY), house.record(actor=person(), reason="other")
    house.erase(CANARY)
    assert failures(house) == []
    one, two = house.find(first).remains, house.find(second).remains
    inner = json.loads(one or "")
    inner["actor"], inner["details"] = inner["details"], inner["actor"]
    swapped = json.dumps(inner, sort_keys=True, separators=(",", ":"))
    house.edit(f"UPDATE affidavit_events SET remains = '{swapped}' WHERE id = {house.literal(first)}")
    assert any(first in each.replace("-", "") for each in failures(house))
    house.edit(f"UPDATE affidavit_events SET remains = '{one}' WHERE id = {house.literal(first)}")
    assert failures(house) == []
    third = json.loads(two or "")
    third["actor"] = json.loads(one or "")["actor"]
    foreign = json.dumps(third, sort_keys=True, separators=(",", ":"))
    house.edit(f"UPDATE affidavit_events SET remains = '{foreign}' WHERE id = {house.literal(second)}")
    assert any(second in each.replace("-", "") for each in failures(house))


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_nobody_else_can_announce_an_erasure(house: House) -> None:
    """A client that posts an event of ours is refused, whatever other rights it has."""
    for action in ("audit.erasure.requested", "audit.erasure.completed", "audit.erasure"):
        rights = Rights(may_import=True, may_set_id=True, verified=True)
        body = json.dumps({"action": action, "actor": {"type": "user", "id": "x"}}).encode()
        with pytest.raises(InvalidEvent):
            house.instance.intake.prepare_json(body, organization=ACME, by=None, rights=rights)
    assert house.events() == []


def test_an_edited_event_is_not_erased_away(house: House) -> None:
    """An insider who edits a row cannot have the proof of it taken away: the erasure refuses and says why."""
    event_id = house.record(actor=person(), reason="paid 5")
    house.seal()
    on_it = "_update" if house.database is None else "_keep ON affidavit_events"
    house.run(
        f"DROP TRIGGER affidavit_events{on_it}",
        "UPDATE affidavit_events SET details = replace(details, '5', '9')",
    )
    task = house.finish(house.order(CANARY))
    assert task.state == "failed"
    assert task.outcome is not None
    assert event_id in task.outcome["error"].replace("-", "")
    assert house.find(event_id).redacted == ()
    assert house.of("audit.erasure.requested") == []
    assert "subject" not in task.request


def test_a_legal_hold_wins(house: House) -> None:
    """Events under a hold are not erased: the request is refused, names the hold, and leaves no event."""
    event_id = house.record("billing.refund", actor=person())
    other = house.record("user.login", actor=person())
    hold = house.instance.holds.create(ACME, name="case 9", reason="r", by=KIM, class_="billing.*")
    task = house.finish(house.order(CANARY))
    assert task.state == "failed"
    assert hold.id in (task.outcome or {})["error"]
    assert "keeps 1 of these events" in (task.outcome or {})["error"]
    assert [house.find(each).redacted for each in (event_id, other)] == [(), ()]
    assert house.of("audit.erasure.requested") == []
    house.instance.holds.release(ACME, hold.id, KIM)
    house.erase(CANARY)
    assert [house.find(each).redacted for each in (event_id, other)] == [("actor",), ("actor",)]


def test_substrings_wait_for_a_word(house: House) -> None:
    """A text that merely holds the subject stays and is counted, until somebody includes it."""
    near = house.record(reason=f"told by {CANARY} in person", metadata={"inner": json.dumps({"x": CANARY})})
    exact = house.record(actor=person())
    first = house.erase(CANARY).outcome or {}
    assert first["unconfirmed"] == {"details": 1}
    assert (house.find(near).redacted, house.find(exact).redacted) == ((), ("actor",))
    second = house.erase(CANARY, include_substrings=True).outcome or {}
    assert second["unconfirmed"] == {}
    assert house.find(near).redacted == ("details",)
    assert house.leaks(CANARY) == []
    house.seal()
    assert failures(house) == []


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_a_dry_run_changes_and_records_nothing(house: House) -> None:
    """It counts what an erasure would do, with examples, and the events are as they were."""
    exact, near = house.record(actor=person(), reason=CANARY), house.record(reason=f"by {CANARY}")
    house.seal()
    before = [(event.id, event.values) for event in house.events()]
    outcome = house.erase(CANARY, dry_run=True).outcome or {}
    assert outcome["dry_run"] is True
    assert (outcome["events"], outcome["groups"]) == (1, {"actor": 1, "details": 1})
    assert outcome["hits"] == {"actor.email": 1, "actor.id": 1, "reason": 1, "substring": 1}
    shown = {sort: [each.replace("-", "") for each in ids] for sort, ids in outcome["examples"].items()}
    assert shown == {"exact": [exact], "substring": [near]}
    assert [(event.id, event.values) for event in house.events()] == before
    assert house.instance.log.manifests() == []


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_clear_fields_are_named(house: House) -> None:
    """What stands in a clear field cannot be erased, and the answer says so."""
    house.record(f"user.{'canary-q7x'}.update", actor=person("canary-q7x"), project="canary-q7x")
    outcome = house.erase("canary-q7x").outcome or {}
    assert outcome["clear"] == {"action": 1, "project": 1}
    assert outcome["groups"] == {"actor": 1}


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("subject", "more", "pointer"),
    [
        ("", {}, "/subject"),
        (" ana", {}, "/subject"),
        ("a\nb", {}, "/subject"),
        ("x" * 1_025, {}, "/subject"),
        ("ab", {"include_substrings": True}, "/subject"),
        ("KIM", {}, "/subject"),
        ("case 17", {}, "/basis"),
        ("ana", {"basis": " "}, "/basis"),
        ("ana", {"basis": "asked for by ANA"}, "/basis"),
        ("10.1.1.1", {"address": "10.1.1.1"}, "/subject"),
    ],
)
def test_a_request_that_would_keep_the_person_is_refused(
    house: House, subject: str, more: dict[str, Any], pointer: str
) -> None:
    """No subject, one too short, the asker, a basis that names the person: nothing is stored."""
    given = {"basis": "case 17", **more}
    with pytest.raises(Refused) as refused:
        house.instance.erasures.request(ACME, subject=subject, by=KIM, **given)
    assert pointer in {error.pointer for error in refused.value.errors}
    assert house.instance.erasures.list(ACME) == []
    assert house.events() == []


def test_names_in_settings_go_too(house: House) -> None:
    """A token of the organization that is named after the person keeps working under no name."""
    issued = house.instance.tokens.create(
        name=CANARY, organizations=(ACME,), abilities=("events:write",), by=KIM
    )
    house.erase(CANARY)
    (token,) = house.instance.tokens.list((ACME,))
    assert token.name == "[erased]"
    assert house.instance.tokens.authenticate(issued.text).id == token.id
    assert house.leaks(CANARY) == []
    house.seal()
    assert failures(house) == []


def test_a_second_erasure_finds_nothing_and_says_so(house: House) -> None:
    """Where nothing is found there is no manifest; the request and its end are recorded all the same."""
    house.record(actor=person())
    house.erase(CANARY)
    again = house.erase(CANARY).outcome or {}
    assert (again["events"], again["manifests"]) == (0, [])
    house.seal()
    assert [event.facts for event in house.of("audit.erasure.completed")][1] is None
    assert failures(house) == []


@pytest.mark.parametrize("house", ["sqlite"], indirect=True)
def test_no_value_goes_before_its_erasure_is_published(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is signed, the request stands in the log and every value stays; then it goes on."""
    event_id = house.record(actor=person())
    house.seal()
    house.close()
    with monkeypatch.context() as unsigned:
        unsigned.setattr("affidavit.log.signer.Signer.step", lambda _: 0)
        house.open()
        task = house.order(CANARY)
        for _ in range(300):
            house.work()
        (requested,) = house.of("audit.erasure.requested")
        assert requested.state == "sequenced"
        assert house.find(event_id).redacted == ()
    assert house.finish(task).state == "done"
    assert house.find(event_id).redacted == ("actor",)
