"""Bad input over HTTP and at the command line: a clear error each, nothing lost, nothing half written."""

from __future__ import annotations

import json
import select
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import pytest

from tests.e2e.program import COMMAND, Program
from tests.faults.load import Client
from tests.programs import Programs, ask
from tests.properties.naive import read_all

GOOD = {"action": "user.create", "organization": "acme", "actor": {"type": "user", "id": "ana"}}
OK, USAGE, REFUSED = 0, 2, 3
HOSTILE = "gnp.\u202egpj\u202c \u2066x\u2069 \u200f\x1b[31m<script>alert(1)</script>\x7f"
"""Right-to-left overrides, an escape sequence of terminals, markup."""


_STORED = "SELECT count(*) FROM affidavit_events WHERE action = 'user.create'"


class Server(NamedTuple):
    """A server that runs, and its files."""

    client: Client
    program: Program
    database: Path

    def stored(self) -> int:
        """Events of callers, the product's own apart."""
        if self.program.database is not None:
            return int(ask(self.program, _STORED)[0][0])
        return sum(event.clear["action"] == "user.create" for event in read_all(self.database))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[Server]:
    """One server for the module."""
    program = programs(tmp_path_factory.mktemp("server"))
    with program.serving() as serving:
        data = program.folder / "affidavit-data"
        token = (data / "operator.token").read_text().strip()
        yield Server(Client(serving.address, token), program, data / "affidavit.db")


def nested(levels: int) -> bytes:
    """A good event with metadata nested that deep."""
    event = json.dumps({**GOOD, "metadata": {}}).encode()
    return event.replace(b'"metadata": {}', b'"metadata": ' + b'{"a":' * levels + b"1" + b"}" * levels)


def said(field: str, raw: bytes) -> bytes:
    """A good event with a field of raw JSON."""
    return json.dumps(GOOD).encode()[:-1] + b',"' + field.encode() + b'":' + raw + b"}"


