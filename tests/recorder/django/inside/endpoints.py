"""Chosen endpoints: each request is an event before its answer goes out, whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings

from affidavit.django import audit
from affidavit.errors import ConfigError
from affidavit.recorder.now import Now
from tests.recorder.django.inside.plugin import every_event, stored

CHOSEN = {
    "GET /v1/plants/{plant_id}": "api.request.get_plant",
    "POST /v1/plants/<int:plant_id>/runs/<slug:run_id>": "api.request.rerun",
    "GET /v1/async/plants/{plant_id}": "api.request.get_plant_async",
    "GET /v1/broken/{plant_id}": "api.request.broken",
    "GET /v2/plants/{plant_id}": "api.request.get_plant_2",
    "GET /pieces/{name}": "api.request.pieces",
    "GET /pieces-async/{name}": "api.request.pieces",
}
OURS = {"organization": "acme", "trusted_proxies": ["10.0.0.0/8"], "requests": CHOSEN}

Told = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def chosen() -> Iterator[None]:
    """A project with these endpoints."""
    with override_settings(AFFIDAVIT=OURS):
        yield


@pytest.fixture
def told() -> Told:
    """The events of an action whose query named this test, as what they say of the request."""
    return lambda mark: [
        row
        for row in every_event()
        if row["context"].get("request", {}).get("params", {}).get("mark") == mark
    ]


@pytest.fixture
def mark() -> str:
    """In the query of this test's requests."""
    return uuid4().hex


def test_an_endpoint(told: Told, mark: str) -> None:
    """Method, template, what the path names, parameters without secrets, and whose token it was."""
    answer = Client().get(f"/v1/plants/7?mark={mark}&fields=a&fields=b&api_key=s3cret")
    assert answer.json() == {"id": 7}
    (row,) = told(mark)
    assert row["action"] == "api.request.get_plant"
    assert (row["outcome"], row["details"].get("reason")) == ("success", None)
    assert row["context"]["request"]["endpoint"] == "/v1/plants/{plant_id}"
    assert row["context"]["request"]["method"] == "GET"
    assert row["context"]["request"]["params"] == {
        "mark": mark,
        "fields": ["a", "b"],
        "api_key": "[masked]",
    }
    assert row["resources"]["resources"] == [{"type": "plant", "id": "7"}]
    assert row["details"]["metadata"] == {
        "endpoint": "/v1/plants/{plant_id}",
        "method": "GET",
        "plant": "7",
        "status": 200,
        "token_name": "deploys",
    }
    assert row["actor"]["actor"] == {"type": "api_token", "id": "t-7", "name": "deploys"}


def test_of_two_templates_that_fit(told: Told, mark: str) -> None:
    """What Django took counts: an endpoint that nobody chose is none, though a chosen one looks like it."""
    client = Client()
    assert client.get(f"/v1/plants/new?mark={mark}").status_code == 200
    assert client.get(f"/nothing?mark={mark}").status_code == 200
    assert client.post(f"/v1/plants/7?mark={mark}").status_code == 200
    assert told(mark) == []
    client.get(f"/v2/plants/7?mark={mark}")
    client.head(f"/v1/plants/8?mark={mark}")
    assert [row["action"] for row in told(mark)] == ["api.request.get_plant_2", "api.request.get_plant"]


@pytest.mark.parametrize("bodies", [True, False])
def test_a_body(told: Told, mark: str, bodies: bool) -> None:
    """A short JSON object is kept where bodies are recorded, and the view finds it unread."""
    body = json.dumps({"branch": "main", "password": "s3cret"})
    with override_settings(AFFIDAVIT={**OURS, "request_bodies": bodies}):
        client = Client()
        answer = client.post(f"/v1/plants/7/runs/r-1?mark={mark}", body, content_type="application/json")
        assert (answer.status_code, answer.json()) == (202, {"read": len(body)})
        huge = json.dumps({"branch": "x" * 40_000})
        client.post(f"/v1/plants/7/runs/r-1?mark={mark}", huge, content_type="application/json")
        client.post(f"/v1/plants/7/runs/r-1?mark={mark}", body, content_type="text/plain")
    first, *others = told(mark)
    params = {"mark": mark}
    kept = params | {"body": {"branch": "main", "password": "[masked]"}} if bodies else params
    assert first["context"]["request"]["params"] == kept
    assert [row["context"]["request"]["params"] for row in others] == [params] * 2
    assert first["resources"]["resources"] == [{"type": "plant", "id": "7"}, {"type": "run", "id": "r-1"}]


def test_failures(told: Told, mark: str) -> None:
    """An exception of a view is a 500; a path of the endpoint that leads nowhere is a 404 of nobody."""
    client = Client(raise_request_exception=False)
    assert client.get(f"/v1/broken/7?mark={mark}").status_code == 500
    assert client.get(f"/v1/plants/seven?mark={mark}").status_code == 404
    with override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True), pytest.raises(RuntimeError):
        Client().get(f"/v1/broken/7?mark={mark}")
    assert [(row["outcome"], row["details"]["reason"]) for row in told(mark)] == [
        ("failure", "500 Internal Server Error"),
        ("failure", "404 Not Found"),
        ("failure", "500 Internal Server Error"),
    ]
    assert {row["actor"]["actor"]["type"] for row in told(mark)} == {"anonymous"}


