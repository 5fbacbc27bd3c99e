"""The page mounted in a product: its addresses, the product's login, and what is left as it was."""

from __future__ import annotations

import html
import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from affidavit.access.viewers import Viewer
from affidavit.core.catalog import Catalog, EventType
from affidavit.core.event import Actor
from affidavit.embed import Audit
from affidavit.errors import ConfigError
from affidavit.recorder.middleware.asgi import AuditMiddleware
from affidavit.storage.sqlite.database import migrate_file
from tests.recorder.apps import App
from tests.recorder.mounted import PEER, addresses, audit_of, browser, host, record, who

PATIENCE = 60.0


@pytest.fixture
def product(tmp_path: Path) -> App:
    """A product's database, where the engine makes no difference."""
    path = tmp_path / "app.db"
    migrate_file(path)
    return App("sqlite", f"sqlite:///{path}", tmp_path)


@pytest.fixture
def audit(product: App) -> Iterator[Audit]:
    """The product's recorder."""
    made = audit_of(product)
    yield made
    made.close()


@pytest.fixture
def stored(app: App) -> Iterator[Audit]:
    """The same on each engine."""
    made = audit_of(app)
    yield made
    made.close()


def listed(client: TestClient, path: str = "/audit", **params: Any) -> list[dict[str, Any]]:
    """The events that the API lists."""
    answer = client.get(f"{path}/api/v1/events", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["events"])


def noted(client: TestClient, action: str) -> dict[str, Any]:
    """The one event of an action, which is written beside the answer that it is about."""
    until = time.monotonic() + PATIENCE
    while not (found := listed(client, action=action)):
        assert time.monotonic() < until, f"no {action}"
        time.sleep(0.02)
    assert len(found) == 1
    return found[0]


def test_what_the_product_records_is_seen(app: App, stored: Audit) -> None:
    """Events of the product, in its transactions and in their own, stand on the page."""
    record(stored, "user.create", resource=("user", "u-2"))
    connection = app.connect()
    connection.execute("BEGIN")
    stored.record(connection, "team.update", actor=Actor(type="user", id="u-1"), resource=("team", "7"))
    connection.execute("COMMIT")
    connection.close()
    with browser(host(stored)) as client:
        assert [event["action"] for event in listed(client)] == ["team.update", "user.create"]
        page = client.get("/audit/")
    assert page.status_code == 200
    assert "team.update" in page.text
    assert "Ana Ferreira" in page.text
    assert "Sign out" not in page.text


@pytest.mark.parametrize(
    ("at", "root", "asked"),
    [
        ("/audit", "", "/audit"),
        ("/a/b/audit log", "", "/a/b/audit%20log"),
        ("/audit", "/proxy", "/proxy/audit"),  # uvicorn --root-path: the path is complete
        ("/audit", "/proxy", "/audit"),  # others: the proxy has taken it off
        ("/{team}/audit", "", "/blue/audit"),
    ],
)
def test_every_address_is_below_the_mount(audit: Audit, at: str, root: str, asked: str) -> None:
    """Links, forms, files, permalinks, exports and the next page lead to the mount as browsers see it."""
    record(audit, *["user.create"] * 51)
    shown = asked if asked.startswith(root) else f"{root}{asked}"
    with browser(host(audit, at), root_path=root) as client:
        first = client.get(f"{asked}/")
        number = listed(client, asked)[0]["id"]
        seen: set[str] = set()
        for page in (first, client.get(f"{asked}/events/{number}"), client.get(f"{asked}/?outcome=maybe")):
            found = addresses(page.text)
            assert found
            assert {each for each in found if not each.startswith(f"{shown}/")} == set()
            seen |= found
        for address in sorted(seen):
            status = client.get(address[len(shown) - len(asked) :]).status_code
            # Nothing is signed here, and the page of the broken filter leads to itself.
            expected = 409 if "format=bundle" in address else 400 if "outcome=maybe" in address else 200
            assert status == expected, address
        following = [each for each in addresses(first.text) if "continuation_token=" in each]
        assert len(following) == 1
        document = client.get(f"{asked}/api/openapi.json").json()
    assert document["servers"] == [{"url": shown}]


