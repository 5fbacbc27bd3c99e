"""Pruning closed ranges of ids, on real files with a signed log."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from affidavit.core.ids import first_id, format_id
from affidavit.core.manifest import cites, open_manifest
from affidavit.errors import InvalidEvent, Refused, StorageError
from affidavit.recorder.intake import Rights
from affidavit.storage.log import Manifest
from affidavit.storage.retention import PrunedRange
from affidavit.storage.sqlite.writer import insert_rows
from affidavit.testing.author import draft
from affidavit.wiring.log import guard_for, key_file
from tests.retained import ACME, BY, DAY, NOW, Retained

_RIGHTS = Rights(may_import=True, may_set_id=True)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Retained]:
    """A database with a signed log."""
    made = Retained(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def old(world: Retained) -> list[bytes]:
    """Six events that have expired, and one that is new, in the order in which they occurred."""
    ids = [
        world.record(action, days_ago=days)[0]
        for days, action in enumerate(["a.x", "a.y", "b.x", "a.x", "a.y", "b.x"], start=100)
    ]
    world.record("a.x")
    world.policies.set(ACME, "*", 90, BY)
    world.run("expire")
    return sorted(ids)


def prune(world: Retained, first: bytes, last: bytes) -> dict[str, object]:
    """Prune a range and return what came of it."""
    ended = world.run("prune", from_id=format_id(first), to_id=format_id(last))
    return dict(ended.outcome or {})


def test_rows_go_and_leaf_hashes_stay(world: Retained, old: list[bytes]) -> None:
    """The tree is the one it was; the manifest lists exactly the leaves whose rows are gone."""
    tree = world.log.trees(ACME)[0]
    hashes = world.log.hashes(tree.number, 0, 0, tree.size)
    places = {event.id: world.log.places([event])[event.seq] for event in world.events()[:6]}
    assert prune(world, old[1], old[3]) == {"pruned": 3, "ranges": 1}
    assert [world.event(each) is None for each in old] == [False, True, True, True, False, False]
    assert world.log.hashes(tree.number, 0, 0, tree.size) == hashes
    (manifest,) = world.log.manifests(ACME)
    body = open_manifest(manifest.body, manifest.note, key_file(world.settings).load().verifiers(tree.origin))
    covered = [index for entry in body.entries for index in range(entry.start, entry.end + 1)]
    assert covered == sorted(places[each].index for each in old[1:4])
    assert body.ids == (format_id(old[1]), format_id(old[3]))
    assert [entry.digest for entry in body.entries] == [
        sha256(b"".join(hashes[entry.start : entry.end + 1])).digest() for entry in body.entries
    ]
    told = next(event for event in world.events() if event.action == "audit.retention.pruned")
    assert cites(told.action, json.loads(told.facts or ""), "prune", manifest.hash)


def test_the_guard_keeps_the_manifest_too(world: Retained, old: list[bytes]) -> None:
    """A restore of yesterday's log must not turn a pruning into a hole."""
    prune(world, old[0], old[0])
    guard = guard_for(world.settings)
    try:
        assert guard.manifests(ACME) == world.log.manifests(ACME)
    finally:
        guard.close()


def test_the_index_is_made_anew(world: Retained, old: list[bytes]) -> None:
    """Its counts would go on counting what is gone."""
    before = world.discarded
    prune(world, old[0], old[-1])
    assert world.discarded == before + 1


@pytest.mark.parametrize("spoil", ["young", "held", "forever", "alive", "erased young"])
def test_a_range_with_one_event_that_must_stay_is_refused_whole(
    world: Retained, old: list[bytes], spoil: str
) -> None:
    """Every event must be past, expired and under no hold; else nothing is deleted, and why is said."""
    first, last, told = old[0], old[-1], "not past a policy"
    if spoil == "young":
        last = first_id(NOW + 1)
    if spoil == "held":
        world.holds.create(ACME, name="x", reason="y", class_="b.*", by=BY)
        told = "under a legal hold"
    if spoil == "forever":
        world.policies.set(ACME, "b.x", None, BY)
    if spoil == "alive":
        world.record("a.x", days_ago=103)
        told = "not expired yet"
    if spoil == "erased young":
        from affidavit.core.leaf import LEAF_GROUPS
        from affidavit.storage.redaction import Redaction

        (young,) = world.record("a.z", days_ago=1, occurred_at=NOW - 102 * DAY)
        world.redactor.redact("erasure", "m", [Redaction(ACME, young, LEAF_GROUPS)])
    world.seal()
    rows = [event.values for event in world.events()]
    assert told in world.previews.pruning(ACME, first, last).obstacles
    ended = world.run("prune", from_id=format_id(first), to_id=format_id(last))
    assert ended.state == "failed"
    assert told in str((ended.outcome or {})["error"])
    assert [event.values for event in world.events()] == rows
    assert world.log.manifests(ACME) == []


