"""Who acts in a request: nobody is looked up in vain, and nobody is taken for somebody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import AsyncClient, Client
from django.test.utils import (
    CaptureQueriesContext,
    override_settings,
    setup_test_environment,
    teardown_test_environment,
)

from affidavit.django.recording import DjangoAudit
from affidavit.recorder.context import current
from tests.recorder.django.inside.plugin import leaves, stored, teams

CONCURRENT = 50


def person(**fields: str) -> User:
    """Somebody of a new name."""
    return User.objects.create_user(f"u-{uuid4().hex[:12]}", **fields)


@contextmanager
def queries(number: int) -> Iterator[None]:
    """The block asks the database so often."""
    with CaptureQueriesContext(connection) as seen:
        yield
    assert [each["sql"] for each in seen.captured_queries][number:] == []
    assert len(seen) == number


@pytest.fixture
def ada() -> User:
    """Somebody with a name and an address."""
    return person(first_name="Ada", last_name="Lovelace", email="ada@example.org")


def signed_in(user: User) -> Client:
    """A browser of somebody."""
    client = Client()
    client.force_login(user)
    return client


def test_signed_in(ada: User, name: str) -> None:
    """The event says who, from where and how, and its leaf is in order."""
    client = signed_in(ada)
    client.get(
        f"/rename/{name}",
        REMOTE_ADDR="10.0.0.9",
        headers={
            "x-forwarded-for": "203.0.113.7, 198.51.100.4, 10.1.1.1",
            "x-request-id": "r-1",
            "user-agent": "curl/8",
            "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        },
    )
    (row,) = stored(name)
    assert row["actor"] == {
        "actor": {"type": "user", "id": str(ada.pk), "name": "Ada Lovelace", "email": "ada@example.org"},
        "session": {"type": "web"},
    }
    context = row["context"]
    assert context["ip"] == "198.51.100.4"
    assert context["request"] == {"id": "r-1", "method": "GET", "endpoint": f"/rename/{name}"}
    assert (context["user_agent"], context["trace_id"], context["span_id"]) == ("curl/8", "a" * 32, "b" * 16)
    assert (row["source"], teams(name)) == ("web", 1)
    assert [leaf.invalid for leaf in leaves(name)] == [False]


def team_named(request: Any) -> str | None:
    """What a client says in a header, as an app finds it out in its own way."""
    found: str | None = request.headers.get("x-team")
    if found == "trap":
        raise AssertionError("asked without need")
    return found


@pytest.mark.parametrize("function", [team_named, f"{__name__}.team_named"])
def test_whose_event_it_is(ada: User, name: str, function: Any) -> None:
    """``organization_of`` is asked where something is recorded, else ``organization`` counts."""
    with override_settings(AFFIDAVIT={**settings.AFFIDAVIT, "organization_of": function}):
        client = signed_in(ada)
        client.get(f"/rename/{name}", headers={"x-team": "globex"})
        client.get(f"/rename/{name}")
        client.get("/nothing", headers={"x-team": "trap"})
    assert [row["organization"] for row in stored(name)] == ["globex", "acme"]


@pytest.mark.parametrize("tested", [False, True])
def test_a_server_starts_a_worker(tested: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """``start`` starts one with the middleware, but not for the client of Django's tests."""
    started: list[object] = []

    def start(audit: DjangoAudit) -> None:
        started.append(audit)

    monkeypatch.setattr(DjangoAudit, "start", start)
    if tested:
        setup_test_environment()
    try:
        with override_settings(AFFIDAVIT={**settings.AFFIDAVIT, "start": True}):
            Client().get("/nothing")
    finally:
        if tested:
            teardown_test_environment()
    assert len(started) == (0 if tested else 1)


def test_proxy_that_nobody_trusts(ada: User, name: str) -> None:
    """Who is no proxy of ours cannot say that he is somewhere else."""
    signed_in(ada).get(f"/rename/{name}", REMOTE_ADDR="192.0.2.1", headers={"x-forwarded-for": "203.0.113.7"})
    assert stored(name)[0]["context"]["ip"] == "192.0.2.1"


def test_anonymous(name: str) -> None:
    """A visitor is anonymous and has no session."""
    Client().get(f"/rename/{name}")
    assert stored(name)[0]["actor"] == {"actor": {"type": "anonymous", "id": "anonymous"}}


