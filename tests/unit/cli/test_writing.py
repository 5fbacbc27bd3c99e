"""record, import, token, org, catalog and demo on a database of their own."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from affidavit.cli.exits import Exit

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Run


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Standard input; a test writes into it and rewinds."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))
    return buffer


def fill(stdin: io.BytesIO, text: str | bytes) -> None:
    """Make ``text`` what standard input holds."""
    stdin.write(text if isinstance(text, bytes) else text.encode())
    stdin.seek(0)


def test_the_first_writer_makes_a_private_database(run: Run, tmp_path: Path) -> None:
    """With a note; data directory 0700, database 0600."""
    done = run("record", "a.b", "--actor=user:x", "--organization=acme")
    assert done.code == 0
    assert "A new database is made" in done.err
    folder = tmp_path / "affidavit-data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "affidavit.db").stat().st_mode) == 0o600
    assert "new database" not in run("record", "a.b", "--actor=user:x", "--organization=acme").err


def test_record_takes_every_part_of_an_event(run: Run) -> None:
    """Flags become the fields of the event; secrets are masked."""
    done = run(
        "record",
        "secret.rotate",
        "--organization=acme",
        "--project=web",
        '--actor={"type":"user","id":"u1","name":"Ana Lima"}',
        "--actor-email=ana@acme.example",
        "--on-behalf-of=user:ben",
        "--resource=secret:arn:aws:s3:::b",
        '--resource={"type":"vault","id":"v1","name":"Main"}',
        "--outcome=failure",
        "--reason=partial rotation",
        "--ip=203.0.113.7",
        "--user-agent=curl/8",
        '--change=plan={"old":"free","new":"pro"}',
        "--change=token=abc",
        '--metadata={"keys":3,"password":"hunter2"}',
    )
    assert done.code == 0, done.err
    event = run("show", done.documents[0]["id"]).documents[0]
    assert event["source"] == "cli"
    assert event["actor"] == {
        "type": "user",
        "id": "u1",
        "name": "Ana Lima",
        "email": "ana@acme.example",
    }
    assert event["on_behalf_of"]["id"] == "ben"
    assert [resource["id"] for resource in event["resources"]] == ["arn:aws:s3:::b", "v1"]
    assert event["changes"]["plan"] == {"old": "free", "new": "pro"}
    assert event["changes"]["token"]["new"] == "[masked]"
    assert event["metadata"] == {"keys": 3, "password": "[masked]"}
    assert (event["reason"], event["ip"], event["outcome"]) == ("partial rotation", "203.0.113.7", "failure")


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ('{"action":"a.b","actor":{"type":"user","id":"x"}}', 1),
        (
            '[{"action":"a.b","actor":{"type":"user","id":"x"}},{"action":"a.c","actor":{"type":"user","id":"x"}}]',
            2,
        ),
        ('{"events":[{"action":"a.b","actor":{"type":"user","id":"x"}}]}', 1),
        (
            '{"action":"a.b","actor":{"type":"user","id":"x"}}\n\n{"action":"a.c","actor":{"type":"user","id":"x"}}\n',
            2,
        ),
        ('{\n  "action": "a.b",\n  "actor": {"type": "user", "id": "x"}\n}\n', 1),
    ],
)
def test_record_reads_events_from_standard_input(run: Run, stdin: io.BytesIO, text: str, events: int) -> None:
    """One object, pretty or not, an array, a batch of the API, or one object a line."""
    fill(stdin, text)
    done = run("record", "-", "--organization=acme")
    assert done.code == 0, done.err
    assert len(done.documents) == events
    assert len(run("events").documents) == events


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", Exit.USAGE, "is empty"),
        ("{", Exit.REFUSED, "not valid JSON"),
        ('{"action":"a.b"}', Exit.REFUSED, "actor"),
        ('{"action":"a.b","actor":{"type":"user","id":"x"},"colour":1}', Exit.REFUSED, "/colour"),
        ('{"action":"access.x","actor":{"type":"user","id":"x"}}', Exit.REFUSED, "product's own"),
        ('{"action":"a.b","actor":{"type":"user","id":"x"},"metadata":{"n":NaN}}', Exit.REFUSED, "JSON"),
        ('{"action":"a.b","action":"a.c","actor":{"type":"user","id":"x"}}', Exit.REFUSED, "twice"),
        (b'{"action":"a.b","actor":{"type":"user","id":"\xff"}}', Exit.REFUSED, "UTF-8"),
        ('{"action":"a.b","actor":{"type":"user","id":"\\ud800"}}', Exit.REFUSED, "surrogate"),
        (
            '{"action":"a.b","actor":{"type":"user","id":"x"},"metadata":'
            + '{"a":' * 1000
            + "1"
            + "}" * 1001,
            Exit.REFUSED,
            "deeper",
        ),
        (
            '{"action":"a.b","actor":{"type":"user","id":"x"},"metadata":{"a":"' + "x" * 300_000 + '"}}',
            Exit.REFUSED,
            "262,144",
        ),
        ("x" * (16 * 1024 * 1024 + 1), Exit.USAGE, "16 MiB"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_stored(
    run: Run, stdin: io.BytesIO, text: str | bytes, code: Exit, said: str
) -> None:
    """A clear error each, and an empty log afterwards."""
    assert run("org", "create", "acme").code == 0
    fill(stdin, text)
    done = run("record", "-", "--organization=acme")
    assert done.code == code, done
    assert said in done.err
    assert len(done.err) < 2_000
    assert run("events", "--not-action-group=access").documents == []


def test_a_repeated_key_is_recorded_once(run: Run) -> None:
    """The second time says duplicate; other content under the same key is refused."""
    same = ["record", "a.b", "--actor=user:x", "--organization=acme", "--idempotency-key=k"]
    moment = run("record", "a.a", "--actor=user:x", "--organization=acme").documents[0]["id"]
    at = run("show", moment).documents[0]["occurred_at"]
    first = run(*same, f"--occurred-at={at}").documents[0]
    assert run(*same, f"--occurred-at={at}").documents == [{"id": first["id"], "duplicate": True}]
    assert run(*same, f"--occurred-at={at}", "--reason=other").code == Exit.REFUSED
    assert run(*same).code == Exit.REFUSED


def test_an_import_names_what_does_not_go_in_and_repeats_without_harm(run: Run, tmp_path: Path) -> None:
    """The rest goes in; the second run adds nothing; the exit code says that something was rejected."""
    file = tmp_path / "log.ndjson"
    event = {"occurred_at": "2026-11-01T00:00:00Z", "actor": {"type": "user", "id": "x"}, "action": "a.b"}
    file.write_text(json.dumps(event) + "\nno json\n" + json.dumps({**event, "action": "a.c"}) + "\n")
    done = run("import", "ndjson", file, "--organization=acme", "--json")
    assert done.code == Exit.INCOMPLETE
    (counts,) = done.documents
    assert {name: counts[name] for name in ("read", "recorded", "duplicates", "rejected")} == {
        "read": 3,
        "recorded": 2,
        "duplicates": 0,
        "rejected": 1,
    }
    assert "log.ndjson:2: " in done.err
    (reject,) = (tmp_path / "log.ndjson.rejects.ndjson").read_text().splitlines()
    assert json.loads(reject)["line"] == 2
    (again,) = run("import", "ndjson", file, "--organization=acme", "--json").documents
    assert (again["recorded"], again["duplicates"]) == (0, 2)
    file.write_text(json.dumps(event) + "\n")
    assert run("import", "ndjson", file, "--organization=acme").code == 0


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    """Before anything is recorded."""
    done = run("import", "github", "none.json", "--organization=acme")
    assert done.code == Exit.REFUSED
    assert "none.json" in done.err


def test_a_token_is_shown_once_and_listed_without_its_text(run: Run) -> None:
    """Bare for a script, with --json as {"token": ...}; revoking ends it."""
    bare = run("token", "create", "--organization=acme", "--ability=events:write")
    assert bare.code == 0
    assert bare.out.startswith("aff_")
    assert bare.out.count("\n") == 1
    made = run(
        "token",
        "create",
        "--organization=acme",
        "--ability=events:write",
        "--ability=audit-log:list",
        "--json",
    ).documents[0]
    assert made["token"].startswith("aff_")
    listed = run("token", "list", "--organization=acme")
    assert len(listed.documents) == 2
    assert "aff_" not in listed.out
    assert run("token", "revoke", made["id"]).documents[0]["state"] == "revoked"
    assert {token["state"] for token in run("token", "list").documents} == {"active", "revoked"}
    actions = [event["action"] for event in run("events", "--organization=acme").documents]
    assert actions == ["access.token.revoked", "access.token.created", "access.token.created"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["create", "--organization=acme", "--ability=everything"], Exit.REFUSED),
        (["create", "--organization=../x", "--ability=events:write"], Exit.REFUSED),
        (
            ["create", "--organization=acme", "--ability=events:write", "--expires-at=2020-01-01"],
            Exit.REFUSED,
        ),
        (["create", "--ability=events:write"], Exit.USAGE),
        (["revoke", "tok_0000000000000000"], Exit.REFUSED),
    ],
)
def test_a_wrong_token_is_refused(run: Run, arguments: list[str], code: Exit) -> None:
    """An unknown ability, a bad organization, the past, no organization, an unknown token."""
    assert run("org", "create", "acme").code == 0
    assert run("token", *arguments).code == code
    assert run("token", "list").documents == []


def test_organizations_are_declared_once(run: Run) -> None:
    """Twice changes nothing, and one that only has events is listed too."""
    assert run("org", "create", "acme").documents[0]["created"] is True
    assert run("org", "create", "acme").documents[0]["created"] is False
    run("record", "a.b", "--actor=user:x", "--organization=beta")
    listed = {each["name"]: each["declared"] for each in run("org", "list").documents}
    assert listed == {"acme": True, "beta": False}
    assert run("org", "create", "affidavit:mine").code == Exit.REFUSED


CATALOG = """
from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields


