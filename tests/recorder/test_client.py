"""``AuditClient``: an event that was handed in reaches the server once, whatever the server answers."""

from __future__ import annotations

import asyncio
import fcntl
import http.server
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from affidavit.errors import ConfigError, InvalidEvent, SpoolFull
from affidavit.recorder.client import AsyncAuditClient, AuditClient, AuditHandler, sender, transport
from affidavit.recorder.client.sender import Sender
from affidavit.recorder.client.transport import Reply, Transport, Unreachable
from affidavit.recorder.context import context
from affidavit.recorder.fields import system
from affidavit.recorder.spool import Spool
from tests.faults.load import Client, eventually
from tests.programs import Programs
from tests.recorder.answers import Answer, Sent, Server, problem, serving, stored

ME = system("tests")
TOKEN = "secret-token-1234"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is repeated is repeated soon."""
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(sender, "LONGEST_PAUSE", 0.05)


@pytest.fixture
def server() -> Iterator[Server]:
    """One that stores everything, until a test says otherwise."""
    with serving() as running:
        yield running


def client_of(server: Server, folder: Path, **options: Any) -> AuditClient:
    """A client with a spool in the folder."""
    return AuditClient(server.url, TOKEN, spool=folder / "spool.db", **options)


def markers(sent: Sent) -> list[str]:
    """The resource ids of a batch."""
    return [event["resources"][0]["id"] for event in sent.events]


@pytest.mark.postgres
def test_a_real_server_has_every_event_once(programs: Programs, tmp_path: Path) -> None:
    """Fields, context, masks and times arrive as they were said; a second sending is a duplicate."""
    program = programs(tmp_path)
    with program.serving() as running:
        token = (tmp_path / "affidavit-data" / "operator.token").read_text().strip()
        with AuditClient(running.address, token, spool=tmp_path / "spool.db", organization="acme") as client:
            with context(actor=ME, ip="10.1.2.3"):
                client.record(
                    "team.update",
                    resource=("team", 7, "Straße"),
                    changes={"name": ("a", "b"), "password": ("old", "new")},
                    occurred_at="2026-11-20T10:00:00.123456Z",
                    reason="because",
                )
            for number in range(20):
                client.record("team.delete", actor=ME, resource=("team", number))
            assert client.flush(30)
            body, _row = client._made(
                client.recorder.said("team.delete", {"actor": ME, "resource": ("team", 20)})
            )
            for _ in range(2):  # as after a crash of the client between the answer and its note of it
                client.spool.put([body])
                assert client.flush(30)
            assert (client.dead_letters(), client.last_error) == ([], None)
        events = Client(running.address, token).events("not_action_group=access&not_action_group=audit")
    assert len(events) == 22
    (update,) = [event for event in events if event["action"] == "team.update"]
    assert update["occurred_at"] == "2026-11-20T10:00:00.123456Z"
    assert (update["actor"]["id"], update["ip"], update["reason"]) == ("tests", "10.1.2.3", "because")
    assert update["resources"][0] == {"type": "team", "id": "7", "name": "Straße"}
    assert update["changes"]["name"] == {"old": "a", "new": "b"}
    assert update["changes"]["password"] == {"old": "[masked]", "new": "[masked]"}
    deleted = {event["resources"][0]["id"] for event in events if event["action"] == "team.delete"}
    assert deleted == {str(number) for number in range(21)}


def test_what_waits_is_sent_by_the_next_program(tmp_path: Path) -> None:
    """No server is there: the events are on the disk, and a later client sends them in order."""
    away = AuditClient("http://127.0.0.1:1", TOKEN, spool=tmp_path / "spool.db")
    for number in range(3):
        away.record("team.update", actor=ME, resource=("team", number))
    assert away.close(0.2) is False
    assert away.last_error is not None
    assert "refused" in away.last_error
    with serving() as server:
        with client_of(server, tmp_path) as client:
            assert client.flush()
        assert [marker for sent in server.requests for marker in markers(sent)] == ["0", "1", "2"]
        assert len(set(server.keys)) == 3


def test_events_go_in_batches_with_a_key_and_a_time_each(server: Server, tmp_path: Path) -> None:
    """While one request is under way the next events gather; none is sent alone that needs not be."""
    held = threading.Event()
    server.answer[0] = lambda sent: (held.wait(10) and stored(sent)) or stored(sent)
    with client_of(server, tmp_path) as client:
        client.record("team.update", actor=ME, resource=("team", "first"))
        eventually(lambda: len(server.requests) == 1, "nothing was sent")
        for number in range(50):
            client.record("team.update", actor=ME, resource=("team", number))
        held.set()
        assert client.flush()
    assert [len(sent.events) for sent in server.requests] == [1, 50]
    for event in (event for sent in server.requests for event in sent.events):
        assert event["idempotency_key"]
        assert event["occurred_at"].endswith("Z")
        assert "organization" not in event


@pytest.mark.parametrize("status", [409, 422])
def test_bad_events_are_parked_and_the_others_go_on(server: Server, tmp_path: Path, status: int) -> None:
    """Two of forty are refused: both are dead letters with the server's words, 38 are stored once each."""
    kept: list[str] = []

    def answer(sent: Sent) -> Answer:
        if {"13", "31"} & set(markers(sent)):
            return problem(status, errors=[{"pointer": "/events/0/x", "message": "is bad"}])
        kept.extend(markers(sent))
        return stored(sent)

    server.answer[0] = answer
    away = AuditClient("http://127.0.0.1:1", TOKEN, spool=tmp_path / "spool.db")
    for number in range(40):
        away.record("team.update", actor=ME, resource=("team", number))
    away.close(0.0)
    with client_of(server, tmp_path) as client:
        assert client.flush()
        letters = client.dead_letters()
    assert sorted(kept, key=int) == [str(number) for number in range(40) if number not in (13, 31)]
    assert [json.loads(letter.body)["resources"][0]["id"] for letter in letters] == ["13", "31"]
    assert {letter.error for letter in letters} == {f"{status} /events/0/x: is bad"}
    server.answer[0] = stored
    with client_of(server, tmp_path) as client:
        client.spool.revive([letter.number for letter in letters])
        assert client.flush()
        assert client.dead_letters() == []
    assert markers(server.requests[-1]) == ["13", "31"]


