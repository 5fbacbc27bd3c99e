"""Files that come back from before, or not at all: named, never signed over, and mended on order."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.errors import GuardRefused, LogMismatch
from affidavit.storage.log import Tree
from affidavit.storage.sqlite.database import migrate_file
from tests.sealed import Note, World, check, notes_of

DATABASE, LOG, GUARD = "affidavit.db", "affidavit-log.db", "guard.db"
REFUSED = "guard_refused"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two logs; a backup of all three files was made when they had 3 and 2 events; they have 6 and 2 now."""
    made = World(tmp_path / "data")
    made.record("acme", "beta", "acme", "acme", "beta")
    made.work()
    made.save("backup", only=(DATABASE, LOG, GUARD))
    made.record("acme", "acme", "acme")
    made.work()
    yield made
    made.close()


def origin_of(world: World, organization: str = "acme") -> str:
    """The origin of the newest log of an organization."""
    trees: list[Tree] = world.database.log.trees(organization)
    return trees[-1].origin


def restored(world: World, *files: str) -> None:
    """Stop everything, put files of the backup back, and open the database again."""
    world.close()
    world.restore("backup", only=files)
    world.open_database()


def first_leaf(world: World, organization: str) -> dict[str, object]:
    """The facts of the event that is leaf 0 of the newest log of an organization."""
    tree = world.database.log.trees(organization)[-1]
    (leaf,) = next(iter(world.database.log.leaves(tree.number, 0, 1)))
    (event,) = (event for event in world.events() if event.seq == leaf.seq)
    assert event.action == "log.restored"
    assert event.organization == organization
    facts: dict[str, object] = json.loads(event.facts or "{}")
    return facts


def newest(notes: list[Note], origin: str) -> Note:
    """The greatest checkpoint of a log."""
    return max((note for note in notes if note.origin == origin), key=lambda note: note.size)


class TestDatabaseBehindTheGuard:
    """Attack cases 13, 15: events and log were restored together, the guard was not."""

    def test_it_is_named_before_anything_is_written(self, world: World) -> None:
        """Whoever asks learns which log was signed further than it is now; the other one is untouched."""
        origin = origin_of(world)
        restored(world, DATABASE, LOG)
        assert world.kinds() == [(REFUSED, origin)]
        assert "6 were signed" in world.alarms()[0].text
        world.start()
        world.work()
        assert world.kinds() == [(REFUSED, origin)]
        assert [alarm.subject for alarm in world.database.log.alarms()] == [origin]

    @pytest.mark.parametrize("more", [1, 3, 10], ids=["fewer", "as-many", "more"])
    def test_it_is_not_signed_over(self, world: World, more: int) -> None:
        """Written to before the worker starts, until the tree is smaller, as large or larger than before."""
        origin = origin_of(world)
        seen = notes_of(world.log_path)
        restored(world, DATABASE, LOG)
        before = notes_of(world.log_path)
        world.record(*["acme"] * more, "beta")
        world.start()
        for _ in range(3):
            world.work()
        now = notes_of(world.log_path)
        assert newest(now, origin) == newest(before, origin), "a second history was signed"
        assert newest(now, origin_of(world, "beta")).size == 3, "the other log must go on"
        assert world.kinds() == [(REFUSED, origin)]
        assert newest(seen, origin).size == 6

    @pytest.mark.parametrize("more", [0, 2, 10])
    def test_a_new_incarnation_quotes_what_was_signed_last(self, world: World, more: int) -> None:
        """After reopen every event is covered again, once, and the lost checkpoint is quoted in leaf 0."""
        origin = origin_of(world)
        lost = newest(notes_of(world.log_path), origin)
        restored(world, DATABASE, LOG)
        world.record(*["acme"] * more, "beta")
        world.start()
        world.work()
        world.stop()
        (done,) = world.reopen()
        assert (done.organization, done.checkpoint) == ("acme", lost.text)
        assert done.origin == origin.removesuffix("/1") + "/2"
        assert first_leaf(world, "acme") == {"checkpoint": lost.text}
        world.start()
        world.record("acme", "beta")
        world.work()
        check(world)
        assert world.kinds() == []
        first, second = world.database.log.trees("acme")
        assert (first.size, first.published, second.size) == (3, 3, more + 2)
        assert world.reopen() == []

    def test_the_old_incarnation_never_grows_again(self, world: World) -> None:
        """Files of before the loss turn up late: they extend what was signed, and are still refused."""
        world.save("whole")
        restored(world, DATABASE, LOG)
        world.reopen()
        world.start()
        world.work()
        world.close()
        world.restore("whole")
        world.open()
        world.record("acme")
        signed = notes_of(world.log_path)
        world.work()
        assert notes_of(world.log_path) == signed
        assert (REFUSED, origin_of(world)) in world.kinds()


