"""Requests of an API as events: which are chosen, what stands in them, and that no answer overtakes them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import httpx2
import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from starlette.responses import StreamingResponse

from affidavit.catalogs import ready_made
from affidavit.core.catalog import EventType
from affidavit.core.event import Actor, Session
from affidavit.embed import Audit
from affidavit.errors import ConfigError
from affidavit.recorder.middleware.asgi import AuditMiddleware
from affidavit.recorder.middleware.wsgi import AuditMiddleware as WsgiMiddleware
from affidavit.recorder.parameters import parameters
from affidavit.recorder.requests import RequestRecorder
from tests.recorder.apps import App
from tests.recorder.small import sqlite_app

GET_PIPELINE = "api.request.get_pipeline"
CHOSEN = ready_made().event_type(GET_PIPELINE) or ""
ENDPOINTS = {
    "GET /v1/pipelines": "api.request.get_pipelines",
    "GET /v1/pipelines/{pipeline_id}": GET_PIPELINE,
    "POST /v1/pipelines/{pipeline_id}/runs/{run}/mark": "api.request.mark_pipeline_run",
    "GET /v1/files/{path:path}": "api.request.get_asset",
    "GET /v1/broken": "api.request.get_projects",
    "GET /tenants/{tenant}/pipelines/{pipeline_id}": GET_PIPELINE,
}


@pytest.fixture
def app(tmp_path: Path) -> App:
    """The app's database."""
    return sqlite_app(tmp_path)


@pytest.fixture
def audit(app: App) -> Audit:
    """The app's recorder."""
    return Audit(app.url, organization="meadow")


def stored(app: App) -> list[dict[str, Any]]:
    """The events, the groups as the objects that they are."""
    columns = ("action", "outcome", "source", "actor_id", "actor", "resources", "context", "details")
    groups = ("actor", "resources", "context", "details")
    return [
        {
            name: json.loads(value) if name in groups and value is not None else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in app.events(*columns)
    ]


def product(audit: Audit) -> FastAPI:
    """An API with a router under a prefix, an app under a mount, and an endpoint that nobody chose."""
    router = APIRouter(prefix="/pipelines")

    @router.get("/validate")
    def validate() -> str:
        return "not recorded"

    @router.get("/{pipeline_id}")
    async def pipeline(pipeline_id: int) -> int:
        audit.actor("t-1", type="api_token")
        return pipeline_id

    @router.post("/{pipeline_id}/runs/{run}/mark")
    def mark(pipeline_id: str, run: str) -> None:
        raise HTTPException(409)

    api = FastAPI()

    @api.get("/v1/pipelines")
    def pipelines() -> list[str]:
        return []

    @api.get("/v1/files/{path:path}")
    async def files(path: str) -> StreamingResponse:
        return StreamingResponse(iter(["a", "b"]))

    @api.get("/v1/broken")
    async def broken() -> None:
        raise ZeroDivisionError("of the app")

    api.include_router(router, prefix="/v1")
    tenant = FastAPI()
    tenant.include_router(router)
    api.mount("/tenants/{tenant}", tenant)
    return api


def asking(app: Any, *requests: tuple[str, str], root_path: str = "") -> list[httpx2.Response]:
    """Ask an ASGI app."""

    async def ask() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False, root_path=root_path)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
            return [await client.request(method, url) for method, url in requests]

    return asyncio.run(ask())


def wrapped(audit: Audit, **options: Any) -> AuditMiddleware:
    """The product with its chosen endpoints."""
    return AuditMiddleware(product(audit), requests=RequestRecorder(audit, ENDPOINTS, **options))


