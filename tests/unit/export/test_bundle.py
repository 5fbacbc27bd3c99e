"""Bundles out of a real store: what stands in them, and that the verifier finds the same."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from affidavit.core.event import Actor
from affidavit.core.manifest import ManifestBody, erasure_entries, prune_entries
from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import leaf_of_event
from affidavit.errors import InvalidQuery, LogMismatch, NotFound, NotPublished
from affidavit.export.leaves import parse_range
from affidavit.storage.redaction import Redaction
from affidavit.storage.repair import Opening
from affidavit.storage.sqlite.log_repair import SqliteLogRepair
from tests.evidence import Evidence, filter_of, lines, members_of, rezip
from tests.rfc6962 import NaiveTree


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[Evidence]:
    """An empty store with its log."""
    made = Evidence(tmp_path)
    yield made
    made.close()


def erase(evidence: Evidence, index: int, *groups: str, organization: str = "acme") -> bytes:
    """Erase groups of one event as an erasure does: manifest, signed event, then the values."""
    tree = evidence.tree(organization)
    (leaf,) = [leaf for piece in evidence.log.leaves(tree.number, index, index + 1) for leaf in piece]
    (entry,) = evidence.entries.of(tree, [leaf])
    assert entry.leaf is not None
    digests = json.loads(entry.leaf)["groups"]
    body = ManifestBody("erasure", tree.origin, evidence.clock(), erasure_entries([(index, groups, digests)]))
    digest = evidence.manifest(tree, body)
    evidence.ours("audit.erasure.requested", organization, facts={"manifest": digest.hex()})
    evidence.publish(organization)
    (row,) = evidence.stores.events.rows([leaf.seq])
    redactor = evidence.stores.redactor()
    redaction = Redaction(organization, row.values[0], groups)
    assert redactor.redact("erasure", digest.hex(), [redaction]) == 1
    redactor.close()
    return digest


def test_a_range_holds_every_leaf_and_verifies(evidence: Evidence) -> None:
    """The whole tree: exact bytes, root by RFC 6962's recursion, every group opens its digest."""
    events = evidence.record(600, ip="203.0.113.7", metadata={"größe": "ü\u2028\x01\n"})
    tree = evidence.publish()
    bundle, opened = evidence.bundle()
    members = members_of(bundle)
    leaves = members["entries.ndjson"].split(b"\n")[:-1]
    assert [json.loads(leaf)["id"] for leaf in leaves] == [_text(event.id) for event in events]
    root = NaiveTree(leaves).root()
    assert b64decode(members["checkpoint"].splitlines()[2]) == root
    for event, leaf, (index, *shown) in zip(events, leaves, lines(members["groups.ndjson"]), strict=True):
        assert json.loads(leaf)["organization"] == tree.hex_digits
        assert shown[4][2] == json.loads(event.details or "")
        assert index == json.loads(leaf).get("index", events.index(event))
    verdict = evidence.verify(bundle)
    assert verdict.sound, verdict.as_json()
    assert (verdict.verified, verdict.complete, verdict.size) == (600, "range", 600)
    assert opened.counts["entries"] == 600