class TestOneFileOfTwo:
    """Attack case 15: events and log are not of one history."""

    @pytest.mark.parametrize("more", [0, 1, 3, 10])
    def test_events_from_before_with_the_present_log(self, world: World, more: int) -> None:
        """The leaf at the queue's place is not that of the row there: sequencing stops and says so."""
        seen = notes_of(world.log_path)
        restored(world, DATABASE)
        world.record(*["acme"] * more)
        assert [kind for kind, _ in world.kinds()] == ["log_files"]
        world.start()
        with pytest.raises(LogMismatch):
            world.sequencer.step()
        world.sign()
        assert notes_of(world.log_path) == seen
        world.stop()
        (done,) = world.reopen()
        assert done.organization == "acme"
        world.start()
        world.record("acme", "beta")
        world.work()
        check(world, signed=seen)
        assert world.kinds() == []
        assert world.database.log.trees("acme")[-1].size == more + 2

    def test_the_same_ids_again_are_not_the_same_events(self, world: World) -> None:
        """A spool sends again what the restore lost, id for id: the fresh secret gives another leaf."""
        rows = [event for event in world.events() if event.organization == "acme"][3:]
        ids = [event.id for event in rows]
        restored(world, DATABASE)
        connection = sqlite3.connect(world.path)
        with connection:
            columns = ", ".join(
                name for name in ("organization", "version", "action", "outcome", "severity", "source")
            )
            connection.executemany(
                f"INSERT INTO affidavit_events (id, {columns}, imported, actor_id, actor, resources, context,"
                " changes, details, secret, recorded_at) VALUES (?, 'acme', 1, 'user.create', 'success',"
                " 'info', 'api', 0, 'ana', '{\"actor\":{\"id\":\"ana\",\"type\":\"user\"}}', '{}', '{}',"
                " '{}', '{}', randomblob(32), 1)",
                [(each,) for each in ids],
            )
        connection.close()
        world.start()
        with pytest.raises(LogMismatch, match="is another one now"):
            world.sequencer.step()

    @pytest.mark.parametrize("more", [0, 2])
    def test_events_without_their_log(self, world: World, more: int) -> None:
        """A log file that is gone while the guard remembers it is not silently begun anew."""
        world.close()
        world.lose(LOG)
        world.open_database()
        world.record(*["acme"] * more)
        assert [kind for kind, _ in world.kinds()] == ["log_files"]
        with pytest.raises(LogMismatch, match="is missing"):
            world.start()
        assert not world.log_path.exists()
        done = world.reopen()
        assert [each.organization for each in done] == ["acme", "beta"]
        assert all(each.origin.endswith("/2") and each.checkpoint for each in done)
        world.start()
        world.record("acme", "beta")
        world.work()
        check(world)
        assert world.kinds() == []

    def test_events_from_before_without_their_log(self, world: World) -> None:
        """The whole of what is there goes into new incarnations that quote what the guard remembers."""
        lost = newest(notes_of(world.log_path), origin_of(world))
        world.close()
        world.lose(LOG)
        world.restore("backup", only=(DATABASE,))
        world.open_database()
        world.record("acme", "new")
        world.reopen()
        assert first_leaf(world, "acme") == {"checkpoint": lost.text}
        world.start()
        world.work()
        check(world)
        assert world.kinds() == []

    def test_log_and_guard_lost_together(self, world: World) -> None:
        """The key remembers that there was a log: nothing is begun anew in silence."""
        world.close()
        world.lose(LOG, GUARD)
        world.open_database()
        world.record("acme")
        assert ("log_files", "") in world.kinds()
        with pytest.raises(LogMismatch, match="is missing"):
            world.start()
        assert [each.organization for each in world.reopen()] == ["acme", "beta"]
        world.start()
        world.work()
        check(world)
        assert world.kinds() == []
        said = [json.loads(event.facts or "{}") for event in world.events() if event.action == "log.restored"]
        assert [each["checkpoint"] for each in said] == ["", ""]
        assert all("neither" in each["reason"] for each in said)

    @pytest.mark.parametrize("more", [0, 4])
    def test_a_log_from_before_catches_up(self, world: World, more: int) -> None:
        """Sequencing again gives the very same tree, so the guard accepts it and nothing is lost."""
        seen = notes_of(world.log_path)
        restored(world, LOG)
        world.record(*["acme"] * more)
        world.start()
        world.work()
        check(world, signed=seen)
        assert world.kinds() == []
        assert [tree.incarnation for tree in world.database.log.trees("acme")] == [1]

    def test_a_log_from_before_an_organization_keeps_its_origin(self, world: World) -> None:
        """A tree that is sequenced again from nothing gets the hex digits that the guard remembers."""
        world.record("late", "late")
        world.work()
        seen = notes_of(world.log_path)
        origin = origin_of(world, "late")
        restored(world, LOG)
        world.start()
        world.work()
        assert origin_of(world, "late") == origin
        check(world, signed=seen)

    @pytest.mark.parametrize("more", [0, 2])
    def test_a_log_of_another_database(self, world: World, more: int) -> None:
        """A database that was made anew beside the old log: nothing is sequenced into that."""
        seen = notes_of(world.log_path)
        world.close()
        world.lose(DATABASE)
        migrate_file(world.path)
        world.open_database()
        world.record(*["acme"] * more)
        assert [kind for kind, _ in world.kinds()][:1] == ["log_files"]
        with pytest.raises(LogMismatch, match="belongs to another database"):
            world.start()
        done = world.reopen()
        assert [each.organization for each in done] == ["acme", "beta"]
        world.start()
        world.record("acme")
        world.work()
        check(world, signed=seen)
        assert world.kinds() == []