def test_the_endpoint_is_the_template_that_the_router_took(app: App, audit: Audit) -> None:
    """Prefixes, mounts, converters, refused methods and unchosen neighbours are told apart."""
    statuses = [
        answer.status_code
        for answer in asking(
            wrapped(audit),
            ("GET", "/v1/pipelines?limit=5&tag=a&tag=b&empty="),
            ("GET", "/v1/pipelines/7"),
            ("HEAD", "/v1/pipelines"),
            ("GET", "/v1/pipelines/validate"),
            ("DELETE", "/v1/pipelines/7"),
            ("GET", "/v1/pipelines/seven"),
            ("POST", "/v1/pipelines/7/runs/r%2D9/mark"),
            ("GET", "/v1/files/a/b.txt"),
            ("GET", "/tenants/acme/pipelines/8"),
            ("GET", "/nowhere"),
        )
    ]
    assert statuses == [200, 200, 405, 200, 405, 422, 409, 200, 200, 404]
    events = stored(app)
    found = [(event["outcome"], event["details"]["metadata"]) for event in events]
    one = "/v1/pipelines/{pipeline_id}"
    assert found == [
        ("success", {"endpoint": "/v1/pipelines", "method": "GET", "status": 200}),
        ("success", {"pipeline": "7", "endpoint": one, "method": "GET", "status": 200}),
        ("failure", {"endpoint": "/v1/pipelines", "method": "HEAD", "status": 405}),
        ("failure", {"pipeline": "seven", "endpoint": one, "method": "GET", "status": 422}),
        (
            "failure",
            {
                "pipeline": "7",
                "run": "r-9",
                "endpoint": "/v1/pipelines/{pipeline_id}/runs/{run}/mark",
                "method": "POST",
                "status": 409,
            },
        ),
        (
            "success",
            {"path": "a/b.txt", "endpoint": "/v1/files/{path:path}", "method": "GET", "status": 200},
        ),
        (
            "success",
            {
                "tenant": "acme",
                "pipeline": "8",
                "endpoint": "/tenants/{tenant}/pipelines/{pipeline_id}",
                "method": "GET",
                "status": 200,
            },
        ),
    ]
    assert [event["details"].get("reason") for event in events[2:5]] == [
        "405 Method Not Allowed",
        f"422 {HTTPStatus(422).phrase}",
        "409 Conflict",
    ]
    assert events[0]["context"]["request"]["params"] == {"limit": "5", "tag": ["a", "b"], "empty": ""}
    assert events[4]["resources"]["resources"] == [
        {"type": "pipeline", "id": "7"},
        {"type": "run", "id": "r-9"},
    ]
    assert [event["actor_id"] for event in events[:2]] == ["anonymous", "t-1"]
    assert {event["source"] for event in events} == {"api"}


def test_a_path_in_front_of_the_app_is_no_part_of_the_template(app: App, audit: Audit) -> None:
    """Behind a proxy that serves the app under ``/api`` the endpoints are the same."""
    asking(wrapped(audit), ("GET", "/api/v1/pipelines/7"), root_path="/api")
    assert [event["details"]["metadata"]["pipeline"] for event in stored(app)] == ["7"]


def test_secrets_are_masked(app: App, audit: Audit) -> None:
    """A password in the query or in the path stands nowhere in the row."""

    async def invite(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    requests = RequestRecorder(audit, {"GET /invites/{token}": "api.request.get_invite"})
    asking(
        AuditMiddleware(invite, requests=requests),
        ("GET", "/invites/hush-1?password=hush-2&api_key=hush-3&api_key=hush-4&page=1"),
    )
    (event,) = stored(app)
    assert event["context"]["request"]["params"] == {
        "password": "[masked]",
        "api_key": "[masked]",
        "page": "1",
    }
    assert event["details"]["metadata"]["token"] == "[masked]"
    assert "hush" not in str(app.events("*"))


def test_the_event_is_stored_before_the_first_byte_goes_out(app: App, audit: Audit) -> None:
    """Whoever has the head of an answer finds its event."""
    seen: list[tuple[str, int]] = []
    middleware = wrapped(audit)

    async def ask() -> None:
        async def send(message: Any) -> None:
            seen.append((message["type"], app.count()))

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/v1/files/x",
            "query_string": b"",
            "headers": [],
            "asgi": {"spec_version": "2.4"},
        }
        await middleware(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]

    asyncio.run(ask())
    assert seen[0] == ("http.response.start", 1)
    assert len(seen) > 2
    assert app.count() == 1


