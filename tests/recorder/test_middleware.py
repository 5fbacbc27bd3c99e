"""The middleware: what it reads of hostile requests, and that no two people are ever mixed up."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from wsgiref.util import setup_testing_defaults

import httpx2
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, Header, WebSocket
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.orm import Session as SqlSession
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient

from affidavit.core.event import Actor, Draft
from affidavit.core.rules import normal_address
from affidavit.embed import Audit
from affidavit.recorder.context import Context, current
from affidavit.recorder.fields import anonymous
from affidavit.recorder.middleware.asgi import AuditMiddleware
from affidavit.recorder.middleware.wsgi import AuditMiddleware as WsgiMiddleware
from affidavit.recorder.requests import Asked, RequestRecorder
from tests.recorder.small import sqlite_app

USERS = 200
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def asgi_fields(scope: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What the context of a request holds."""
    seen: list[dict[str, Any]] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        here = current()
        assert here is not None
        seen.append(dict(here.known()))

    whole = {"type": "http", "method": "GET", "path": "/", "headers": [], **scope}
    asyncio.run(AuditMiddleware(app, **options)(whole, None, None))  # type: ignore[arg-type]
    return seen[0]


def wsgi_fields(environ: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The same of a WSGI request."""
    seen: list[dict[str, Any]] = []

    def app(_environ: Any, _start: Any) -> list[bytes]:
        here = current()
        assert here is not None
        seen.append(dict(here.known()))
        return []

    list(WsgiMiddleware(app, **options)(environ, lambda *_: None))
    return seen[0]


def traced(*values: str) -> tuple[str, str] | None:
    """Trace and span of a request with these headers."""
    headers = [(b"traceparent", value.encode()) for value in values]
    fields = asgi_fields({"headers": headers})
    return (fields["trace_id"], fields["span_id"]) if "trace_id" in fields else None


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"  00-{TRACE}-{SPAN}-01\t",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-brings",
    ],
)
def test_a_trace_is_read(value: str) -> None:
    """Version 00, and what version 00 can read of later ones (W3C Trace Context, section 3.2.4)."""
    assert traced(value) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "values",
    [
        [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-01-more"],
        [f"00-{TRACE}-{SPAN}-01-"],
        [f"cc-{TRACE}-{SPAN}-01.more"],
        [f"00-{TRACE.upper()}-{SPAN}-01"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[:-1]}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}-1"],
        [f"00-{TRACE}-{SPAN}"],
        [f"00-{TRACE}-{SPAN}-01\n"],
        [f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"],
        [f"0-{TRACE}-{SPAN}-01"],
        ["", "garbage"],
        ["-" * 55],
    ],
)
def test_a_trace_that_cannot_be_believed_is_none(values: list[str]) -> None:
    """Two headers, another version's form, zeros, capitals: no trace, rather than a wrong one."""
    assert traced(*values) is None


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 10.0.0.7", "10.0.0.8"], "6.6.6.6"),
        ("192.0.2.1", ["6.6.6.6"], "192.0.2.1"),
        ("10.0.0.1", ["6.6.6.6, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["2001:DB8::0001"], "2001:db8::1"),
        ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["fe80::1%'; DROP TABLE"], "fe80::1"),
        ("10.0.0.1", ["203.0.113.9\r\nX: y"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("fe80::2%eth0", ["6.6.6.6"], "fe80::2"),
        ("testclient", ["6.6.6.6"], None),
        ("", ["6.6.6.6"], None),
        (None, ["6.6.6.6"], None),
    ],
)
def test_the_client_is_read_from_the_right(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    """What stands left of the first address that no trusted proxy wrote is the client's invention."""
    scope = {
        "client": None if peer is None else (peer, 4711),
        "headers": [(b"X-Forwarded-For", value.encode()) for value in forwarded],
    }
    assert asgi_fields(scope, trusted_proxies=["10.0.0.0/8"]).get("ip") == client
    environ = {"REMOTE_ADDR": peer or ""} | (
        {"HTTP_X_FORWARDED_FOR": ",".join(forwarded)} if forwarded else {}
    )
    assert wsgi_fields(environ, trusted_proxies=["10.0.0.0/8"]).get("ip") == client


def test_nobody_is_believed_unless_they_are_named() -> None:
    """Without trusted proxies the header says nothing."""
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"6.6.6.6")]}
    assert asgi_fields(scope)["ip"] == "10.0.0.1"