def test_no_query_without_an_event(ada: User) -> None:
    """A request that records nothing asks the database nothing, and leaves no context behind."""
    client = signed_in(ada)
    with queries(0):
        assert client.get("/nothing").status_code == 200
    assert current() is None


def test_queries_of_an_event(ada: User, name: str) -> None:
    """With an event: block, change, session, user, event, end of block; the event is one statement."""
    client = signed_in(ada)
    with CaptureQueriesContext(connection) as seen:
        client.get(f"/rename/{name}")
    statements = [each["sql"] for each in seen.captured_queries]
    assert sum("affidavit_" in sql for sql in statements) == 1
    assert sum("auth_user" in sql for sql in statements) == 1
    assert sum("django_session" in sql for sql in statements) == 1


def test_exception_in_a_view(ada: User, name: str) -> None:
    """A view that fails leaves neither change nor event."""
    client = signed_in(ada)
    client.raise_request_exception = False
    assert client.get(f"/fail/{name}").status_code == 500
    assert (teams(name), stored(name)) == (0, [])
    assert current() is None


def test_sign_in_and_out(name: str) -> None:
    """Before the sign-in nobody acts, after it the user does, and who signs out is still named."""
    user = person()
    client = Client()
    client.get(f"/sign-in/{user.username}")
    client.get(f"/sign-out/{user.username}")
    found = [(row["action"], row["actor"]["actor"]["id"]) for row in stored(user.username)]
    assert found == [
        ("auth.login.begun", "anonymous"),
        ("auth.login.succeeded", str(user.pk)),
        ("auth.logout", str(user.pk)),
    ]


def test_threads_never_mix(name: str) -> None:
    """Of 50 requests at once in threads each event names its own user."""
    users = {f"{name}-{number}": person() for number in range(CONCURRENT)}
    clients = {each: signed_in(user) for each, user in users.items()}
    barrier = threading.Barrier(CONCURRENT)

    def work(each: str) -> None:
        barrier.wait()
        try:
            clients[each].get(f"/rename/{each}")
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(each,)) for each in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert actors(users) == {each: [str(user.pk)] for each, user in users.items()}


def actors(users: dict[str, User]) -> dict[str, list[str]]:
    """Reason to the ids of the actors of its events."""
    return {each: [row["actor"]["actor"]["id"] for row in stored(each)] for each in users}


def asynchronous(user: User) -> AsyncClient:
    """A browser of somebody, for an app that is awaited."""
    client = AsyncClient()
    client.force_login(user)
    return client


@pytest.mark.parametrize("view", ["refuse-async", "refuse-known", "rename-async", "refuse"])
def test_asgi(ada: User, name: str, view: str) -> None:
    """Under ASGI views of both kinds record who acts: in a thread, and awaited."""
    client = asynchronous(ada)

    async def ask() -> Any:
        return await client.get(
            f"/{view}/{name}", headers={"x-forwarded-for": "203.0.113.7"}, REMOTE_ADDR="10.0.0.1"
        )

    asyncio.run(ask())
    (row,) = stored(name)
    assert row["actor"]["actor"]["id"] == str(ada.pk)
    assert row["context"]["request"]["endpoint"] == f"/{view}/{name}"


def test_asgi_anonymous(name: str) -> None:
    """A visitor is anonymous there, too."""
    asyncio.run(AsyncClient().get(f"/refuse-async/{name}"))
    assert stored(name)[0]["actor"]["actor"]["id"] == "anonymous"


def test_asgi_never_mixes(name: str) -> None:
    """Of 50 requests at once in one event loop, of views of both kinds, each event names its own user."""
    users = {f"{name}-{number}": person() for number in range(CONCURRENT)}
    clients = {each: asynchronous(user) for each, user in users.items()}
    views = ("refuse-async", "rename-async", "refuse", "refuse-known")

    async def ask_all() -> None:
        await asyncio.gather(
            *(
                client.get(f"/{views[number % len(views)]}/{each}")
                for number, (each, client) in enumerate(clients.items())
            )
        )

    asyncio.run(ask_all())
    assert actors(users) == {each: [str(user.pk)] for each, user in users.items()}