BAD_EVENTS = {
    "truncated": json.dumps(GOOD).encode()[:-7],
    "truncated in a text": json.dumps(GOOD).encode()[:-4],
    "nothing": b"",
    "no object": b"[]",
    "no JSON": b"action=user.create",
    "two documents": json.dumps(GOOD).encode() * 2,
    "300 KiB": said("metadata", b'{"k":"' + b"x" * 300 * 1024 + b'"}'),
    "300 KiB of three-byte letters": said("metadata", b'{"k":"' + "漢".encode() * 100 * 1024 + b'"}'),
    "depth 1,000": nested(1_000),
    "depth 100,000": nested(100_000),
    "depth 33": nested(32),
    "NaN": said("metadata", b'{"k":NaN}'),
    "Infinity": said("metadata", b'{"k":-Infinity}'),
    "a number beyond all": said("metadata", b'{"k":1e999}'),
    "a lone surrogate": said("reason", b'"\\ud800"'),
    "a lone surrogate in a key": said("metadata", b'{"\\udc00":1}'),
    "a lone surrogate as bytes": said("reason", b'"\xed\xa0\x80"'),
    "no UTF-8": said("reason", b'"\xff"'),
    "UTF-16": json.dumps(GOOD).encode("utf-16"),
    "NUL": said("reason", b'"a\\u0000b"'),
    "NUL in a key": said("metadata", b'{"a":{"\\u0000":1}}'),
    "a raw NUL": said("reason", b'"a\0b"'),
    "a key twice": said("action", b'"user.delete"'),
    "a key twice, deep": said("metadata", b'{"a":[{"b":1,"\\u0062":2}]}'),
    "an unknown field": said("acting", b"1"),
    "an id": said("id", b'"01976e2f-0000-7000-8000-000000000001"'),
    "recorded_at": said("recorded_at", b'"2026-01-01T00:00:00Z"'),
    "recorded_by": said("recorded_by", b'{"type":"x"}'),
    "a day that does not exist": said("occurred_at", b'"2026-02-30T00:00:00Z"'),
    "a time without a zone": said("occurred_at", b'"2026-01-01T00:00:00"'),
    "a key without a time": said("idempotency_key", b'"k"'),
    "an organization of another": json.dumps({**GOOD, "organization": "../x"}).encode(),
    "an action of ours": json.dumps({**GOOD, "action": "audit.erasure.completed"}).encode(),
    "an action with a line feed": json.dumps({**GOOD, "action": "user.create\n"}).encode(),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_a_bad_event_is_refused_by_name_and_stores_nothing(server: Server, name: str) -> None:
    """Over HTTP: 422 with pointer, rule and message, alone and in the middle of a batch of good ones."""
    before = server.stored()
    body = BAD_EVENTS[name]
    good = json.dumps(GOOD).encode()
    for raw in (body, b'{"events":[' + b",".join((good, body, good)) + b"]}"):
        status, problem = server.client.ask("POST", "/api/v1/events?organization=acme", raw)
        assert status == 422, problem
        assert problem["type"].startswith("urn:affidavit:error:")
        assert problem["errors"]
        for error in problem["errors"]:
            assert {"pointer", "rule", "message"} <= set(error)
            assert len(str(error.get("value", ""))) <= 100
    assert server.stored() == before


def test_a_body_or_batch_that_is_too_large_is_a_413(server: Server) -> None:
    """17 MiB, and 1,001 events."""
    before = server.stored()
    for body in (b" " * 17 * 1024 * 1024, json.dumps({"events": [GOOD] * 1001}).encode()):
        status, problem = server.client.ask("POST", "/api/v1/events?organization=acme", body)
        assert status == 413, problem
    assert server.stored() == before


def test_an_id_that_exists_under_other_content_is_a_409(server: Server) -> None:
    """The whole batch is refused, the first event stands as it was; the same content is a duplicate."""
    path = "/api/v1/events?organization=acme"
    keyed = {**GOOD, "idempotency_key": "conflict", "occurred_at": "2026-01-01T00:00:00Z", "reason": "first"}
    keyed["occurred_at"] = recently(server)
    assert server.client.ask("POST", path, keyed)[0] == 201
    before = server.stored()
    status, problem = server.client.ask("POST", path, {"events": [GOOD, {**keyed, "reason": "other"}, GOOD]})
    assert status == 409, problem
    assert problem["errors"][0]["rule"] == "conflict"
    assert server.stored() == before
    status, answer = server.client.ask("POST", path, keyed)
    assert (status, answer["events"][0]["duplicate"]) == (200, True)
    assert server.stored() == before
    (event,) = [one for one in server.client.events("action=user.create") if one.get("reason")]
    assert event["reason"] == "first"


def recently(server: Server) -> str:
    """A moment that the server takes for now."""
    _, answer = server.client.ask("POST", "/api/v1/events?organization=acme", GOOD)
    (event,) = [one for one in server.client.events() if one["id"] == answer["events"][0]["id"]]
    return str(event["recorded_at"])


def test_hostile_text_is_kept_as_it_is_and_shown_harmless(server: Server) -> None:
    """Stored to the letter; on a terminal no control character or override of it arrives."""
    event = {**GOOD, "action": "user.hostile", "actor": {"type": "user", "id": HOSTILE, "name": HOSTILE}}
    status, answer = server.client.ask("POST", "/api/v1/events?organization=acme", event)
    assert status == 201, answer
    (found,) = server.client.events("action=user.hostile")
    assert found["actor"]["id"] == found["actor"]["name"] == HOSTILE
    (again,) = server.client.events(f"actor={quote(HOSTILE)}")
    assert again["id"] == found["id"]
    for command in (["events", "--action=user.hostile"], ["show", found["id"]]):
        code, written = server.program.on_terminal(*command, "--organization=acme")
        assert code == OK
        text = written.decode()
        assert not {"\u202e", "\u202c", "\u2066", "\u2069", "\u200f", "\x7f"} & set(text)
        assert "\x1b[31m<script>" not in text


BAD_QUERIES = {
    "start_date=2026-02-30": "start_date",
    "end_date=2026-02-30T00:00:00Z": "end_date",
    "start_date=tomorrow": "start_date",
    "start_date=2026-01-01T00:00:00": "start_date",
    "start_date=2026-01-01&start_date=2026-01-02": "start_date",
    "not_start_date=2026-01-01": "not_start_date",
    "actor=": "actor",
    "unknown=1": "unknown",
    "limit=0": "limit",
    "limit=1001": "limit",
    "order=up": "order",
    "ip=10.0.0.256": "ip",
    "ip=10.0.0.0/33": "ip",
    "outcome=maybe": "outcome",
    "action=*": "action",
    "parent_id=x": "parent_id",
    "q=%00": "q",
    "q=" + "x" * 2_000: "q",
    "continuation_token=x": "continuation_token",
    "continuation_token=%C3%A9": "continuation_token",
}


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_bad_question_is_a_400_that_names_its_parameter(server: Server, query: str) -> None:
    """Nothing is ignored and nothing guessed."""
    status, problem = server.client.ask("GET", f"/api/v1/events?organization=acme&{query}")
    assert status == 400, problem
    assert problem["errors"][0]["pointer"] == BAD_QUERIES[query]


@pytest.mark.parametrize("name", ["../x", "..", "a/../b", "a..b", "", "x" * 129, "-a", "a b", "ä"])
def test_an_organization_with_an_impossible_name_is_refused(server: Server, name: str) -> None:
    """For reading and recording, over HTTP and at the command line; no file or row of that name is made."""
    before = server.stored()
    organization = quote(name, safe="")
    assert server.client.ask("GET", f"/api/v1/events?organization={organization}")[0] in (400, 404)
    status, _ = server.client.ask("POST", f"/api/v1/events?organization={organization}", GOOD)
    assert status in (400, 404, 422)
    assert server.client.ask("POST", "/api/v1/events", {**GOOD, "organization": name})[0] == 422
    done = server.program.run("record", "user.create", "--actor=user:x", f"--organization={name}")
    assert done.code in (USAGE, REFUSED), done
    assert len(done.err.splitlines()) <= 3
    assert server.stored() == before
    assert not any(path.name == "x" for path in server.program.folder.parent.iterdir())


def test_a_token_of_another_question_is_refused(server: Server) -> None:
    """Another filter, another organization, another order, one bit changed; the right one goes on."""
    for organization in ("acme", "globex"):
        body = {"events": [{**GOOD, "organization": organization} for _ in range(5)]}
        assert server.client.ask("POST", f"/api/v1/events?organization={organization}", body)[0] == 201
    question = "/api/v1/events?organization=acme&limit=2&action=user.create"
    status, page = server.client.ask("GET", question)
    assert status == 200
    token = page["continuation_token"]
    middle = len(token) // 2
    altered = token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :]
    for other in (
        f"/api/v1/events?organization=acme&limit=2&action=user.delete&continuation_token={token}",
        f"/api/v1/events?organization=acme&limit=2&continuation_token={token}",
        f"/api/v1/events?organization=globex&limit=2&action=user.create&continuation_token={token}",
        f"{question}&order=asc&continuation_token={token}",
        f"{question}&continuation_token={altered}",
        f"{question}&continuation_token={token[:-1]}",
        f"{question}&continuation_token={token}A",
    ):
        status, problem = server.client.ask("GET", other)
        assert status == 400, (other, problem)
        assert problem["errors"][0]["pointer"] == "continuation_token"
    status, following = server.client.ask("GET", f"{question}&continuation_token={token}")
    assert status == 200
    assert not {one["id"] for one in page["events"]} & {one["id"] for one in following["events"]}