@pytest.mark.parametrize(
    "given", [["r-1\r\nSet-Cookie: a=b"], ["a b"], ["ü"], [""], ["x" * 257], ["a", "b"], []]
)
def test_a_request_id_that_cannot_be_printed_is_replaced(given: list[str]) -> None:
    """Control characters, spaces, other scripts, too long ones and two at once: an id of our own."""
    headers = [(b"x-request-id", value.encode()) for value in given]
    assert re.fullmatch("[0-9a-f]{32}", asgi_fields({"headers": headers})["request"].id)


def test_a_request_id_is_kept() -> None:
    """From the header that is configured."""
    headers = [(b"x-request-id", b"no"), (b"X-Amzn-Trace-Id", b"Root=1-67891233;Sampled=1")]
    found = asgi_fields({"headers": headers}, request_id_header="X-Amzn-Trace-Id")
    assert found["request"].id == "Root=1-67891233;Sampled=1"


def test_what_would_break_a_line_is_replaced() -> None:
    """Line ends, NUL and escape sequences of path, agent and method do not reach the event."""
    found = asgi_fields(
        {
            "method": "GE\nT" + "X" * 100,
            "path": "/a\r\nb\0c\x1b[2Jd\x85e\u2028f\ud800",
            "headers": [(b"user-agent", b"evil\0\r\nagent\x9f")],
        }
    )
    replaced = "\ufffd"
    assert found["request"].endpoint == f"/a{replaced * 2}b{replaced}c{replaced}[2Jd{replaced}e{replaced}f?"
    assert found["user_agent"] == f"evil{replaced * 3}agent{replaced}"
    assert found["request"].method == f"GE{replaced}T" + "X" * 60


HEADERS = st.sampled_from(
    [b"user-agent", b"User-Agent", b"x-forwarded-for", b"x-request-id", b"traceparent", b"\xff\x00"]
)
RAW = st.one_of(
    st.binary(max_size=200),
    st.sampled_from([b"\0" * 5000, b"A" * 70_000, b"1.1.1.1," * 9000, b"fe80::1%\r\n", b"\xed\xa0\x80"]),
)
TEXTS = st.one_of(st.text(max_size=100), st.sampled_from(["/" + "a" * 70_000, "\ud800\0", "\r\n", ""]))
PEERS = st.one_of(st.none(), st.text(max_size=50), st.ip_addresses().map(str))


@pytest.fixture(scope="module")
def checking() -> Audit:
    """An audit of which only the rules are asked."""
    return Audit("sqlite:///nowhere.db", organization="meadow")


def is_sound(audit: Audit, fields: dict[str, Any]) -> None:
    """The event model takes the fields, without a word of complaint."""
    audit.recorder.check([Draft(action="team.update", organization="meadow", actor=anonymous, **fields)])
    assert "ip" not in fields or normal_address(fields["ip"]) == fields["ip"]
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", str(fields["request"].endpoint))


@settings(max_examples=150)
@given(method=TEXTS, path=TEXTS, peer=PEERS, headers=st.lists(st.tuples(HEADERS, RAW), max_size=6), query=RAW)
def test_whatever_is_asked_makes_an_event(
    checking: Audit,
    method: str,
    path: str,
    peer: str | None,
    headers: list[tuple[bytes, bytes]],
    query: bytes,
) -> None:
    """Random and hostile requests: the fields of each pass the event model, in ASGI and WSGI alike."""
    trusted = ["0.0.0.0/0", "::/0"]
    scope = {
        "method": method,
        "path": path,
        "client": None if peer is None else (peer, 1),
        "headers": headers,
    }
    is_sound(checking, asgi_fields(scope, trusted_proxies=trusted))
    environ = {
        f"HTTP_{name.decode('latin-1').upper().replace('-', '_')}": value.decode("latin-1")
        for name, value in headers
    }
    dressed = path.encode("utf-8", "surrogatepass").decode("latin-1")
    environ |= {"REQUEST_METHOD": method, "PATH_INFO": dressed, "REMOTE_ADDR": peer or ""}
    is_sound(checking, wsgi_fields(environ, trusted_proxies=trusted))


