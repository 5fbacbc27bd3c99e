"""``affidavit log``, as an operator uses it: the real program on real files, no worker beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.note import parse_verifier
from tests.e2e.program import Program
from tests.sealed import World


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A folder with a database of two signed logs."""
    world = World(tmp_path / "affidavit-data")
    world.record("acme", "acme", "beta")
    world.work()
    world.close()
    return Program(tmp_path)


def work(program: Program) -> None:
    """What a worker would do in a second."""
    world = World(program.folder / "affidavit-data")
    world.clock.forward(86_400_000_000 * 300)
    world.work()
    world.close()


def test_the_verifier_key_is_one_line_that_opens_the_checkpoint(program: Program) -> None:
    """Key and checkpoint come out bare, ready for a file, and belong together."""
    key = program.run("log", "key", "show", "--organization", "acme")
    checkpoint = program.run("log", "checkpoint", "--organization", "acme")
    assert (key.code, checkpoint.code) == (0, 0)
    assert key.out.count("\n") == 1
    verifier = parse_verifier(key.out.rstrip("\n"))
    opened = open_checkpoint(checkpoint.out.encode(), [verifier])
    assert (opened.checkpoint.size, opened.checkpoint.origin) == (2, verifier.name)


def test_an_organization_without_a_log_is_named(program: Program) -> None:
    """Neither a key nor a checkpoint of nothing; and without a name the flag is asked for."""
    for command in (("key", "show"), ("checkpoint",)):
        ended = program.run("log", *command, "--organization", "nobody")
        assert (ended.code, ended.out) == (3, "")
        assert "'nobody' has no log yet" in ended.err
        ended = program.run("log", *command)
        assert ended.code == 2
        assert "--organization" in ended.err


def test_a_rotation_from_begin_to_end(program: Program) -> None:
    """Both keys sign, the old one goes, and the events say so; retiring too early is refused."""
    old = program.run("log", "key", "show", "--organization", "acme").out
    early = program.run("log", "key", "retire")
    assert early.code == 4
    assert "rotate first" in early.err
    assert program.run("log", "key", "rotate", "--json").code == 0
    new = program.run("log", "key", "show", "--organization", "acme").out
    assert new != old
    early = program.run("log", "key", "retire")
    assert early.code == 4
    assert "not signed by the new key yet" in early.err
    work(program)
    checkpoint = program.run("log", "checkpoint", "--organization", "acme").out.encode()
    keys = [parse_verifier(text.rstrip("\n")) for text in (old, new)]
    assert open_checkpoint(checkpoint, keys).signers == tuple(keys)
    assert program.run("log", "key", "retire", "--json").code == 0
    states = [each["state"] for each in program.run("log", "key", "list", "--json").documents]
    assert states == ["retired", "signing"]
    actions = [each["action"] for each in program.run("events", "--organization", "beta", "--json").documents]
    assert actions[:2] == ["log.key.retired", "log.key.rotated"]


def test_nothing_to_mend_is_said(program: Program) -> None:
    """Where all is well neither command changes anything, and status exits with 0."""
    folder = program.folder / "affidavit-data"
    guard = program.run("log", "guard", "show", "--json").documents
    assert {(each["organization"], each["size"]) for each in guard} == {("acme", 2), ("beta", 1)}
    assert program.run("log", "guard", "accept", "--json").documents == [{"accepted": []}]
    assert program.run("log", "reopen", "--json").documents == [{"reopened": []}]
    status = program.run("log", "status", "--json")
    assert status.code == 0
    (document,) = status.documents
    assert (document["logs"], document["signed"], document["alarms"]) == (2, 2, [])
    assert json.loads(json.dumps(guard)) == program.run("log", "guard", "show", "--json").documents
    assert (folder / "guard.db").exists()


def test_a_lost_guard_from_alarm_to_acceptance(program: Program) -> None:
    """Status and doctor name it and exit with 1; after the acceptance nothing stands."""
    (program.folder / "affidavit-data" / "guard.db").unlink()
    status = program.run("log", "status", "--json")
    assert status.code == 1
    assert [each["kind"] for each in status.documents[0]["alarms"]] == ["guard_missing"]
    shown = program.run("log", "guard", "show")
    assert shown.code == 4
    assert "log guard accept" in shown.err
    accepted = program.run("log", "guard", "accept", "--json").documents[0]["accepted"]
    assert {(each["organization"], each["size"]) for each in accepted} == {("acme", 2), ("beta", 1)}
    assert program.run("log", "status", "--json").code == 0


def test_a_lost_key_is_replaced_on_order_only(program: Program) -> None:
    """A key that is there is never replaced by create; one that is lost is, and each log says so."""
    path = program.folder / "affidavit-data" / "log.key"
    refused = program.run("log", "key", "create")
    assert refused.code == 4
    assert "log key rotate" in refused.err
    path.unlink()
    assert program.run("log", "key", "show", "--organization", "acme").code == 4
    assert program.run("log", "status", "--json").documents[0]["alarms"][0]["kind"] == "log_key"
    assert program.run("log", "key", "create", "--json").code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert program.run("log", "status", "--json").code == 0
    (event, *_) = program.run("events", "--organization", "acme", "--json").documents
    assert (event["action"], event["facts"]["old"]) == ("log.key.rotated", "")