NOT_OURS = Answer(200, b"<html>Please log in</html>", "text/html")
PARTLY = Answer(201, b'{"events": []}')
NESTED = Answer(422, b"[" * 200_000, "application/problem+json")


@pytest.mark.parametrize(
    "answer",
    [
        *(problem(status) for status in (400, 401, 403, 404, 405, 408, 425, 429, 500, 502, 503, 504)),
        Answer(301, headers=(("Location", "http://127.0.0.1:1/"),)),
        Answer(422, b"<html>blocked by a proxy</html>", "text/html"),
        Answer(413, b"too large for a proxy", "text/html"),
        Answer(415, b"", "text/html"),
        Answer(204),
        NOT_OURS,
        PARTLY,
        Answer(201, b"null"),
        Answer(201, b'{"events": "x"}'),
        Answer(503, b"[" * 200_000),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:12]!r}",
)
def test_whatever_is_no_verdict_on_the_events_is_tried_again(
    server: Server, tmp_path: Path, answer: Answer
) -> None:
    """Nothing is parked and nothing leaves the spool before the server says that it has it."""
    server.answer[0] = lambda _sent: answer
    with client_of(server, tmp_path) as client:
        client.record("team.update", actor=ME, resource=("team", 1))
        eventually(lambda: len(server.requests) >= 3, "it gave up")
        assert client.spool.waiting() == 1
        assert client.dead_letters() == []
        assert str(client.last_error).startswith(str(answer.status))
        server.answer[0] = stored
        assert client.flush()
        assert client.last_error is None
    assert len(set(server.keys)) == 1


