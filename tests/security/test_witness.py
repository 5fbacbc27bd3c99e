"""Hostile witnesses as their client sees them, and hostile clients as the witness sees them.

Attack cases 40 and 44: cosignatures that are copied, stale, from the future or by another key; answers of
every status, slow, oversize, in another form, redirects.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.core.checkpoint import cosignature_message
from affidavit.core.merkle import leaf_hash
from affidavit.core.note import COSIGNATURE, Verifier, make_verifier, parse_verifier, signature_line
from affidavit.core.policy import Witness
from affidavit.core.unsound import Unsound
from affidavit.errors import ConfigError
from affidavit.log.asking import TOLERANCE, WitnessAsker, with_cosignature
from affidavit.log.prover import Prover
from affidavit.log.witness_client import (
    MAX_ANSWER,
    WitnessConflict,
    WitnessError,
    WitnessNonsense,
    WitnessRefused,
    WitnessUnreachable,
    add_checkpoint,
)
from affidavit.storage.log import Published, Tree
from affidavit.witness import serve
from affidavit.witness.app import create_app
from affidavit.witness.rules import MAX_BODY
from affidavit.witness.trust import Trusted
from affidavit.witness.witness import Witness as Served
from affidavit.witness.witness import open_key
from tests.e2e.program import Program
from tests.watched_log import NaiveLog

ORIGIN = "localhost/0123456789abcdef0123456789abcdef/1"
NOW = 1_800_000_000
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
KEY = make_verifier("w.example/1", SIGNER.public_key().public_bytes_raw(), COSIGNATURE)
GOOD = "— w.example/1 " + b64encode(bytes(76)).decode() + "\n"


class Server:
    """Answers each connection with the bytes that a test gives, after reading the whole request."""

    def __init__(self, *answers: bytes | Callable[[socket.socket], None]) -> None:
        self._answers = list(answers)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/w"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # or accept would wait on
        self._socket.close()
        self._thread.join()

    def _run(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.requests.append(_read_request(connection))
                if callable(answer):
                    answer(connection)
                else:
                    connection.sendall(answer)


def _read_request(connection: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        if not (more := connection.recv(65_536)):
            raise ConnectionError("no request came")
        read += more
    head, _, body = read.partition(b"\r\n\r\n")
    length = int(re.findall(rb"(?i)content-length: (\d+)", head)[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def answer(status: str, body: str | bytes = "", **headers: str) -> bytes:
    """An answer of HTTP."""
    encoded = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(encoded)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + encoded


def ask(server: Server, timeout: float = 5.0) -> list[str]:
    """Ask for a cosignature on a checkpoint of five leaves."""
    return add_checkpoint(server.url, 0, [], NaiveLog(ORIGIN).grow(5).note(), timeout)


def test_the_request_is_that_of_the_protocol() -> None:
    """Old size, proof in base64, an empty line, the note; the lines come back one by one."""
    log = NaiveLog(ORIGIN).grow(7)
    proof = [bytes([number]) * 32 for number in range(3)]
    with Server(answer("200 OK", GOOD + GOOD)) as server:
        assert add_checkpoint(server.url + "/", 3, proof, log.note(), 5.0) == [GOOD, GOOD]
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /w/add-checkpoint HTTP/1.1\r\n")
    assert body == log.body(3, 7, proof=proof)


@pytest.mark.parametrize(
    "status",
    [201, 202, 204, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 401, 402, 405, 406, 410, 411, 413, 415,
     418, 421, 423, 431, 451, 499],
)  # fmt: skip
def test_statuses_that_the_protocol_does_not_have(status: int) -> None:
    """Not one of them is taken for a cosignature, and no redirect is followed."""
    with Server() as elsewhere:
        location = elsewhere.url
        with (
            Server(answer(f"{status} Word", GOOD, Location=location)) as server,
            pytest.raises(WitnessNonsense),
        ):
            ask(server)
    assert elsewhere.requests == []


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_refusals_are_named_with_what_the_witness_said(status: int) -> None:
    """The status is kept; the text is shortened and holds nothing that moves a terminal's cursor."""
    said = b"because\x1b[2J\r\n\xff" + b"x" * 9_000
    refusal = pytest.raises(WitnessRefused, match="because")
    with Server(answer(f"{status} Word", said)) as server, refusal as refused:
        ask(server)
    assert refused.value.status == status
    assert len(refused.value.message) < 400
    assert refused.value.message.isprintable()


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 408, 429])
def test_a_witness_that_fails_is_asked_again_later(status: int) -> None:
    """Its own failure is no verdict on the checkpoint."""
    with Server(answer(f"{status} Word", GOOD)) as server, pytest.raises(WitnessUnreachable):
        ask(server)


