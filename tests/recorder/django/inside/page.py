"""The page in urls.py: under WSGI and ASGI, behind the project's own login, beside its middleware."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection, connections
from django.http import Http404, HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings, setup_test_environment, teardown_test_environment
from django.urls import clear_script_prefix, include, path, reverse, set_script_prefix

from affidavit.access.viewers import Viewer
from affidavit.core.event import Actor
from affidavit.django.recording import DjangoAudit
from affidavit.errors import ConfigError

AT = "/team/settings/audit/"
PATIENCE = 60.0
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "affidavit.django.AuditMiddleware",
    "django.middleware.cache.FetchFromCacheMiddleware",
]
asked: list[Any] = []


def who(request: Any) -> Viewer | None:
    """The project's login; a user's first name is the role."""
    asked.append((threading.get_ident(), connection.in_atomic_block))
    user = request.user
    if not user.is_authenticated:
        return None
    return Viewer(
        user.pk, name=user.get_username(), email=user.email or None, role=user.first_name or "admin"
    )


async def who_awaited(request: Any) -> Viewer | None:
    """The same, awaited."""
    user = await request.auser()
    return Viewer(user.pk, role="admin") if user.is_authenticated else None


def refused(request: Any) -> Viewer | None:
    """What views of the project raise."""
    kinds = {
        "denied": PermissionDenied("not in this team"),
        "nothing": Http404(),
        "broken": KeyError("secret"),
    }
    if request.GET.get("q") in kinds:
        raise kinds[request.GET["q"]]
    return cast("Viewer", request.GET.get("q"))


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DjangoAudit]:
    """The project's recorder, and its URLs with the page in three places."""
    made = DjangoAudit(organization="acme", data_dir=tmp_path_factory.mktemp("keys"))
    pages = [
        path("login/", lambda request: HttpResponse("the login"), name="login"),
        path("own/", lambda request: HttpResponse("of the project")),
        path(AT[1:], made.urls(authorize=who, login_url="login", back=("The project", "login"))),
        path("awaited/", made.urls(authorize=who_awaited, namespace="awaited")),
        path("refused/", made.urls(authorize=refused, namespace="refused")),
        path("bare", made.urls(authorize=who, namespace="bare")),
        path("nested/<slug:team>/", include([path("log/", made.urls(authorize=who, namespace="nested"))])),
    ]
    urls = type("Urls", (), {"urlpatterns": pages})
    for each in connections.settings.values():
        each["ATOMIC_REQUESTS"] = True
    with override_settings(
        ROOT_URLCONF=urls, MIDDLEWARE=MIDDLEWARE, CACHES=settings.CACHES, CACHE_MIDDLEWARE_SECONDS=600
    ):
        setup_test_environment()
        yield made
        teardown_test_environment()
        made.close()


class Asking:
    """A browser of somebody, through the handler of WSGI or of ASGI."""

    def __init__(self, kind: str, user: User | None = None) -> None:
        self.client: Any = Client() if kind == "wsgi" else AsyncClient()
        self._is_async = kind == "asgi"
        if user is not None:
            self.client.force_login(user)

    def get(self, address: str, **more: Any) -> Any:
        """GET."""
        return self._sent("get", address, **more)

    def post(self, address: str, body: Any, **more: Any) -> Any:
        """POST of JSON."""
        return self._sent("post", address, data=json.dumps(body), content_type="application/json", **more)

    def _sent(self, method: str, *arguments: Any, **more: Any) -> Any:
        send = getattr(self.client, method)
        return async_to_sync(send)(*arguments, **more) if self._is_async else send(*arguments, **more)


