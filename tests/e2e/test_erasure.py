"""Erasure through the real program: command line, server and worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.program import Program
from tests.erased import leaks
from tests.faults.load import eventually
from tests.programs import Programs, ask, leaks_of

CANARY = "canary-q7x@example.org"
ACME = ("--organization", "acme")


@pytest.fixture
def program(tmp_path: Path, programs: Programs) -> Program:
    """The command line in a folder of its own."""
    return programs(tmp_path)


def record(program: Program, *actors: str) -> list[str]:
    """Events by these actors; their ids."""
    lines = [json.dumps({"action": "user.update", "actor": {"type": "user", "id": each}}) for each in actors]
    return [made["id"] for made in program.json("record", "-", *ACME, stdin="\n".join(lines))]


@pytest.mark.requirement("R66")
def test_dry_run_then_erasure_on_the_command_line(program: Program) -> None:
    """Counts first, nothing changed; then the same counts for good, a bundle that verifies, a clean fsck."""
    ids = record(program, CANARY, "bob", CANARY)
    asked = ("erase", *ACME, "--subject", CANARY, "--basis", "case 17")
    (dry,) = program.json(*asked, "--dry-run", "--json")
    assert (dry["dry_run"], dry["events"], dry["groups"]) == (True, 2, {"actor": 2})
    assert sorted(dry["examples"]["exact"]) == sorted([ids[0], ids[2]])
    events = program.json("events", *ACME, "--json")
    assert [event["actor"]["id"] for event in events] == [CANARY, "bob", CANARY]
    (done,) = program.json(*asked, "--json")
    assert (done["events"], done["groups"]) == (2, {"actor": 2})
    assert leaks_of(program, CANARY) == []
    events = program.json("events", *ACME, "--json")
    assert {event["id"]: event.get("redacted") for event in events if event["action"] == "user.update"} == {
        ids[0]: ["actor"],
        ids[1]: None,
        ids[2]: ["actor"],
    }
    program.json("index", "rebuild", "--json")  # the worker's round seals the last event, too
    (verdict,) = program.json("fsck", "--json")
    assert (verdict["sound"], verdict["redacted"]) == (True, 2)
    bundle = program.folder / "acme.zip"
    assert program.run("export", *ACME, "--format", "bundle", "--output", bundle).code == 0
    vkey = program.run("log", "key", "show", *ACME).out.strip()
    (verified,) = program.json("verify", bundle, "--key", vkey, "--json")
    assert (verified["sound"], verified["redacted"], verified["failed"]) == (True, 2, 0)


def test_a_refused_request_says_why_and_ends_with_3(program: Program) -> None:
    """A basis that names the person and a missing organization are refused before anything is stored."""
    record(program, CANARY)
    done = program.run("erase", *ACME, "--subject", CANARY, "--basis", f"letter of {CANARY}")
    assert (done.code, done.out) == (3, "")
    assert "must not name the person" in done.err
    assert program.run("erase", "--subject", CANARY, "--basis", "x").code == 2
    nowhere = program.run("erase", "--organization=nobody", "--subject", CANARY, "--basis", "x")
    assert (nowhere.code, nowhere.out) == (3, "")
    assert "There is no organization 'nobody'" in nowhere.err
    assert [each["name"] for each in program.json("org", "list")] == ["acme"]
    held = program.json("hold", "create", *ACME, "--name", "case 7", "--reason", "r")[0]["id"]
    done = program.run("erase", *ACME, "--subject", CANARY, "--basis", "case 17")
    assert done.code == 1
    assert held in done.err


def test_without_waiting_the_worker_does_it(program: Program) -> None:
    """--no-wait returns at once; the next worker completes the erasure."""
    record(program, CANARY)
    (left,) = program.json("erase", *ACME, "--subject", CANARY, "--basis", "case 17", "--no-wait", "--json")
    assert left["state"] == "waiting"

    def state() -> str:
        ((found,),) = ask(program, f"SELECT state FROM affidavit_tasks WHERE id = '{left['task']}'")
        return str(found)

    assert state() == "waiting"
    with program.start("worker") as worker:
        eventually(lambda: state() == "done", "the worker does not do it")
        worker.terminate()
    assert leaks_of(program, CANARY) == []


def seal(program: Program, size: int) -> None:
    """Have the log sign a checkpoint of this size."""

    def signed() -> bool:
        program.json("index", "rebuild", "--json")
        done = program.run("log", "checkpoint", *ACME)
        return done.code == 0 and done.out.splitlines()[1] == str(size)

    eventually(signed, f"no checkpoint of size {size} is signed")


@pytest.mark.slow
@pytest.mark.sqlite
def test_events_of_two_incarnations_are_erased_at_once(program: Program) -> None:
    """After a lost log and a new incarnation there is a manifest for each tree, and one event cites both."""
    folder = program.folder / "affidavit-data"
    record(program, CANARY, "bob")
    seal(program, 2)
    old = (folder / "affidavit-log.db").read_bytes()
    record(program, CANARY)
    seal(program, 3)
    (folder / "affidavit-log.db").write_bytes(old)
    (reopened,) = program.json("log", "reopen", "--json")
    assert reopened["reopened"][0]["origin"].endswith("/2")
    record(program, CANARY)
    (done,) = program.json("erase", *ACME, "--subject", CANARY, "--basis", "case 17", "--json")
    assert (done["events"], len(done["manifests"])) == (3, 2)
    asked = ("events", *ACME, "--action", "audit.erasure.requested", "--json")
    (requested,) = program.json(*asked)
    assert requested["facts"] == dict(zip(("manifest_1", "manifest"), done["manifests"], strict=True))
    assert leaks(folder, CANARY) == []
    (verdict,) = program.json("fsck", "--json")
    assert (verdict["sound"], verdict["redacted"]) == (True, 3)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, programs: Programs
) -> Iterator[tuple[httpx2.Client, Program]]:
    """A server with its worker, asked by the operator; the program."""
    program = programs(tmp_path_factory.mktemp("server"))
    folder = program.folder / "affidavit-data"
    with program.serving() as serving:
        token = (folder / "operator.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        with httpx2.Client(base_url=serving.address, headers=headers, trust_env=False, timeout=60) as client:
            yield client, program


def token_for(client: httpx2.Client, organization: str, *abilities: str) -> dict[str, str]:
    """The header of a new token."""
    asked = {"name": "t", "organizations": [organization], "abilities": abilities}
    made = client.post("/api/v1/tokens", json=asked)
    return {"authorization": f"Bearer {made.json()['token']}"}


@pytest.mark.postgres
def test_over_http(server: tuple[httpx2.Client, Program]) -> None:
    """Asked for, done by the worker beside the server, listed without the person; repeats stay duplicates."""
    client, program = server
    headers = token_for(client, "acme", "erasure:manage", "events:write", "audit-log:list")
    event: dict[str, Any] = {
        "action": "user.update",
        "actor": {"type": "user", "id": CANARY, "email": CANARY.upper()},
        "idempotency_key": "k-1",
        "occurred_at": "2026-11-21T00:00:00Z",
    }
    (made,) = client.post("/api/v1/events", json=event, headers=headers).json()["events"]
    body = {"subject": CANARY, "basis": "case 17", "dry_run": True}
    dry = client.post("/api/v1/erasures", json=body, headers=headers)
    assert dry.status_code == 202

    def ended(erasure: str) -> dict[str, Any] | None:
        answer = client.get(f"/api/v1/erasures/{erasure}", headers=headers)
        assert answer.status_code == 200
        assert CANARY not in answer.text.lower()
        found: dict[str, Any] = answer.json()
        return found if found["state"] in ("done", "failed") else None

    eventually(lambda: ended(dry.json()["id"]) is not None, "the dry run does not end")
    counted = ended(dry.json()["id"])
    assert counted is not None
    assert (counted["dry_run"], counted["events"], counted["examples"]["exact"]) == (True, 1, [made["id"]])
    asked = client.post("/api/v1/erasures", json={**body, "dry_run": False}, headers=headers).json()
    eventually(lambda: ended(asked["id"]) is not None, "the erasure does not end")
    done = ended(asked["id"])
    assert done is not None
    assert (done["state"], done["groups"], len(done["manifests"])) == ("done", {"actor": 1}, 1)
    listed = client.get("/api/v1/erasures", headers=headers).json()["erasures"]
    assert [each["id"] for each in listed] == [asked["id"], dry.json()["id"]]
    again = client.post("/api/v1/events", json=event, headers=headers)
    assert again.json()["events"] == [{"id": made["id"], "duplicate": True}]
    shown = client.get(f"/api/v1/events/{made['id']}", headers=headers).json()
    assert shown["redacted"] == ["actor"]
    assert leaks_of(program, CANARY) == []


def test_only_who_may_erase_can_ask_or_look(server: tuple[httpx2.Client, Program]) -> None:
    """Without the ability 403, elsewhere 404, against a rule 422, an event of ours 422."""
    client, _ = server
    ours = token_for(client, "beta", "erasure:manage", "events:write")
    reader = token_for(client, "beta", "audit-log:list")
    body = {"subject": "somebody", "basis": "case 17"}
    assert client.post("/api/v1/erasures", json=body, headers=reader).status_code == 403
    assert client.get("/api/v1/erasures", headers=reader).status_code == 403
    made = client.post("/api/v1/erasures", json=body, headers=ours).json()["id"]
    other = token_for(client, "gamma", "erasure:manage")
    assert client.get(f"/api/v1/erasures/{made}", headers=other).status_code == 404
    assert client.get("/api/v1/erasures", headers=other).json() == {"erasures": []}
    named = {**body, "basis": "for SOMEBODY"}
    assert client.post("/api/v1/erasures", json=named, headers=ours).status_code == 422
    for action in ("audit.erasure.requested", "audit.erasure.completed", "audit.erasure"):
        event = {"action": action, "actor": {"type": "user", "id": "x"}}
        assert client.post("/api/v1/events", json=event, headers=ours).status_code == 422
    facts = {"action": "user.update", "actor": {"type": "user", "id": "x"}, "facts": {"manifest": "00" * 32}}
    assert client.post("/api/v1/events", json=facts, headers=ours).status_code == 422