def test_what_raises_is_a_500_and_stays_the_servers_to_answer(app: App, audit: Audit) -> None:
    """The app's error is recorded as a failure, without its message, and comes out as it was."""
    (answer,) = asking(wrapped(audit), ("GET", "/v1/broken"))
    assert answer.status_code == 500
    (event,) = stored(app)
    assert (event["outcome"], event["details"]["reason"]) == ("failure", "500 Internal Server Error")
    assert "of the app" not in str(event)


def test_an_app_that_answers_nothing_is_recorded(app: App, audit: Audit) -> None:
    """The server will answer 500 in its place."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    middleware = AuditMiddleware(silent, requests=RequestRecorder(audit, ENDPOINTS))
    scope = {"type": "http", "method": "GET", "path": "/v1/pipelines", "headers": []}
    asyncio.run(middleware(scope, None, None))  # type: ignore[arg-type]
    assert [event["details"]["metadata"]["status"] for event in stored(app)] == [500]


def gone(app: App) -> None:
    """Take the tables away."""
    connection = app.connect()
    connection.execute("ALTER TABLE affidavit_events RENAME TO away")
    connection.close()


def test_what_cannot_be_recorded_is_not_answered(
    app: App, audit: Audit, caplog: pytest.LogCaptureFixture
) -> None:
    """By default: 503 with a reason, nothing of the app's answer, and a line in the log."""
    gone(app)
    answer, other = asking(wrapped(audit), ("GET", "/v1/files/x"), ("GET", "/v1/pipelines/validate"))
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("The request could not be recorded in the audit log")
    assert other.status_code == 200
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "A request could not be recorded: GET /v1/files/x"
    ]


def test_an_app_can_choose_to_answer(app: App, audit: Audit, caplog: pytest.LogCaptureFixture) -> None:
    """``on_error="answer"``: the answer goes out as it is, and the log says what was not recorded."""
    gone(app)
    (answer,) = asking(wrapped(audit, on_error="answer"), ("GET", "/v1/files/x"))
    assert (answer.status_code, answer.text) == (200, "ab")
    assert "A request could not be recorded: GET /v1/files/x" in caplog.text


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ({"/v1/pipelines": GET_PIPELINE}, "is no endpoint; write method and template"),
        ({"get /v1": GET_PIPELINE}, "is no endpoint"),
        ({"GET v1": GET_PIPELINE}, "is no endpoint"),
        ({"GET /v1/{a}/{a}": GET_PIPELINE}, "cannot be read: redefinition"),
        ({"GET /v1": "get_pipeline"}, "cannot be the action"),
        ({"GET /v1": "log.read"}, "cannot be the action"),
    ],
)
def test_a_wrong_choice_is_refused_at_the_start(
    audit: Audit, endpoints: dict[str, str], message: str
) -> None:
    """And not by the first request."""
    with pytest.raises(ConfigError, match=message):
        RequestRecorder(audit, endpoints)


