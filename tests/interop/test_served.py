"""What a real server hands out is accepted by programs that nobody here wrote, its forgeries are not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest

from affidavit.core.checkpoint import parse_checkpoint
from affidavit.core.merkle import leaf_hash
from affidavit.core.note import parse_note, parse_verifier
from affidavit.core.proof import TlogProof, parse_proof
from affidavit.core.tiles import Tile, tiles_of, write_entries
from tests.interop import test_sigstore, test_tlog_scales
from tests.interop.cases import Case
from tests.programs import Programs

COUNT = 600
PATIENCE = 30


class Served(NamedTuple):
    """What was fetched of one log.

    Attributes:
        folder: checkpoint, tiles and bundles, as files.
        receipts: of the first, a middle and the last of the events, as JSON.
        vkey: that the operator printed.
    """

    folder: Path
    size: int
    receipts: list[dict[str, str]]
    vkey: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[Served]:
    """A server's log of 600 events, fetched over HTTP."""
    program = programs(tmp_path_factory.mktemp("program"))
    with program.serving() as serving:
        flags = [
            flag for name in ("audit-log:list", "log:read", "events:write") for flag in ("--ability", name)
        ]
        (made,) = program.json("token", "create", "--organization", "acme", *flags, "--json")
        headers = {"authorization": f"Bearer {made['token']}"}
        with httpx2.Client(base_url=serving.address, headers=headers, trust_env=False, timeout=60) as client:
            vkey = ""
            ids = [one for _ in range(COUNT // 200) for one in record(client)]
            receipts = [receipt(client, ids[at]) for at in (0, COUNT // 2, -1)]
            vkey = program.run("log", "key", "show", "--organization", "acme").out.strip()
            folder = tmp_path_factory.mktemp("log")
            yield Served(folder, fetch(client, vkey, folder), receipts, vkey)


def record(client: httpx2.Client) -> list[str]:
    """Record two hundred events."""
    event = {"action": "user.update", "actor": {"type": "user", "id": "ana"}}
    answer = client.post("/api/v1/events", json={"events": [event] * 200})
    return [one["id"] for one in answer.json()["events"]]


def receipt(client: httpx2.Client, event_id: str) -> dict[str, str]:
    """The receipt of an event, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while (answer := client.get(f"/api/v1/events/{event_id}/receipt")).status_code == 409:
        assert time.monotonic() < end, answer.text
        time.sleep(0.1)
    found: dict[str, str] = answer.json()
    return found


def fetch(client: httpx2.Client, vkey: str, folder: Path) -> int:
    """Fetch a whole log into a folder; its size."""
    root = f"/log/{parse_verifier(vkey).name.partition('/')[2]}"

    def get(path: str) -> bytes:
        answer = client.get(f"{root}/{path}")
        assert answer.status_code == 200, (path, answer.text)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(answer.content)
        return answer.content

    size = parse_checkpoint(parse_note(get("checkpoint")).text).size
    for tile in tiles_of(size):
        get(tile.path)
        if tile.level == 0:
            get(tile._replace(level=None).path)
    return size


def test_tlog_scales_reads_the_served_tiles(served: Served) -> None:
    """The root over them is the one that the server's key signed, and the entries lead to it."""
    indexes = [parse_proof(each["proof"].encode()).index for each in served.receipts]
    answer = test_tlog_scales.ask("read", folder=str(served.folder), indexes=indexes, olds=[1, 255, 256, 257])
    note = (served.folder / "checkpoint").read_text()
    checkpoint = parse_checkpoint(parse_note(note.encode()).text)
    assert (answer["origin"], answer["size"]) == (checkpoint.origin, served.size)
    assert answer["root"] == checkpoint.root.hex()
    assert test_tlog_scales.ask("signatures", notes=[(note, served.vkey)]) == ["accepted"]
    entries = test_tlog_scales.ask("entry", folder=str(served.folder), forgeries=[(at, {}) for at in indexes])
    assert entries == [f"accepted {each['leaf'].encode().hex()}" for each in served.receipts]


def test_a_forged_tile_of_the_server_is_refused(served: Served) -> None:
    """Attack case 29b, on what a real server served: an entry exchanged together with its own tile."""
    first = (served.folder / Tile(None, 0).path).read_bytes()
    tile = (served.folder / Tile(0, 0).path).read_bytes()
    length = int.from_bytes(first[:2], "big")
    changed = {
        Tile(None, 0).path: (write_entries([b"forged"]) + first[2 + length :]).hex(),
        Tile(0, 0).path: (leaf_hash(b"forged") + tile[32:]).hex(),
    }
    (verdict,) = test_tlog_scales.ask("entry", folder=str(served.folder), forgeries=[(0, changed)])
    assert not verdict.startswith("accepted")


@pytest.mark.parametrize("checker", sorted(test_sigstore.CHECKERS))
def test_receipts_are_proofs_for_others(served: Served, checker: str) -> None:
    """Attack case 45: leaf and proof of each receipt are accepted, with another's leaf they are not."""
    key = parse_verifier(served.vkey)

    def case(leaf: str, proof: TlogProof) -> Case:
        return {
            "entry": leaf.encode().hex(),
            "index": proof.index,
            "hashes": [each.hex() for each in proof.hashes],
            "note": proof.checkpoint.decode(),
            "name": key.name,
            "key": key.key.hex(),
            "key_id": key.key_id.hex(),
        }

    proofs = [parse_proof(each["proof"].encode()) for each in served.receipts]
    leaves = [each["leaf"] for each in served.receipts]
    honest = [case(leaf, proof) for leaf, proof in zip(leaves, proofs, strict=True)]
    crossed = [case(leaf, proof) for leaf, proof in zip(leaves[1:] + leaves[:1], proofs, strict=True)]
    verdicts = test_sigstore.ask(checker, [*honest, *crossed])
    assert [verdict == "accepted" for verdict in verdicts] == [True] * 3 + [False] * 3