def test_the_address_without_its_slash_leads_to_the_page(audit: Audit) -> None:
    """/audit is redirected to /audit/ with its parameters, by the product or by the page itself."""
    web = host(audit)
    with browser(web) as client:
        answer = client.get("/audit?q=x")
        assert answer.headers["location"] == "http://testserver/audit/?q=x"
    page = audit.ui(authorize=who)
    with browser(page, root_path="/audit") as client:
        answer = client.get("/audit?q=x")
        assert (answer.status_code, answer.headers["location"]) == (307, "/audit/?q=x")


def test_mounted_in_a_mount(audit: Audit) -> None:
    """Starlette in FastAPI in Starlette: the addresses add up."""
    record(audit, "user.create")
    inner = Starlette(routes=[Mount("/inner", app=host(audit))])
    with browser(Starlette(routes=[Mount("/outer", app=inner)])) as client:
        page = client.get("/outer/inner/audit/")
        assert page.status_code == 200
        assert all(each.startswith("/outer/inner/audit/") for each in addresses(page.text))


@pytest.mark.parametrize(
    ("login_url", "location"),
    [
        ("/login", "/login?next=%2Faudit%2F%3Fsearch%3Da%2Bb"),
        ("/login?from=audit", "/login?from=audit&next=%2Faudit%2F%3Fsearch%3Da%2Bb"),
        ("https://id.example/in", "https://id.example/in?next=%2Faudit%2F%3Fsearch%3Da%2Bb"),
    ],
)
def test_whoever_is_not_signed_in_is_sent_to_the_login(audit: Audit, login_url: str, location: str) -> None:
    """With the address to come back to; the API says 401, and no cookie of ours is set."""
    with browser(host(audit, login_url=login_url), user=None) as client:
        answer = client.get("/audit/?search=a+b")
        assert (answer.status_code, answer.headers["location"]) == (303, location)
        assert "set-cookie" not in answer.headers
        api = client.get("/audit/api/v1/events")
        assert api.status_code == 401
        assert api.json()["type"] == "urn:affidavit:error:not_signed_in"


def test_there_is_a_way_back_to_the_product(audit: Audit) -> None:
    """Text and address are the product's, whatever they hold; on each page, or on none."""
    record(audit, "user.create")
    with browser(host(audit, back=("<b>Team & settings", "/team?a=1&b=2"))) as client:
        for path in ("/audit/", "/audit/?search=nothing"):
            link = re.search(r'<a class="back" href="([^"]*)"><bdi>([^<]*)</bdi></a>', client.get(path).text)
            assert link is not None
            assert [html.unescape(each) for each in link.groups()] == ["/team?a=1&b=2", "<b>Team & settings"]
    with browser(host(audit)) as client:
        assert 'class="back"' not in client.get("/audit/").text


@pytest.mark.parametrize(
    "back", ["/team", ("Team",), ("", "/team"), ("Team", "javascript:alert(1)"), ("Team", "team")]
)
def test_a_way_back_that_is_none_is_refused_at_once(audit: Audit, back: Any) -> None:
    """When the page is mounted, with rule and value."""
    with pytest.raises(ConfigError, match="back must be a text and an address"):
        audit.ui(authorize=lambda _: None, back=back)


def test_without_a_login_address_the_page_says_so(audit: Audit) -> None:
    """401 with a page that does not speak of commands that do not sign in here."""
    with browser(host(audit, login_url=None), user=None) as client:
        answer = client.get("/audit/")
        assert answer.status_code == 401
        assert "Sign in to read the audit log" in answer.text
        assert "affidavit login" not in answer.text
        assert client.get("/audit/login").status_code == 404
        assert client.post("/audit/logout").status_code == 404


def test_for_whoever_may_not_read_there_is_no_page(audit: Audit) -> None:
    """A viewer of the product without audit-log:list gets 404, and 403 from the API."""
    record(audit, "user.create")
    with browser(host(audit)) as client:
        answer = client.get("/audit/", headers={"x-role": "viewer"})
        assert answer.status_code == 404
        assert "user.create" not in answer.text
        assert client.get("/audit/api/v1/events", headers={"x-role": "viewer"}).status_code == 403