@pytest.mark.parametrize("policy", ["refuse", "answer"])
@pytest.mark.parametrize("path", ["v1/plants/7", "v1/async/plants/7"])
def test_what_cannot_be_recorded(
    mark: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, policy: str, path: str
) -> None:
    """By default nothing is answered that was not recorded; a project may choose otherwise."""

    def full(*_args: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Now, "record", full)
    with override_settings(AFFIDAVIT={**OURS, "request_on_error": policy}):
        sync = Client().get(f"/{path}?mark={mark}")
        awaited = asyncio.run(AsyncClient().get(f"/{path}?mark={mark}"))
    for answer in (sync, awaited):
        assert answer.status_code == (503 if policy == "refuse" else 200)
        if policy == "refuse":
            assert answer["Content-Type"] == "application/problem+json"
            assert answer.json()["status"] == 503
    assert [record.levelno for record in caplog.records if record.name == "affidavit.recorder"] == [
        logging.ERROR
    ] * 2


@pytest.mark.parametrize("path", ["v1/plants/7", "v1/async/plants/7", "v1/broken/7"])
def test_awaited(told: Told, mark: str, path: str) -> None:
    """Under ASGI views of both kinds are recorded, with who is signed in."""
    user = User.objects.create_user(f"u-{mark}")
    client = AsyncClient(raise_request_exception=False)
    client.force_login(user)
    answer = asyncio.run(client.get(f"/{path}?mark={mark}"))
    (row,) = told(mark)
    assert row["details"]["metadata"]["status"] == answer.status_code
    actor = row["actor"]["actor"]
    assert (actor["type"], actor["id"]) == (
        ("api_token", "t-7") if path == "v1/plants/7" else ("user", str(user.pk))
    )


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume synchronous iterators")
@pytest.mark.parametrize("kind", ["pieces", "pieces-async"])
def test_a_streamed_answer(name: str, mark: str, told: Told, kind: str) -> None:
    """It is recorded before its first piece, and its pieces know who asked for them."""
    user = User.objects.create_user(f"u-{mark}")
    client = AsyncClient()
    client.force_login(user)
    seen: list[int] = []

    async def read() -> None:
        answer = await client.get(f"/{kind}/{name}?mark={mark}")
        seen.append(len(await in_thread(lambda: told(mark))))
        seen.append(len(await in_thread(lambda: stored(name))))
        assert b"".join([piece async for piece in answer]) == b"xx"

    asyncio.run(read())
    assert seen == [1, 0]
    assert [row["actor"]["actor"]["id"] for row in stored(name)] == [str(user.pk)] * 2
    assert {row["context"]["request"]["endpoint"] for row in stored(name)} == {f"/{kind}/{name}"}


def in_thread(work: Callable[[], Any]) -> Awaitable[Any]:
    """Where the ORM may be used."""
    from asgiref.sync import sync_to_async

    return sync_to_async(work)()


def test_a_streamed_answer_under_wsgi(name: str, mark: str, told: Told) -> None:
    """There, too."""
    client = Client()
    client.force_login(User.objects.create_user(f"u-{mark}"))
    answer = client.get(f"/pieces/{name}?mark={mark}")
    assert len(told(mark)) == 1
    assert stored(name) == []
    assert b"".join(answer.streaming_content) == b"xx"
    assert [row["actor"]["actor"]["type"] for row in stored(name)] == ["user", "user"]


def test_a_client_that_goes_away(mark: str, told: Told) -> None:
    """A body that cannot be read any more does not keep the request from being answered."""

    async def talk() -> list[Any]:
        sent: list[Any] = []
        messages = iter([{"type": "http.request", "body": b'{"a":', "more_body": True}])

        async def receive() -> Any:
            return next(messages, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/plants/7/runs/r",
            "query_string": f"mark={mark}".encode(),
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")],
        }
        with override_settings(AFFIDAVIT={**OURS, "request_bodies": True}):
            handler = ASGIHandler()
            await handler(scope, receive, send)
        return sent

    assert asyncio.run(talk()) == []
    assert told(mark) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"requests": {"plants": "api.request.x"}}, "is no endpoint"),
        ({"requests": {"GET /plants": "audit.x"}}, "cannot be the action"),
        ({"requests": CHOSEN, "request_on_error": "shrug"}, "on_error"),
    ],
)
def test_settings_that_break_a_rule(setting: dict[str, Any], message: str) -> None:
    """A project that says something impossible does not start."""
    with (
        override_settings(AFFIDAVIT={"organization": "acme", **setting}),
        pytest.raises(ConfigError, match=message),
    ):
        Client().get("/nothing")


def test_endpoints_by_their_dotted_path(mark: str, told: Told) -> None:
    """They may stand in a module, with the event types of a catalog."""
    with override_settings(AFFIDAVIT={**OURS, "requests": f"{__name__}.CHOSEN"}):
        Client().get(f"/v1/plants/7?mark={mark}")
    assert len(told(mark)) == 1


def test_the_answer_of_a_refused_request_is_closed(mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an answer holds open is closed although another one goes out in its place."""
    closed: list[str] = []

    def plant(_request: Any) -> HttpResponse:
        answer = HttpResponse("")
        answer._resource_closers.append(lambda: closed.append("closed"))
        return answer

    def full(*_args: Any) -> None:
        raise OSError("no space left")

    from django.test import RequestFactory

    from affidavit.django.requests import Endpoints
    from affidavit.recorder.context import Context

    monkeypatch.setattr(Now, "record", full)
    request = RequestFactory().get("/v1/plants/7")
    answer = Endpoints(audit, OURS).answer(plant, request, Context())
    assert answer.status_code == 503
    answer.close()
    assert closed == ["closed"]