HEADS, EVENTS = "affidavit_guard_heads", "affidavit_events"


@pytest.mark.parametrize("more", [0, 2], ids=["untouched", "written-to"])
@pytest.mark.parametrize(
    ("restored_files", "lost_files", "named", "mended"),
    [
        ((DATABASE, LOG), (), f"{HEADS}.size", "reopen"),
        ((DATABASE,), (), EVENTS, "reopen"),
        ((LOG,), (), f"{HEADS}.size", "worker"),
        ((GUARD,), (), f"{HEADS}.size", "accept"),
        ((), (LOG,), HEADS, "reopen"),
        ((DATABASE,), (LOG,), HEADS, "reopen"),
    ],
    ids=["both", "events", "log", "guard", "log-lost", "log-lost-events"],
)
def test_fsck_names_it_and_is_content_once_it_is_mended(
    world: World,
    restored_files: tuple[str, ...],
    lost_files: tuple[str, ...],
    named: str,
    mended: str,
    more: int,
) -> None:
    """Attack case 15: whatever came back from before, fsck says so until a person has settled it."""
    assert world.faults() == []
    world.close()
    world.restore("backup", only=restored_files)
    world.lose(*lost_files)
    world.open_database()
    world.record(*["acme"] * more)
    assert named in world.faults()
    if mended == "reopen":
        world.reopen()
    elif mended == "accept":
        world.accept()
    world.start()
    world.record("acme", "beta")
    world.work()
    assert world.faults() == []
    assert world.kinds() == []
    check(world)