def test_a_viewer_of_one_organization_has_no_picker(audit: Audit) -> None:
    """One organization: no select; several: a select, and nothing of the others."""
    for organization in ("acme", "globex", "initech"):
        record(audit, f"of.{organization}", organization=organization)

    def reaching(*names: str) -> FastAPI:
        return host(audit, authorize=lambda _: Viewer("u-7", role="auditor", organizations=names))

    with browser(reaching("globex")) as client:
        page = client.get("/audit/")
        assert 'name="organization"' not in page.text
        assert "of.globex" in page.text
        assert "of.acme" not in page.text
    with browser(reaching("globex", "initech"), user=None) as client:
        chosen = client.get("/audit/")
        assert chosen.headers["location"] == "/audit/?organization=globex"
        page = client.get("/audit/?organization=initech")
        assert 'name="organization"' in page.text
        assert "of.initech" in page.text
        assert "of.globex" not in page.text
        assert client.get("/audit/?organization=acme").status_code == 404
    with browser(reaching()) as client:
        assert listed(client) == []


def test_the_callback_gets_the_request_of_the_product(audit: Audit) -> None:
    """State, app and path of the product; a callback that is not awaited runs in a thread."""
    threads: list[int] = []

    def asked(request: Request) -> Viewer | None:
        threads.append(threading.get_ident())
        assert request.app is web
        assert request.url.path == "/audit/"
        return Viewer(request.state.user, role="admin")

    web = host(audit, authorize=asked)

    @web.middleware("http")
    async def sign_in(request: Request, call_next: Any) -> Any:
        request.state.user = "u-9"
        request.state.request_id = "the product's"
        threads.append(threading.get_ident())
        answer = await call_next(request)
        answer.headers["x-seen"] = request.state.request_id
        return answer

    with browser(web, user=None) as client:
        answer = client.get("/audit/")
        assert answer.status_code == 200
        assert answer.headers["x-seen"] == "the product's"
        assert "u-9" in answer.text
    assert len(set(threads)) == 2


@pytest.mark.parametrize("form", ["function", "object", "returns awaitable"])
def test_the_callback_may_be_awaited(audit: Audit, form: str) -> None:
    """A coroutine function, an object whose call is one, and a function that returns something to await."""

    async def asked(_request: Request) -> Viewer | None:
        return Viewer("u-9", role="admin")

    class Asks:
        async def __call__(self, request: Request) -> Viewer | None:
            return await asked(request)

    def returning(request: Request) -> Any:
        return asked(request)

    forms = {"function": asked, "object": Asks(), "returns awaitable": returning}
    with browser(host(audit, authorize=forms[form])) as client:
        assert client.get("/audit/").status_code == 200