def test_the_setting_for_errors_has_two_values(audit: Audit) -> None:
    """A typing error does not open what should be closed."""
    with pytest.raises(ConfigError, match="on_error must be refuse or answer"):
        RequestRecorder(audit, {}, on_error="ignore")  # type: ignore[arg-type]


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole body and answer with its length."""
    length = 0
    while (message := await receive())["type"] == "http.request":
        length += len(message["body"])
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(length).encode()})


MARK = {"POST /runs/{run}/mark": "api.request.mark_pipeline_run"}


def posted(audit: Audit, app: App, body: bytes, kind: str = "application/json", **options: Any) -> Any:
    """The parameters that are recorded of a body, which goes over ASGI in three pieces."""
    middleware = AuditMiddleware(reading, requests=RequestRecorder(audit, MARK, **options))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), len(body) // 3 + 1):
            yield body[start : start + len(body) // 3 + 1]

    async def ask() -> str:
        transport = httpx2.ASGITransport(middleware)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
            headers = {"content-type": kind}
            answer = await client.post("/runs/r-1/mark?page=1", content=pieces(), headers=headers)
            return str(answer.text)

    assert asyncio.run(ask()) == str(len(body))
    return stored(app)[-1]["context"]["request"]["params"]


def test_a_body_is_recorded_where_that_was_asked_for(app: App, audit: Audit) -> None:
    """Members of a JSON object are parameters, masked as those of a query; by default none is read."""
    body = b'{"status": "failed", "runs": [1, 2], "auth": {"token": "hush", "user": "ada"}}'
    assert posted(audit, app, body) == {"page": "1"}
    assert posted(audit, app, body, bodies=True) == {
        "page": "1",
        "body": {"status": "failed", "runs": [1, 2], "auth": {"token": "[masked]", "user": "ada"}},
    }
    assert posted(audit, app, body, "application/vnd.api+json; charset=utf-8", bodies=True)["body"]
    for other in (b"[1]", b"not json", b"\xff", b'{"a": ' + b"[" * 9_000):
        assert posted(audit, app, other, bodies=True) == {"page": "1"}
    assert posted(audit, app, body, "text/plain", bodies=True) == {"page": "1"}
    assert posted(audit, app, b'{"a": "' + b"x" * 70_000 + b'"}', bodies=True) == {"page": "1"}
    assert "hush" not in str(app.events("*"))


def test_a_parameter_called_body_is_not_lost() -> None:
    """Query and body are both there, whatever their names."""
    assert parameters("body=a&body=b&x=1", b'{"c": 1}') == {
        "x": "1",
        "query.body": ["a", "b"],
        "body": {"c": 1},
    }
    assert parameters("body=a", b"") == {"body": "a"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": ' * 200 + b"1" + b"}" * 200,
        b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"a": "\\u0000\\ud800", "\\u0000": 1, "": {}}',
        b'{"n": 123456789012345678901234567890, "f": 1e308, "g": 1e400, "h": -9007199254740993}',
        b'{"a": [' + b"1," * 30_000 + b"1]}",
        b"{" + b",".join(b'"k%d": {"x": [{}]}' % number for number in range(3_000)) + b"}",
        b'{"a": "' + "\u00fc".encode() * 15_000 + b'"}',
        b'{"a": [' + b",".join([b'"' + b"\x7f" * 1_000 + b'"'] * 32) + b"]}",
    ],
)
def test_no_body_can_keep_its_request_out_of_the_log(app: App, audit: Audit, body: bytes) -> None:
    """Deep, wide, long, unprintable: the request is recorded, with what can be kept of the body."""
    assert posted(audit, app, body, bodies=True)["page"] == "1"
    assert app.count() == 1


def test_a_wsgi_body_is_recorded_and_still_there_for_the_app(app: App, audit: Audit) -> None:
    """The app reads it as if nobody had."""

    def reads(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", HTML)
        return [environ["wsgi.input"].read()]

    body = b'{"status": "failed"}'
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/runs/r-1/mark",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
    }
    middleware = WsgiMiddleware(reads, requests=RequestRecorder(audit, MARK, bodies=True))
    assert list(middleware(environ, lambda *_: None)) == [body]
    assert stored(app)[0]["context"]["request"]["params"] == {"body": {"status": "failed"}}


# WSGI

Start = Callable[..., Callable[[bytes], object]]


def served(
    app: Callable[[dict[str, Any], Start], Iterable[bytes]], path: str, query: str = "", method: str = "GET"
) -> tuple[str, bytes, list[str]]:
    """Ask a WSGI app as a server does that keeps to PEP 3333: status, body, and when the head came."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
    }
    setup_testing_defaults(environ)
    said: list[str] = []

    def start(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], object]:
        said.append(status)
        return lambda piece: said.append(piece.decode())

    answer = validator(app)(environ, start)
    try:
        body = b"".join(answer)
    finally:
        answer.close()  # type: ignore[attr-defined]
    return said[0], body, said


