"""The program as people and scripts run it: processes, pipes, terminals, signals."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import COMMAND, Program, children
from tests.programs import Programs, change
from tests.shared_data import shared_data

REFUSED, USAGE, STORAGE, INTERRUPTED = 3, 2, 4, 130


@pytest.fixture
def program(tmp_path: Path, programs: Programs) -> Program:
    """The program in an empty folder."""
    return programs(tmp_path)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Program:
    """A workspace with a history of nine events, recorded at the command line."""
    program = programs(tmp_path_factory.mktemp("history"))
    ana = {"type": "user", "id": "u1", "name": "Ana Lima", "email": "ana@acme.example"}
    ben = {"type": "user", "id": "u2", "name": "Ben Ode", "email": "ben@acme.example"}
    secret = {"type": "secret", "id": "s1", "name": "stripe-key"}
    events: list[dict[str, Any]] = [
        {
            "action": "auth.login.failed",
            "actor": ben,
            "outcome": "failure",
            "ip": "198.51.100.9",
            "source": "web",
        },
        {"action": "auth.login.success", "actor": ana, "ip": "203.0.113.7", "source": "web"},
        {"action": "user.create", "actor": ana, "resources": [{"type": "user", "id": "u3", "name": "Cy"}]},
        {"action": "secret.rotate", "actor": ana, "resources": [secret], "reason": "partial rotation"},
        {"action": "user.delete", "actor": {"type": "system", "id": "scim"}, "source": "sso_sync"},
        {
            "action": "flow.create",
            "actor": ben,
            "project": "web",
            "session": {"type": "api_key", "token_name": "ci"},
            "metadata": {"flow": {"name": "Nightly", "steps": [1, 2]}},
        },
        {
            "action": "team.update",
            "actor": ana,
            "changes": {"name": {"old": "Ops", "new": "Operations"}},
        },
        {"action": "role.permission.update", "actor": ben, "resources": [{"type": "role", "id": "r1"}]},
        {"action": "runner.update", "actor": ben, "source": "scheduler"},
    ]
    for number, event in enumerate(events):
        event["occurred_at"] = f"2026-11-{12 + number // 3:02d}T{(0, 12, 23)[number % 3]:02d}:59:59.999999Z"
        event["idempotency_key"] = f"k{number}"
    lines = "\n".join(map(json.dumps, events))
    assert len(program.json("record", "-", "--organization=acme", stdin=lines)) == len(events)
    return program


def found(program: Program, *filters: str) -> list[str]:
    """The actions that the filters find, newest first."""
    return [event["action"] for event in program.json("events", "--organization=acme", *filters)]


def test_serve_starts_from_nothing_and_ends_on_sigterm(program: Program) -> None:
    """A database, a private folder, a login link, a worker; and nothing is left running."""
    with program.serving(lines=3) as serving:
        link = serving.said[2]
        assert link.startswith(f"{serving.address}/audit/login?code=affl_")
        with urllib.request.urlopen(f"{serving.address}/healthz") as answer:
            assert answer.status == 200
        with urllib.request.urlopen(link) as answer:
            assert answer.status == 200
        (worker,) = children(serving.process.pid)
        findings = program.run("doctor").documents
        assert [each["state"] for each in findings if each["check"] == "worker"] == ["ok"]
        # The tests' PostgreSQL does not sync, and doctor says so.
        failing = {each["check"] for each in findings if each["state"] == "fail"}
        assert failing == (set() if program.database is None else {"durability"})
        folder = program.folder / "affidavit-data"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in folder.iterdir())
    assert not Path(f"/proc/{worker}").exists()
    with program.serving(lines=2) as serving:
        assert serving.said[1] == "For a link that signs you in: affidavit login"


def test_a_token_of_the_command_line_opens_the_api_until_it_is_revoked(program: Program) -> None:
    """What is recorded over HTTP is found at the command line, by the same filters."""
    created = program.json(
        *("token", "create", "--organization", "acme", "--ability", "events:write", "--json"),
    )[0]
    with program.serving() as serving:

        def post() -> int:
            body = json.dumps({"action": "user.create", "actor": {"type": "user", "id": "ana"}}).encode()
            headers = {"Authorization": f"Bearer {created['token']}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{serving.address}/api/v1/events", body, headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                with error:
                    return error.code

        assert post() == 201
        (event,) = program.json(
            "events", "--organization", "acme", "--token", created["id"], "--action", "user.*"
        )
        assert event["recorded_by"]["token_id"] == created["id"]
        program.json("token", "revoke", created["id"])
    with program.serving() as serving:
        assert post() == 401


@pytest.mark.sqlite
def test_serve_does_not_touch_a_database_without_its_tables(program: Program) -> None:
    """It says what to run; after that it serves."""
    file = program.folder / "app.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE of_the_app (a)")
    connection.close()
    done = program.run("serve", "--database=sqlite:///app.db", "--listen=127.0.0.1:0")
    assert done.code == STORAGE
    assert "affidavit migrate" in done.err
    assert len(done.err.splitlines()) == 1
    program.json("migrate", "--database=sqlite:///app.db")
    with program.serving("--database=sqlite:///app.db"):
        pass


def test_a_taken_address_is_named(program: Program) -> None:
    """One line, exit code 2, no worker left behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = program.run("serve", "--listen", address)
    assert done.code == USAGE
    assert f"cannot listen on {address}" in done.err