def test_the_callback_is_asked_once_a_request_and_not_for_files(stored: Audit) -> None:
    """Pages and API ask once; style sheets, the description and requests with a token of ours never do."""
    asked: list[str] = []

    def counting(request: Request) -> Viewer | None:
        asked.append(request.url.path)
        return Viewer("u-9", role="owner")

    with browser(host(stored, authorize=counting)) as client:
        page = client.get("/audit/")
        client.get("/audit/api/v1/events")
        made = client.post(
            "/audit/api/v1/tokens",
            json={"name": "t", "organizations": ["acme"], "abilities": ["events:write", "audit-log:list"]},
            headers={"origin": "http://testserver"},
        )
        assert made.status_code == 201, made.text
        assert made.json()["created_by"] == "u-9"
        assert asked == ["/audit/", "/audit/api/v1/events", "/audit/api/v1/tokens"]
        bearer = {"authorization": f"Bearer {made.json()['token']}"}
        event = {"action": "user.create", "actor": {"type": "user", "id": "u-2"}}
        assert client.post("/audit/api/v1/events", json=event, headers=bearer).status_code == 201
        assert client.get("/audit/api/v1/events", headers=bearer).status_code == 200
        for address in [each for each in addresses(page.text) if "/assets/" in each]:
            assert client.get(address).status_code == 200
        assert client.get("/audit/api/openapi.json").status_code == 200
        assert client.get("/audit/healthz").status_code == 200
        assert len(asked) == 3
        # A bearer token that is none of ours is the product's own affair.
        assert client.get("/audit/", headers={"authorization": "Bearer eyJh.bGci.OiJI"}).status_code == 200
        assert len(asked) == 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: True, "authorize must answer an affidavit.Viewer, or None .* not a bool"),
        (lambda _: {"id": "7"}, "not a dict"),
        (lambda _: "", "not a str"),
        (lambda _: Viewer("7", role="boss"), "role must be one of .* not 'boss'"),
        (lambda request: request.state.nobody, "AttributeError"),
    ],
)
def test_a_callback_that_fails_lets_nobody_in(
    audit: Audit, answer: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """500, as a page and as a problem, without the reason; the log of the product has it."""
    record(audit, "user.create")
    with browser(host(audit, authorize=answer)) as client, caplog.at_level(logging.ERROR, "affidavit.web"):
        for path in ("/audit/", "/audit/api/v1/events"):
            caplog.clear()
            failed = client.get(path)
            assert failed.status_code == 500
            assert "user.create" not in failed.text
            for secret in ("Viewer", "boss", "ZeroDivision", "Traceback", "authorize"):
                assert secret not in failed.text
            assert re.search(said, caplog.text) is not None


@pytest.mark.parametrize(("status", "page"), [(401, 303), (403, 403), (404, 404)])
def test_a_callback_may_raise_as_dependencies_do(audit: Audit, status: int, page: int) -> None:
    """HTTPException: 401 is nobody signed in, any other is the answer."""

    def refusing(_request: Request) -> Viewer | None:
        raise HTTPException(status, "as the product says")

    with browser(host(audit, authorize=refusing)) as client:
        assert client.get("/audit/").status_code == page
        assert client.get("/audit/api/v1/events").status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"origin": "http://testserver"}, 201),
        ({"sec-fetch-site": "same-origin"}, 201),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "https://evil.example", "authorization": "Bearer of-the-product"}, 403),
        ({"sec-fetch-site": "same-site", "authorization": "Bearer of-the-product"}, 403),
        ({"authorization": "Bearer of-the-product"}, 201),
        ({"authorization": "Basic YW5hOmJlbg=="}, 403),
    ],
)
def test_a_write_comes_from_a_page_of_the_product(audit: Audit, headers: dict[str, str], status: int) -> None:
    """No other site can make a browser change something with the product's cookie; programs bear a token."""
    body = {"name": "t", "organizations": ["acme"], "abilities": ["events:write"]}
    with browser(host(audit)) as client:
        answer = client.post("/audit/api/v1/tokens", json=body, headers=headers)
        tokens = client.get("/audit/api/v1/tokens").json()["tokens"]
    assert answer.status_code == status, answer.text
    assert len(tokens) == (status == 201)


def test_the_product_stays_as_it_was(audit: Audit) -> None:
    """Our headers stand on our answers only, our scope is not the product's, its cookies are not ours."""
    with browser(host(audit)) as client:
        own = client.get("/own")
        ours = client.get("/audit/", headers={"cookie": "affidavit=x; session=y"})
        api = client.get("/audit/api/v1/events")
    for name in ("content-security-policy", "x-request-id", "referrer-policy", "x-frame-options"):
        assert name not in own.headers
        assert name in ours.headers or name == "x-frame-options"
    assert "script-src" not in ours.headers["content-security-policy"]
    assert "default-src 'none'" in api.headers["content-security-policy"]
    assert "set-cookie" not in ours.headers
    assert ours.headers["cache-control"] == api.headers["cache-control"] == "no-store"


def test_a_cookie_of_ours_opens_nothing(product: App, audit: Audit) -> None:
    """Sessions of login links belong to the server's own page: a product decides alone who comes in."""
    with browser(host(audit), user=None) as client:
        for name in ("affidavit", "__Host-affidavit"):
            answer = client.get("/audit/api/v1/events", headers={"cookie": f"{name}=affs_{'A' * 49}"})
            assert answer.status_code == 401
    assert not (product.folder / "keys" / "operator.token").exists()


