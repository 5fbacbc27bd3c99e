"""The HTTP API of the real program, asked over the wire."""

from __future__ import annotations

import csv
import io
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.e2e.program import Program
from tests.faults.load import eventually
from tests.programs import Programs

LIST, EXPORT, WRITE, IMPORT = "audit-log:list", "audit-log:export", "events:write", "events:import"

pytestmark = pytest.mark.postgres


class Server(NamedTuple):
    """A server that runs, and who may ask it."""

    address: str
    program: Program
    operator: httpx2.Client
    opened: ExitStack

    def client(
        self, *organizations: str, abilities: tuple[str, ...] = (LIST, EXPORT, WRITE)
    ) -> httpx2.Client:
        """A client with a new token."""
        made = self.operator.post(
            "/api/v1/tokens",
            json={"name": "test", "organizations": organizations, "abilities": abilities},
        )
        assert made.status_code == 201, made.text
        return self.anonymous(made.json()["token"])

    def anonymous(self, token: str | None = None) -> httpx2.Client:
        """A client with this token, or none."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        return self.opened.enter_context(_client(self.address, headers))


def _client(address: str, headers: dict[str, str]) -> httpx2.Client:
    return httpx2.Client(base_url=address, headers=headers, trust_env=False, timeout=60)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, programs: Programs
) -> Iterator[tuple[str, Program, str]]:
    """One server for the tests of this module; each test has organizations of its own."""
    program = programs(tmp_path_factory.mktemp("server"))
    with program.serving() as serving:
        token = (program.folder / "affidavit-data" / "operator.token").read_text().strip()
        yield serving.address, program, token


@pytest.fixture
def server(running: tuple[str, Program, str]) -> Iterator[Server]:
    """The server, with clients that are closed after the test."""
    address, program, token = running
    with ExitStack() as opened:
        operator = opened.enter_context(_client(address, {"authorization": f"Bearer {token}"}))
        yield Server(address, program, operator, opened)


def event(number: int = 0, **fields: Any) -> dict[str, Any]:
    """An event of ``ana``, who does ``user.update``."""
    return {
        "action": "user.update",
        "actor": {"type": "user", "id": f"u-{number}", "email": f"ana{number}@example.org"},
        **fields,
    }


def record(client: httpx2.Client, *events: dict[str, Any]) -> list[str]:
    """Record events and return their ids."""
    answer = client.post("/api/v1/events", json={"events": list(events)})
    assert answer.status_code == 201, answer.text
    return [one["id"] for one in answer.json()["events"]]


def recorded_part(read: dict[str, Any]) -> dict[str, Any]:
    """An event without where it stands in the log, which changes from one moment to the next."""
    return {name: value for name, value in read.items() if name not in ("state", "index")}


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert {"type", "title", "detail"} <= set(document)
    return document


def pointers(document: dict[str, Any]) -> list[str]:
    """Where the rules were broken."""
    return [error["pointer"] for error in document["errors"]]


def test_one_event_comes_back_as_it_was_sent(server: Server) -> None:
    """Recorded with 201, read by its id with every field, and listed."""
    client = server.client("single")
    sent = event(
        occurred_at="2026-11-20T10:00:00.123456Z",
        ip="203.0.113.7",
        resources=[{"type": "team", "id": "7", "name": "Platform"}],
        changes={"name": {"old": "a", "new": "b"}},
        metadata={"big": 2**63, "text": "ü\u202e"},
    )
    sent["occurred_at"] = _recently()
    answer = client.post("/api/v1/events", json=sent)
    assert answer.status_code == 201
    ((recorded),) = answer.json()["events"]
    assert recorded["duplicate"] is False
    read = client.get(f"/api/v1/events/{recorded['id']}").json()
    assert {name: read[name] for name in sent} == sent
    assert read["title"]
    assert read["recorded_by"]["type"] == "api_token"
    assert read["recorded_by"]["address"] == "127.0.0.1"
    listed = client.get("/api/v1/events", params={"action": "user.update"}).json()["events"]
    assert list(map(recorded_part, listed)) == [recorded_part(read)]


def _recently() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_the_same_event_again_is_a_duplicate(server: Server) -> None:
    """The header or field, with the time, makes sending again harmless; other content is a conflict."""
    client = server.client("again")
    sent = event(occurred_at=_recently())
    headers = {"idempotency-key": "order-17"}
    first = client.post("/api/v1/events", json=sent, headers=headers)
    second = client.post("/api/v1/events", json={**sent, "idempotency_key": "order-17"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["events"] == [{"id": first.json()["events"][0]["id"], "duplicate": True}]
    problem(client.post("/api/v1/events", json={**sent, "reason": "other"}, headers=headers), 409)
    mixed = client.post(
        "/api/v1/events", json={"events": [{**sent, "idempotency_key": "order-17"}, event(2)]}
    )
    assert mixed.status_code == 201
    assert [one["duplicate"] for one in mixed.json()["events"]] == [True, False]
    assert "occurred_at" in str(problem(client.post("/api/v1/events", json=event(), headers=headers), 422))
    both = problem(client.post("/api/v1/events", json={"events": [sent, sent]}, headers=headers), 422)
    assert pointers(both) == ["Idempotency-Key"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"action":"a.b","actor":{"type":"user","id":"x"},"colour":1}', "/colour"),
        (b'{"action":"a.b","actor":{"type":"user","id":"x","age":1}}', "/actor"),
        (b'{"action":"a.b","actor":{"type":"user"}}', "/actor"),
        (b'{"action":"log.pruned","actor":{"type":"user","id":"x"}}', "/action"),
        (
            b'{"action":"a.b","actor":{"type":"user","id":"x"},"id":"01a1fd7a-5163-7958-a77b-04f4805ad0ce"}',
            "/id",
        ),
        (b'{"action":"a.b","actor":{"type":"user","id":"x"},"metadata":{"a":1,"a":2}}', "/metadata/a"),
        (b'{"action":"a.b","actor":{"type":"user","id":"x\\u0000"}}', "/actor/id"),
        (b'{"action":"a.b","actor":{"type":"user","id":"\\ud800"}}', ""),
        (b'{"action":"a.b","actor":{"type":"user","id":"x"},"metadata":{"a":NaN}}', ""),
        (b'{"action":"a.b","act', ""),
        (b"\xff\xfe", ""),
        (b"", ""),
        (b"[]", ""),
        (b'{"events":[]}', "/events"),
        (b'{"events":[{"action":"a.b","actor":{"type":"user","id":"x"}}],"mode":1}', "/mode"),
        (b"[" * 1000 + b"]" * 1000, ""),
        (
            b'{"action":"a.b","actor":{"type":"user","id":"x"},"occurred_at":"2026-02-30T00:00:00Z"}',
            "/occurred_at",
        ),
    ],
)
def test_a_bad_event_is_refused_by_its_pointer(server: Server, body: bytes, pointer: str) -> None:
    """Every broken body is a 422 that leads to the fault, and nothing is stored."""
    client = server.client("bad-events")
    answer = client.post("/api/v1/events", content=body, headers={"content-type": "application/json"})
    assert any(found.startswith(pointer) for found in pointers(problem(answer, 422)))
    assert client.get("/api/v1/events", params={"action": "a.b"}).json()["events"] == []


def test_the_faults_of_twenty_events_are_named(server: Server) -> None:
    """A batch is refused as a whole, with the errors of its first twenty bad events."""
    client = server.client("bad-batch")
    batch = [event(number) for number in range(30)]
    for bad in batch[2:28]:
        bad["outcome"] = "perhaps"
    document = problem(client.post("/api/v1/events", json={"events": batch}), 422)
    assert len({pointer.split("/")[2] for pointer in pointers(document)}) == 20
    assert pointers(document)[0] == "/events/2/outcome"
    assert client.get("/api/v1/events", params={"action": "user.update"}).json()["events"] == []


def test_sizes_are_bounded(server: Server) -> None:
    """An event of 300 KiB is a 422; 1,001 events, or a body over 16 MiB, a 413, however it is sent."""
    client = server.client("sizes")
    large = event(metadata={"a": "x" * 300 * 1024})
    assert problem(client.post("/api/v1/events", json=large), 422)["errors"][0]["rule"] == "too_large"
    problem(client.post("/api/v1/events", json={"events": [event()] * 1001}), 413)
    for framing in (b"Content-Length: 17000000", b"Transfer-Encoding: chunked"):
        status, sent = _flood(server.address, client.headers["authorization"], framing)
        assert status == 413
        assert sent < 40 * 2**20


def _flood(address: str, authorization: str, framing: bytes) -> tuple[int, int]:
    """Send megabytes until the server answers; its status, and how much it took."""
    place = urlsplit(address)
    assert place.hostname is not None
    sent = 0
    with socket.create_connection((place.hostname, place.port or 80), timeout=30) as connection:
        head = f"POST /api/v1/events HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: {authorization}\r\n"
        connection.sendall(head.encode() + framing + b"\r\n\r\n")
        answered = threading.Event()
        answer = bytearray()

        def read() -> None:
            try:
                while chunk := connection.recv(65536):
                    answer.extend(chunk)
                    answered.set()
            except OSError:
                pass
            answered.set()

        reader = threading.Thread(target=read)
        reader.start()
        chunk = b"x" * 2**20
        wrapped = b"100000\r\n" + chunk + b"\r\n" if b"chunked" in framing else chunk
        try:
            while not answered.is_set() and sent < 64 * 2**20:
                connection.sendall(wrapped)
                sent += len(chunk)
        except OSError:
            pass
        answered.wait(30)
        connection.shutdown(socket.SHUT_RDWR) if connection.fileno() >= 0 else None
        reader.join(30)
    return int(bytes(answer).split(b" ")[1]), sent


@pytest.mark.parametrize("path", ["/api/v1/events", "/api/v1/events/histogram", "/api/v1/events/facets"])
def test_each_unknown_or_broken_parameter_is_named(server: Server, path: str) -> None:
    """All faults of one question come in one answer."""
    client = server.client("parameters")
    answer = client.get(f"{path}?colour=red&outcome=perhaps&start_date=2026-02-30&actor=&size=1")
    assert set(pointers(problem(answer, 400))) == {"colour", "outcome", "start_date", "actor", "size"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=ten", "order=up", "limit=1&limit=2", "limit="]
)
def test_a_limit_or_order_out_of_range_is_named(server: Server, query: str) -> None:
    """Limits are 1 to 1,000; the order is one of two."""
    name = query.split("=")[0]
    assert pointers(problem(server.client("limits").get(f"/api/v1/events?{query}"), 400)) == [name]


@pytest.mark.requirement("R142", "R143", "R144", "R145")
def test_the_programmatic_export_follows_continuation_tokens(server: Server) -> None:
    """``/api/audit`` takes the documented parameters, empty ones too, and pages to the end."""
    client = server.client("paging")
    ids = [
        one
        for start in range(0, 2500, 500)
        for one in record(client, *(event(n) for n in range(start, start + 500)))
    ]
    today = _recently()[:10]
    answer = client.get(
        f"/api/audit?start_date={today}&end_date={today}&limit=1000&action=user.update&actor="
    )
    assert answer.status_code == 200
    page = answer.json()
    assert set(page) == {"events", "continuation_token", "watermark"}
    assert len(page["events"]) == 1000
    found = page["events"]
    while page["continuation_token"] is not None:
        parameters = {
            "start_date": today,
            "end_date": today,
            "limit": 1000,
            "action": "user.update",
            "continuation_token": page["continuation_token"],
        }
        page = client.get("/api/audit", params=parameters).json()
        found += page["events"]
    assert [one["id"] for one in found] == list(reversed(ids))
    same = client.get("/api/v1/events", params={"limit": 1000, "action": "user.update", "start_date": today})
    assert list(map(recorded_part, same.json()["events"])) == list(map(recorded_part, found[:1000]))


@pytest.mark.requirement("R146")
def test_the_json_can_be_flattened_with_a_command_line_tool(server: Server) -> None:
    """``jq`` turns a page into CSV; a page is one JSON object with an array of flat-named events."""
    client = server.client("flatten")
    record(client, event(1), event(2))
    page = client.get("/api/audit?limit=1000&action=user.update").content
    program = (
        "import csv,json,sys; "
        "csv.writer(sys.stdout).writerows("
        "[e['occurred_at'],e['actor']['email'],e['action']] for e in json.load(sys.stdin)['events'])"
    )
    done = subprocess.run(["python3", "-c", program], input=page, capture_output=True, check=True)
    rows = list(csv.reader(io.StringIO(done.stdout.decode())))
    assert [row[1] for row in rows] == ["ana2@example.org", "ana1@example.org"]


def test_a_token_belongs_to_its_question(server: Server) -> None:
    """A continuation token of another filter, organization or hand is refused."""
    one, two = server.client("token-one"), server.client("token-two")
    for client in (one, two):
        record(client, *(event(number) for number in range(4)))
    question: dict[str, str | int] = {"limit": 2, "action": "user.update"}
    token = one.get("/api/v1/events", params=question).json()["continuation_token"]
    again = one.get("/api/v1/events", params={**question, "continuation_token": token})
    assert len(again.json()["events"]) == 2
    for client, other in (
        (two, question),
        (one, {**question, "outcome": "success"}),
        (one, {**question, "order": "asc"}),
    ):
        answer = client.get("/api/v1/events", params={**other, "continuation_token": token})
        assert pointers(problem(answer, 400)) == ["continuation_token"]
    broken = one.get("/api/v1/events", params={**question, "continuation_token": token[:-2] + "AA"})
    problem(broken, 400)


@pytest.mark.requirement("R62", "R63")
def test_the_csv_holds_every_row_of_the_filters(server: Server) -> None:
    """User, event type, source, address, time and all details of each row that matches, and no other."""
    client = server.client("csv")
    wanted = [
        event(
            number,
            source="web",
            ip="203.0.113.7",
            location={"city": "Lisbon", "country": "Portugal", "country_code": "PT"},
            user_agent="Mozilla/5.0",
            metadata={"note": 'say "hi",\n=1+1', "n": number},
        )
        for number in range(1200)
    ]
    for start in range(0, 1200, 400):
        record(client, *wanted[start : start + 400])
    record(client, event(1, action="user.delete"))
    answer = client.get("/api/v1/events/export?format=csv&action=user.update")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text.count("\r\n") >= 1201
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["User"] for row in rows] == [f"ana{number}@example.org" for number in reversed(range(1200))]
    first = rows[0]
    assert list(first)[:5] == ["User", "Event Type", "Source", "IP", "Timestamp"]
    assert (first["Source"], first["IP"], first["City"]) == ("web", "203.0.113.7", "Lisbon")
    assert json.loads(first["Metadata"]) == wanted[-1]["metadata"]
    assert {row["Action"] for row in rows} == {"user.update"}


def test_a_formula_is_not_run(server: Server) -> None:
    """Text that a spreadsheet would run gets a quote; ``safe=0`` leaves it as it is."""
    client = server.client("formula")
    hostile = '=HYPERLINK("http://evil.example","x")'
    record(client, event(actor={"type": "user", "id": "x", "name": hostile}))
    query = "/api/v1/events/export?format=csv&action=user.update"
    for suffix, shown in (("", "'" + hostile), ("&safe=0", hostile)):
        (row,) = csv.DictReader(io.StringIO(client.get(query + suffix).text, newline=""))
        assert row["Actor Name"] == row["User"] == shown
    assert client.get(query + "&bom=1").content.startswith(b"\xef\xbb\xbfUser,")


def test_ndjson_ends_with_a_trailer(server: Server) -> None:
    """One event a line as the API answers it, then how many there were."""
    client = server.client("ndjson")
    record(client, *(event(number) for number in range(3)))
    lines = client.get("/api/v1/events/export?format=ndjson&action=user.update").text.splitlines()
    listed = client.get("/api/v1/events?action=user.update").json()["events"]
    assert [json.loads(line) for line in lines] == [*listed, {"trailer": {"events": 3, "redacted": 0}}]


def test_an_export_is_an_event_before_it_is_a_file(server: Server) -> None:
    """Each export is recorded with its format and filters, and is not part of itself."""
    client = server.client("export-events")
    record(client, event())
    for _ in range(2):
        text = client.get("/api/v1/events/export?format=ndjson&actor=u-0").text
        assert "audit.export.requested" not in text
    recorded = client.get("/api/v1/events?action=audit.export.requested").json()["events"]
    assert [one["metadata"] for one in recorded] == [{"filter": "actor=u-0", "format": "ndjson"}] * 2
    assert recorded[0]["actor"]["type"] == "api_token"


def test_reading_is_an_event_once_an_hour(server: Server) -> None:
    """However often a credential reads, one event an hour says so."""
    client = server.client("reads")
    for _ in range(3):
        client.get("/api/v1/events")
    other = server.client("reads")
    recorded: list[dict[str, Any]] = []
    for _ in range(20):
        recorded = other.get("/api/v1/events?action=audit.log.read").json()["events"]
        if len(recorded) == 2:
            break
    assert {one["recorded_by"]["token_id"] for one in recorded} == {one["actor"]["id"] for one in recorded}
    assert len(recorded) == 2


def test_counts_answer_the_same_filters(server: Server) -> None:
    """Histogram and facets count what the list lists."""
    client = server.client("counts")
    record(
        client, *(event(number % 3, outcome="failure" if number % 2 else "success") for number in range(9))
    )
    histogram = client.get("/api/v1/events/histogram?action=user.update").json()
    assert (histogram["total"], sum(one["failures"] for one in histogram["buckets"])) == (9, 4)
    assert histogram["at_least"] is False
    facets = client.get("/api/v1/events/facets?action=user.update&fields=actor,outcome&top=2").json()
    assert set(facets["fields"]) == {"actor", "outcome"}
    assert facets["fields"]["outcome"] == [
        {"value": "success", "count": 5},
        {"value": "failure", "count": 4},
    ]
    assert len(facets["fields"]["actor"]) == 2


def test_everything_since_in_recording_order(server: Server) -> None:
    """``order=asc`` gives a token that stays valid: what comes later is found with it."""
    client = server.client("since")
    asked = {"order": "asc", "action": "user.update"}
    empty = client.get("/api/v1/events", params=asked).json()
    assert empty["events"] == []

    def since(token: str, number: int) -> dict[str, Any]:
        # Where the sequencer gives the place, an event comes when it has one.
        pages: list[dict[str, Any]] = []

        def complete() -> bool:
            answer = client.get("/api/v1/events", params={**asked, "continuation_token": token})
            pages.append(answer.json())
            return len(pages[-1]["events"]) == number

        eventually(complete, "what was recorded gets no place")
        return pages[-1]

    first = record(client, event(1), event(2))
    page = since(empty["continuation_token"], 2)
    assert [one["id"] for one in page["events"]] == first
    later = record(client, event(3))
    for _ in range(2):
        again = since(page["continuation_token"], 1)
        assert [one["id"] for one in again["events"]] == later


PRIVATE = (
    "/api/v1/events",
    "/api/audit",
    "/api/v1/events/histogram",
    "/api/v1/events/facets",
    "/api/v1/events/export?format=csv",
    "/api/v1/events/01a1fd7a-5163-7958-a77b-04f4805ad0ce",
    "/api/v1/catalog",
    "/api/v1/organizations",
    "/api/v1/tokens",
    "/metrics",
)


@pytest.mark.parametrize("path", PRIVATE)
def test_nobody_gets_in_without_a_credential(server: Server, path: str) -> None:
    """No token, a made-up one and another scheme are 401; a token without abilities is 403."""
    for headers in ({}, {"authorization": "Bearer aff_nonsense"}, {"authorization": "Basic YTpi"}):
        answer = server.anonymous().get(path, headers=headers)
        problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    problem(server.client("nobody", abilities=(IMPORT,)).get(path), 403)


def test_recording_needs_its_ability(server: Server) -> None:
    """``events:write`` to record, ``events:import`` for what is old or marked imported."""
    problem(server.anonymous().post("/api/v1/events", json=event()), 401)
    problem(server.client("rights", abilities=(LIST,)).post("/api/v1/events", json=event()), 403)
    writer = server.client("rights")
    importer = server.client("rights", abilities=(WRITE, IMPORT))
    for old in (event(occurred_at="2020-01-01T00:00:00Z"), event(imported=True)):
        problem(writer.post("/api/v1/events", json=old), 422)
        assert importer.post("/api/v1/events", json=old).status_code == 201


def test_an_organization_outside_looks_like_an_unknown_one(server: Server) -> None:
    """The same 404 for both, on every route; a bad name is a 400 that says why."""
    server.client("secret-org")
    client = server.client("inside")
    foreign = record(server.client("secret-org"), event())[0]
    for path in (
        "/api/v1/events",
        "/api/v1/events/histogram",
        "/api/v1/events/facets",
        f"/api/v1/events/{foreign}",
    ):
        answers = [client.get(path, params={"organization": name}) for name in ("secret-org", "no-such-org")]
        one, two = (problem(answer, 404) for answer in answers)
        assert one == two
        bad = problem(client.get(path, params={"organization": "../x"}), 400)
        assert pointers(bad) == ["organization"]
    problem(client.get(f"/api/v1/events/{foreign}"), 404)
    problem(client.get("/api/v1/events/not-an-id"), 404)
    problem(client.post("/api/v1/events?organization=secret-org", json=event()), 404)
    problem(client.post("/api/v1/events", json=event(organization="secret-org")), 422)


def test_a_token_of_several_organizations_names_one(server: Server) -> None:
    """Without a name it is a 400; with one, only that organization is seen."""
    client = server.client("left", "right")
    problem(client.get("/api/v1/events"), 400)
    problem(client.post("/api/v1/events", json=event()), 400)
    assert client.post("/api/v1/events?organization=left", json=event(1)).status_code == 201
    assert client.post("/api/v1/events?organization=right", json=event(2)).status_code == 201
    for organization, actor in (("left", "u-1"), ("right", "u-2")):
        found = client.get("/api/v1/events", params={"organization": organization, "action": "user.update"})
        assert [one["actor"]["id"] for one in found.json()["events"]] == [actor]


def test_the_operator_reads_across_all_within_dates(server: Server) -> None:
    """Without a name the operator needs both dates; an unknown name is a 404 for the operator too."""
    record(server.client("across"), event())
    problem(server.operator.get("/api/v1/events"), 400)
    today = _recently()[:10]
    found = server.operator.get("/api/v1/events", params={"start_date": today, "end_date": today})
    assert found.status_code == 200
    assert found.json()["events"]
    problem(server.operator.get("/api/v1/events?organization=never-heard-of"), 404)
    assert server.operator.post("/api/v1/events?organization=across", json=event()).status_code == 201
    assert server.operator.post("/api/v1/events", json=event(organization="across")).status_code == 201
    problem(server.operator.post("/api/v1/events", json=event()), 400)


def test_a_revoked_token_ends_at_once(server: Server) -> None:
    """The process that revokes a token refuses it from its next request on."""
    client = server.client("revoked")
    assert client.get("/api/v1/events").status_code == 200
    tokens = server.operator.get("/api/v1/tokens").json()["tokens"]
    mine = next(one for one in tokens if one["organizations"] == ["revoked"])
    assert "token" not in mine
    assert server.operator.delete(f"/api/v1/tokens/{mine['id']}").json()["revoked_at"]
    problem(client.get("/api/v1/events"), 401)
    problem(client.post("/api/v1/events", json=event()), 401)
    problem(server.operator.delete("/api/v1/tokens/tok_0000000000000000"), 404)


def test_a_manager_of_tokens_stays_within_its_own_reach(server: Server) -> None:
    """It sees, makes and revokes only what lies within its organizations and abilities."""
    manager = server.client("managed", abilities=(LIST, "tokens:manage"))
    made = manager.post(
        "/api/v1/tokens", json={"name": "n", "organizations": ["managed"], "abilities": [LIST]}
    )
    assert made.status_code == 201
    for organizations, abilities, status in ((["managed"], [WRITE], 403), (["revoked"], [LIST], 404)):
        body = {"name": "n", "organizations": organizations, "abilities": abilities}
        problem(manager.post("/api/v1/tokens", json=body), status)
    bad = {"name": "", "organizations": ["../x"], "abilities": ["everything"]}
    problem(manager.post("/api/v1/tokens", json=bad), 422)
    problem(manager.post("/api/v1/tokens", json={**bad, "colour": 1}), 422)
    seen = manager.get("/api/v1/tokens").json()["tokens"]
    assert {tuple(one["organizations"]) for one in seen} == {("managed",)}


def test_organizations_are_declared(server: Server) -> None:
    """201 the first time, 200 after that, 422 for a bad name; recorded once."""
    for status in (201, 200):
        answer = server.operator.post("/api/v1/organizations", json={"name": "declared-org"})
        assert answer.status_code == status
    bad = problem(server.operator.post("/api/v1/organizations", json={"name": "../x"}), 422)
    assert pointers(bad) == ["/name"]
    names = [one["name"] for one in server.operator.get("/api/v1/organizations").json()["organizations"]]
    assert "declared-org" in names
    found = server.operator.get("/api/v1/events?organization=declared-org").json()["events"]
    assert [one["action"] for one in found] == ["access.organization.created"]


def test_the_catalog_names_event_types_and_groups(server: Server) -> None:
    """Titles for people, groups for the select."""
    catalog = server.client("catalog").get("/api/v1/catalog").json()
    types = {one["action"]: one for one in catalog["types"]}
    assert types["access.token.created"]["title"] == "Audit token created"
    assert types["access.token.created"]["group"] == "access"
    assert {"group": "access", "title": "Access to the log"} in catalog["groups"]


def test_operations_are_watched(server: Server) -> None:
    """The process says that it is up and ready, and counts what it did."""
    anonymous = server.anonymous()
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert anonymous.get("/readyz").json() == {"ready": True}
    anonymous.get("/nowhere")
    text = server.operator.get("/metrics").text
    for line in (
        'affidavit_requests_total{route="/api/v1/events",method="POST",status="201"}',
        'affidavit_errors_total{category="not_found"}',
        "affidavit_events_recorded_total",
        "affidavit_index_behind_events",
    ):
        assert f"\n{line}" in text


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/events", "/nowhere", "/api/openapi.json", "/audit"])
def test_every_answer_is_guarded(server: Server, path: str) -> None:
    """No answer is cached, sniffed or framed, and each has an id of its own."""
    seen = set()
    for client in (server.anonymous(), server.operator):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        seen.add(headers["x-request-id"])
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("method", "allowed"), [("PUT", {"GET", "HEAD", "POST"}), ("PATCH", {"GET", "HEAD", "POST"})]
)
def test_a_wrong_method_names_the_right_ones(server: Server, method: str, allowed: set[str]) -> None:
    """405 with all methods of the address; an unknown address is a 404."""
    answer = server.operator.request(method, "/api/v1/events")
    problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed
    problem(server.operator.request(method, "/api/v1/nothing"), 404)
    problem(server.operator.get("/api/v1/events/"), 404)


def test_an_encoded_body_is_refused(server: Server) -> None:
    """A content encoding that is not taken is named, not misread."""
    answer = server.client("encoded").post(
        "/api/v1/events", content=b"x", headers={"content-encoding": "gzip"}
    )
    assert "Content-Encoding" in problem(answer, 415)["detail"]


def test_a_login_link_is_not_used_up_by_looking(server: Server) -> None:
    """The page that a link opens changes nothing; the POST of its form signs in, once."""
    link = server.program.run("login", "--organization", "paging", "--public-url", server.address).out.strip()
    visitor = server.anonymous()
    path = link.removeprefix(server.address)
    code = path.partition("code=")[2]
    for _ in range(2):
        assert visitor.get(path).status_code == 200
    login = path.partition("?")[0]
    assert visitor.post(login, data={"code": code}).status_code == 403
    assert (
        visitor.post(login, data={"code": code}, headers={"origin": "http://evil.example"}).status_code == 403
    )
    signed_in = visitor.post(login, data={"code": code}, headers={"origin": server.address})
    assert signed_in.status_code == 303
    assert "HttpOnly" in signed_in.headers["set-cookie"]
    found = visitor.get("/api/v1/events?limit=1")
    assert found.status_code == 200
    problem(visitor.post("/api/v1/events", json=event()), 403)
    other = server.anonymous()
    assert other.post(login, data={"code": code}, headers={"origin": server.address}).status_code == 401
