"""Proofs of the real program: over HTTP, as files, and in the eyes of an auditor who has only the key."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.leaf import parse_leaf
from affidavit.core.note import Verifier
from affidavit.core.proof import parse_proof, verify_proof
from affidavit.core.tiles import Tile, TileTree
from affidavit.core.verdict import Verdict
from affidavit.log.keys import KeyFile
from affidavit.verifier.command import Asked, verdict_of
from tests.e2e.program import Program, children
from tests.evidence import members_of
from tests.programs import Programs, change, literal

LIST, EXPORT, WRITE, LOG = "audit-log:list", "audit-log:export", "events:write", "log:read"
PATIENCE = 20


class Server(NamedTuple):
    """A server that runs."""

    address: str
    program: Program
    process: int
    opened: ExitStack

    @property
    def operator(self) -> httpx2.Client:
        token = (self.program.folder / "affidavit-data" / "operator.token").read_text().strip()
        return self.client_of(token)

    def client_of(self, token: str) -> httpx2.Client:
        headers = {"authorization": f"Bearer {token}"}
        client = httpx2.Client(base_url=self.address, headers=headers, trust_env=False, timeout=60)
        return self.opened.enter_context(client)

    def client(
        self, *organizations: str, abilities: tuple[str, ...] = (LIST, EXPORT, WRITE, LOG)
    ) -> httpx2.Client:
        """A client with a new token."""
        asked = {"name": "test", "organizations": organizations, "abilities": abilities}
        made = self.operator.post("/api/v1/tokens", json=asked)
        assert made.status_code == 201, made.text
        return self.client_of(made.json()["token"])

    def key(self, origin: str) -> Verifier:
        """The key that an auditor is given, not out of any answer of the server."""
        path = self.program.folder / "affidavit-data" / "log.key"
        return KeyFile(path, os.urandom, lambda: 0).load().newest.verifier(origin)

    @contextmanager
    def without_worker(self) -> Iterator[None]:
        """While its worker stands still nothing is sequenced or signed."""
        (worker,) = children(self.process)
        os.kill(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(worker, signal.SIGCONT)

    def verified(self, path: Path, origin: str, **more: Any) -> Verdict:
        """What an auditor with that key finds in a file."""
        asked = Asked(str(path), keys=(self.key(origin).vkey,), **more)
        return verdict_of(asked, int(time.time()))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[Server]:
    """One server for the tests of this module; each test has organizations of its own."""
    program = programs(tmp_path_factory.mktemp("proofs"))
    with program.serving() as serving, ExitStack() as opened:
        yield Server(serving.address, program, serving.process.pid, opened)


def record(client: httpx2.Client, count: int = 1, **fields: Any) -> list[str]:
    """Record events; their ids."""
    events = [
        {"action": "user.update", "actor": {"type": "user", "id": f"u-{number}"}, **fields}
        for number in range(count)
    ]
    answer = client.post("/api/v1/events", json={"events": events})
    assert answer.status_code == 201, answer.text
    return [one["id"] for one in answer.json()["events"]]


def until(ask: Callable[[], httpx2.Response], *, status: int = 200) -> httpx2.Response:
    """Ask again as long as the answer says so."""
    end = time.monotonic() + PATIENCE
    while (answer := ask()).status_code == 409 and time.monotonic() < end:
        assert answer.json()["type"] == "urn:affidavit:error:not_published"
        time.sleep(0.1)
    assert answer.status_code == status, answer.text
    return answer


def published(client: httpx2.Client, event_id: str) -> str:
    """Wait for the proof of an event; the origin of its log."""
    answer = until(lambda: client.get(f"/api/v1/events/{event_id}/proof"))
    return parse_proof(answer.content).checkpoint.decode().partition("\n")[0]


@pytest.fixture(scope="module")
def three(running: Server) -> tuple[httpx2.Client, str]:
    """An organization with three events that a checkpoint covers, and the root of its log."""
    client = running.client("three")
    origin = published(client, record(client, 3)[-1])
    return client, f"/log/{origin.partition('/')[2]}"


def test_an_event_is_pending_then_published_then_proven(running: Server) -> None:
    """409 with Retry-After while nothing covers it; then state, index, and a proof that the key confirms."""
    client = running.client("states")
    with running.without_worker():
        (event_id,) = record(client)
        assert client.get(f"/api/v1/events/{event_id}").json()["state"] == "pending"
        for path in ("proof", "receipt"):
            answer = client.get(f"/api/v1/events/{event_id}/{path}")
            assert answer.status_code == 409
            assert answer.json()["type"] == "urn:affidavit:error:not_published"
            assert int(answer.headers["retry-after"]) > 0
    origin = published(client, event_id)
    event = client.get(f"/api/v1/events/{event_id}").json()
    listed = client.get("/api/v1/events", params={"action": "user.update"}).json()["events"]
    assert listed == [event]
    assert event["state"] == "published"
    answer = client.get(f"/api/v1/events/{event_id}/proof")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    proof = parse_proof(answer.content)
    assert proof.index == event["index"]
    opened = open_checkpoint(proof.checkpoint, [running.key(origin)], origin=origin)
    receipt = client.get(f"/api/v1/events/{event_id}/receipt").json()
    entry = receipt["leaf"].encode()
    verify_proof(proof, entry, opened)
    assert parse_leaf(entry).id == event_id
    assert parse_leaf(entry).organization == origin.split("/")[1]


def test_a_receipt_is_a_file_that_verifies(running: Server, tmp_path: Path) -> None:
    """Kept by the client, checked later without this server; one changed letter is found."""
    client = running.client("receipts")
    (event_id,) = record(client, metadata={"note": "keep me"})
    origin = published(client, event_id)
    content = client.get(f"/api/v1/events/{event_id}/receipt").content
    file = tmp_path / "receipt.json"
    file.write_bytes(content)
    assert running.verified(file, origin).verified == 1
    assert b"keep me" in content
    file.write_bytes(content.replace(b"keep me", b"keep mx"))
    verdict = running.verified(file, origin)
    assert (verdict.verified, verdict.sound) == (0, False)


def test_who_records_gets_receipts_of_its_own_events(running: Server) -> None:
    """A token that may only write fetches what it recorded itself, nothing else, and no proof file."""
    reader = running.client("writers")
    first, second = (running.client("writers", abilities=(WRITE,)) for _ in range(2))
    (mine,), (theirs,) = record(first), record(second)
    # Who claims to be another token is not believed.
    claim = {"type": "api_token", "token_id": "tok_x", "id": "tok_x"}
    (claimed,) = record(second, session=claim)
    published(reader, claimed)
    assert first.get(f"/api/v1/events/{mine}/receipt").status_code == 200
    for event_id in (theirs, claimed, mine[:-4] + "0000"):
        answer = first.get(f"/api/v1/events/{event_id}/receipt")
        assert answer.status_code == 404, answer.text
        assert answer.json() == first.get(f"/api/v1/events/{mine[:-4]}0000/receipt").json()
    assert first.get(f"/api/v1/events/{mine}/proof").status_code == 403
    assert first.get(f"/api/v1/events/{mine}").status_code == 403
    assert reader.get(f"/api/v1/events/{mine}/receipt").status_code == 200
    exporter = running.client("writers", abilities=(EXPORT, LOG))
    assert exporter.get(f"/api/v1/events/{mine}/receipt").status_code == 403


def test_tiles_are_read_by_a_stranger(running: Server) -> None:
    """A reader of C2SP tiles authenticates every hash and entry of 600 events against the checkpoint."""
    client = running.client("tiles")
    ids = record(client, 600)
    origin = published(client, ids[-1])
    root = f"/log/{origin.partition('/')[2]}"
    answer = client.get(f"{root}/checkpoint")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    checkpoint = open_checkpoint(answer.content, [running.key(origin)], origin=origin).checkpoint
    rules = {}

    def fetch(tile: Tile) -> bytes:
        got = client.get(f"{root}/{tile.path}")
        assert got.status_code == 200, (tile, got.text)
        assert got.headers["content-type"] == "application/octet-stream"
        rules[tile] = got.headers["cache-control"]
        return got.content

    tree = TileTree(fetch, checkpoint.size, checkpoint.root)
    found = [
        parse_leaf(entry).id for number in range(-(-checkpoint.size // 256)) for entry in tree.entries(number)
    ]
    assert set(ids) <= set(found)
    assert len(found) == checkpoint.size
    rules[Tile(0, 10**6)] = answer.headers["cache-control"]
    for tile, rule in rules.items():
        assert "private" in rule
        assert "public" not in rule
        assert ("immutable" in rule) == (tile.level is not None and tile.width == 256 and tile.index < 3)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
        ),
        *(
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/",
        ),
        *(
            "tile/0/000/",
            "tile/0//000",
            "tile/0/%30%30",
            "tile/0/000.P/1",
            "tile/Entries/000",
            "tile/0/０００",
        ),
        *("tile/0/0.p/3", "tile/0/00.p/3", "tile/0/0000.p/3", "tile/0/x000/000.p/3", "tile/00/000.p/3"),
        *("tile/0/000.p/03", "tile/0/000.p/3/", "tile/0//000.p/3", "tile/0/000.p/+3", "tile/entries/0.p/3"),
        *("tile/0/000.p/%33/", "tile/0/x000.p/3", "tile/0/000.p/3%20", "tile/0/000.p/３", "tile/0/000.p//3"),
        *("tile/0/000.p/200", "tile/entries/000.p/200", "tile/entries/001", "tile/0/000", "tile/1/000.p/1"),
        *("tile/0/+00", "tile/0/000%00", "tile/0/..%2f000", "checkpoint/", "tile/data/000", "tile/8/0"),
    ],
)
def test_another_spelling_of_a_tile_is_not_found(three: tuple[httpx2.Client, str], path: str) -> None:
    """Attack cases 27 and 28: wrong encodings, tiles wider than the tree, partial as full: 404, no more."""
    client, root = three
    assert client.get(f"{root}/tile/0/000.p/3").status_code == 200
    answer = client.get(f"{root}/{path}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "root",
    ["/log/{upper}/1", "/log/{hex}/2", "/log/{hex}/01", "/log/{hex}/0", "/log/{hex}/١", "/log/{short}/1"],
)
def test_another_name_of_a_log_is_not_found(three: tuple[httpx2.Client, str], root: str) -> None:
    """Attack case 47: upper case, leading zeros, other digits, a cut name name no tree."""
    client, log = three
    hex_digits = log.split("/")[2]
    assert client.get(f"/log/{hex_digits}/1/checkpoint").status_code == 200
    names = {"hex": hex_digits, "upper": hex_digits.upper(), "short": hex_digits[:-1]}
    for path in ("checkpoint", "tile/0/000.p/1"):
        assert client.get(f"{root.format(**names)}/{path}").status_code == 404


def test_organizations_whose_names_look_alike_have_logs_of_their_own(running: Server) -> None:
    """Attack cases 45 and 47: names that differ by case have logs of their own."""
    clients = {name: running.client(name) for name in ("alike", "Alike", "alike.x", "ALIKE")}
    events = {name: record(client)[0] for name, client in clients.items()}
    origins = {name: published(client, events[name]) for name, client in clients.items()}
    assert len(set(origins.values())) == 4


def test_a_bundle_over_http_verifies(running: Server, tmp_path: Path) -> None:
    """Complete, a range, filtered: each is sound to whoever has the key, and an event names each export."""
    client = running.client("bundles")
    ids = record(client, 40)
    origin = published(client, ids[-1])
    for asked, complete, count in (
        ({}, "range", 40),
        ({"range": "3:20"}, "range", 17),
        ({"actor": "u-7"}, "filtered", 1),
    ):
        answer = client.get("/api/v1/events/export", params={"format": "bundle", **asked})
        assert answer.headers["content-type"] == "application/zip"
        assert 'filename="audit-log-bundles.bundle.zip"' in answer.headers["content-disposition"]
        file = tmp_path / "bundle.zip"
        file.write_bytes(answer.content)
        verdict = running.verified(file, origin)
        assert verdict.sound, [failure.line() for failure in verdict.failures]
        assert (verdict.complete, verdict.failed) == (complete, 0)
        assert verdict.verified >= count
    noted = client.get("/api/v1/events", params={"action": "audit.export.requested"}).json()["events"]
    assert [event["metadata"].get("range") for event in noted] == [None, "3:20", None]
    assert {event["metadata"]["format"] for event in noted} == {"bundle"}


def test_ndjson_with_proofs_verifies(running: Server, tmp_path: Path) -> None:
    """Each line is a receipt; a line that was dropped stays unseen, one that was edited is found."""
    client = running.client("lines")
    ids = record(client, 20)
    origin = published(client, ids[-1])
    asked = {"format": "ndjson", "proofs": "true", "action": "user.update"}
    answer = client.get("/api/v1/events/export", params=asked)
    file = tmp_path / "receipts.ndjson"
    file.write_bytes(answer.content)
    verdict = running.verified(file, origin)
    assert verdict.verified == 20, [failure.line() for failure in verdict.failures]
    file.write_bytes(answer.content.replace(b"u-7", b"u-8"))
    assert running.verified(file, origin).sound is False


def test_the_command_writes_bundles_and_receipts(running: Server, tmp_path: Path) -> None:
    """Whole files with their trailers, that verify; flags of another format are refused."""
    client = running.client("files")
    ids = record(client, 30)
    origin = published(client, ids[-1])
    target = tmp_path / "b.zip"
    common = ("--organization", "files", "--output", target)
    (said,) = running.program.json("export", *common, "--format", "bundle", "--range", "5:25", "--json")
    assert (said["entries"], said["bundle"]["start"], said["bundle"]["end"]) == (20, 5, 25)
    assert json.loads((tmp_path / "b.zip.trailer.json").read_bytes())["sha256"] == said["sha256"]
    assert running.verified(target, origin).verified == 20
    (said,) = running.program.json(
        "export", *common, "--format", "bundle", "--incarnation", 1, "--json", "actor:u-3"
    )
    assert json.loads(members_of(target.read_bytes())["bundle.json"]) == said["bundle"]
    assert running.verified(target, origin).verified == said["entries"] == 1
    (said,) = running.program.json("export", *common, "--format", "ndjson", "--proofs", "--json")
    assert running.verified(target, origin).verified == said["events"] >= 30
    receipt = tmp_path / "receipt.json"
    receipt.write_text(running.program.run("show", ids[4], "--organization", "files", "--receipt").out)
    assert running.verified(receipt, origin).verified == 1
    for flags in (
        ("--format", "csv", "--proofs"),
        ("--format", "ndjson", "--range", "0:1"),
        ("--format", "bundle", "--proofs"),
        ("--format", "bundle", "--range", "0:99999"),
        ("--format", "bundle", "--range", "0:1", "actor:u-3"),
        ("--format", "bundle", "--range", "5"),
    ):
        assert running.program.run("export", *common, *flags).code == 2, flags
    assert running.program.run("export", *common, "--format", "bundle", "--incarnation", 9).code == 3


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("format=csv&proofs=true", "proofs"),
        ("format=bundle&proofs=true", "proofs"),
        ("format=ndjson&range=0:1", "range"),
        ("format=csv&incarnation=1", "incarnation"),
        ("format=bundle&range=1", "range"),
        ("format=bundle&range=-1:2", "range"),
        ("format=bundle&range=0:99999", "range"),
        ("format=bundle&range=1:1", "range"),
        ("format=bundle&range=0:1&actor=u-1", "range"),
        ("format=bundle&incarnation=0", "incarnation"),
    ],
)
def test_a_broken_export_parameter_is_named(
    three: tuple[httpx2.Client, str], query: str, pointer: str
) -> None:
    """Attack case 23: refused with its name, and no event says that anything was exported."""
    client, _ = three
    answer = client.get(f"/api/v1/events/export?{query}")
    assert answer.status_code == 400, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert not client.get("/api/v1/events", params={"action": "audit.export.requested"}).json()["events"]


def test_after_an_erasure_proofs_hold_and_claims_end(running: Server, tmp_path: Path) -> None:
    """Attack case 61: the bundle explains what is gone; a token that was erased cannot claim its event."""
    reader = running.client("erased")
    writer = running.client("erased", abilities=(WRITE,))
    record(reader, 5)
    (event_id,) = record(writer, actor={"type": "user", "id": "eva", "email": "eva@example.org"})
    origin = published(reader, event_id)
    before = tmp_path / "before.json"
    before.write_bytes(writer.get(f"/api/v1/events/{event_id}/receipt").content)
    erase = ("erase", "--organization", "erased", "--subject", "eva", "--basis", "GDPR 17", "--json")
    done = running.program.run(*erase)
    assert done.code == 0, done
    assert reader.get(f"/api/v1/events/{event_id}").json()["redacted"] == ["actor"]
    assert writer.get(f"/api/v1/events/{event_id}/receipt").status_code == 404
    after = reader.get(f"/api/v1/events/{event_id}/receipt")
    assert b"eva" not in after.content
    file = tmp_path / "bundle.zip"
    for asked in ({}, {"action": "user.update"}):
        answer = reader.get("/api/v1/events/export", params={"format": "bundle", **asked})
        file.write_bytes(answer.content)
        verdict = running.verified(file, origin)
        assert verdict.sound, [failure.line() for failure in verdict.failures]
        assert verdict.redacted == 1
        assert b"eva@" not in b"".join(members_of(answer.content).values())
    assert running.verified(before, origin).verified == 1


@pytest.mark.postgres
def test_an_edited_event_leaves_by_no_way(running: Server, tmp_path: Path) -> None:
    """Somebody edits a row in SQL: receipt, tile and evidence files stop, and name leaf and event."""
    client = running.client("edited")
    ids = record(client, 8)
    origin = published(client, ids[-1])
    place = f"organization = 'edited' AND id = {literal(running.program, ids[3])}"
    edit = f"UPDATE affidavit_events SET outcome = 'failure' WHERE {place}"
    assert change(running.program, edit) == 1
    index = client.get(f"/api/v1/events/{ids[3]}").json()["index"]
    named = f"Leaf {index} of {origin} is not that of its event {ids[3]}"
    export = "/api/v1/events/export?format"
    for path in (
        f"/api/v1/events/{ids[3]}/receipt",
        f"/log/{origin.partition('/')[2]}/tile/entries/000.p/8",
        f"{export}=bundle",
        f"{export}=bundle&action=user.update",
        f"{export}=ndjson&proofs=true",
    ):
        answer = client.get(path)
        assert answer.status_code == 500, path
        assert answer.json()["type"] == "urn:affidavit:error:log_mismatch"
        assert answer.json()["detail"].startswith(named)
    target = tmp_path / "b.zip"
    done = running.program.run("export", "--organization", "edited", "--format", "bundle", "--output", target)
    assert done.code == 1
    assert named in done.err
    assert list(tmp_path.iterdir()) == []
    assert client.get(f"{export}=bundle&range=0:3").status_code == 200