def test_reading_and_exporting_name_the_viewer(stored: Audit) -> None:
    """Both are events by the person, at their address, on the way that they went."""
    with browser(host(stored)) as client:
        assert client.get("/audit/?action=user.create").status_code == 200
        read = noted(client, "audit.log.read")
        export = client.get("/audit/api/v1/events/export?format=csv")
        assert export.status_code == 200
        exported = noted(client, "audit.export.requested")
    for event in (read, exported):
        assert event["actor"] == {
            "type": "user",
            "id": "u-7",
            "name": "Ana Ferreira",
            "email": "ana@acme.example",
        }
        assert (event["source"], event["ip"]) == ("web", PEER[0])
        assert event["recorded_by"] == {"type": "viewer", "id": "u-7", "address": PEER[0]}
    assert read["request"] == {"method": "GET", "endpoint": "/audit/"}
    assert read["metadata"] == {"filter": "action=user.create"}
    assert exported["metadata"] == {"format": "csv"}


def test_the_address_is_what_the_products_middleware_found(audit: Audit) -> None:
    """Behind a proxy that the product trusts, events about reading name the person's own address."""
    web: Any = AuditMiddleware(host(audit), trusted_proxies=[PEER[0]])
    with browser(web) as client:
        client.get("/audit/", headers={"x-forwarded-for": "198.51.100.4"})
        assert noted(client, "audit.log.read")["ip"] == "198.51.100.4"


def test_the_titles_are_those_of_the_products_catalog(product: App) -> None:
    """Event types of the app are called on the page as its code calls them."""

    class Billing(Catalog, prefix="billing"):
        refund = EventType("invoice.refund", title="Invoice refunded to the card")

    audit = audit_of(product, catalogs=[Billing])
    record(audit, "billing.invoice.refund")
    with browser(host(audit)) as client:
        assert "Invoice refunded to the card" in client.get("/audit/").text
    audit.close()


def test_the_products_middleware_works_around_it(audit: Audit) -> None:
    """Compression, CORS, sessions and BaseHTTPMiddleware, around pages and around a streamed export."""
    record(audit, *["user.create"] * 30)

    def signed_in(request: Request) -> Viewer | None:
        user = request.session.get("user")
        return Viewer(user, role="admin") if user else None

    web = host(audit, authorize=signed_in)

    @web.get("/login")
    def login(request: Request) -> str:
        request.session["user"] = "u-7"
        return "in"

    async def passing(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["x-passed"] = "yes"
        return answer

    web.add_middleware(SessionMiddleware, secret_key="of a test")
    web.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    web.add_middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_credentials=True)
    web.add_middleware(GZipMiddleware, minimum_size=100)
    with browser(web, user=None) as client:
        assert client.get("/audit/").status_code == 303
        client.get("/login")
        page = client.get("/audit/", headers={"origin": "https://app.example"})
        assert page.status_code == 200
        assert page.headers["content-encoding"] == "gzip"
        assert page.headers["access-control-allow-origin"] == "https://app.example"
        assert page.headers["x-passed"] == "yes"
        assert "30" in page.text
        export = client.get("/audit/api/v1/events/export?format=ndjson")
        lines = export.text.splitlines()
        # The read of the page above may be among them by now.
        assert sum(json.loads(line).get("action") == "user.create" for line in lines) == 30
        assert json.loads(lines[-1])["trailer"]["events"] >= 30


def test_a_websocket_is_turned_away(audit: Audit) -> None:
    """Only HTTP is spoken below the mount."""
    with (
        browser(host(audit)) as client,
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("/audit/api/v1/events"),
    ):
        pass


def test_it_can_be_an_application_of_its_own(audit: Audit) -> None:
    """Served alone it answers the server's lifespan, and the page is its root."""
    record(audit, "user.create")
    with browser(audit.ui(authorize=who)) as client:
        page = client.get("/")
        assert page.status_code == 200
        permalink = next(each for each in addresses(page.text) if each.startswith("/events/"))
        assert client.get(permalink).status_code == 200
