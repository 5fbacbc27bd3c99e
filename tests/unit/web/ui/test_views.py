"""The pages over HTTP, in process: who gets what, and what a browser is told to allow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID
from zlib import crc32

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from affidavit.access.abilities import EVENTS_WRITE, LIST
from affidavit.access.scope import ALL
from affidavit.core.event import Actor, Draft, Resource
from affidavit.core.ids import format_id, make_id
from affidavit.core.row import StoredEvent
from affidavit.errors import StorageBusy
from tests.unit.web.ui.memory import CODE, COOKIE, NOW, MemoryInstance, app_of, stored

HOST = "http://127.0.0.1:8484"
HERE = {"origin": HOST}


def events(count: int, organization: str = "acme", **fields: Any) -> list[StoredEvent]:
    """Events a second apart, the first the newest."""
    return [
        stored(
            Draft(
                action="user.create",
                actor=Actor(type="user", id=f"usr_{number}", email=f"u{number}@{organization}.example"),
                id=UUID(
                    bytes=make_id(NOW - (number + 1) * 1_000_000, crc32(f"{organization}{number}".encode()))
                ),
                resources=(Resource(type="user", id=f"res-{organization}-{number}"),),
                **fields,
            ),
            number,
            organization,
        )
        for number in range(count)
    ]


def client_of(
    instance: MemoryInstance, *, signed_in: bool = True, app: Starlette | None = None
) -> TestClient:
    """A browser, signed in or not."""
    client = TestClient(app or app_of(instance), base_url=HOST, follow_redirects=False)
    if signed_in:
        client.cookies.set("affidavit", COOKIE)
    return client


def ids(body: str) -> list[str]:
    """The events of a table, in order."""
    return re.findall(r'class="row-link" href="[^"]*?/events/([0-9a-f-]{36})', body)


def link(body: str, rel: str) -> str:
    """Where Previous or Next leads."""
    found = re.search(rf'rel="{rel}" href="([^"]*)"', body)
    return found[1].replace("&amp;", "&") if found else ""


def test_a_page_holds_fifty_and_next_and_previous_lead_through_all() -> None:
    """Forward each event comes once, newest first; backward come the same pages."""
    recorded = events(130)
    client = client_of(MemoryInstance(recorded))
    seen: list[list[str]] = []
    body, address = "", "/audit"
    while address:
        body = client.get(address).text
        seen.append(ids(body))
        address = link(body, "next")
    assert [len(page) for page in seen] == [50, 50, 30]
    assert [id_ for page in seen for id_ in page] == [format_id(event.id) for event in recorded]
    for page in reversed(seen[:-1]):
        body = client.get(link(body, "prev")).text
        assert ids(body) == page
    assert link(body, "prev") == ""


def test_filters_stay_with_next() -> None:
    """A walk goes on under the same question."""
    client = client_of(MemoryInstance([*events(60), *events(60, outcome="failure")]))
    body = client.get("/audit?outcome=failure&search=res-acme").text
    assert len(ids(body)) == 50
    pairs = parse_qsl(urlsplit(link(body, "next")).query)
    assert ("outcome", "failure") in pairs
    assert ("search", "res-acme") in pairs
    assert len(ids(client.get(link(body, "next")).text)) == 10


def test_a_short_page_goes_on_by_itself_and_then_says_so() -> None:
    """The page asks the reader a bounded number of times and then offers to continue."""
    found = client_of(MemoryInstance(events(100), step=10)).get("/audit").text
    assert len(ids(found)) == 50
    assert "More may follow" not in found
    instance = MemoryInstance(events(100), step=10)
    body = client_of(instance).get("/audit?resource=res-acme-95").text
    assert ids(body) == []
    assert "No match so far" in body
    assert "No events match" not in body
    following = client_of(instance).get(link(body, "next")).text
    assert len(ids(following)) == 1


def test_a_bound_that_was_hit_reads_at_least() -> None:
    """A count that may be too low never looks exact."""
    instance = MemoryInstance(events(3))
    assert "<strong>3 events</strong>" in client_of(instance).get("/audit").text
    instance.reader.at_least = True
    assert "<strong>At least 3 events</strong>" in client_of(instance).get("/audit").text


def test_without_a_session_401_with_how_to_get_one() -> None:
    """The page says what to run, and keeps where the visitor wanted to go."""
    answer = client_of(MemoryInstance(), signed_in=False).get("/audit?outcome=failure")
    assert answer.status_code == 401
    assert "affidavit login" in answer.text
    assert 'name="next" value="/audit?outcome=failure"' in answer.text
    assert "affidavit-return=/audit%3Foutcome%3Dfailure;" in answer.headers["set-cookie"]
    assert "HttpOnly" in answer.headers["set-cookie"]


@pytest.mark.parametrize("path", ["/audit", "/audit?ip=nonsense", "/audit/events/x"])
def test_without_the_ability_the_page_does_not_exist(path: str) -> None:
    """404, whatever else is wrong with the request."""
    instance = MemoryInstance(events(1), abilities=[EVENTS_WRITE])
    answer = client_of(instance).get(path)
    assert answer.status_code == 404
    assert "acme" not in answer.text


def test_nothing_of_another_organization_is_shown() -> None:
    """Neither in the list, nor under the permalink, nor by naming it, nor with a token."""
    foreign = events(60, "secret-org")
    client = client_of(MemoryInstance([*events(3), *foreign], organizations=("acme",)))
    paths = (
        "/audit",
        "/audit?organization=secret-org",
        "/audit?organization=*",
        "/audit?organization=*&start_date=2026-01-01&end_date=2026-12-31",
        "/audit?resource=res-secret-org-1",
        "/audit?continuation_token=t-3",
        f"/audit/events/{format_id(foreign[0].id)}",
        f"/audit/events/{format_id(foreign[0].id)}?organization=secret-org",
        "/audit/events/nothing",
    )
    for path in paths:
        answer = client.get(path)
        assert format_id(foreign[0].id) not in re.sub(r'value="[^"]*"', "", answer.text)
        assert "u0@secret-org" not in answer.text
    unknown = client.get("/audit?organization=no-such-org")
    known = client.get("/audit?organization=secret-org")
    assert (unknown.status_code, known.status_code) == (404, 404)
    assert unknown.text == known.text


def test_of_several_organizations_one_is_chosen_and_stays_in_the_address() -> None:
    """The first at the start; the permalink finds the event in any of them."""
    recorded = [*events(2, "acme"), *events(2, "globex")]
    client = client_of(MemoryInstance(recorded, organizations=("acme", "globex")))
    first = client.get("/audit?outcome=success")
    assert first.status_code == 303
    assert first.headers["location"] == "/audit?organization=acme&outcome=success"
    body = client.get(first.headers["location"]).text
    assert len(ids(body)) == 2
    assert '<option value="globex">' in body
    assert '<option value="*">' not in body
    assert client.get(f"/audit/events/{format_id(recorded[2].id)}").status_code == 200


def test_the_operator_reads_across_with_both_dates_only() -> None:
    """Without them the page says what is missing."""
    recorded = [*events(2, "acme"), *events(2, "globex")]
    client = client_of(MemoryInstance(recorded, organizations=ALL))
    body = client.get("/audit?organization=*&start_date=2026-11-20&end_date=2026-11-22").text
    assert len(ids(body)) == 4
    assert "in <bdi>globex</bdi>" in body
    refused = client.get("/audit?organization=*")
    assert refused.status_code == 400
    assert "give start_date and end_date" in refused.text
    assert client.get(f"/audit/events/{format_id(recorded[3].id)}").status_code == 200


@pytest.mark.parametrize(
    ("query", "parameter", "rule", "value"),
    [
        ("ip=999.1.2.3", "ip", "address", "999.1.2.3"),
        ("start_date=2026-02-30", "start_date", "date", "2026-02-30"),
        ("colour=red", "colour", "unknown", "red"),
        ("organization=../x", "organization", "name", "../x"),
        ("search=%22open", "search", "quotes", "&#34;open"),
        ("outcome=maybe", "outcome", "enum", "maybe"),
    ],
)
def test_a_bad_filter_is_named_with_its_rule_and_value(
    query: str, parameter: str, rule: str, value: str
) -> None:
    """And the page offers the same question without it."""
    answer = client_of(MemoryInstance(events(1))).get(f"/audit?severity=info&{query}")
    assert answer.status_code == 400
    shown = re.sub(r"</?bdi>", "", answer.text)
    assert f'<dd class="code">{parameter}</dd>' in shown
    assert f'<span class="code">{rule}</span>' in shown
    assert value in shown
    assert ids(answer.text) == []


def test_a_token_of_another_question_leads_back_to_the_first_page() -> None:
    """A stale link is explained."""
    answer = client_of(MemoryInstance(events(1))).get("/audit?page=2&continuation_token=stolen")
    assert answer.status_code == 400
    assert "Back to the first page" in answer.text


def test_hostile_parameters_do_not_break_the_page() -> None:
    """Bytes that are no UTF-8, NUL, thousands of parameters: a 400 each, as a page."""
    client = client_of(MemoryInstance(events(1)))
    for query in (
        "search=%ff%fe",
        "q=%00",
        "actor=" + "a" * 5000,
        "&".join(f"actor=x{n}" for n in range(150)),
        "x=1&" * 3000,
    ):
        answer = client.get(f"/audit?{query}")
        assert answer.status_code == 400, query[:20]
        assert "<html" in answer.text


@pytest.mark.parametrize("path", ["/audit", "/audit/events/nothing", "/audit/login?code=x", "/audit/nowhere"])
def test_every_page_forbids_what_it_does_not_need(path: str) -> None:
    """No script, no inline style, no frame, no base, no cache; and none of them is in the page."""
    answer = client_of(MemoryInstance(events(5))).get(path)
    assert answer.headers["content-security-policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for forbidden in ("<script", "<style", " style=", " onclick", "javascript:"):
        assert forbidden not in answer.text


def test_files_have_a_name_of_their_content_and_stay_for_ever() -> None:
    """The style sheet is cached; another name than the current one is a 404."""
    client = client_of(MemoryInstance(), signed_in=False)
    (name,) = re.findall(r'href="(/audit/assets/page\.[0-9a-f]+\.css)"', client.get("/audit").text)
    answer = client.get(name)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert client.get("/audit/assets/page.css").status_code == 404
    assert client.get("/audit/assets/..%2f..%2fviews.py").status_code == 404


def test_opening_a_link_does_not_use_it_up() -> None:
    """GET shows who signs in; only the POST of the form consumes, and leads to what was wanted."""
    instance = MemoryInstance(events(1), name="ana <b>")
    client = client_of(instance, signed_in=False)
    client.get("/audit/events/00000000-0000-7000-8000-000000000000?organization=acme")
    for _ in range(2):
        page = client.get(f"/audit/login?code={CODE}")
        assert page.status_code == 200
        assert "ana &lt;b&gt;" in page.text
    assert not instance.consumed
    done = client.post("/audit/login", data={"code": CODE}, headers=HERE)
    assert done.status_code == 303
    assert done.headers["location"] == (
        "/audit/events/00000000-0000-7000-8000-000000000000?organization=acme"
    )
    cookie = next(c for c in done.headers.get_list("set-cookie") if c.startswith("affidavit="))
    assert cookie == f"affidavit={COOKIE}; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"
    again = client.post("/audit/login", data={"code": CODE}, headers=HERE)
    assert again.status_code == 401
    assert "unknown, was used or has expired" in again.text


def test_a_whole_link_may_be_pasted() -> None:
    """The form of the 401 page takes the link as it was printed, with white space around it."""
    client = client_of(MemoryInstance(), signed_in=False)
    fields = {"code": f" {HOST}/audit/login?code={CODE} ", "next": "/audit?outcome=failure"}
    done = client.post("/audit/login", data=fields, headers=HERE)
    assert (done.status_code, done.headers["location"]) == (303, "/audit?outcome=failure")


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "/a\nb"])
def test_signing_in_never_leads_to_another_site(wanted: str) -> None:
    """Neither through the form nor through the cookie."""
    client = client_of(MemoryInstance(), signed_in=False)
    client.cookies.set("affidavit-return", "//evil.example/x")
    done = client.post("/audit/login", data={"code": CODE, "next": wanted}, headers=HERE)
    assert done.headers["location"] == "/audit"


@pytest.mark.parametrize("path", ["/audit/login", "/audit/logout"])
@pytest.mark.parametrize(
    "headers", [{}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}]
)
def test_a_form_of_another_site_changes_nothing(path: str, headers: dict[str, str]) -> None:
    """403, the link unused, the session alive."""
    instance = MemoryInstance()
    answer = client_of(instance).post(path, data={"code": CODE}, headers=headers)
    assert answer.status_code == 403
    assert not instance.consumed
    assert not instance.ended


def test_plain_http_off_loopback_is_refused_with_an_explanation() -> None:
    """Before the link is even looked at."""
    client = TestClient(app_of(MemoryInstance()), base_url="http://audit.example", follow_redirects=False)
    answer = client.get(f"/audit/login?code={CODE}")
    assert answer.status_code == 403
    assert "--insecure-cookie" in answer.text
    secure = TestClient(app_of(MemoryInstance()), base_url="https://audit.example", follow_redirects=False)
    done = secure.post("/audit/login", data={"code": CODE}, headers={"origin": "https://audit.example"})
    assert any(
        c.startswith("__Host-affidavit=") and c.endswith("; Secure")
        for c in done.headers.get_list("set-cookie")
    )


def test_signing_out_ends_the_session_everywhere() -> None:
    """On the server, in its memory, and in the browser."""
    instance = MemoryInstance(events(1))
    client = client_of(instance)
    assert client.get("/audit").status_code == 200
    done = client.post("/audit/logout", headers=HERE)
    assert done.status_code == 200
    assert "affidavit=; Path=/; Max-Age=0" in done.headers["set-cookie"]
    assert instance.ended
    assert instance.forgot
    assert client.get("/audit").status_code == 401


def test_exports_carry_the_filters_and_need_the_ability() -> None:
    """Both formats, the search line included; without the ability they are not offered."""
    body = client_of(MemoryInstance(events(1))).get("/audit?outcome=failure&search=-source:web&ip=").text
    csv = re.search(r'href="(/api/v1/events/export\?format=csv[^"]*)"', body)
    assert csv is not None
    assert parse_qsl(urlsplit(csv[1].replace("&amp;", "&")).query) == [
        ("format", "csv"),
        ("outcome", "failure"),
        ("not_source", "web"),
    ]
    assert "export?format=ndjson" in body
    assert "/export?" not in client_of(MemoryInstance(events(1), abilities=[LIST])).get("/audit").text


def test_a_database_that_fails_is_a_503_page() -> None:
    """It says that nothing is lost and when to come back, and quotes nothing of the database."""
    instance = MemoryInstance(events(1))

    def busy(*_args: Any, **_kwargs: Any) -> Sequence[Any]:
        raise StorageBusy("disk path /secret/place")

    instance.reader.page = busy  # type: ignore[method-assign, assignment]
    answer = client_of(instance).get("/audit")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "Nothing that was recorded is lost" in answer.text
    assert "/secret/place" not in answer.text


def test_an_unexpected_error_is_a_500_page_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The server's log has the traceback, the visitor only the id of the request."""
    instance = MemoryInstance(events(1))

    def broken(*_args: Any, **_kwargs: Any) -> Sequence[Any]:
        raise RuntimeError("password=hunter2")

    instance.reader.histogram = broken  # type: ignore[method-assign, assignment]
    answer = client_of(instance).get("/audit")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert "hunter2" in caplog.text