class Billing(Catalog, prefix="billing", title="Billing"):
    refund = EventType("invoice.refund", title="Invoice refunded", metadata_schema=fields(amount=int))
"""


def test_a_catalog_is_pushed_versioned_and_checked_against(run: Run, tmp_path: Path) -> None:
    """Titles are shown at once; the same catalog again is no new version; departures are found."""
    (tmp_path / "my_billing.py").write_text(CATALOG)
    first = run("catalog", "push", "my_billing").documents[0]
    assert (first["version"], first["added"]) == (1, ["billing.invoice.refund"])
    assert run("catalog", "push", "my_billing").documents[0]["version"] == 1
    shown = run("catalog", "show", "billing.invoice.refund").documents[0]
    assert (shown["title"], shown["group_title"]) == ("Invoice refunded", "Billing")
    listed = run("catalog", "list", "--group=billing").documents
    assert "billing.invoice.refund" in {each["action"] for each in listed}
    event = ["record", "billing.invoice.refund", "--actor=user:x", "--organization=acme"]
    assert run(*event, '--metadata={"amount":1}').code == 0
    assert run("catalog", "check", "--organization=acme").code == 0
    run(*event, '--metadata={"amount":"much"}')
    run("record", "nobody.knows.this", "--actor=user:x", "--organization=acme")
    checked = run("catalog", "check", "--organization=acme")
    assert checked.code == Exit.INCOMPLETE
    assert {found["action"] for found in checked.documents} == {"billing.invoice.refund", "nobody.knows.this"}
    assert run("catalog", "show", "nobody.knows.this").code == Exit.REFUSED


def test_migrations_are_planned_and_applied_once(run: Run) -> None:
    """--plan changes nothing; afterwards nothing is left to do."""
    planned = run("migrate", "--plan")
    assert planned.code == 0
    assert {step["state"] for step in planned.documents} == {"planned"}
    assert run("migrate", "--plan").documents == planned.documents
    applied = run("migrate").documents
    assert [step["name"] for step in applied] == [step["name"] for step in planned.documents]
    assert run("migrate").documents == []


def test_the_demo_fills_its_own_database_once(run: Run, tmp_path: Path) -> None:
    """Deterministic by seed and end, marked, not made twice, refused where events are."""
    demo = ["demo", "--no-serve", "--days=3", "--end-date=2026-06-30"]
    assert run(*demo).code == 0
    first = run("events", "--data-dir=affidavit-demo", "--organization=meadow-data", "--limit=5").documents
    assert first
    assert "is there" in run(*demo).out
    assert run(*demo, "--data-dir=other").code == 0
    again = run("events", "--data-dir=other", "--organization=meadow-data", "--limit=6").documents
    kept = [event for event in again if event["action"].startswith("access.")]
    assert [event["id"] for event in again if event not in kept][:4] == [
        event["id"] for event in first if not event["action"].startswith("access.")
    ][:4]
    found = {each["check"]: each["state"] for each in run("doctor", "--data-dir=affidavit-demo").documents}
    assert found["demo"] == "warn"
    run("record", "a.b", "--actor=user:x", "--organization=acme")
    refused = run(*demo, "--data-dir=affidavit-data")
    assert refused.code == Exit.REFUSED
    assert "no demonstration" in refused.err


def test_doctor_names_what_is_wrong_and_what_to_do(run: Run, tmp_path: Path) -> None:
    """Modes that let others in fail, a missing worker warns, a missing database is one finding."""
    missing = run("doctor")
    assert missing.code == Exit.INCOMPLETE
    assert [found["check"] for found in missing.documents] == ["database"]
    run("record", "a.b", "--actor=user:x", "--organization=acme")
    sound = run("doctor")
    assert sound.code == 0
    states = {found["check"]: found["state"] for found in sound.documents}
    assert states["worker"] == "warn"
    assert states["data directory"] == states["schema"] == states["WAL"] == states["demo"] == "ok"
    (tmp_path / "affidavit-data").chmod(0o755)
    (tmp_path / "affidavit-data" / "token.key").chmod(0o600)
    loose = run("doctor")
    assert loose.code == Exit.INCOMPLETE
    (failed,) = [found for found in loose.documents if found["state"] == "fail"]
    assert failed["check"] == "data directory"
    assert failed["advice"].startswith("chmod 700 ")


def test_login_prints_one_bare_line(acme: Run) -> None:
    """The link, for the address of the settings."""
    done = acme("login", "--listen=127.0.0.1:9000")
    assert done.code == 0
    assert done.out.startswith("http://127.0.0.1:9000/audit/login?code=affl_")
    assert done.out.count("\n") == 1
    public = acme("login", "--public-url=https://audit.example.org/")
    assert public.out.startswith("https://audit.example.org/audit/login?code=")


def test_config_says_where_each_value_came_from(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Flag, environment, file or default; an unknown key or variable is an error."""
    (tmp_path / "affidavit.toml").write_text('log_level = "error"\n')
    monkeypatch.setenv("AFFIDAVIT_ORGANIZATION", "acme")
    shown = {each["setting"]: each for each in run("config", "--listen", "[::1]:1").documents}
    assert shown["listen"] == {"setting": "listen", "value": "[::1]:1", "source": "flag --listen"}
    assert shown["organization"]["source"] == "environment AFFIDAVIT_ORGANIZATION"
    assert shown["log_level"]["source"].startswith("file ")
    assert shown["geoip"]["source"] == "default"
    monkeypatch.setenv("AFFIDAVIT_ORGANISATION", "acme")
    wrong = run("config")
    assert wrong.code == Exit.USAGE
    assert "did you mean AFFIDAVIT_ORGANIZATION?" in wrong.err