def test_what_explains_others_stays_within_a_pruned_range(world: Retained, old: list[bytes]) -> None:
    """Policies, expiries and prunings are there for ever, even when everything around them goes."""
    world.clock.now += 1000 * DAY
    world.run("expire")
    span = world.previews.until(ACME, NOW + DAY)
    assert span is not None
    outcome = prune(world, *span)
    assert outcome["pruned"] == 7
    left = [event.action for event in world.events() if event.recorded_at <= NOW + DAY]
    assert left == ["audit.retention.changed", "audit.retention.expired", "audit.retention.completed"]


@pytest.mark.parametrize("place", ["first", "inside", "last"])
def test_nothing_is_recorded_in_a_pruned_range_again(world: Retained, old: list[bytes], place: str) -> None:
    """By name: rule, range and id; at both of its ends and in between. Its neighbours are recorded."""
    prune(world, old[1], old[3])
    ids = {"first": old[1], "inside": (int.from_bytes(old[2], "big") + 7).to_bytes(16, "big"), "last": old[3]}
    with pytest.raises(InvalidEvent) as refused:
        world.record("a.x", id=UUID(bytes=ids[place]))
    (error,) = refused.value.errors
    assert error.rule == "pruned_range"
    assert format_id(old[1]) in error.message
    assert format_id(old[3]) in error.message
    beside = [(int.from_bytes(old[1], "big") - 1), (int.from_bytes(old[3], "big") + 1)]
    for number in beside:
        world.record("a.x", id=UUID(bytes=number.to_bytes(16, "big")))
    world.record("a.x", id=UUID(bytes=ids[place]), organization="globex")


def test_a_group_commit_refuses_only_who_is_concerned(world: Retained, old: list[bytes]) -> None:
    """Other requests of the same commit are stored."""
    prune(world, old[1], old[3])
    bad, good = (
        world.intake.prepare([draft("a.x", occurred_at=moment)], organization=ACME, rights=_RIGHTS)
        for moment in (NOW - 103 * DAY, NOW)
    )
    first, second, third = world.database.writer.insert_group([good[:1], bad, good[:0]])
    assert isinstance(second, InvalidEvent)
    assert not isinstance(first, Exception)
    assert world.event(good[0].id) is not None
    assert third == []


def test_the_database_itself_refuses_what_gets_past_the_look(world: Retained, old: list[bytes]) -> None:
    """Attack: SQL of somebody's own. An insert into the range and a delete without a permit fail."""
    prune(world, old[1], old[3])
    rows = world.intake.prepare(
        [draft("a.x", occurred_at=NOW - 103 * DAY)], organization=ACME, rights=_RIGHTS
    )
    with (
        pytest.raises(StorageError, match="this range of ids was pruned"),
        world.database.writer.transaction() as connection,
    ):
        insert_rows(connection, rows, NOW, {})
    with (
        pytest.raises(StorageError, match="append-only"),
        world.database.writer.transaction() as connection,
    ):
        connection.execute("DELETE FROM affidavit_events WHERE id = ?", (old[4],))


def test_a_range_is_pruned_once(world: Retained, old: list[bytes]) -> None:
    """Again changes nothing; one that overlaps it is refused by name."""
    prune(world, old[1], old[3])
    again = prune(world, old[1], old[3])
    assert again["pruned"] == 0
    ended = world.run("prune", from_id=format_id(old[0]), to_id=format_id(old[2]))
    assert ended.state == "failed"
    assert "pruned already" in str((ended.outcome or {})["error"])
    assert world.event(old[0]) is not None