def test_mounted_every_link_stays_below_the_mount() -> None:
    """The page is the mount's root, its files, events, forms and exports below it."""
    instance = MemoryInstance(events(60))
    outer = Starlette(routes=[Mount("/in/side", app=app_of(instance, page=""))])
    client = client_of(instance, app=outer)
    answer = client.get("/in/side/")
    assert answer.status_code == 200
    addresses = re.findall(r'(?:href|action)="([^"#]*)"', answer.text)
    assert len(addresses) > 60
    assert all(address.startswith("/in/side") for address in addresses)
    assert client.get(f"/in/side/events/{ids(answer.text)[0]}").status_code == 200
    assert client.get(link(answer.text, "next")).status_code in (200, 307)
    css = next(address for address in addresses if address.endswith(".css"))
    assert client.get(css).status_code == 200


def test_the_root_leads_to_the_page() -> None:
    """``/`` redirects."""
    answer = client_of(MemoryInstance()).get("/")
    assert answer.status_code in (303, 307)
    assert answer.headers["location"] == "/audit"


def test_an_empty_log_says_how_to_record() -> None:
    """And a filter that matches nothing says how to leave it."""
    client = client_of(MemoryInstance(organizations=("acme",)))
    assert "affidavit record" in client.get("/audit").text
    assert "Clear all filters" in client.get("/audit?outcome=failure").text
