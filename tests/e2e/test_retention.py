"""Retention and legal holds through the real program: command line, server and worker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from affidavit.core.event import Actor
from affidavit.core.ids import format_id
from affidavit.core.times import format_time
from affidavit.testing.author import Author, Clock, draft
from tests.e2e.program import Program
from tests.faults.load import Client, eventually
from tests.programs import Programs, insert

DAY = 86_400_000_000


def record_old(program: Program, *actions: str, days: int, text: str = "canary-4711") -> list[str]:
    """Events as they stand in a database that recorded them so many days ago."""
    if not program.run("org", "list").out:
        program.json("org", "create", "acme", "--json")
    clock = Clock(time.time_ns() // 1000 - days * DAY)
    author = Author(clock, seed=days)
    made = [draft(action, actor=Actor(type="user", id="ana"), reason=text) for action in actions]
    return [format_id(one.id) for one in insert(program, author.rows(*made), clock)]


@pytest.fixture
def program(tmp_path: Path, programs: Programs) -> Program:
    """The command line in a folder of its own."""
    return programs(tmp_path)


@pytest.mark.requirement("R83", "R84", "R138")
@pytest.mark.postgres
def test_from_policy_to_prune_on_the_command_line(program: Program) -> None:
    """Set, dry run, hold, run, release, prune: each says what it did, and the log is sound after all."""
    (old,) = record_old(program, "auth.login", days=100)
    (young,) = record_old(program, "auth.login", days=80)
    acme = ("--organization", "acme")
    (rule,) = program.json("retention", "set", *acme, "--class", "auth.*", "--days", "90")
    assert rule == {"organization": "acme", "class": "auth.*", "days": 90}
    assert program.json("retention", "list") == [rule]
    (dry,) = program.json("retention", "run", *acme, "--dry-run")
    assert (dry["dry_run"], dry["expired"], dry["kept"]) == (True, {"auth.*": 1}, {})
    (hold,) = program.json("hold", "create", *acme, "--name", "case 7", "--reason", "Smith v. Acme")
    (held,) = program.json("retention", "run")
    assert (held["expired"], held["kept"]) == ({}, {"auth.*": 1})
    assert program.json("hold", "release", *acme, hold["id"])[0]["state"] == "released"
    (done,) = program.json("retention", "run")
    assert (done["expired"], done["kept"]) == ({"auth.*": 1}, {})
    shown = program.json("show", *acme, old, "--json")[0]
    assert "reason" not in shown
    assert program.json("show", *acme, young, "--json")[0]["reason"] == "canary-4711"
    refused = program.run("retention", "prune", *acme, "--ids", f"{old}:{young}")
    assert refused.code == 3
    assert "not past a policy" in refused.err
    day = format_time(time.time_ns() // 1000 - 90 * DAY)
    (dry,) = program.json("retention", "prune", *acme, "--before", day, "--dry-run")
    assert (dry["events"], dry["obstacles"]) == (1, {})
    (pruned,) = program.json("retention", "prune", *acme, "--before", day)
    assert pruned["pruned"] == 1
    assert program.run("show", *acme, old).code == 3
    moment = format_time(time.time_ns() // 1000 - 95 * DAY)
    event = {"action": "auth.login", "actor": {"type": "user", "id": "ana"}, "occurred_at": moment}
    assert program.run("import", "ndjson", "-", *acme, stdin=json.dumps(event)).code == 1
    (reject,) = (program.folder / "stdin.rejects.ndjson").read_text().splitlines()
    assert (json.loads(reject)["field"], json.loads(reject)["rule"]) == ("/occurred_at", "pruned_range")
    assert old in json.loads(reject)["error"]
    verdict = program.run("fsck", "--json")
    assert verdict.code == 0, verdict


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (("set", "--class", "auth", "--days", "9"), 3, "class"),
        (("set", "--class", "auth.*", "--days", "0"), 3, "days"),
        (("set", "--class", "auth.*", "--days", "9.5"), 2, "--days"),
        (("set", "--class", "audit.retention.*", "--days", "9"), 3, "kept for ever"),
        (("unset", "--class", "auth.*"), 3, "no policy"),
        (("prune",), 2, "--before"),
        (("prune", "--before", "2026-01-01", "--ids", "a:b"), 2, "--before"),
        (("prune", "--before", "yesterday"), 2, "before"),
        (("prune", "--ids", "a:b"), 2, "ids"),
    ],
)
def test_bad_input_is_named(program: Program, flags: tuple[str, ...], code: int, told: str) -> None:
    """One line that says what is wrong; no trace, nothing stored."""
    program.json("org", "create", "acme", "--json")
    ended = program.run("retention", *flags, "--organization", "acme")
    assert ended.code == code, ended
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert program.json("retention", "list") == []


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[tuple[Program, Client]]:
    """A server with an old event, and a client that may manage retention of acme."""
    program = programs(tmp_path_factory.mktemp("served"))
    record_old(program, "auth.login", days=100)
    token = program.json(
        *("token", "create", "--organization", "acme", "--json"),
        *("--ability", "retention:manage", "--ability", "audit-log:list"),
    )[0]["token"]
    with program.serving() as serving:
        yield program, Client(serving.address, token)


class TestHttp:
    def test_policies_holds_and_a_run(self, asked: tuple[Program, Client]) -> None:
        """The worker does what was ordered; the answer names the run, which can be looked at."""
        _, client = asked
        path = f"/api/v1/retention/{quote('auth.*', safe='')}"
        status, table = client.ask("PUT", path, {"days": 90})
        assert (status, table) == (
            200,
            {"organization": "acme", "classes": [{"class": "auth.*", "days": 90}]},
        )
        status, dry = client.ask("POST", "/api/v1/retention/run", {"dry_run": True})
        assert (status, dry["classes"]) == (200, [{"class": "auth.*", "expired": 1}])
        status, hold = client.ask(
            "POST", "/api/v1/holds", {"name": "x", "reason": "y", "class": "auth.login"}
        )
        assert (status, hold["class"]) == (201, "auth.login")
        assert self.run_it(client)["classes"] == [{"class": "auth.*", "kept": 1}]
        status, ended = client.ask("DELETE", f"/api/v1/holds/{hold['id']}")
        assert (status, "released_at" in ended) == (200, True)
        assert self.run_it(client)["classes"] == [{"class": "auth.*", "expired": 1}]
        assert client.ask("GET", "/api/v1/holds")[1]["holds"] == [ended]
        assert client.ask("DELETE", path) == (200, {"organization": "acme", "classes": []})
        assert client.ask("GET", "/api/v1/retention") == (200, {"organization": "acme", "classes": []})

    def run_it(self, client: Client) -> dict[str, Any]:
        """Order a run and wait for its end."""
        status, run = client.ask("POST", "/api/v1/retention/run", {})
        assert status == 202
        seen: list[dict[str, Any]] = []

        def ended() -> bool:
            seen.append(client.ask("GET", f"/api/v1/retention/run/{run['id']}")[1])
            return bool(seen[-1]["state"] in ("done", "failed"))

        eventually(ended, "the run did not end")
        assert seen[-1]["state"] == "done"
        return seen[-1]

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("PUT", "/api/v1/retention/auth", {"days": 9}, 422),
            ("PUT", "/api/v1/retention/auth.*", {"days": 0}, 422),
            ("PUT", "/api/v1/retention/auth.*", {"days": "never"}, 422),
            ("PUT", "/api/v1/retention/auth.*", {}, 422),
            ("PUT", "/api/v1/retention/log.*", {"days": 9}, 422),
            ("DELETE", "/api/v1/retention/auth.*", None, 404),
            ("POST", "/api/v1/retention/run", {"dryrun": True}, 422),
            ("GET", "/api/v1/retention/run/task_0", None, 404),
            ("POST", "/api/v1/holds", {"name": "x"}, 422),
            ("DELETE", "/api/v1/holds/hold_0", None, 404),
            ("GET", "/api/v1/retention?organization=globex", None, 404),
            ("PUT", "/api/v1/retention/a.*?organization=globex", {"days": 9}, 404),
        ],
    )
    def test_bad_requests_are_refused(
        self, asked: tuple[Program, Client], method: str, path: str, body: object, status: int
    ) -> None:
        """With a problem document; the tables stay as they are."""
        _, client = asked
        answered, problem = client.ask(method, path, body)
        assert answered == status, problem
        assert problem["status"] == status
        assert client.ask("GET", "/api/v1/retention")[1]["classes"] == []

    def test_the_ability_is_needed(self, asked: tuple[Program, Client]) -> None:
        """Whoever may only read must not shorten what others can read."""
        program, client = asked
        flags = ("token", "create", "--organization", "acme", "--json", "--ability", "audit-log:list")
        reader = Client(client.address, program.json(*flags)[0]["token"])
        assert reader.ask("GET", "/api/v1/retention")[0] == 403
        assert reader.ask("PUT", "/api/v1/retention/a.*", {"days": 9})[0] == 403
        assert reader.ask("POST", "/api/v1/retention/run", {})[0] == 403
        assert reader.ask("POST", "/api/v1/holds", {"name": "x", "reason": "y"})[0] == 403