@settings(max_examples=100)
@given(path=TEXTS, query=RAW, status=st.integers(100, 999), token=st.text(max_size=30))
def test_whatever_is_asked_can_be_recorded(
    checking: Audit, path: str, query: bytes, status: int, token: str
) -> None:
    """The event of a request with any path, query and status passes the event model."""
    requests = RequestRecorder(checking, {"GET /{first}/{rest:path}": "api.request.get_asset"})
    asked = Asked("GET", f"/x/{path}", query.decode("latin-1"))
    said = requests._said(asked, Context(), status, None)
    assert (said is None) == (path == "")
    if said is not None:
        checking.recorder.check([checking.recorder.draft(said)])


def test_lifespan_and_websockets_go_through(tmp_path: Path) -> None:
    """A lifespan has no context, a websocket has one for as long as it lasts."""
    seen: list[Any] = []

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        seen.append(current())
        yield
        seen.append(current())

    api = FastAPI(lifespan=lifespan)

    @api.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        here = current()
        assert here is not None
        here.update(actor=Actor(type="user", id=await socket.receive_text()))
        await socket.send_json(
            {"endpoint": here.known()["request"].endpoint, "actor": here.known()["actor"].id}
        )

    with TestClient(AuditMiddleware(api)) as client, client.websocket_connect("/ws") as socket:
        socket.send_text("ada")
        assert socket.receive_json() == {"endpoint": "/ws", "actor": "ada"}
    assert seen == [None, None]


def recording(audit: Audit, url: str) -> Callable[[str], None]:
    """Records in a session, in the thread that it is called in."""
    engine = create_engine(url, connect_args={"timeout": 30})
    writing = threading.Lock()

    def record(action: str) -> None:
        with writing, SqlSession(engine) as session:
            audit.record(session, action)
            session.commit()

    return record


def product(audit: Audit, record: Callable[[str], None]) -> FastAPI:
    """Every way in which a framework runs an app's code; each records in another."""
    pool = ThreadPoolExecutor(4)
    api = FastAPI()

    async def by_coroutine(user: Annotated[str, Header()]) -> None:
        await asyncio.sleep(random.random() / 100)
        audit.actor(user)

    def by_thread(user: Annotated[str, Header()]) -> None:
        audit.actor(user)

    coroutine, thread = Depends(by_coroutine), Depends(by_thread)

    @api.get("/async", dependencies=[coroutine])
    async def in_coroutine() -> None:
        await asyncio.sleep(random.random() / 100)
        await run_in_threadpool(record, "seen.threadpool")

    @api.get("/async-by-thread", dependencies=[thread])
    async def in_coroutine_by_thread() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(record, "seen.task"))
            tasks.create_task(asyncio.to_thread(record, "seen.task"))

    @api.get("/sync", dependencies=[thread])
    def in_thread() -> None:
        record("seen.sync")

    @api.get("/sync-by-coroutine", dependencies=[coroutine])
    def in_thread_by_coroutine() -> None:
        started = threading.Thread(target=record, args=("seen.thread",))
        started.start()
        pool.submit(record, "seen.executor").result(30)
        started.join(30)

    @api.get("/stream", dependencies=[coroutine])
    def stream() -> StreamingResponse:
        def pieces() -> Iterator[str]:
            for _ in range(2):
                record("seen.stream")
                yield "x"

        return StreamingResponse(pieces())

    @api.get("/background", dependencies=[thread])
    async def background(tasks: BackgroundTasks) -> None:
        tasks.add_task(record, "seen.background")

    @api.get("/nobody")
    async def nobody() -> str:
        here = current()
        assert here is not None
        return str(here.known().get("actor"))

    return api