def test_a_reader_that_has_enough_is_no_error(history: Program) -> None:
    """``affidavit events | head -1`` ends well and silently."""
    script = f"{COMMAND} events --organization acme | head -n 1"
    piped = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"],
        cwd=history.folder,
        env=history.environment,
        capture_output=True,
        check=False,
    )
    assert piped.returncode == 0
    assert piped.stderr == b""
    process = history.start("events", "--organization=acme", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 0


def test_hostile_text_cannot_drive_a_terminal(program: Program) -> None:
    """Escape sequences and bidirectional overrides are written out in tables, details, JSON and errors."""
    hostile = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066"
    event = {
        "action": "a.b",
        "actor": {"type": "user", "id": "x", "name": hostile},
        "metadata": {hostile: hostile},
    }
    (recorded,) = program.json("record", "-", "--organization=acme", stdin=json.dumps(event))
    for command in (
        ["events", "--organization=acme"],
        ["events", "--organization=acme", "--json"],
        ["show", recorded["id"]],
        ["show", recorded["id"], "--json"],
        ["events", "--organization", hostile],
        ["events", f"--{hostile}"],
        ["show", hostile],
    ):
        code, written = program.on_terminal(*command)
        assert code in (0, USAGE, REFUSED), command
        text = written.decode()
        assert "\x1b]0" not in text, command
        assert "\x1b[2J" not in text, command
        assert "\u202e" not in text, command
        assert "\u2066" not in text, command
        if code == 0:
            assert "\\u202e" in text, command


def test_a_terminal_gets_a_table_and_a_pipe_gets_json(history: Program) -> None:
    """The same command, and --json or --no-json decide where given."""
    code, written = history.on_terminal("events", "--organization=acme")
    assert code == 0
    text = written.decode()
    assert "Time (UTC)" in text
    assert "ana@acme.example" in text
    assert '{"id"' not in text
    code, written = history.on_terminal("events", "--organization=acme", "--json")
    assert json.loads(written.splitlines()[0])["organization"] == "acme"
    assert "Time (UTC)" in history.run("events", "--organization=acme", "--no-json").out


@pytest.mark.postgres
def test_tail_follows_what_is_recorded_and_ends_on_ctrl_c(program: Program) -> None:
    """The newest events, then each once as it comes, late ones too; Ctrl-C ends it with 130 and one word."""
    record = ["record", "--organization=acme", "--actor=user:x"]
    program.json(*record, "a.before")
    tail = program.start(
        "tail", "--organization=acme", "--interval=0.1", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with tail:
        assert tail.stdout is not None
        assert tail.stderr is not None
        assert json.loads(tail.stdout.readline())["action"] == "a.before"
        program.json(*record, "a.after")
        program.json(*record, "a.late", "--occurred-at=2026-11-01T00:00:00Z")
        # Where the sequencer gives the place, also that of the first one, nothing comes before it works.
        with program.start("worker") as worker:
            assert json.loads(tail.stdout.readline())["action"] == "a.after"
            assert json.loads(tail.stdout.readline())["action"] == "a.late"
            worker.terminate()
        tail.send_signal(signal.SIGINT)
        assert tail.stderr.read() == "stopped\n"
    assert tail.returncode == INTERRUPTED


@pytest.mark.requirement("R58", "R59", "R130", "R169")
def test_both_dates_are_inclusive_in_utc(history: Program) -> None:
    """A start and an end date find everything from 00:00:00 to 23:59:59 UTC of these days, and no more."""
    inside = found(history, "--start-date=2026-11-13", "--end-date=2026-11-13")
    assert inside == ["flow.create", "user.delete", "secret.rotate"]
    assert len(found(history, "--start-date=2026-11-13")) == 6
    assert found(history, "--end-date=2026-11-12", "--limit=1") == ["user.create"]


@pytest.mark.requirement("R56", "R57", "R170")
def test_several_actors_or_event_types_can_be_chosen(history: Program) -> None:
    """Values of one filter are alternatives, different filters narrow; an actor is found by id or e-mail."""
    assert len(found(history, "--actor=ana@acme.example")) == 4
    assert len(found(history, "--actor=u1", "--actor=ben@acme.example")) == 8
    assert found(history, "--action=user.create", "--action=user.delete") == ["user.delete", "user.create"]
    assert found(history, "--actor=u2", "--action=flow.*", "--action=auth.*") == [
        "flow.create",
        "auth.login.failed",
    ]


@pytest.mark.requirement("R125", "R126")
def test_groups_and_outcomes_filter_on_the_server(history: Program) -> None:
    """An action group is a prefix of the action; failures alone are one filter away."""
    assert found(history, "--action-group=auth") == ["auth.login.success", "auth.login.failed"]
    assert found(history, "--outcome=failure") == ["auth.login.failed"]
    assert len(found(history, "--not-outcome=failure")) == 8


@pytest.mark.requirement("R171", "R172", "R181")
def test_a_secret_is_found_by_its_name_and_a_payload_by_its_words(history: Program) -> None:
    """By the name of the object, by a person's note, and by text anywhere in the payload."""
    (event,) = history.json("events", "--organization=acme", "--resource=stripe-key")
    assert event["action"] == "secret.rotate"
    assert event["reason"] == "partial rotation"
    assert found(history, '"partial rotation"') == ["secret.rotate"]
    assert found(history, "--q=nightly") == ["flow.create"]


@pytest.mark.requirement("R115", "R118")
def test_events_without_a_request_have_a_source_and_no_address(history: Program) -> None:
    """A sign-in has the address it came from; what a directory sync or scheduler did has its source only."""
    by_action = {event["action"]: event for event in history.json("events", "--organization=acme")}
    assert by_action["auth.login.success"]["ip"] == "203.0.113.7"
    assert by_action["user.delete"]["source"] == "sso_sync"
    assert by_action["runner.update"]["source"] == "scheduler"
    assert "ip" not in by_action["user.delete"]
    assert "ip" not in by_action["runner.update"]


@pytest.mark.requirement("R187", "R188", "R189", "R191")
def test_every_entry_has_project_session_and_its_whole_payload(history: Program) -> None:
    """The kind of session stands beside the actor, project only where there is one, metadata in any shape."""
    (event,) = history.json("events", "--organization=acme", "--action=flow.create")
    assert event["session"] == {"type": "api_key", "token_name": "ci"}
    assert event["project"] == "web"
    (shown,) = history.json("show", event["id"])
    assert shown["metadata"] == {"flow": {"name": "Nightly", "steps": [1, 2]}}
    (team,) = history.json("events", "--organization=acme", "--action=team.update")
    assert "project" not in team


@pytest.mark.requirement("R21", "R52")
def test_old_and_new_values_stand_side_by_side(history: Program) -> None:
    """A change of a team is recorded with both values of the field and shown with both on one line."""
    (event,) = history.json("events", "--organization=acme", "--action=team.update")
    assert event["changes"] == {"name": {"old": "Ops", "new": "Operations"}}
    done = history.run("show", event["id"], "--no-json")
    (line,) = [line for line in done.out.splitlines() if "Operations" in line]
    assert line.split() == ["name", "Ops", "Operations"]


@pytest.mark.requirement("R62", "R63", "R64")
def test_an_export_has_the_columns_and_every_row_of_the_filters(history: Program) -> None:
    """The CSV has the five named columns, the metadata of each row, and exactly what the filters find."""
    target = history.folder / "out.csv"
    history.json(
        "export", "--organization=acme", "--format=csv", "--output", target, "--actor=u2", "--outcome=success"
    )
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["Action"] for row in rows] == found(history, "--actor=u2", "--outcome=success")
    assert {"User", "Event Type", "Source", "IP", "Timestamp", "Metadata"} <= set(rows[0])
    assert {row["User"] for row in rows} == {"ben@acme.example"}
    assert json.loads(rows[-1]["Metadata"])["flow"]["name"] == "Nightly"


@pytest.mark.requirement("R26", "R67")
def test_making_and_revoking_a_token_is_recorded(program: Program) -> None:
    """Both are events of the organization, with the abilities as the new value and never the token itself."""
    created = program.json("token", "create", "--organization=acme", "--ability=events:write", "--json")[0]
    program.json("token", "revoke", created["id"])
    done = program.run("events", "--organization=acme", "--action-group=access")
    revoked, made = done.documents
    assert made["changes"]["abilities"]["new"] == ["events:write"]
    assert revoked["resources"][0]["id"] == made["resources"][0]["id"] == created["id"]
    assert created["token"] not in done.out


def test_an_import_reads_gzip_from_standard_input(program: Program) -> None:
    """Rejects are named as those of stdin, kept in a private file, and the exit code is 1."""
    event = {"action": "a.b", "actor": {"type": "user", "id": "x"}, "occurred_at": "2026-11-01T00:00:00Z"}
    lines = json.dumps(event) + "\n{broken\n"
    done = program.run("import", "ndjson", "-", "--organization=acme", stdin=gzip.compress(lines.encode()))
    assert done.code == 1
    assert done.documents[0]["recorded"] == 1
    assert "stdin:2: " in done.err
    kept = program.folder / "stdin.rejects.ndjson"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert json.loads(kept.read_text(encoding="utf-8"))["file"] == "stdin"


@pytest.mark.postgres
def test_a_real_cloudtrail_log_goes_in_once(program: Program) -> None:
    """2,900 records are 2,900 events, 300 of them failures; a second import adds nothing."""
    files = sorted(shared_data("cloudtrail", "invictus").glob("*.json"))
    command = ["import", "cloudtrail", *files, "--organization", "inv", "--json"]
    wanted = {"read": 2900, "recorded": 2900, "duplicates": 0, "rejected": 0}
    assert program.json(*command)[0].items() >= wanted.items()
    assert program.json(*command)[0].items() >= {**wanted, "recorded": 0, "duplicates": 2900}.items()
    assert len(program.json("events", "--organization=inv", "--outcome=failure", "--limit=5000")) == 300


@pytest.mark.sqlite
def test_a_read_only_database_is_named_and_can_still_be_told_from_a_defect(program: Program) -> None:
    """Exit code 4, one line, the path in it; nothing half written."""
    program.json("record", "a.b", "--actor=user:x", "--organization=acme")
    folder = program.folder / "affidavit-data"
    file = folder / "affidavit.db"
    if os.geteuid() == 0:
        file.rename(folder / "kept.db")
        file.mkdir()
        done = program.run("record", "a.c", "--actor=user:x", "--organization=acme")
        file.rmdir()
        (folder / "kept.db").rename(file)
    else:
        file.chmod(0o400)
        done = program.run("record", "a.c", "--actor=user:x", "--organization=acme")
        file.chmod(0o600)
    assert done.code == STORAGE, done
    assert "affidavit.db" in done.err
    assert len(done.err.splitlines()) == 1
    assert found(program) == ["a.b"]


@pytest.mark.postgres
def test_a_database_of_a_newer_version_is_refused(program: Program) -> None:
    """Readers, writers and migrate say so and change nothing."""
    program.json("record", "a.b", "--actor=user:x", "--organization=acme")
    columns = "number, name, checksum, applied_at"
    change(program, f"INSERT INTO affidavit_migrations ({columns}) VALUES (9999, 'future', 'x', 0)")
    for command in (
        ["events"],
        ["migrate"],
        ["record", "a.b", "--actor=user:x", "--organization=acme"],
        ["serve"],
    ):
        done = program.run(*command)
        assert done.code == STORAGE, command
        assert "upgrade" in done.err


@pytest.mark.sqlite
def test_the_demo_is_served_with_a_login_link(program: Program) -> None:
    """One command from nothing to a link that opens."""
    demo = program.start("demo", "--days=2", "--listen=127.0.0.1:0", stdout=subprocess.PIPE)
    with demo:
        assert demo.stdout is not None
        lines = [demo.stdout.readline().rstrip("\n") for _ in range(4)]
        assert "events of 2 days in harbour-cloud, meadow-data, orchard-studio" in lines[0]
        with urllib.request.urlopen(lines[3]) as answer:
            assert answer.status == 200
        demo.send_signal(signal.SIGINT)
        demo.stdout.read()
    assert demo.returncode == 0
    assert (program.folder / "affidavit-demo" / "affidavit.db").exists()