def test_another_size_is_read_strictly() -> None:
    """409 with the right type names a size; with another spelling or type it does not."""
    kind = {"Content_Type": "text/x.tlog.size"}
    with Server(answer("409 Conflict", "7\n", **kind)) as server, pytest.raises(WitnessConflict) as conflict:
        ask(server)
    assert conflict.value.size == 7
    for body in ("", "\n", "07\n", "+7\n", "7\n\n", " 7\n", "１２\n", "-1\n", "9" * 20 + "\n", "7;8\n"):
        with Server(answer("409 Conflict", body, **kind)) as server, pytest.raises(WitnessNonsense):
            ask(server)
    plain = answer("409 Conflict", "7\n", Content_Type="text/plain")
    with Server(plain) as server, pytest.raises(WitnessRefused):
        ask(server)


@pytest.mark.parametrize(
    "body",
    ["", "\n", "hello\n", GOOD[:-1], GOOD + "\n", GOOD + "x\n", GOOD.replace("— ", "- "), "\ufeff" + GOOD,
     GOOD.replace("=", "", 1), b"\xff\xfe\n", "<html></html>\n", GOOD.replace("\n", "\r\n")],
)  # fmt: skip
def test_answers_in_another_form_are_nonsense(body: str | bytes) -> None:
    """A 200 without signature lines is none."""
    with Server(answer("200 OK", body)) as server, pytest.raises(WitnessNonsense):
        ask(server)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\r\n", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x" * 70_000,
     b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"\x16\x03\x01",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", b"HTTP/1.1 99999 OK\r\n\r\n"],
)  # fmt: skip
def test_answers_that_are_no_http(raw: bytes) -> None:
    """Named, whatever it is; never another exception."""
    with Server(raw) as server, pytest.raises(WitnessError):
        ask(server)


def test_an_endless_answer_is_read_to_its_bound() -> None:
    """Megabytes without an end: refused after the bound, and the rest is never taken off the wire."""
    sent = 0

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            sent += connection.send(GOOD.encode() * 500)

    with Server(endless) as server, pytest.raises(WitnessNonsense, match=f"more than {MAX_ANSWER}"):
        ask(server)
    # What is beyond the bound stood in the buffers of the two sockets.
    assert MAX_ANSWER < sent < 20_000_000


@pytest.mark.parametrize(
    "prefix",
    [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
     b"HTTP/1.1 100 Continue\r\n\r\n"],
)  # fmt: skip
def test_a_witness_that_drips_is_cut_off(prefix: bytes) -> None:
    """A byte now and then does not hold the connection: the time is for all of the answer."""
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(prefix)
        while not ended.wait(0.05):
            connection.sendall(b"x")

    with Server(drip) as server:
        begun = time.monotonic()
        with pytest.raises(WitnessUnreachable):
            ask(server, timeout=0.5)
        ended.set()
    assert time.monotonic() - begun < 3