def test_a_long_range_is_pruned_as_several(world: Retained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its manifest and its event; together they close everything in between."""
    monkeypatch.setattr("affidavit.log.retention.spans.MOST", 300)
    for number in range(5):
        world.record(*["a.x"] * 200, days_ago=200 - number)
    world.policies.set(ACME, "*", 90, BY)
    world.run("expire")
    span = world.previews.until(ACME, NOW - DAY)
    assert span is not None
    assert prune(world, *span) == {"pruned": 1000, "ranges": 3}
    ranges = _ranges(world)
    assert ranges[0].from_id == span[0]
    assert ranges[-1].to_id == span[1]
    for left, right in itertools.pairwise(ranges):
        assert int.from_bytes(right.from_id, "big") == int.from_bytes(left.to_id, "big") + 1
    assert len(world.log.manifests(ACME)) == 3
    assert world.actions().count("audit.retention.pruned") == 3


def test_nothing_is_deleted_before_the_event_that_says_so_is_published(
    world: Retained, old: list[bytes]
) -> None:
    """The manifest is kept, the range closed, the event recorded; then the signature; then the rows go."""
    task = world.order("prune", from_id=format_id(old[0]), to_id=format_id(old[-1]))
    for _ in range(50):
        world.runner.step()
    assert len(_ranges(world)) == 1
    assert len(world.log.manifests(ACME)) == 1
    assert all(world.event(each) is not None for each in old)
    world.sequencer.step()
    for _ in range(50):
        world.runner.step()
    assert all(world.event(each) is not None for each in old)
    world.finish(task)
    assert all(world.event(each) is None for each in old)


@pytest.mark.parametrize("rounds", range(1, 9))
def test_a_prune_that_was_interrupted_goes_on(world: Retained, old: list[bytes], rounds: int) -> None:
    """After every step of it: one manifest, one event, one closed range, no row, and the queue goes on."""
    task = world.order("prune", from_id=format_id(old[0]), to_id=format_id(old[-1]))
    for _ in range(rounds):
        world.runner.step()
        if rounds > 4:
            world.seal()
    world.restart()
    assert world.finish(task).state == "done"
    assert all(world.event(each) is None for each in old)
    assert len(world.log.manifests(ACME)) == len(_ranges(world)) == 1
    assert world.actions().count("audit.retention.pruned") == 1
    world.record("a.x")
    world.seal()
    assert world.writer.progress().waiting == 0


def test_an_interrupted_prune_that_is_refused_later_has_the_index_made_anew(
    world: Retained, old: list[bytes]
) -> None:
    """Its first part took rows away that the index counts; what is refused then does not keep that back."""
    prune(world, old[0], old[1])
    before = world.discarded
    world.holds.create(ACME, name="x", reason="y", class_="b.*", by=BY)
    task = world.order("prune", from_id=format_id(old[0]), to_id=format_id(old[-1]))
    assert world.finish(task).state == "failed"
    assert world.discarded == before + 1


def test_without_the_key_nothing_is_pruned(world: Retained, old: list[bytes]) -> None:
    """A manifest that nobody signed explains nothing."""
    key = world.settings.data_dir / "log.key"
    kept = key.read_bytes()
    key.unlink()
    task = world.order("prune", from_id=format_id(old[0]), to_id=format_id(old[-1]))
    for _ in range(50):
        world.runner.step()
    stands = world.tasks.get(task.id)
    assert stands is not None
    assert stands.state == "failed"
    assert "log key" in str((stands.outcome or {})["error"])
    assert _ranges(world) == []
    assert all(world.event(each) is not None for each in old)
    key.write_bytes(kept)


def test_closing_refuses_a_range_that_somebody_recorded_in_meanwhile(
    world: Retained, old: list[bytes]
) -> None:
    """Between the look and the transaction an event came in: it must not be locked in unseen."""
    from affidavit.storage.sqlite.retention import SqliteRanges

    ranges = SqliteRanges(world.database)
    closed = PrunedRange(ACME, old[0], old[-1], b"m" * 32)
    world.record("a.x", days_ago=103)
    with pytest.raises(Refused, match="7 events now, not 6"):
        ranges.close(closed, 6, [])
    assert ranges.ranges(ACME) == []


def test_a_forged_manifest_row_deletes_nothing(world: Retained, old: list[bytes]) -> None:
    """Attack: a range closed in SQL, without an event that cites its manifest: nothing is deleted."""
    world.writer.add(Manifest(b"m" * 32, ACME, "prune", b"{}", b"", NOW))
    with world.database.writer.transaction() as connection:
        connection.execute(
            "INSERT INTO affidavit_pruned VALUES (?, ?, ?, ?)", (ACME, old[0], old[-1], b"m" * 32)
        )
    world.order("prune", from_id=format_id(old[0]), to_id=format_id(old[-1]))
    for _ in range(50):
        world.step()
    assert all(world.event(each) is not None for each in old)


def _ranges(world: Retained) -> list[PrunedRange]:
    from affidavit.storage.sqlite.retention import SqliteRanges

    return SqliteRanges(world.database).ranges(ACME)