def test_a_batch_that_a_proxy_finds_too_large_goes_in_halves(server: Server, tmp_path: Path) -> None:
    """413 of anybody: the batch is halved, and no event is parked for it."""
    away = AuditClient("http://127.0.0.1:1", TOKEN, spool=tmp_path / "spool.db")
    for number in range(8):
        away.record("team.update", actor=ME, resource=("team", number))
    away.close(0.0)
    server.answer[0] = lambda sent: stored(sent) if len(sent.events) <= 2 else Answer(413, b"", "text/html")
    with client_of(server, tmp_path) as client:
        assert client.flush()
        assert client.dead_letters() == []
    assert [len(sent.events) for sent in server.requests] == [8, 4, 2, 2, 4, 2, 2]


def test_a_redirect_is_never_followed(server: Server, tmp_path: Path) -> None:
    """Neither token nor events go to where a server points."""
    with serving() as other:
        for status in (301, 302, 307, 308):
            server.requests.clear()
            where = (("Location", f"{other.url}/api/v1/events"),)
            server.answer[0] = lambda _sent, status=status, where=where: Answer(status, headers=where)  # type: ignore[misc]
            with client_of(server, tmp_path) as client:
                client.record("team.update", actor=ME)
                eventually(lambda: len(server.requests) >= 2, "it gave up")
                client.close(0.0)
        assert other.requests == []