def test_a_witness_that_is_away_is_unreachable() -> None:
    """No listener, no such host, TLS where there is none."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://witness.invalid"):
        with pytest.raises(WitnessUnreachable):
            add_checkpoint(url, 0, [], b"", 2.0)
    with Server(answer("200 OK", GOOD)) as server, pytest.raises(WitnessUnreachable):
        add_checkpoint(server.url.replace("http:", "https:"), 0, [], b"", 0.5)


def test_addresses_that_are_none() -> None:
    """Another scheme, no host, credentials, a query, line ends: refused before anything is sent."""
    for url in ("", "ftp://a", "file:///etc/passwd", "http://", "http://u:p@a", "http://a?b", "http://a#b",
                "http://a/b c", "http://a/\r\nHost: b", "http://a:99999", "http://ä", "//a"):  # fmt: skip
        with pytest.raises(ConfigError):
            add_checkpoint(url, 0, [], b"", 1.0)


class Leaves:
    """The store of a log, as far as a prover asks."""

    def __init__(self, log: NaiveLog) -> None:
        self._log = log

    def hashes(self, tree: int, level: int, start: int, count: int) -> list[bytes]:
        assert level == 0
        return [leaf_hash(entry) for entry in self._log.entries[start : start + count]]


def cosign(text: str, seconds: int = NOW, *, by: Verifier = KEY, sign: Ed25519PrivateKey = SIGNER) -> str:
    """A cosignature line."""
    value = seconds.to_bytes(8, "big") + sign.sign(cosignature_message(text, seconds))
    return signature_line(by.name, by.key_id, value)


def asked(log: NaiveLog, *answers: bytes, size: int | None = None) -> tuple[str, list[bytes]]:
    """Ask a witness that answers so; its line, and the bodies that it got."""
    size = len(log.entries) if size is None else size
    tree = Tree(1, "acme", "localhost", ORIGIN.split("/")[1], 1, None, size, size)
    with Server(*answers) as server:
        asker = WitnessAsker(
            Witness("w", KEY, server.url),
            Prover(Leaves(log)),  # type: ignore[arg-type]
            lambda _: [parse_verifier(log.vkey)],
            lambda: NOW * 1_000_000,
            timeout=5.0,
        )
        line = asker.ask(tree, Published(1, size, 0, log.note(size), cosigned=False))
    return line, [request.partition(b"\r\n\r\n")[2] for request in server.requests]


def test_a_cosignature_is_taken_and_stands_in_the_note() -> None:
    """The good line comes back as it is, beside lines of other keys, and replaces an earlier one."""
    log = NaiveLog(ORIGIN).grow(9)
    good = cosign(log.text(9))
    other = make_verifier("v.example", SIGNER.public_key().public_bytes_raw(), COSIGNATURE)
    line, (body,) = asked(log, answer("200 OK", cosign(log.text(9), by=other) + good))
    assert (line, body) == (good, log.body(0))
    once = with_cosignature(log.note(), line)
    assert once == log.note() + good.encode()
    later = cosign(log.text(9), NOW + 60)
    assert with_cosignature(once, later) == log.note() + later.encode()


def test_a_size_that_the_witness_names_is_proven_from() -> None:
    """After a 409 comes the honest proof from there; a size above ours means that this log was set back."""
    log = NaiveLog(ORIGIN).grow(9)
    conflict = answer("409 Conflict", "6\n", Content_Type="text/x.tlog.size")
    _, bodies = asked(log, conflict, answer("200 OK", cosign(log.text(9))))
    assert bodies == [log.body(0), log.body(6)]
    with pytest.raises(WitnessError, match=r"cosigned size 12 .* has 9: this log was set back"):
        asked(log, answer("409 Conflict", "12\n", Content_Type="text/x.tlog.size"))


def test_a_witness_that_names_one_size_after_the_other_is_left() -> None:
    """Three attempts, not for ever."""
    log = NaiveLog(ORIGIN).grow(9)
    sizes = [answer("409 Conflict", f"{size}\n", Content_Type="text/x.tlog.size") for size in (3, 4, 3, 4)]
    with pytest.raises(WitnessError, match="3 times in a row"):
        asked(log, *sizes)


@pytest.mark.parametrize(
    "forged",
    [
        lambda log: cosign(log.text(8)),
        lambda log: cosign(log.text(9).replace(ORIGIN, ORIGIN.replace("0", "1"))),
        lambda log: cosign(log.text(9), 0),
        lambda log: cosign(log.text(9), NOW - TOLERANCE - 1),
        lambda log: cosign(log.text(9), NOW + TOLERANCE + 1),
        lambda log: cosign(log.text(9), sign=Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)),
        lambda log: cosign(log.text(9), by=KEY._replace(name="x.example")),
        lambda log: cosign(log.text(9), by=KEY._replace(key_id=b"\0\0\0\0")),
        lambda log: signature_line(KEY.name, KEY.key_id, SIGNER.sign(log.text(9).encode())),
        lambda log: signature_line(KEY.name, KEY.key_id, (2**63).to_bytes(8, "big") + bytes(64)),
        lambda log: signature_line(KEY.name, KEY.key_id, b"\xff" * 72),
        lambda log: "".join(
            signature_line(KEY.name, KEY.key_id, bytes([number]) + bytes(71)) for number in range(40)
        ),
        lambda log: log.note().decode().split("\n\n")[1],
    ],
)  # fmt: skip
def test_a_cosignature_that_does_not_hold_is_not_believed(forged: Callable[[NaiveLog], str]) -> None:
    """Of another size or origin, without a time, stale, from the future, by another key, of another kind."""
    log = NaiveLog(ORIGIN).grow(9)
    with pytest.raises((Unsound, WitnessError)):
        asked(log, answer("200 OK", forged(log)))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The program's own witness, watching one log."""
    folder: Path = tmp_path_factory.mktemp("witness")
    command = ("witness", "serve", "--listen", "127.0.0.1:0", "--data-dir", "d", "--name", "w.example/1")
    import subprocess

    log = NaiveLog(ORIGIN)
    with Program(folder).start(*command, "--log", log.vkey, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Witness w.example/1 serves http://127.0.0.1:"), first
        yield "127.0.0.1", int(first.rsplit(":", 1)[1])
        process.terminate()
        process.stdout.read()
    assert process.returncode == 0


def post(served: tuple[str, int], body: bytes, **headers: str) -> tuple[int, bytes]:
    """Status and body of an answer of the real witness."""
    connection = http.client.HTTPConnection(*served, timeout=30)
    with contextlib.closing(connection):
        connection.request("POST", "/add-checkpoint", body, headers)
        response = connection.getresponse()
        return response.status, response.read()


def test_a_body_above_a_megabyte_is_refused_unread(served: tuple[str, int]) -> None:
    """Announced or in chunks: 413, and the next request is answered."""
    assert post(served, b"", Content_Length=str(MAX_BODY + 1))[0] in (400, 413)
    connection = http.client.HTTPConnection(*served, timeout=30)
    with contextlib.closing(connection), contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.putrequest("POST", "/add-checkpoint")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        assert connection.getresponse().status == 413
    chunks = (b"x" * 100_000 for _ in range(20))
    connection = http.client.HTTPConnection(*served, timeout=30)
    with contextlib.closing(connection), contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/add-checkpoint", chunks, encode_chunked=True)
        assert connection.getresponse().status == 413
    assert post(served, b"nonsense")[0] == 400


def test_of_two_forks_sent_at_once_one_is_cosigned(served: tuple[str, int]) -> None:
    """Case 11: forty requests race, half of them for a fork; all that were cosigned agree, at each size."""
    honest, fork = NaiveLog(ORIGIN).grow(40), NaiveLog(ORIGIN).grow(40, b"other")
    status, body = post(served, honest.body(0, 1))
    assert status == 200 or (status, body) == (409, b"1\n")
    fork.entries[0] = honest.entries[0]
    for size in range(2, 12):
        bodies = [honest.body(size - 1, size), fork.body(size - 1, size)] * 4
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda body: post(served, body), bodies))
        winners = {number % 2 for number, (status, _) in enumerate(answers) if status == 200}
        assert len(winners) == 1, answers
        assert {status for status, _ in answers} <= {200, 409, 422}
        if winners == {1}:
            honest, fork = fork, honest
        # The loser is rewritten so that both go on from what was cosigned.
        fork.entries[:size] = honest.entries[:size]