COMMANDS: dict[str, tuple[list[str], bytes, int]] = {
    "a day that does not exist": (["events", "--start-date=2026-02-30"], b"", USAGE),
    "a search that is not closed": (["events", 'actor:"ana'], b"", USAGE),
    "an unknown qualifier": (["events", "acting:ana"], b"", USAGE),
    "truncated JSON": (["record", "-"], BAD_EVENTS["truncated"], REFUSED),
    "300 KiB": (["record", "-"], BAD_EVENTS["300 KiB"], REFUSED),
    "depth 1,000": (["record", "-"], BAD_EVENTS["depth 1,000"], REFUSED),
    "NaN": (["record", "-"], BAD_EVENTS["NaN"], REFUSED),
    "a lone surrogate": (["record", "-"], BAD_EVENTS["a lone surrogate"], REFUSED),
    "NUL": (["record", "-"], BAD_EVENTS["NUL"], REFUSED),
    "metadata that is no JSON": (
        ["record", "user.create", "--actor=user:x", "--metadata={"],
        b"",
        USAGE,
    ),
    "a time that does not exist": (
        ["record", "user.create", "--actor=user:x", "--occurred-at=2026-02-30T00:00:00Z"],
        b"",
        REFUSED,
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_input_at_the_command_line_is_named(server: Server, name: str) -> None:
    """The documented exit code, a line for people, no traceback; nothing stored."""
    before = server.stored()
    command, stdin, code = COMMANDS[name]
    done = server.program.run(*command, "--organization=acme", stdin=stdin)
    assert done.code in (code, USAGE, REFUSED), done
    assert done.code != OK
    assert "Traceback" not in done.err
    assert done.err.strip()
    assert server.stored() == before


def test_bad_lines_of_an_import_are_named_and_the_others_go_in(tmp_path: Path) -> None:
    """Each with file, line and rule, kept in a file of rejects; the exit code says that it was not all."""
    program = Program(tmp_path)
    bad = [raw.replace(b"\n", b" ") for name, raw in BAD_EVENTS.items() if name not in ("nothing", "UTF-16")]
    good = json.dumps({**GOOD, "occurred_at": "2026-01-01T00:00:00Z"}).encode()
    lines = [
        line for number, raw in enumerate(bad) for line in (good[:-1] + b',"reason":"%d"}' % number, raw)
    ]
    (tmp_path / "events.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    done = program.run("import", "ndjson", "events.ndjson", "--organization=acme", "--json")
    assert done.code == 1, done
    assert "Traceback" not in done.err
    counted = done.documents[-1]
    assert counted["recorded"] + counted["duplicates"] >= len(bad)
    assert counted["read"] == counted["recorded"] + counted["duplicates"] + counted["rejected"]
    (file,) = tmp_path.glob("events*.rejects.ndjson")
    rejects = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rejects) == counted["rejected"] > len(bad) // 2
    assert {reject["line"] for reject in rejects} <= {2 * number + 2 for number in range(len(bad))}
    assert all({"file", "line", "field", "rule", "error"} <= set(reject) for reject in rejects)
    again = program.run("import", "ndjson", "events.ndjson", "--organization=acme", "--json").documents[-1]
    assert again["recorded"] == 0


def import_lines(folder: Path, lines: int) -> tuple[dict[str, Any], int]:
    """Import that many lines from standard input, one in a thousand bad; the counts, and the peak in KiB."""
    program = Program(folder)
    command = [COMMAND, "import", "ndjson", "-", "--organization=acme", "--json"]

    def feed(pipe: IO[bytes]) -> None:
        for number in range(lines):
            if number % 1_000 == 7:
                pipe.write(b'{"action": "user.create", "actor": {"type": "user", "id": "\n')
            else:
                pipe.write(
                    b'{"action":"user.create","actor":{"type":"user","id":"u%d"},"occurred_at":'
                    b'"2026-01-01T%02d:%02d:%02d.%06dZ","metadata":{"line":%d}}\n'
                    % (
                        number % 97,
                        number // 3600 % 24,
                        number // 60 % 60,
                        number % 60,
                        number % 10**6,
                        number,
                    )
                )
        pipe.close()

    process = subprocess.Popen(
        command, cwd=folder, env=program.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    feeder = threading.Thread(target=feed, args=(process.stdin,))
    feeder.start()
    peak = 0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        select.select([process.stdout], [], [], 0.05)
    out = process.stdout.read()
    feeder.join()
    process.stdout.close()
    assert process.returncode == 1
    assert peak > 0
    return json.loads(out.splitlines()[-1]), peak


def peak_memory(process: int) -> int:
    """The greatest resident size that a process had so far, in KiB.

    Not ``ru_maxrss``: in that a child begins with the size of the process that it was forked from.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def check_lines(folder: Path, lines: int) -> None:
    """Everything counted, memory flat, bad lines named."""
    counts, peak = import_lines(folder, lines)
    bad = len(range(7, lines, 1_000))
    assert counts["read"] == lines
    assert counts["rejected"] == bad
    assert counts["recorded"] == lines - bad
    with (folder / "stdin.rejects.ndjson").open() as rejects:
        assert sum(1 for _ in rejects) == bad
    assert peak < 250 * 1024, f"{peak} KiB"


@pytest.mark.slow
def test_a_file_of_many_lines_goes_in_with_flat_memory(tmp_path: Path) -> None:
    """200,000 lines through standard input, below 250 MB."""
    check_lines(tmp_path, 200_000)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_file_of_ten_million_lines_goes_in_with_flat_memory(tmp_path: Path) -> None:
    """The same, fifty times as long."""
    check_lines(tmp_path, 10_000_000)
