"""Proofs, receipts and tiles out of a real store, checked with the verifier and with RFC 6962's recursion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.event import Actor
from affidavit.core.manifest import ManifestBody, prune_entries
from affidavit.core.proof import parse_proof, verify_proof
from affidavit.core.row import StoredEvent
from affidavit.core.tiles import Tile, TileTree, parse_tile_path, read_entries, tiles_of
from affidavit.core.unsound import Unsound
from affidavit.errors import LogMismatch, NotFound, NotPublished, Pruned
from affidavit.export import receipts as ndjson
from affidavit.storage.redaction import Redaction
from tests.evidence import Evidence, filter_of, members_of
from tests.rfc6962 import NaiveTree
from tests.tiles import TileStore


@pytest.fixture(params=["sqlite", "postgres"])
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Evidence]:
    """An empty store with its log."""
    server = None if request.param == "sqlite" else request.getfixturevalue("postgres")
    made = Evidence(tmp_path, server)
    yield made
    made.close()


def read(evidence: Evidence, event: StoredEvent) -> StoredEvent:
    """The event as readers get it, with its place."""
    return evidence.reader.get((event.organization,), event.id)


def entries_of(evidence: Evidence) -> list[bytes]:
    """All leaves, exactly, from a bundle."""
    return members_of(evidence.bundle()[0])["entries.ndjson"].split(b"\n")[:-1]


def check(evidence: Evidence, receipt: bytes) -> dict[str, dict[str, object]]:
    """Check a receipt as its specification says, from its bytes and the key alone; the groups it opens."""
    document = json.loads(receipt)
    assert document.keys() == {"v", "leaf", "disclosures", "proof"}
    entry = document["leaf"].encode()
    proof = parse_proof(document["proof"].encode())
    opened = open_checkpoint(proof.checkpoint, [evidence.signer(evidence.tree()).verifier])
    verify_proof(proof, entry, opened)
    digests = json.loads(entry)["groups"]
    groups = {}
    for text in document["disclosures"]:
        _salt, group, value = json.loads(text)
        assert sha256(text.encode()).hexdigest() == digests[group]
        groups[group] = value
    return groups


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_every_proof_is_that_of_the_rfc(evidence: Evidence, size: int) -> None:
    """Proofs of single events and of many at once equal PATH, in trees around a tile's width."""
    events = [read(evidence, event) for event in _published(evidence, size)]
    naive = NaiveTree(entries_of(evidence))
    made = evidence.receipts.many(events, evidence.receipts.newest("acme"))
    for index in range(0, size, 7):
        proof = parse_proof(evidence.receipts.proof(events[index]))
        assert (proof.index, list(proof.hashes)) == (index, naive.path(index, 0, size))
        assert made[index] == (evidence.receipts.receipt(events[index]), False)
        assert parse_proof(json.loads(made[index][0])["proof"].encode()) == proof


def _published(evidence: Evidence, count: int) -> list[StoredEvent]:
    events = evidence.record(count, description="private", ip="203.0.113.7")
    evidence.publish()
    return events


def test_a_receipt_proves_its_event_before_and_after_an_erasure(evidence: Evidence) -> None:
    """Attack case 61: what was handed out before still verifies; a new one opens the groups that stay."""
    event = read(evidence, _published(evidence, 20)[7])
    before = evidence.receipts.receipt(event)
    assert check(evidence, before)["details"] == {"description": "private"}
    redactor = evidence.stores.redactor()
    redactor.redact("erasure", "00" * 32, [Redaction("acme", event.id, ("actor", "details"))])
    redactor.close()
    assert check(evidence, before)["details"] == {"description": "private"}
    after = evidence.receipts.receipt(read(evidence, event))
    assert check(evidence, after).keys() == {"resources", "context", "changes"}
    assert json.loads(after)["leaf"] == json.loads(before)["leaf"]
    assert b"private" not in after