def test_other_addresses_and_methods_do_nothing(served: tuple[str, int]) -> None:
    """404 and 405; a hash in another spelling is no other way to the checkpoint."""
    connection = http.client.HTTPConnection(*served, timeout=30)
    with contextlib.closing(connection):
        for method, path, status in (
            ("GET", "/add-checkpoint", 405),
            ("PUT", "/add-checkpoint", 405),
            ("POST", "/add-checkpoint/", 404),
            ("GET", "/", 404),
            ("GET", f"/{'0' * 64}/checkpoint", 404),
            ("GET", f"/{'A' * 64}/checkpoint", 404),
            ("GET", "/../witness.key", 404),
        ):
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
            assert (method, path, response.status) == (method, path, status)


def test_slow_clients_do_not_hold_the_witness(served: tuple[str, int]) -> None:
    """A hundred connections that send half a head or half a body: others are answered meanwhile."""
    with contextlib.ExitStack() as stack:
        for number in range(100):
            slow = stack.enter_context(socket.create_connection(served))
            slow.sendall(b"POST /add-checkpoint HTTP/1.1\r\n")
            if number % 2:
                slow.sendall(b"Host: w\r\nContent-Length: 1000\r\n\r\nold 5")
        assert post(served, b"nonsense")[0] == 400


def test_what_does_not_come_in_time_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a head is closed, half a body is answered with 408, an idle connection is closed too."""
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.2)
    key, state = open_key(tmp_path, "w.example/1", lambda count: b"\x07" * count)
    witness = Served(key, Trusted([parse_verifier(NaiveLog(ORIGIN).vkey)]), state, clock=lambda: 0)
    config = uvicorn.Config(create_app(witness, body_seconds=0.2), http=serve._Impatient, log_config=None)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    try:
        for sent, start in (
            (b"", b""),
            (b"POST /add-checkpoint HT", b""),
            (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 9\r\n\r\nold", b"HTTP/1.1 408"),
            (b"GET / HTTP/1.1\r\nHost: w\r\n\r\nGET / HT", b"HTTP/1.1 404"),
        ):
            with socket.create_connection(listening.getsockname(), timeout=20) as slow:
                slow.sendall(sent)
                read = b""
                while more := slow.recv(65_536):
                    read += more
            assert read[:12] == start
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        state.close()