@pytest.fixture(params=["wsgi", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which handler of Django."""
    return str(request.param)


@pytest.fixture
def user() -> User:
    """Somebody who may read."""
    return User.objects.create_user(f"ana-{uuid4().hex[:8]}", email="ana@acme.example")


def body(answer: Any) -> bytes:
    """All of an answer."""
    if not answer.streaming:
        return bytes(answer.content)

    async def read() -> bytes:
        return b"".join([piece async for piece in answer])

    return asyncio.run(read()) if answer.is_async else b"".join(answer.streaming_content)


def events(browser: Asking, **asked: str) -> list[dict[str, Any]]:
    """The events that the API lists."""
    answer = browser.get(f"{AT}api/v1/events", data=asked)
    assert answer.status_code == 200, answer.content
    return list(json.loads(answer.content)["events"])


def test_the_page_stands_below_its_address(audit: DjangoAudit, kind: str, user: User) -> None:
    """Links, files, permalinks and exports: all below the route, and all lead somewhere."""
    audit.record_now("user.create", actor=Actor(type="user", id="u-1"), resource=("user", "u-2"))
    browser = Asking(kind, user)
    for at in (AT, "/nested/blue/log/"):
        page = browser.get(f"{at}?action=user.create")
        assert page.status_code == 200
        found = set(re.findall(r'(?:href|action)="([^"#][^"]*)"', page.content.decode()))
        back = {"/login/"} if at == AT else set()  # by its name, as in the project's templates
        assert {each for each in found if not each.startswith(at)} == back
        assert any("/events/0" in each for each in found)
        for address in sorted(found):
            if "format=bundle" not in address:  # nothing is signed here
                answer = browser.get(address.replace("&amp;", "&"))
                assert (answer.status_code, len(body(answer)) > 0) == (200, True), address
    assert reverse("affidavit:page") == AT


def test_the_way_to_the_login(audit: DjangoAudit, kind: str) -> None:
    """Nobody signed in: to the named URL and back; the API says 401; a page without a login, too."""
    browser = Asking(kind)
    answer = browser.get(f"{AT}?search=a+b")
    assert (answer.status_code, answer["location"]) == (
        303,
        "/login/?next=%2Fteam%2Fsettings%2Faudit%2F%3Fsearch%3Da%2Bb",
    )
    assert browser.get(f"{AT}api/v1/events").status_code == 401
    bare = browser.get("/awaited/")
    assert bare.status_code == 401
    assert b"Sign in to read the audit log" in bare.content
    assert answer.cookies == {}


def test_the_slash_at_the_end(audit: DjangoAudit, kind: str, user: User) -> None:
    """APPEND_SLASH leads to the page, never away from the API; a route without a slash has none of others."""
    browser = Asking(kind, user)
    answer = browser.get(AT.rstrip("/"))
    assert (answer.status_code, answer["location"]) == (301, AT)
    assert browser.get(f"{AT}api/v1/catalog").status_code == 200
    assert browser.get("/bare")["location"] == "/bare/"
    assert browser.get("/bare/").status_code == 200
    assert browser.get("/barefoot").status_code == 404


def test_who_may_not_read_finds_nothing(audit: DjangoAudit, kind: str) -> None:
    """A role without the ability: 404, and 403 from the API."""
    browser = Asking(kind, User.objects.create_user(f"v-{uuid4().hex[:8]}", first_name="viewer"))
    assert browser.get(AT).status_code == 404
    assert browser.get(f"{AT}api/v1/events").status_code == 403


def test_the_callback_may_be_awaited(audit: DjangoAudit, kind: str, user: User) -> None:
    """An async callback, under either handler."""
    assert Asking(kind, user).get("/awaited/").status_code == 200


@pytest.mark.parametrize(
    ("q", "status"), [("denied", 403), ("nothing", 404), ("broken", 500), ("wrong type", 500)]
)
def test_what_the_callback_raises(audit: DjangoAudit, kind: str, q: str, status: int) -> None:
    """PermissionDenied and Http404 as in a view; anything else is 500 without a detail."""
    for address in ("/refused/", "/refused/api/v1/events"):
        answer = Asking(kind).get(address, data={"q": q})
        assert answer.status_code == status
        for secret in (b"secret", b"KeyError", b"Traceback", b"not a str"):
            assert secret not in answer.content


def test_the_callback_runs_where_the_project_does(audit: DjangoAudit, user: User) -> None:
    """Under WSGI in the thread of the request, whose connection of the ORM it uses; once a request."""
    browser = Asking("wsgi", user)
    asked.clear()
    assert browser.get(AT).status_code == 200
    assert asked == [(threading.get_ident(), False)], "and in no atomic block, for all of ATOMIC_REQUESTS"


def test_writes_are_checked(audit: DjangoAudit, kind: str, user: User) -> None:
    """A Viewer's write needs the Origin of this host; a token needs neither that nor Django's own check."""
    browser = Asking(kind, user)
    browser.client.handler.enforce_csrf_checks = True
    new = {"name": "t", "organizations": ["acme"], "abilities": ["events:write"]}
    assert browser.post(f"{AT}api/v1/tokens", new).status_code == 403
    evil = browser.post(f"{AT}api/v1/tokens", new, headers={"origin": "https://evil.example"})
    assert evil.status_code == 403
    made = browser.post(f"{AT}api/v1/tokens", new, headers={"origin": "http://testserver"})
    assert made.status_code == 201, made.content
    program = Asking(kind)
    program.client.handler.enforce_csrf_checks = True
    marker = uuid4().hex
    event = {"action": "user.create", "actor": {"type": "user", "id": marker}}
    headers = {"authorization": f"Bearer {json.loads(made.content)['token']}"}
    assert program.post(f"{AT}api/v1/events", event, headers=headers).status_code == 201
    assert len(events(browser, actor=marker)) == 1
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000):
        big = {"events": [{**event, "reason": "r" * 900}] * 50}
        assert program.post(f"{AT}api/v1/events", big, headers=headers).status_code == 201
    assert program.post(f"{AT}api/v1/events", {"x": "y" * 17_000_000}, headers=headers).status_code == 413


def test_reading_and_exporting_name_the_viewer(audit: DjangoAudit, kind: str, user: User) -> None:
    """Both are events by the person whom the project signed in."""
    browser = Asking(kind, user)
    browser.get(AT)
    body(browser.get(f"{AT}api/v1/events/export?format=csv"))
    until = time.monotonic() + PATIENCE
    while (
        len(found := [e for e in events(browser, actor=str(user.pk)) if e["action"].startswith("audit.")]) < 2
    ):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert {each["action"] for each in found} == {"audit.log.read", "audit.export.requested"}
    for each in found:
        assert each["actor"]["name"] == user.get_username()
        assert (each["source"], each["ip"]) == ("web", "127.0.0.1")


def test_an_export_comes_piece_by_piece(audit: DjangoAudit, kind: str, user: User) -> None:
    """Longer than what waits ahead of the reader, whole, and let go where the reader leaves."""
    for _ in range(2):
        with audit_block():
            for _ in range(1000):
                audit.record("user.update", actor=Actor(type="user", id="u-1"), reason="r" * 500)
    browser = Asking(kind, user)
    answer = browser.get(f"{AT}api/v1/events/export?format=ndjson&action=user.update")
    assert answer.streaming
    assert answer.is_async is (kind == "asgi")
    lines = body(answer).splitlines()
    assert len(lines) - 1 == json.loads(lines[-1])["trailer"]["events"] >= 2000
    # Somebody who goes away in the middle, and one who never reads: the application's sides end.
    left = browser.get(f"{AT}api/v1/events/export?format=ndjson")
    if kind == "wsgi":
        assert next(iter(left.streaming_content))
    left.close()
    until = time.monotonic() + PATIENCE
    while running():
        assert time.monotonic() < until
        time.sleep(0.02)


def audit_block() -> Any:
    """An atomic block."""
    from django.db import transaction

    return transaction.atomic()


def running() -> int:
    """Requests that the loop in the background has not ended."""
    from affidavit.mount.background import background

    async def count() -> int:
        return sum("Exchange" in str(task.get_coro()) for task in asyncio.all_tasks())

    return background.run(count()).result()


def test_the_project_stays_as_it_was(audit: DjangoAudit, kind: str, user: User) -> None:
    """Our headers stand on our answers only; compression works; the cache of the site keeps none of it."""
    browser = Asking(kind, user)
    own = browser.get("/own/")
    assert "content-security-policy" not in own.headers
    ours = browser.get(AT, headers={"accept-encoding": "gzip"})
    assert ours["content-encoding"] == "gzip"
    assert ours["cache-control"] == "private, no-store"
    assert ours["referrer-policy"] == "same-origin"
    assert ours.cookies == {}
    marker = f"of.m{uuid4().hex}"
    assert events(browser, action=marker) == []
    audit.record_now(marker, actor=Actor(type="user", id="u-1"))
    assert len(events(browser, action=marker)) == 1


def test_a_prefix_that_a_server_took_off(audit: DjangoAudit, user: User) -> None:
    """SCRIPT_NAME is part of every address."""
    browser = Asking("wsgi", user)
    set_script_prefix("/proxy/")  # as the handler of a server does
    try:
        page = browser.client.get(AT, SCRIPT_NAME="/proxy")
        login = Asking("wsgi").client.get(AT, SCRIPT_NAME="/proxy")
    finally:
        clear_script_prefix()
    assert login["location"].startswith(f"/proxy/login/?next=%2Fproxy{quote(AT, safe='')}")
    found = set(re.findall(r'(?:href|action)="([^"#][^"]*)"', page.content.decode()))
    assert found
    assert {each for each in found if not each.startswith(f"/proxy{AT}")} == {"/proxy/login/"}


def test_hosts_are_checked(audit: DjangoAudit, kind: str, user: User) -> None:
    """ALLOWED_HOSTS holds for the page."""
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        assert Asking(kind, user).get(AT, headers={"host": "evil.example"}).status_code == 400


def test_a_missing_callback_is_named(audit: DjangoAudit) -> None:
    """When the URLs are made."""
    with pytest.raises(ConfigError, match="authorize must be a function of the request, not None"):
        audit.urls(authorize=None)  # type: ignore[arg-type]