class TestGuard:
    """Attack case 15: the guard itself is lost or from before."""

    def test_a_lost_guard_stops_signing_and_nothing_else(self, world: World) -> None:
        """Recording and sequencing go on; the operator says when the present heads count."""
        seen = notes_of(world.log_path)
        world.close()
        world.lose(GUARD)
        world.open()
        world.record("acme", "new")
        assert world.work() == 0
        assert notes_of(world.log_path) == seen
        assert world.kinds() == [("guard_missing", "")]
        assert not world.guard_path.exists()
        world.stop()
        assert {each.organization for each in world.accept()} == {"acme", "beta"}
        world.start()
        world.work()
        check(world, signed=seen)
        assert world.kinds() == []
        said = [event for event in world.events() if event.action == "log.guard.accepted"]
        facts = [json.loads(event.facts or "{}") for event in said]
        assert {(each["origin"], each["size"], each["root"]) for each in facts} == {
            (note.origin, note.size, note.root.hex())
            for note in (newest(seen, origin_of(world)), newest(seen, origin_of(world, "beta")))
        }

    def test_a_guard_from_before_stops_what_it_does_not_know(self, world: World) -> None:
        """Attack case 16: a second host with a stale guard signs nothing of what was signed elsewhere."""
        seen = notes_of(world.log_path)
        origin = origin_of(world)
        restored(world, GUARD)
        world.record("acme", "beta")
        world.start()
        world.work()
        assert newest(notes_of(world.log_path), origin).size == 6
        assert newest(notes_of(world.log_path), origin_of(world, "beta")).size == 3
        assert world.kinds() == [(REFUSED, origin)]
        assert "the guard remembers only 3" in world.alarms()[0].text
        world.stop()
        assert [each.organization for each in world.accept()] == ["acme"]
        world.start()
        world.work()
        check(world, signed=seen)
        assert world.kinds() == []

    def test_accepting_is_no_way_around_a_rolled_back_database(self, world: World) -> None:
        """Where the guard remembers more than the log has, not the guard is what is wrong."""
        restored(world, DATABASE, LOG)
        with pytest.raises(GuardRefused, match="6 were signed"):
            world.accept()
        assert len(world.kinds()) == 1

    def test_accepting_is_no_way_around_changed_leaves(self, world: World) -> None:
        """A guard from before that saw other leaves is not taken further."""
        restored(world, GUARD)
        connection = sqlite3.connect(world.log_path)
        with connection:
            connection.execute("UPDATE affidavit_leaves SET hash = randomblob(32) WHERE tree = 1 AND idx = 0")
        connection.close()
        with pytest.raises(GuardRefused):
            world.accept()

    def test_a_guard_of_another_database_is_no_guard(self, world: World, tmp_path: Path) -> None:
        """Nothing is signed under it, and it is named."""
        other = World(tmp_path / "other")
        other.record("acme")
        other.work()
        other.save("kept", only=(GUARD,))
        other.close()
        seen = notes_of(world.log_path)
        world.close()
        world.lose(GUARD)
        (tmp_path / "other" / "kept" / GUARD).rename(world.guard_path)
        world.open()
        world.record("acme")
        assert world.work() == 0
        assert notes_of(world.log_path) == seen
        assert [kind for kind, _ in world.kinds()] == ["guard_missing"]
        assert "guards another database" in world.alarms()[0].text

    def test_a_guard_that_vanishes_while_the_worker_runs(self, world: World) -> None:
        """An open descriptor of a deleted file is no memory."""
        seen = notes_of(world.log_path)
        world.record("acme")
        world.sequence()
        world.lose(GUARD)
        assert world.sign() == 0
        assert notes_of(world.log_path) == seen
        assert world.kinds() == [("guard_missing", "")]

    def test_manifests_of_a_lost_guard_come_back_from_the_log(self, world: World) -> None:
        """What was erased stays known on both sides."""
        from affidavit.storage.log import Manifest

        manifest = Manifest(b"m" * 32, "acme", "erasure", b"{}", b"note", 1)
        assert world.writer is not None
        world.writer.add(manifest)
        world.close()
        world.lose(GUARD)
        world.open_database()
        world.accept()
        world.close()
        world.lose(LOG)
        world.open_database()
        world.reopen()
        world.start()
        assert world.writer.manifests() == [manifest]