HTML = [("Content-Type", "text/plain")]


def listed(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer with what is made already."""
    start("404 Not Found", HTML)
    return [b"no ", b"pipeline"]


def streamed(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer piece by piece, and decide about the status in the last moment."""
    yield b""
    start("200 OK", HTML)
    yield b""
    start("410 Gone", HTML, (ValueError, ValueError(), None))
    yield b"go"
    yield b"ne"


def written(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    """Answer in the old way."""
    start("201 Created", HTML)(b"made")
    return []


def wsgi(audit: Audit, app: Any, **options: Any) -> WsgiMiddleware:
    """An app with its chosen endpoints."""

    def fill(environ: dict[str, Any], context: Any) -> None:
        context.update(
            actor=Actor(type="api_token", id="t-1"), session=Session(type="api_token", token_name="nightly")
        )

    endpoints: dict[str, str | EventType] = {
        "GET /v1/pipelines/<pipeline_id>": CHOSEN,
        "GET /v1/runs/<int:run_id>/<path:rest>": "api.request.get_asset",
    }
    return WsgiMiddleware(app, fill=fill, requests=RequestRecorder(audit, endpoints, **options))


@pytest.mark.parametrize(
    ("answering", "status", "body"),
    [(listed, 404, b"no pipeline"), (streamed, 410, b"gone"), (written, 201, b"")],
)
def test_wsgi_answers_are_recorded_with_their_last_status(
    app: App, audit: Audit, answering: Any, status: int, body: bytes
) -> None:
    """Lists, generators that change their mind and the old ``write``: one event, of what went out."""
    first, got, said = served(wsgi(audit, answering), "/v1/pipelines/p-1", "page=2")
    assert (int(first[:3]), got, len(app.events("id"))) == (status, body, 1)
    assert said[1:] == (["made"] if answering is written else [])
    (event,) = stored(app)
    assert event["action"] == GET_PIPELINE
    assert event["outcome"] == ("failure" if status >= 400 else "success")
    assert event["details"]["metadata"] == {
        "pipeline": "p-1",
        "endpoint": "/v1/pipelines/<pipeline_id>",
        "method": "GET",
        "status": status,
        "token_name": "nightly",
    }
    assert event["context"]["request"]["params"] == {"page": "2"}


@pytest.mark.parametrize("answering", [listed, streamed, written])
def test_wsgi_answers_that_cannot_be_recorded_are_refused(app: App, audit: Audit, answering: Any) -> None:
    """503, and no byte of the app's."""
    gone(app)
    status, got, said = served(wsgi(audit, answering), "/v1/pipelines/p-1")
    assert status == "503 Service Unavailable"
    assert json.loads(got or said[1])["status"] == 503


def test_a_wsgi_app_that_raises_is_a_500(app: App, audit: Audit) -> None:
    """When it is called, and when its answer is read."""

    def at_once(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        raise ZeroDivisionError

    def later(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        start("200 OK", HTML)
        yield b""
        raise ZeroDivisionError

    for answering in (at_once, later):
        with pytest.raises(ZeroDivisionError):
            served(wsgi(audit, answering), "/v1/pipelines/p-1")
    assert [event["details"]["metadata"]["status"] for event in stored(app)] == [500, 500]


def test_templates_of_flask_are_understood(app: App, audit: Audit) -> None:
    """``<int:run_id>`` and ``<path:rest>`` beside ``{run_id}``."""
    served(wsgi(audit, listed), "/v1/runs/7/a/b")
    served(wsgi(audit, listed), "/v1/other")
    assert [event["details"]["metadata"]["rest"] for event in stored(app)] == ["a/b"]