EXPECTED = {
    "/async": ["seen.threadpool"],
    "/async-by-thread": ["seen.task", "seen.task"],
    "/sync": ["seen.sync"],
    "/sync-by-coroutine": ["seen.thread", "seen.executor"],
    "/stream": ["seen.stream", "seen.stream"],
    "/background": ["seen.background"],
}


def test_two_hundred_requests_at_once_mix_up_nobody(tmp_path: Path) -> None:
    """However the app's code is run, each event has user, address and id of its request, counted in SQL."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url, organization="meadow")
    middleware = AuditMiddleware(product(audit, recording(audit, app.url)), trusted_proxies=["127.0.0.1"])
    wanted: list[tuple[str, str, str, str]] = []

    async def ask() -> list[str]:
        transport = httpx2.ASGITransport(middleware)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api", timeout=60) as client:

            async def one(number: int) -> str:
                path = "/nobody" if number % 7 == 6 else list(EXPECTED)[number % 7]
                user, address = f"u{number}", f"203.0.113.{number}"
                headers = {"user": user, "x-forwarded-for": address, "x-request-id": f"r{number}"}
                answer = await client.get(path, headers=headers)
                assert answer.status_code == 200
                wanted.extend((user, address, f"r{number}", action) for action in EXPECTED.get(path, ()))
                return answer.text if path == "/nobody" else ""

            return await asyncio.gather(*(one(number) for number in range(USERS)))

    answers = asyncio.run(ask())
    assert set(answers) == {"", '"None"'}
    found = [
        (actor, json.loads(context)["ip"], json.loads(context)["request"]["id"], action)
        for actor, context, action in app.events("actor_id", "context", "action")
    ]
    assert len(found) > USERS
    assert Counter(found) == Counter(wanted)


def test_wsgi_requests_in_many_threads_mix_up_nobody() -> None:
    """What streams its answer makes each piece for its own user, with others in between."""

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        here = current()
        assert here is not None
        here.update(actor=Actor(type="user", id=environ["QUERY_STRING"]))
        for _ in range(5):
            yield who().encode()

    middleware = WsgiMiddleware(app)

    def ask(name: str) -> Iterable[bytes]:
        environ: dict[str, Any] = {"QUERY_STRING": name}
        setup_testing_defaults(environ)
        return middleware(environ, lambda *_: None)

    answers = [ask(f"u{number}") for number in range(20)]
    for _ in range(5):
        assert [next(iter(answer)) for answer in answers] == [f"u{number}".encode() for number in range(20)]
    assert current() is None
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(lambda number: set(ask(f"u{number}")), range(USERS)))
    assert answered == [{f"u{number}".encode()} for number in range(USERS)]


def who() -> str:
    """Whom the current context names."""
    here = current()
    return str(here.known()["actor"].id) if here is not None else "nobody"


def test_a_wsgi_answer_is_closed_in_its_context() -> None:
    """``close`` runs where the pieces were made, and what is a list already stays one."""
    closed: list[str] = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a"])

        def close(self) -> None:
            closed.append(who())

    def fill(_environ: Any, context: Context) -> None:
        context.update(actor=Actor(type="user", id="ada"))

    answer: Any = WsgiMiddleware(lambda *_: Body(), fill=fill)({}, lambda *_: None)
    assert list(answer) == [b"a"]
    answer.close()
    assert closed == ["ada"]
    made = [b"a", b"b"]
    assert WsgiMiddleware(lambda *_: made)({}, lambda *_: None) is made


def test_what_only_the_app_knows_is_filled_in() -> None:
    """``fill`` is told each request before the app is: here the organization stands in the host's name."""

    def fill(scope: Any, context: Context) -> None:
        host = dict(scope["headers"])[b"host"].decode()
        context.update(organization=host.partition(".")[0])

    found = asgi_fields({"headers": [(b"host", b"meadow.example.com")]}, fill=fill, source="portal")
    assert (found["organization"], found["source"]) == ("meadow", "portal")