def test_a_receipt_of_one_event_does_not_prove_another(evidence: Evidence) -> None:
    """Attack cases 23 and 45: leaf, proof and checkpoint belong together, and to one organization."""
    ours = [read(evidence, event) for event in _published(evidence, 5)]
    theirs = evidence.record(5, organization="other")
    evidence.publish("other")
    first, second = (json.loads(evidence.receipts.receipt(event)) for event in ours[:2])
    foreign = json.loads(evidence.receipts.receipt(read(evidence, theirs[0])))
    for bent in (first | {"leaf": second["leaf"]}, first | {"proof": second["proof"]}):
        with pytest.raises(Unsound):
            check(evidence, json.dumps(bent).encode())
    for bent in (first | {"proof": foreign["proof"]}, foreign):
        with pytest.raises(Unsound):
            check(evidence, json.dumps(bent).encode())
    beyond = first["proof"].replace("index 0", "index 5")
    with pytest.raises(Unsound):
        check(evidence, json.dumps(first | {"proof": beyond}).encode())


def test_an_event_waits_for_its_proof(evidence: Evidence) -> None:
    """Pending and sequenced events have none; the answer says which of the two, and nothing is made up."""
    _published(evidence, 3)
    (event,) = evidence.record()
    with pytest.raises(NotPublished, match="waits for its place"):
        evidence.receipts.proof(read(evidence, event))
    evidence.seal()
    sequenced = read(evidence, event)
    assert sequenced.state == "sequenced"
    with pytest.raises(NotPublished, match="leaf 3 of its log, which no signed"):
        evidence.receipts.receipt(sequenced)
    evidence.publish()
    assert check(evidence, evidence.receipts.receipt(read(evidence, event)))["actor"]


def test_an_edited_event_gets_no_receipt(evidence: Evidence) -> None:
    """A row that is not what was logged: the leaf and the event are named, nothing is handed out."""
    event = _published(evidence, 5)[2]
    evidence.sql("UPDATE affidavit_events SET details = '{}' WHERE seq = ?", evidence.place(event))
    with pytest.raises(LogMismatch, match=r"Leaf 2 of .* is not that of its event"):
        evidence.receipts.receipt(read(evidence, event))


@pytest.mark.parametrize("place", ["leaf", "tile", "checkpoint"])
def test_changed_hashes_are_never_handed_out(evidence: Evidence, place: str) -> None:
    """A proof is followed to the signed root before it leaves."""
    event = read(evidence, _published(evidence, 300)[2])
    if place == "leaf":
        evidence.log_sql("UPDATE affidavit_leaves SET hash = ? WHERE idx = 3", b"\1" * 32)
    elif place == "tile":
        evidence.log_sql("UPDATE affidavit_leaves SET hash = ? WHERE idx = 299", b"\1" * 32)
    else:
        note = evidence.note(evidence.tree(), b"\1" * 32)
        evidence.log_sql("UPDATE affidavit_checkpoints SET note = ?", note)
    with pytest.raises(LogMismatch, match="does not lead to the root"):
        evidence.receipts.proof(event)


def test_a_checkpoint_of_another_tree_is_not_used(evidence: Evidence) -> None:
    """Attack case 45: a stored note of another organization's log is named, not served."""
    event = read(evidence, _published(evidence, 3)[0])
    evidence.record(3, organization="other")
    other = evidence.publish("other")
    evidence.log_sql(
        "UPDATE affidavit_checkpoints SET note = (SELECT note FROM affidavit_checkpoints WHERE tree = ?)",
        other.number,
    )
    with pytest.raises(LogMismatch, match="is that of"):
        evidence.receipts.proof(event)