def _text(event_id: bytes) -> str:
    from uuid import UUID

    return str(UUID(bytes=event_id))


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 300])
def test_every_edge_of_a_range_is_exact(evidence: Evidence, size: int) -> None:
    """Attack case 66: ranges that begin and end at each edge verify, and one entry more or less does not."""
    evidence.record(size)
    evidence.publish()
    edges = sorted({0, 1, size // 2, size - 1, size} & set(range(size + 1)))
    for start in edges:
        for end in edges:
            if start >= end:
                with pytest.raises(InvalidQuery):
                    evidence.bundle(span=(start, end))
                continue
            bundle, _ = evidence.bundle(span=(start, end))
            verdict = evidence.verify(bundle)
            assert verdict.sound, (start, end, verdict.as_json())
            assert (verdict.start, verdict.end, verdict.verified) == (start, end, end - start)
            for moved in ({"start": start + 1}, {"end": end - 1}, {"end": end + 1}):
                members = members_of(bundle)
                header = json.loads(members["bundle.json"]) | moved
                members["bundle.json"] = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
                assert not evidence.verify(rezip(members.items())).sound, (start, end, moved)
    with pytest.raises(InvalidQuery):
        evidence.bundle(span=(0, size + 1))


@pytest.mark.parametrize("change", ["drop", "double", "edit", "swap"])
def test_a_changed_line_is_found(evidence: Evidence, change: str) -> None:
    """Attack case 65: an entry that was dropped, doubled, edited or moved makes the bundle unsound."""
    evidence.record(20)
    evidence.publish()
    for asked in (filter_of(), filter_of(actor="ana")):
        bundle, _ = evidence.bundle(asked=asked)
        assert evidence.verify(bundle).sound
        members = members_of(bundle)
        for name in ("entries.ndjson", "groups.ndjson"):
            changed = members[name].splitlines(keepends=True)
            match change:
                case "drop":
                    del changed[7]
                case "double":
                    changed.insert(7, changed[7])
                case "edit":
                    changed[7] = changed[7].replace(b"1", b"2", 1)
                case "swap":
                    changed[7], changed[8] = changed[8], changed[7]
            verdict = evidence.verify(rezip((members | {name: b"".join(changed)}).items()))
            assert not verdict.sound, (name, change)


def test_a_filter_gives_each_event_its_proof(evidence: Evidence) -> None:
    """Every leaf that matches and no other, each proven as RFC 6962's PATH says; not called complete."""
    wanted = []
    for number in range(300):
        name = "eva" if number % 7 == 0 else "ana"
        (event,) = evidence.record(actor=Actor(type="user", id=name))
        if name == "eva":
            wanted.append((number, _text(event.id)))
    evidence.record(3, actor=Actor(type="user", id="eva"), organization="other")
    evidence.publish()
    everything, _ = evidence.bundle()
    naive = NaiveTree(members_of(everything)["entries.ndjson"].split(b"\n")[:-1])
    bundle, opened = evidence.bundle(asked=filter_of(actor="eva"))
    members = members_of(bundle)
    found = [json.loads(line)["id"] for line in members["entries.ndjson"].splitlines()]
    proofs = lines(members["proofs.ndjson"])
    assert [(index, event) for (index, _), event in zip(proofs, found, strict=True)] == wanted
    assert [[b64decode(each) for each in proof] for _, proof in proofs] == [
        naive.path(index, 0, 300) for index, _ in wanted
    ]
    verdict = evidence.verify(bundle)
    assert verdict.sound, verdict.as_json()
    assert (verdict.complete, verdict.verified) == ("filtered", len(wanted))
    assert opened.counts["entries"] == len(wanted)


def test_a_filter_that_matches_nothing_is_a_bundle_without_entries(evidence: Evidence) -> None:
    """No entry, no failure, and nothing is called verified."""
    evidence.record(5)
    evidence.publish()
    bundle, _ = evidence.bundle(asked=filter_of(actor="nobody"))
    verdict = evidence.verify(bundle)
    assert (verdict.verified, verdict.failed) == (0, 0)


def test_an_erasure_before_the_export_is_explained(evidence: Evidence) -> None:
    """Manifest, note and the leaf that cites it come along, also where that leaf is not among the entries."""
    evidence.record(10, description="private")
    evidence.publish()
    digest = erase(evidence, 4, "actor", "details").hex()
    for more in ({}, {"span": (3, 6)}, {"asked": filter_of(action="user.create")}):
        bundle, opened = evidence.bundle(**more)
        members = members_of(bundle)
        assert {f"manifests/{digest}.json", f"manifests/{digest}.note"} <= set(members)
        cited = [index for index, _, _ in lines(members["cited.ndjson"])]
        assert cited == ([] if more == {} else [10])
        line = next(line for line in lines(members["groups.ndjson"]) if line[0] == 4)
        assert [shown[1] for shown in line[1:]] == ["resources", "context", "changes"]
        verdict = evidence.verify(bundle)
        assert verdict.sound, verdict.as_json()
        assert verdict.redacted == opened.counts["redacted"] == 1


def test_an_erasure_during_the_export_is_explained_and_counted(evidence: Evidence) -> None:
    """Erased between the two readings: the bundle takes the newer checkpoint and still verifies."""
    evidence.record(1200, description="private")
    evidence.publish()
    counts: list[tuple[int, int]] = []
    for asked in (filter_of(), filter_of(action="user.create")):
        opened = evidence.bundles.open("acme", asked)
        chunks = opened.chunks()
        written = [next(chunks)]
        size = evidence.tree().size
        for index in (100 + len(counts), 1100 + len(counts)):  # one that was read already, one that was not
            erase(evidence, index, "details")
        written += list(chunks)
        verdict = evidence.verify(b"".join(written))
        assert verdict.sound, [each.line() for each in verdict.failures]
        assert verdict.size == evidence.tree().size > size
        assert opened.counts["redacted"] == verdict.redacted
        counts.append((opened.counts["redacted"], opened.counts["erased_meanwhile"]))
    assert counts == [(2, 2), (4, 2)]


def test_a_pruned_row_leaves_its_hash(evidence: Evidence) -> None:
    """Attack case 62: below the closed range, in it and above it, entries verify or are named pruned."""
    evidence.record(12)
    tree = evidence.publish()
    hashes = evidence.leaves(tree)
    events = evidence.stores.events.after(0, 100)
    body = ManifestBody(
        "prune",
        tree.origin,
        evidence.clock(),
        prune_entries([(index, hashes[index]) for index in (3, 4, 5)]),
        (_text(events[3].id), _text(events[5].id)),
    )
    digest = evidence.manifest(tree, body)
    evidence.ours("audit.retention.pruned", facts={"manifest": digest.hex()})
    evidence.publish()
    evidence.sql(
        "DELETE FROM affidavit_events WHERE seq IN (?, ?, ?)",
        *(evidence.place(events[at]) for at in (3, 4, 5)),
    )
    for span, pruned in (((0, 13), 3), ((0, 3), 0), ((3, 6), 3), ((6, 13), 0), ((5, 7), 1)):
        bundle, opened = evidence.bundle(span=span)
        verdict = evidence.verify(bundle)
        assert verdict.sound, verdict.as_json()
        assert verdict.pruned == opened.counts["pruned"] == pruned
        assert verdict.verified == span[1] - span[0] - pruned


def test_a_deleted_row_stops_the_export_by_name(evidence: Evidence) -> None:
    """A row that is gone without a manifest is no pruning: no bundle is written, the leaf is named."""
    evidence.record(6)
    evidence.publish()
    evidence.sql("DELETE FROM affidavit_events WHERE seq = 4")
    with pytest.raises(LogMismatch, match=r"leaf 3 of log\.example/.* is gone and no manifest"):
        evidence.bundle()
    bundle, _ = evidence.bundle(span=(0, 3))
    assert evidence.verify(bundle).sound


@pytest.mark.parametrize(
    "column",
    sorted(set(COLUMNS) - {"id", "version", "actor_id", "remains", "facts", "parent_id", "organization"}),
)
def test_an_edited_column_stops_the_export_by_name(evidence: Evidence, column: str) -> None:
    """A value that was changed in the table: index and id are named, and nothing is written."""
    events = evidence.record(6, project="p-1")
    evidence.publish()
    value = {
        "imported": 1,
        "recorded_at": 1,
        "secret": b"\0" * 32,
        "severity": "critical",
        "outcome": "failure",
        "action": "user.delete",
        "source": "cli",
        "project": "p-2",
    }.get(column, '{"a":1}')
    evidence.sql(f"UPDATE affidavit_events SET {column} = ? WHERE seq = 4", value)
    for asked in (filter_of(), filter_of(start_date="2020-01-01")):
        with pytest.raises(LogMismatch, match=f"Leaf 3 of .* is not that of its event {_text(events[3].id)}"):
            evidence.bundle(asked=asked)


def test_an_event_moved_to_another_organization_stops_the_export(evidence: Evidence) -> None:
    """Attack case 46: the leaf says the same, the row's organization does not."""
    evidence.record(6)
    evidence.publish()
    evidence.sql("UPDATE affidavit_events SET organization = 'other' WHERE seq = 4")
    with pytest.raises(LogMismatch, match="Leaf 3 of"):
        evidence.bundle()


@pytest.mark.parametrize("level", [0, 1])
def test_a_changed_hash_stops_the_export(evidence: Evidence, level: int) -> None:
    """Stored hashes that do not lead to the signed root are never handed out."""
    evidence.record(300)
    evidence.publish()
    if level:
        evidence.log_sql("UPDATE affidavit_tiles SET hash = ? WHERE level = 1", b"\1" * 32)
    else:
        evidence.log_sql("UPDATE affidavit_leaves SET hash = ? WHERE idx = 280", b"\1" * 32)
    with pytest.raises(LogMismatch):
        evidence.bundle(span=(0, 10) if level == 0 else (256, 300))
    with pytest.raises(LogMismatch):
        evidence.bundle(asked=filter_of(start_date="2020-01-01"))


def test_checkpoints_that_were_kept_come_with_consistency_proofs(evidence: Evidence) -> None:
    """Attack case 68: each is older than the range's own, and shown to be its beginning."""
    sizes = [3, 7, 8, 300]
    for size in sizes:
        evidence.record(size - (evidence.tree().size if evidence.log.trees("acme") else 0))
        evidence.publish()
    bundle, _ = evidence.bundle(span=(4, 9))
    members = members_of(bundle)
    naive = NaiveTree(members_of(evidence.bundle()[0])["entries.ndjson"].split(b"\n")[:-1])
    assert {name for name in members if name.startswith("checkpoints/")} == {
        f"checkpoints/{size}" for size in sizes[:-1]
    }
    assert [
        (size, [b64decode(each) for each in proof]) for size, proof in lines(members["consistency.ndjson"])
    ] == [(size, naive.proof(size, 300)) for size in sizes[:-1]]
    assert evidence.verify(bundle).sound


def test_of_very_many_checkpoints_some_are_taken(evidence: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each second has a cosigned one, a bundle has a bounded number of them, from the whole time."""
    monkeypatch.setattr("affidavit.export.bundle.MOST_CHECKPOINTS", 4)
    for _ in range(12):
        evidence.record()
        evidence.publish()
    bundle, _ = evidence.bundle()
    kept = sorted(
        int(name.partition("/")[2]) for name in members_of(bundle) if name.startswith("checkpoints/")
    )
    assert kept == [3, 6, 9]
    assert evidence.verify(bundle).sound


def test_a_forked_checkpoint_among_those_kept_stops_the_export(evidence: Evidence) -> None:
    """Attack case 12: an older checkpoint that is not a beginning of the newest is named."""
    evidence.record(5)
    tree = evidence.publish()
    evidence.record(5)
    evidence.publish()
    forged = evidence.note(tree, sha256(b"other").digest(), 5)
    evidence.log_sql("UPDATE affidavit_checkpoints SET note = ? WHERE size = 5", forged)
    with pytest.raises(LogMismatch, match="at 5 is not one of the tree at 10"):
        evidence.bundle()


def test_only_what_is_signed_goes_out(evidence: Evidence) -> None:
    """Events after the newest checkpoint are left out; without one there is nothing to export."""
    with pytest.raises(NotPublished):
        evidence.bundle()
    evidence.record(4)
    evidence.seal()
    with pytest.raises(NotPublished):
        evidence.bundle()
    evidence.publish()
    evidence.record(4)
    evidence.seal()
    for asked in (filter_of(), filter_of(actor="ana")):
        bundle, opened = evidence.bundle(asked=asked)
        assert opened.counts["entries"] == 4
        assert evidence.verify(bundle).verified == 4
    with pytest.raises(InvalidQuery):
        evidence.bundle(span=(0, 5))


def test_a_bundle_is_of_one_tree(evidence: Evidence) -> None:
    """Attack cases 45 and 67: neither another organization's key nor another incarnation's opens it."""
    evidence.record(5)
    evidence.record(5, organization="Acme")
    ours, theirs = evidence.publish("acme"), evidence.publish("Acme")
    assert ours.hex_digits != theirs.hex_digits
    bundle, _ = evidence.bundle()
    assert evidence.verify(bundle, ours).sound
    verdict = evidence.verify(bundle, theirs)
    assert not verdict.sound
    assert verdict.verified == 0
    mixed = members_of(bundle) | {
        "checkpoint": members_of(evidence.bundle(organization="Acme")[0])["checkpoint"]
    }
    assert not evidence.verify(rezip(mixed.items()), ours).sound
    with pytest.raises(NotFound):
        evidence.bundle(incarnation=2)


def test_memory_does_not_grow_with_the_export(evidence: Evidence) -> None:
    """Three times the events, the same peak: a few pieces at once, whatever their number."""
    import tracemalloc

    peaks = []
    for count in (1_200, 2_400):
        evidence.record(count, description="x" * 500)
        evidence.publish()
        for asked in (filter_of(), filter_of(actor="ana")):
            tracemalloc.start()
            for _ in evidence.bundles.open("acme", asked).chunks():
                pass
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[2] < 1.3 * peaks[0], peaks
    assert peaks[3] < 1.3 * peaks[1], peaks


@pytest.mark.parametrize(
    ("text", "span"), [("0:10", (0, 10)), (":7", (0, 7)), ("5:", (5, None)), (":", (0, None))]
)
def test_a_range_is_read(text: str, span: tuple[int, int | None]) -> None:
    """First index and end, either of which may be missing."""
    assert parse_range(text) == span


@pytest.mark.parametrize("text", ["", "5", "-1:4", "1:2:3", "a:b", "1_0:20", "１:2", " 1:2", "1:" + "9" * 30])
def test_another_range_is_refused(text: str) -> None:
    """Attack cases 23 and 35: signs, spaces, other digits, numbers without bound."""
    with pytest.raises(InvalidQuery):
        parse_range(text)


def test_each_incarnation_is_a_bundle_of_its_own(evidence: Evidence) -> None:
    """Attack case 67: after a reopening every event is in the bundle of one tree, leaf 0 of it first."""
    before = evidence.record(5)
    old = evidence.publish()
    after = evidence.record(3)
    evidence.clock.forward()
    restored = evidence.ours("log.restored", facts={"checkpoint": "", "reason": "a test"})
    repair = SqliteLogRepair(Path(evidence.database), evidence.stores.database.log_path, evidence.writer)
    leaf = leaf_hash(leaf_of_event(restored, old.hex_digits).entry)
    opening = Opening("acme", old.host, old.hex_digits, 2, restored.seq, leaf, restored.id)
    repair.reopen([opening], repair.last_match())
    evidence.sequencer.forget()
    later = evidence.record(2)
    new = evidence.publish()
    assert (new.incarnation, new.origin) == (2, f"{old.host}/{old.hex_digits}/2")
    for incarnation, expected, tree in ((1, before, old), (2, [restored, *after, *later], new)):
        for asked in (filter_of(), filter_of(start_date="2020-01-01")):
            bundle, _ = evidence.bundle(asked=asked, incarnation=incarnation)
            members = members_of(bundle)
            found = [json.loads(line)["id"] for line in members["entries.ndjson"].splitlines()]
            assert found == [_text(event.id) for event in expected]
            verdict = evidence.verify(bundle, tree)
            assert verdict.sound, [failure.line() for failure in verdict.failures]
            assert not evidence.verify(bundle, old if tree is new else new).sound
    assert members_of(evidence.bundle()[0])["checkpoint"].startswith(new.origin.encode())
    ours = members_of(evidence.bundle(incarnation=1)[0]) | {
        "checkpoint": members_of(evidence.bundle()[0])["checkpoint"]
    }
    for tree in (old, new):
        assert not evidence.verify(rezip(ours.items()), tree).sound