def test_an_answer_without_end_is_cut(server: Server, tmp_path: Path) -> None:
    """A body of any size costs four megabytes and no more; then the next attempt is made."""
    written: list[int] = []

    def endless(out: Any) -> None:
        out.write(b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n")
        piece = b" " * 65_536
        try:
            for number in range(2_000):
                out.write(piece)
                written.append(number)
        except OSError:
            written.append(-1)

    server.answer[0] = lambda _sent: Answer(write=endless)
    with client_of(server, tmp_path) as client:
        client.record("team.update", actor=ME)
        eventually(lambda: -1 in written, "all of it was read")
        eventually(lambda: bool(client.last_error), "nothing was said of it")
        server.answer[0] = stored
        assert client.flush()


def test_an_answer_that_drips_ends_in_time(server: Server, tmp_path: Path) -> None:
    """A byte now and then is no answer: the time is that of the whole request."""
    ended = threading.Event()

    def drip(out: Any) -> None:
        try:
            out.write(b"HTTP/1.1 201 Created\r\n")
            while not ended.wait(0.02):
                out.write(b"x")
                out.flush()
        except OSError:
            ended.set()

    server.answer[0] = lambda _sent: Answer(write=drip)
    with client_of(server, tmp_path, seconds=0.3) as client:
        client.record("team.update", actor=ME)
        eventually(lambda: client.last_error is not None, "it waits for ever", 10)
        assert "no whole answer within 0.3 s" in str(client.last_error)
        server.answer[0] = stored
        assert client.flush()
    ended.set()


class Waits(threading.Event):
    """An event that notes how long it was to be waited for, and does not wait."""

    noted: ClassVar[list[float]] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note it; the second of an idle thread is waited, in part."""
        if timeout == 1.0:
            return super().wait(0.01)
        assert timeout is not None
        self.noted.append(timeout)
        return super().wait(0)


class Scripted:
    """A transport with one answer after the other; then it stores everything."""

    def __init__(self, answers: list[Reply | Exception]) -> None:
        self.answers = answers

    def post(self, _body: bytes) -> Reply:
        """The next answer."""
        answer = self.answers.pop(0) if self.answers else Reply(201, "", b'{"events":[{"id":1}]}', None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def masked(self, text: str) -> str:
        """As it is."""
        return text

    def close(self) -> None:
        """Nothing is open."""


def waits_for(
    answers: list[Reply | Exception], folder: Path, monkeypatch: pytest.MonkeyPatch, jitter: float
) -> list[float]:
    """The pauses between attempts."""
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(sender, "LONGEST_PAUSE", 60.0)
    names = ("Lock", "Thread", "current_thread")
    known = SimpleNamespace(Event=Waits, **{name: getattr(threading, name) for name in names})
    monkeypatch.setattr(sender, "threading", known)
    monkeypatch.setattr(Waits, "noted", [])
    spool = Spool(folder / "spool.db")
    spool.put([b"{}"])
    running = Sender(spool, Scripted(answers), clock=lambda: 0, jitter=lambda: jitter)  # type: ignore[arg-type]
    eventually(lambda: not spool.has_entries(), "it gave up")
    running.close()
    return Waits.noted


def test_the_pauses_double_up_to_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.2 s, 0.4 s, ... 60 s, each as a bound below which the pause is drawn."""
    lost: list[Reply | Exception] = [Unreachable("away") for _ in range(11)]
    bounds = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
    assert waits_for([*lost], tmp_path, monkeypatch, 1.0) == pytest.approx(bounds)
    halves = waits_for([*lost], tmp_path, monkeypatch, 0.5)
    assert halves == pytest.approx([bound / 2 for bound in bounds])


def test_the_server_may_ask_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``Retry-After`` in seconds, and a jitter above it, so that clients do not come back all at once."""
    busy = Reply(429, "", b"", 7.0)
    assert waits_for([busy, busy], tmp_path, monkeypatch, 1.0) == pytest.approx([7.2, 7.4])


def test_retry_after_is_read_as_seconds_or_a_date_and_never_believed_beyond_an_hour() -> None:
    """RFC 9110, section 10.2.3; nonsense is as if it were not there."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert transport._seconds("120") == 120.0
    assert 90 < (transport._seconds(soon) or 0) <= 100
    assert transport._seconds("Fri, 31 Dec 1999 23:59:59 GMT") == 0.0
    assert transport._seconds("9" * 400) == 3_600.0
    for nonsense in (None, "", "-1", "soon", "١٢", "Fri, 99 Foo 1999", "1e9"):
        assert transport._seconds(nonsense) is None


def test_what_breaks_a_rule_is_refused_before_the_disk(server: Server, tmp_path: Path) -> None:
    """No actor, a bad severity, an empty key: an error at the call, nothing in the spool."""
    with client_of(server, tmp_path) as client:
        with pytest.raises(InvalidEvent, match="actor"):
            client.record("team.update")
        with pytest.raises(InvalidEvent, match="idempotency_key"):
            client.record("team.update", actor=ME, idempotency_key="")
        with pytest.raises(InvalidEvent):
            client.record("Not An Action", actor=ME)
        with pytest.raises(TypeError, match="colour"):
            client.record("team.update", actor=ME, colour="red")  # type: ignore[call-arg]
        assert not client.spool.has_entries()
    assert server.requests == []


def test_no_secret_is_written_or_sent(server: Server, tmp_path: Path) -> None:
    """Masked before it reaches the disk."""
    server.answer[0] = lambda _sent: problem(503)
    with client_of(server, tmp_path) as client:
        client.record(
            "user.update",
            actor=ME,
            changes={"password": ("hunter2-a", "hunter2-b")},
            metadata={"seen": "visible"},
        )
        written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        eventually(lambda: bool(server.requests), "nothing was sent")
        client.close(0.0)
    assert b"visible" in written
    assert b"hunter2" not in written
    assert "hunter2" not in str(server.requests)


def test_the_token_is_shown_nowhere(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not by a server that repeats it, in no repr, no error, no log and no file; in the header alone."""
    server.answer[0] = lambda sent: problem(403, f"what is {sent.headers['authorization']}?")
    with client_of(server, tmp_path) as client:
        client.record("team.update", actor=ME)
        eventually(lambda: bool(client.last_error), "nothing was said")
        server.answer[0] = lambda sent: problem(422, f"what is {sent.headers['authorization']}?")
        assert client.flush()
        shown = [repr(client), str(client.last_error), caplog.text, repr(client._transport)]
        shown += [repr(client._sender), repr(client._transport()), str(client.dead_letters())]
    assert all(TOKEN not in text for text in shown)
    assert "[masked]" in caplog.text
    assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    for bad in ("with\nnewline", "", "ümlaut", "a b"):
        with pytest.raises(ConfigError) as raised:
            AuditClient("http://h", bad, spool=tmp_path / "s.db")
        assert not bad or bad not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "audit.example.org",
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://user:hunter2@h",
        "http://h/?x=1",
        "http://h/#x",
        "http://h/a b",
        "http://[::1",
    ],
)
def test_a_bad_address_is_named_at_once(url: str, tmp_path: Path) -> None:
    """Where the client is made, not in a thread; without a password that stands in it."""
    with pytest.raises(ConfigError) as raised:
        AuditClient(url, TOKEN, spool=tmp_path / "spool.db")
    assert "hunter2" not in repr(raised.value)
    assert raised.value.__cause__ is None


def test_a_full_spool_raises_or_blocks(server: Server, tmp_path: Path) -> None:
    """``raise`` tells the caller; ``block`` goes on when the server has taken something."""
    server.answer[0] = lambda _sent: problem(503)
    client = client_of(server, tmp_path, limit=600)
    with pytest.raises(SpoolFull):  # noqa: PT012
        for _ in range(10):
            client.record("team.update", actor=ME)
    taken = client.spool.waiting()
    assert 0 < taken < 10
    client.close(0.0)
    blocking = client_of(server, tmp_path, limit=600, when_full="block")

    def four() -> None:
        for _ in range(4):
            blocking.record("team.delete", actor=ME)

    thread = threading.Thread(target=four)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    server.requests.clear()
    server.answer[0] = stored
    thread.join(30)
    assert blocking.close()
    assert len(set(server.keys)) == taken + 4


def test_parent_and_child_both_record(server: Server, tmp_path: Path) -> None:
    """The child sends by itself once the parent's lock is free; every event arrives once."""
    client = client_of(server, tmp_path)
    client.record("team.update", actor=ME, resource=("team", "before"))
    assert client.flush()
    ready, go = os.pipe(), os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.write(ready[1], b"!")
            os.read(go[0], 1)
            client.record("team.update", actor=ME, resource=("team", "child"))
            os._exit(0 if client.flush(20) else 3)
        finally:
            os._exit(1)
    os.read(ready[0], 1)
    client.record("team.update", actor=ME, resource=("team", "parent"))
    assert client.close()
    os.write(go[1], b"!")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    for descriptor in (*ready, *go):
        os.close(descriptor)
    assert sorted(marker for sent in server.requests for marker in markers(sent)) == [
        "before",
        "child",
        "parent",
    ]


PROGRAM = """
import sys
from affidavit.recorder.client import AuditClient
from affidavit.recorder.fields import system
client = AuditClient(sys.argv[1], "t", spool=sys.argv[2])
for number in range(int(sys.argv[4])):
    client.record("team.update", actor=system("x"), resource=("team", f"{sys.argv[3]}-{number}"))
"""


def run(server_url: str, spool: Path, name: str, count: int) -> subprocess.Popen[bytes]:
    """Start a program that records and ends without a word to its client."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM, server_url, str(spool), name, str(count)])


def test_the_end_of_the_interpreter_loses_nothing(server: Server, tmp_path: Path) -> None:
    """Nobody closed the client: what it could send it sent, and with no server it ends soon all the same."""
    assert run(server.url, tmp_path / "one.db", "a", 5).wait(30) == 0
    assert [marker for sent in server.requests for marker in markers(sent)] == [
        f"a-{each}" for each in range(5)
    ]
    assert run("http://127.0.0.1:1", tmp_path / "two.db", "b", 5).wait(30) == 0
    assert Spool(tmp_path / "two.db").waiting() == 5


def test_several_processes_share_one_spool(server: Server, tmp_path: Path) -> None:
    """One sends at a time, the others take over: every event of all arrives, none twice."""
    running = [run(server.url, tmp_path / "spool.db", f"p{number}", 10) for number in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    with client_of(server, tmp_path) as client:
        assert client.flush()
    arrived = sorted(marker for sent in server.requests for marker in markers(sent))
    assert arrived == sorted(f"p{number}-{each}" for number in range(4) for each in range(10))


def test_after_close_an_event_waits_for_the_next_client(server: Server, tmp_path: Path) -> None:
    """It is on the disk, no thread is started for it, and nothing stays open."""
    client = client_of(server, tmp_path)
    client.close()
    client.record("team.update", actor=ME)
    assert client.spool._connection is None
    assert server.requests == []
    with client_of(server, tmp_path) as later:
        assert later.flush()
    assert len(server.keys) == 1


def test_a_loop_records_with_the_context_of_its_tasks(server: Server, tmp_path: Path) -> None:
    """Thirty tasks at once, each with an actor of its own."""

    async def use() -> None:
        async with AsyncAuditClient(client_of(server, tmp_path)) as client:

            async def one(number: int) -> None:
                with context(actor=system(f"task-{number}")):
                    await asyncio.sleep(0)
                    await client.record("team.update", resource=("team", number))

            await asyncio.gather(*(one(number) for number in range(30)))
            assert await client.flush()

    asyncio.run(use())
    events = [event for sent in server.requests for event in sent.events]
    assert len(events) == 30
    assert all(event["actor"]["id"] == f"task-{event['resources'][0]['id']}" for event in events)


def test_the_thread_survives_what_nobody_thought_of(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a kind that is not handled anywhere is named, and the event is sent afterwards."""
    broken = [True]
    flock = fcntl.flock

    def fail(*arguments: Any) -> None:
        if broken:
            broken.pop()
            raise MemoryError("none left")
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", fail)
    with client_of(server, tmp_path) as client:
        client.record("team.update", actor=ME)
        assert client.flush()
    assert broken == []
    assert len(server.keys) == 1


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of the app's, and the root that everything goes up to."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield logging.getLogger("app.Billing-2")
    root.handlers[:] = before


def test_a_handler_records_what_a_program_logs(
    server: Server, tmp_path: Path, logger: logging.Logger
) -> None:
    """Level, message, and what ``extra`` says of the event."""
    with client_of(server, tmp_path) as client:
        handler = AuditHandler(client)
        logging.getLogger().addHandler(handler)
        logger.error("paid %s", 7)
        logger.critical("gone", extra={"audit": {"action": "invoice.refund", "resource": ("invoice", 1)}})
        logger.debug("not this")
        assert client.flush()
    first, second = [event for sent in server.requests for event in sent.events]
    assert (first["action"], first["description"], first["outcome"]) == (
        "logging.app.billing-2",
        "paid 7",
        "failure",
    )
    assert (second["action"], second["severity"]) == ("invoice.refund", "critical")
    assert second["resources"] == [{"type": "invoice", "id": "1"}]


def test_a_handler_does_not_feed_itself(
    server: Server, tmp_path: Path, logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """What the client logs of its own troubles, on the root logger with everything on, is no event."""
    server.answer[0] = lambda _sent: problem(503)
    caplog.set_level(logging.DEBUG)
    with client_of(server, tmp_path) as client:
        logging.getLogger().addHandler(AuditHandler(client, logging.DEBUG))
        logger.error("once")
        eventually(lambda: len(server.requests) >= 3, "it gave up")
        assert client.spool.waiting() == 1
        client.close(0.0)
    assert [record.name for record in caplog.records] == ["app.Billing-2", "affidavit.client"]


def test_a_handler_reports_what_it_cannot_record_and_stops_nobody(
    server: Server, tmp_path: Path, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``logging`` does it: on standard error."""
    with client_of(server, tmp_path, limit=1) as client:
        logging.getLogger().addHandler(AuditHandler(client))
        logger.error("no room")
        logger.error("no dictionary", extra={"audit": 7})
        client.close(0.0)
    shown = capsys.readouterr().err
    assert "SpoolFull" in shown
    assert "TypeError" in shown


def test_the_connection_is_kept_and_opened_again(server: Server) -> None:
    """Two posts over one connection; when the server has closed it the third opens another."""
    ports: set[int] = set()
    original = http.server.BaseHTTPRequestHandler.handle

    def handle(self: Any) -> None:
        ports.add(self.client_address[1])
        original(self)

    http.server.BaseHTTPRequestHandler.handle = handle  # type: ignore[method-assign]
    try:
        posts = Transport(server.url, TOKEN)
        for _ in range(2):
            assert posts.post(b'{"events":[]}').status == 201
        assert len(ports) == 1
        assert posts._connection is not None
        posts._connection.sock.shutdown(2)
        assert posts.post(b'{"events":[]}').status == 201
        assert len(ports) == 2
        posts.close()
    finally:
        http.server.BaseHTTPRequestHandler.handle = original  # type: ignore[method-assign]