def test_ndjson_with_proofs_is_a_receipt_a_line(evidence: Evidence) -> None:
    """Every published event that matches, each line provable by itself, the rest counted in the trailer."""
    for name in ("ana", "eva"):
        evidence.record(4, actor=Actor(type="user", id=name))
    evidence.publish()
    evidence.record(2, actor=Actor(type="user", id="eva"))
    batches = evidence.reader.export(("acme",), filter_of(actor="eva"), order="asc")
    *written, last = b"".join(
        ndjson.rows(batches, evidence.receipts, evidence.receipts.newest("acme"))
    ).splitlines()
    assert [check(evidence, line)["actor"]["actor"] for line in written] == [
        {"id": "eva", "type": "user"}
    ] * 4
    assert json.loads(last) == {"trailer": {"events": 4, "redacted": 0, "unpublished": 2}}


@pytest.mark.parametrize("size", [1, 3, 256, 257, 700])
def test_every_tile_is_that_of_the_specification(evidence: Evidence, size: int) -> None:
    """Hashes and entries equal those written the slow way; a reader of tiles gets every proof from them."""
    _published(evidence, size)
    tree = evidence.tree()
    slow = TileStore(entries_of(evidence))
    assert {tile: evidence.tiles.tile(tree, tile) for tile in slow.tiles} == slow.tiles
    assert set(tiles_of(size)) == set(slow.hash_tiles())
    reader = TileTree(lambda tile: evidence.tiles.tile(tree, tile), size, slow.root)
    for index in range(0, size, 50):
        assert list(reader.inclusion_proof(index)) == slow.naive.path(index, 0, size)
    assert reader.entries(0) == slow.naive.entries[:256]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "tile/0/001",
            "tile/0/001.p/45",
            "tile/0/002.p/1",
            "tile/1/000",
            "tile/1/000.p/2",
        ),
        *("tile/2/000.p/1", "tile/entries/001", "tile/entries/001.p/45", "tile/63/000.p/1"),
    ],
)
def test_tiles_beyond_the_checkpoint_are_not_there(evidence: Evidence, path: str) -> None:
    """Attack case 27: wider than the tree of 300 leaves, partial presented as full, empty, too high."""
    _published(evidence, 300)
    evidence.record(300)
    evidence.seal()
    with pytest.raises(NotFound):
        evidence.tiles.tile(evidence.tree(), parse_tile_path(path))


def test_narrower_tiles_of_earlier_checkpoints_stay(evidence: Evidence) -> None:
    """A reader that holds an older checkpoint finds the partial tile of its size."""
    _published(evidence, 300)
    tree = evidence.tree()
    full = evidence.tiles.tile(tree, Tile(0, 0))
    assert evidence.tiles.tile(tree, Tile(0, 0, 17)) == full[: 17 * 32]
    assert evidence.tiles.tile(tree, Tile(0, 1, 3)) == evidence.tiles.tile(tree, Tile(0, 1, 44))[:96]


def test_entries_of_pruned_events_are_said_to_be_pruned(evidence: Evidence) -> None:
    """Attack case 62: their bundle is gone, hashes and other bundles stay; a deleted row is no pruning."""
    events = _published(evidence, 300)
    tree = evidence.tree()
    hashes = evidence.leaves(tree)
    ids = tuple(sorted(str(_uuid(event.id)) for event in events[:2]))
    body = ManifestBody(
        "prune", tree.origin, evidence.clock(), prune_entries(enumerate(hashes[:2])), (ids[0], ids[1])
    )
    evidence.manifest(tree, body)
    evidence.sql("DELETE FROM affidavit_events WHERE seq IN (1, 2)")
    with pytest.raises(Pruned, match="leaf 0 was pruned"):
        evidence.tiles.tile(tree, Tile(None, 0))
    assert evidence.tiles.tile(tree, Tile(0, 0)) == b"".join(hashes[:256])
    assert len(read_entries(evidence.tiles.tile(tree, Tile(None, 1, 44)), 44)) == 44
    evidence.sql("DELETE FROM affidavit_events WHERE seq = 290")
    with pytest.raises(LogMismatch, match=r"leaf 289 .* gone"):
        evidence.tiles.tile(tree, Tile(None, 1, 44))


def _uuid(event_id: bytes) -> object:
    from uuid import UUID

    return UUID(bytes=event_id)
