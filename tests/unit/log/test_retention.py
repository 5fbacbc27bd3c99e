"""Policies, legal holds, expiry and pruning, on real files with a signed log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.core.cursor import Position
from affidavit.core.event import Actor
from affidavit.core.leaf import LEAF_GROUPS
from affidavit.core.query import parse_params
from affidavit.core.retention import MAX_CLASSES
from affidavit.core.row import COLUMNS, StoredEvent
from affidavit.core.sealing import leaf_of_event
from affidavit.errors import NotFound, Refused
from affidavit.storage.sqlite.follower import IndexFollower
from affidavit.testing.conformance.suite import catch_up
from tests.retained import ACME, BY, DAY, NOW, Retained

CLEAR = ("id", "version", "organization", "project", "action", "outcome", "severity", "source", "recorded_at")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Retained]:
    """A database with a signed log."""
    made = Retained(tmp_path / "data")
    yield made
    made.close()


def is_empty(event: StoredEvent | None) -> bool:
    """Whether clear fields and digests are all that is left of an event."""
    assert event is not None
    values = dict(zip(COLUMNS, event.values, strict=True))
    gone = [values[name] for name in (*LEAF_GROUPS, "secret", "actor_id")]
    if any(value is not None for value in gone):
        assert all(value is not None for value in gone), "half empty"
        return False
    assert {frozenset(left) for left in json.loads(values["remains"]).values()} == {frozenset({"digest"})}
    return True


class TestPolicies:
    def test_a_change_is_an_event_with_old_new_and_the_whole_table(self, world: Retained) -> None:
        """Whoever verifies learns the table that was in force from the facts alone."""
        assert world.policies.set(ACME, "auth.*", 90, BY) == {"auth.*": 90}
        assert world.policies.set(ACME, "*", None, BY) == {"*": None, "auth.*": 90}
        assert world.policies.set(ACME, "auth.*", 30, BY) == {"*": None, "auth.*": 30}
        assert world.policies.unset(ACME, "*", BY) == {"auth.*": 30}
        seen = [
            (event.action, json.loads(event.facts or ""), event.groups()["changes"]["days"])
            for event in world.events()
        ]
        assert seen == [
            ("audit.retention.changed", {"policy": "auth.*=90"}, {"old": None, "new": 90}),
            ("audit.retention.changed", {"policy": "*=forever auth.*=90"}, {"old": None, "new": "forever"}),
            ("audit.retention.changed", {"policy": "*=forever auth.*=30"}, {"old": 90, "new": 30}),
            ("audit.retention.changed", {"policy": "auth.*=30"}, {"old": "forever", "new": None}),
        ]
        assert {event.groups()["actor"]["id"] for event in world.events()} == {"kim"}

    def test_the_same_again_is_no_event(self, world: Retained) -> None:
        """Nothing changed, so nothing is said."""
        world.policies.set(ACME, "auth.*", 90, BY)
        world.policies.set(ACME, "auth.*", 90, BY)
        assert len(world.events()) == 1

    def test_tables_of_two_organizations_are_apart(self, world: Retained) -> None:
        """A policy says nothing about a neighbour."""
        world.policies.set(ACME, "*", 1, BY)
        world.policies.set("globex", "auth.*", 2, BY)
        assert world.policies.rules(ACME) == {"*": 1}
        assert world.policies.rules("globex") == {"auth.*": 2}
        assert world.policies.organizations() == [ACME, "globex"]

    @pytest.mark.parametrize(
        ("name", "days", "rule"),
        [
            ("auth", 1, "class"),
            ("Auth.*", 1, "class"),
            ("", 1, "class"),
            ("auth.*", 0, "days"),
            ("auth.*", -1, "days"),
            ("auth.*", 36_501, "days"),
            ("audit.retention.*", 1, "kept_for_ever"),
            ("audit.erasure.requested", 1, "kept_for_ever"),
            ("log.*", 1, "kept_for_ever"),
        ],
    )
    def test_a_policy_that_breaks_a_rule_is_refused(
        self, world: Retained, name: str, days: int, rule: str
    ) -> None:
        """The error names field and rule; nothing is stored."""
        with pytest.raises(Refused) as refused:
            world.policies.set(ACME, name, days, BY)
        assert [error.rule for error in refused.value.errors] == [rule]
        assert world.policies.rules(ACME) == {}
        assert world.events() == []

    def test_one_class_too_many_is_refused(self, world: Retained) -> None:
        """The table must fit into a leaf."""
        for number in range(MAX_CLASSES):
            world.policies.set(ACME, f"a.c{number}", 1, BY)
        with pytest.raises(Refused, match="at most 200 classes"):
            world.policies.set(ACME, "a.more", 1, BY)
        world.policies.set(ACME, "a.c0", 2, BY)
        world.seal()
        assert world.log.alarms() == []

    def test_what_is_not_there_cannot_be_unset(self, world: Retained) -> None:
        """An unknown class is named, not ignored."""
        with pytest.raises(NotFound, match="auth"):
            world.policies.unset(ACME, "auth.*", BY)


class TestHolds:
    def test_a_hold_and_its_end_are_events(self, world: Retained) -> None:
        """Name, reason and class stand in the event; id and class in its facts."""
        hold = world.holds.create(ACME, name="case 7", reason="Smith v. Acme", class_="auth.*", by=BY)
        world.clock.forward()
        ended = world.holds.release(ACME, hold.id, BY)
        assert ended.released_at == world.clock.now
        created, released = world.events()
        assert (created.action, released.action) == ("audit.hold.created", "audit.hold.released")
        assert json.loads(created.facts or "") == {"hold": hold.id, "class": "auth.*"}
        assert json.loads(released.facts or "") == {"hold": hold.id, "class": "auth.*"}
        assert created.groups()["changes"]["reason"] == {"old": None, "new": "Smith v. Acme"}
        assert created.groups()["resources"][0]["name"] == "case 7"

    def test_a_hold_ends_once(self, world: Retained) -> None:
        """Releasing again says nothing and keeps the moment."""
        hold = world.holds.create(ACME, name="x", reason="y", by=BY)
        first = world.holds.release(ACME, hold.id, BY)
        world.clock.forward()
        assert world.holds.release(ACME, hold.id, BY) == first
        assert len(world.events()) == 2

    def test_a_hold_of_a_neighbour_does_not_exist(self, world: Retained) -> None:
        """An id from elsewhere releases nothing."""
        hold = world.holds.create("globex", name="x", reason="y", by=BY)
        with pytest.raises(NotFound):
            world.holds.release(ACME, hold.id, BY)
        assert world.holds.list("globex")[0].released_at is None

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"name": ""}, "/name"),
            ({"name": "a\nb"}, "/name"),
            ({"name": "x" * 129}, "/name"),
            ({"reason": " "}, "/reason"),
            ({"reason": "x" * 1001}, "/reason"),
            ({"class_": "auth"}, "/class"),
        ],
    )
    def test_a_hold_that_breaks_a_rule_is_refused(
        self, world: Retained, fields: dict[str, str], pointer: str
    ) -> None:
        """The error names the field; nothing is stored."""
        with pytest.raises(Refused) as refused:
            world.holds.create(ACME, **({"name": "x", "reason": "y"} | fields), by=BY)
        assert [error.pointer for error in refused.value.errors] == [pointer]
        assert world.events() == []


class TestExpiry:
    def test_groups_and_secret_go_and_every_proof_stays(self, world: Retained) -> None:
        """Clear fields and digests stay, so the leaf and with it the tree are what they were."""
        (old,) = world.record("auth.login", days_ago=91, ip="10.0.0.1", reason="x")
        (fresh,) = world.record("auth.login", days_ago=89)
        (other,) = world.record("team.update", days_ago=4000)
        world.seal()
        before = world.event(old)
        assert before is not None
        world.policies.set(ACME, "auth.*", 90, BY)
        task = world.run("expire")
        assert task.outcome == {"policy": "auth.*=90", "expired": {"auth.*": 1}, "kept": {}}
        after = world.event(old)
        assert is_empty(after)
        assert after is not None
        assert [getattr(after, name) for name in CLEAR] == [getattr(before, name) for name in CLEAR]
        hex_digits = world.log.trees(ACME)[0].hex_digits
        assert leaf_of_event(after, hex_digits) == leaf_of_event(before, hex_digits)
        assert not is_empty(world.event(fresh))
        assert not is_empty(world.event(other))

    def test_expiry_is_announced_and_published_before_the_first_value_goes(self, world: Retained) -> None:
        """Attack 56: whoever finds a value missing finds the policy that let it go, published before."""
        (old,) = world.record("auth.login", days_ago=91)
        world.policies.set(ACME, "auth.*", 90, BY)
        world.seal()
        task = world.order("expire")
        told = None
        for _ in range(50):
            world.runner.step()  # the log stands still
            told = next(
                (event for event in world.events() if event.action == "audit.retention.expired"), None
            )
        assert told is not None
        assert json.loads(told.facts or "") == {"policy": "auth.*=90"}
        assert not is_empty(world.event(old)), "emptied before the announcement was published"
        world.sequencer.step()
        for _ in range(50):
            world.runner.step()
        assert not is_empty(world.event(old)), "emptied before the announcement was signed"
        world.finish(task)
        assert is_empty(world.event(old))
        assert world.actions()[-1] == "audit.retention.completed"

    def test_the_age_counts_from_recording(self, world: Retained) -> None:
        """A client that back-dates an event neither forces its expiry nor escapes it."""
        old_news = world.record("auth.login", days_ago=1, occurred_at=NOW - 400 * DAY)[0]
        recorded_long_ago = world.record(
            "auth.login", days_ago=100, occurred_at=NOW - 100 * DAY + DAY // 1440
        )[0]
        world.policies.set(ACME, "*", 90, BY)
        world.run("expire")
        assert not is_empty(world.event(old_news))
        assert is_empty(world.event(recorded_long_ago))

    def test_the_last_microsecond_counts(self, world: Retained) -> None:
        """Ninety days are ninety times 24 hours, not one microsecond less."""
        (due,) = world.record("auth.login", days_ago=90)
        world.clock.now += 1
        (early,) = world.record("auth.login", days_ago=90)
        world.clock.now -= 1
        world.policies.set(ACME, "auth.login", 90, BY)
        world.run("expire")
        assert is_empty(world.event(due))
        assert not is_empty(world.event(early))

    def test_the_longest_class_decides(self, world: Retained) -> None:
        """`*=10 auth.*=forever auth.login.failed=5` treats three events in three ways."""
        kept, failed, other = world.record("auth.login", "auth.login.failed", "team.update", days_ago=7)
        world.policies.set(ACME, "*", 7, BY)
        world.policies.set(ACME, "auth.*", None, BY)
        world.policies.set(ACME, "auth.login.failed", 5, BY)
        task = world.run("expire")
        assert task.outcome is not None
        assert task.outcome["expired"] == {"*": 1, "auth.login.failed": 1}
        assert [is_empty(world.event(event)) for event in (kept, failed, other)] == [False, True, True]

    def test_what_explains_others_never_expires(self, world: Retained) -> None:
        """The actor of a change of policy, a hold or an expiry is there after a thousand years of `*=1`."""
        world.policies.set(ACME, "*", 1, BY)
        hold = world.holds.create(ACME, name="x", reason="y", class_="a.b", by=BY)
        world.holds.release(ACME, hold.id, BY)
        world.clock.now += 50 * DAY
        world.record("auth.login", days_ago=2)
        world.run("expire")
        world.clock.now += 365_000 * DAY
        world.run("expire")
        ours = [event for event in world.events() if event.action.startswith("audit.")]
        assert len(ours) == 5
        assert not any(is_empty(event) for event in ours)

    def test_a_second_run_finds_nothing_and_says_nothing(self, world: Retained) -> None:
        """Expiry is idempotent, and an idle run for cron leaves no trace."""
        world.record("auth.login", "auth.logout", days_ago=91)
        world.policies.set(ACME, "auth.*", 90, BY)
        world.run("expire")
        events = len(world.events())
        rows = [event.values for event in world.events()]
        task = world.run("expire")
        assert task.outcome == {"policy": "auth.*=90", "expired": {}, "kept": {}}
        assert len(world.events()) == events
        assert [event.values for event in world.events()] == rows

    def test_the_dry_run_counts_what_the_run_does(self, world: Retained) -> None:
        """By class, held ones apart; and it changes nothing."""
        world.record(*["auth.login"] * 450, days_ago=91)
        world.record(*["team.update"] * 3, days_ago=31)
        world.policies.set(ACME, "auth.*", 90, BY)
        world.policies.set(ACME, "team.*", 30, BY)
        world.holds.create(ACME, name="x", reason="y", class_="team.update", by=BY)
        before = [event.values for event in world.events()]
        found = world.previews.expiry(ACME)
        assert {name: (count.expired, count.held) for name, count in found.classes.items()} == {
            "auth.*": (450, 0),
            "team.*": (0, 3),
        }
        assert [event.values for event in world.events()] == before
        task = world.run("expire")
        assert task.outcome is not None
        assert (task.outcome["expired"], task.outcome["kept"]) == ({"auth.*": 450}, {"team.*": 3})

    def test_the_last_event_counts(self, world: Retained) -> None:
        """How many went of each class stands in an event of its own."""
        world.record(*["auth.login"] * 5, days_ago=91)
        world.policies.set(ACME, "auth.*", 90, BY)
        world.run("expire")
        last = world.events()[-1]
        assert last.action == "audit.retention.completed"
        metadata = last.groups()["metadata"]
        assert (metadata["expired"], metadata["kept"]) == (5, 0)
        assert metadata["classes"] == [{"class": "auth.*", "events": 5}]

    @pytest.mark.parametrize(
        ("class_", "keeps"), [("*", True), ("auth.*", True), ("auth.login", True), ("auth.x", False)]
    )
    def test_a_hold_wins_over_every_policy(self, world: Retained, class_: str, keeps: bool) -> None:
        """While it stands nothing of its class goes; after its end the next run takes it."""
        (old,) = world.record("auth.login", days_ago=91)
        world.policies.set(ACME, "auth.login", 1, BY)
        hold = world.holds.create(ACME, name="x", reason="y", class_=class_, by=BY)
        world.run("expire")
        assert is_empty(world.event(old)) != keeps
        world.holds.release(ACME, hold.id, BY)
        world.run("expire")
        assert is_empty(world.event(old))

    def test_a_hold_placed_in_the_middle_of_a_run_keeps_the_rest(self, world: Retained) -> None:
        """It counts from the moment in which it was placed."""
        ids = world.record(*["auth.login"] * 900, days_ago=91)
        world.policies.set(ACME, "auth.*", 90, BY)
        task = world.order("expire")
        while not any(is_empty(world.event(event)) for event in ids):
            world.step()
        world.holds.create(ACME, name="x", reason="y", by=BY)
        kept = [event for event in ids if not is_empty(world.event(event))]
        assert kept
        world.finish(task)
        assert [event for event in ids if not is_empty(world.event(event))] == kept

    def test_the_database_itself_keeps_what_is_held(self, world: Retained) -> None:
        """A hold that comes between the look and the write of a piece is not passed over."""
        (old,) = world.record("auth.login", days_ago=91)
        world.holds.create(ACME, name="x", reason="y", class_="auth.*", by=BY)
        from affidavit.errors import StorageError
        from affidavit.storage.redaction import Redaction

        with pytest.raises(StorageError, match="a legal hold keeps this event"):
            world.redactor.redact("expiry", "r", [Redaction(ACME, old, LEAF_GROUPS)])
        assert not is_empty(world.event(old))
        world.redactor.redact("erasure", "r", [Redaction(ACME, old, LEAF_GROUPS)])
        assert is_empty(world.event(old))

    def test_a_policy_that_is_loosened_in_the_middle_stops_the_run(self, world: Retained) -> None:
        """From then on nothing goes; what went is explained by the policy that was announced."""
        ids = world.record(*["auth.login"] * 900, days_ago=91)
        world.policies.set(ACME, "auth.*", 90, BY)
        task = world.order("expire")
        while not any(is_empty(world.event(event)) for event in ids):
            world.step()
        world.policies.set(ACME, "auth.*", None, BY)
        kept = sum(not is_empty(world.event(event)) for event in ids)
        ended = world.finish(task)
        assert ended.outcome is not None
        assert "changed meanwhile" in ended.outcome["stopped"]
        assert sum(not is_empty(world.event(event)) for event in ids) == kept > 0

    def test_a_run_that_was_interrupted_goes_on_with_its_announcement(self, world: Retained) -> None:
        """One announcement, one completion, every row, and the count of both halves."""
        ids = world.record(*["auth.login"] * 900, days_ago=91)
        world.policies.set(ACME, "auth.*", 90, BY)
        task = world.order("expire")
        while not any(is_empty(world.event(event)) for event in ids):
            world.step()
        world.restart()
        ended = world.finish(task)
        assert all(is_empty(world.event(event)) for event in ids)
        assert ended.outcome is not None
        assert ended.outcome["expired"] == {"auth.*": 900}
        assert world.actions()[-2:] == ["audit.retention.expired", "audit.retention.completed"]

    def test_a_row_that_somebody_edited_is_left_for_fsck(self, world: Retained) -> None:
        """Expiry must not sweep away the traces of a manipulation."""
        ids = world.record("auth.login", "auth.login", days_ago=91)
        world.seal()
        with world.database.writer.transaction() as connection:
            (sql,) = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE name = 'affidavit_events_update'"
            ).fetchone()
            connection.execute("DROP TRIGGER affidavit_events_update")
            connection.execute(
                'UPDATE affidavit_events SET details = \'{"reason":"other"}\' WHERE id = ?', (ids[0],)
            )
            connection.execute(sql)
        world.policies.set(ACME, "auth.*", 90, BY)
        task = world.run("expire")
        assert task.outcome is not None
        assert (task.outcome["expired"], task.outcome["kept"]) == ({"auth.*": 1}, {"auth.*": 1})
        assert [is_empty(world.event(event)) for event in ids] == [False, True]

    def test_a_neighbour_loses_nothing(self, world: Retained) -> None:
        """A run is about one organization."""
        (theirs,) = world.record("auth.login", days_ago=91, organization="globex")
        world.record("auth.login", days_ago=91)
        world.policies.set(ACME, "*", 1, BY)
        world.run("expire")
        (event,) = [event for event in world.events("globex") if event.id == theirs]
        assert not is_empty(event)


class TestIndex:
    def test_what_expired_leaves_the_search_index(self, world: Retained) -> None:
        """Not a term and not an address of what went is left; what stays is found as before."""
        for number in range(300):
            world.record("auth.login", days_ago=91, actor=Actor(type="user", id="ana", email="ana@x.io"))
            if number % 3 == 0:
                world.record("auth.login", actor=Actor(type="user", id="bob", email="bob@x.io"))
        world.policies.set(ACME, "auth.*", 90, BY)
        follower = IndexFollower(world.database.path, world.database.index_path)
        catch_up(follower)
        world.run("expire")
        catch_up(follower)
        follower.close()
        with closing(sqlite3.connect(world.database.index_path)) as index:
            known = {key[-16:] for (key,) in index.execute("SELECT k FROM affidavit_terms")}
            actors = {actor for (actor,) in index.execute("SELECT actor_id FROM affidavit_emails")}
        gone = {event.id for event in world.events() if event.secret is None}
        assert len(gone) == 300
        assert known & gone == set()
        assert actors == {"bob"}
        assert world.discarded == 0
        assert b"ana@x.io" not in world.database.index_path.read_bytes()
        filter_ = parse_params([("actor", "bob@x.io")])
        found = world.database.index.page((ACME,), filter_, Position("desc"), limit=200, seconds=None)
        assert len(found.events) == 100