class TestHistory:
    """Edits of the log file that the guard sees without looking at events."""

    def test_a_cut_tail_is_refused(self, world: World) -> None:
        """Attack cases 7, 8: leaves, head and checkpoints are cut back together and consistently."""
        origin = origin_of(world)
        world.stop()
        seen = notes_of(world.log_path)
        cut(world, 5)
        world.start()
        world.record("acme")
        world.work()
        assert world.kinds() == [(REFUSED, origin)]
        assert len([note for note in notes_of(world.log_path) if note.origin == origin]) <= len(seen)

    def test_a_changed_leaf_is_refused_although_the_head_was_computed_again(self, world: World) -> None:
        """Attack cases 11, 12: other leaves under a checkpoint that was signed cannot be signed over."""
        origin = origin_of(world)
        seen = notes_of(world.log_path)
        world.stop()
        connection = sqlite3.connect(world.log_path)
        with connection:
            (tree,) = connection.execute(
                "SELECT tree FROM affidavit_trees WHERE organization = 'acme'"
            ).fetchone()
            connection.execute(
                "UPDATE affidavit_leaves SET hash = ? WHERE tree = ? AND idx = 1", (b"\x01" * 32, tree)
            )
            hashes = [
                digest
                for (digest,) in connection.execute(
                    "SELECT hash FROM affidavit_leaves WHERE tree = ? ORDER BY idx", (tree,)
                )
            ]
            from affidavit.core.merkle import Frontier

            frontier = Frontier()
            for digest in hashes:
                frontier.append(digest)
            connection.execute(
                "UPDATE affidavit_trees SET frontier = ? WHERE tree = ?", (b"".join(frontier.hashes), tree)
            )
        connection.close()
        world.start()
        world.record("acme")
        world.work()
        assert notes_of(world.log_path) == seen
        assert world.kinds() == [(REFUSED, origin)]
        assert "does not extend" in world.alarms()[0].text or "another root" in world.alarms()[0].text

    def test_a_clock_that_goes_back_changes_nothing(self, world: World) -> None:
        """Attack case 71: checkpoints grow and tell one history whatever the clock says."""
        seen = notes_of(world.log_path)
        for step in (-3_600_000_000, -86_400_000_000, 7_200_000_000, -1):
            world.clock.forward(step)
            world.record("acme", "beta")
            world.work()
            seen += notes_of(world.log_path)
        check(world, signed=seen)
        assert world.kinds() == []


def cut(world: World, size: int) -> None:
    """Cut the log of acme back, as somebody does who holds the log file."""
    from affidavit.core.merkle import Frontier

    connection = sqlite3.connect(world.log_path)
    with connection:
        (tree,) = connection.execute(
            "SELECT tree FROM affidavit_trees WHERE organization = 'acme'"
        ).fetchone()
        connection.execute("DELETE FROM affidavit_leaves WHERE tree = ? AND idx >= ?", (tree, size))
        connection.execute("DELETE FROM affidavit_checkpoints WHERE tree = ? AND size > ?", (tree, size))
        frontier = Frontier()
        for (digest,) in connection.execute(
            "SELECT hash FROM affidavit_leaves WHERE tree = ? ORDER BY idx", (tree,)
        ):
            frontier.append(digest)
        connection.execute(
            "UPDATE affidavit_trees SET size = ?, frontier = ?, published = ? WHERE tree = ?",
            (size, b"".join(frontier.hashes), 3, tree),
        )
    connection.close()
