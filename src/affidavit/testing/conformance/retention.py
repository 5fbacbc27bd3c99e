"""The suites of the roles of retention."""

from __future__ import annotations

import threading
from functools import partial
from typing import NoReturn

import pytest

from affidavit.core.row import Row
from affidavit.errors import IdConflict, InvalidEvent, Refused, StorageError
from affidavit.storage.retention import Hold, PolicyChange, PrunedRange, Rules
from affidavit.testing.author import NOW, Author
from affidavit.testing.conformance.settings import SettingsSuite, actions, rows_of
from affidavit.testing.conformance.suite import at_once
from affidavit.testing.engine import Engine, Stores

__all__ = ["HoldStoreSuite", "PastStoreSuite", "PolicyStoreSuite", "RangeStoreSuite"]

FIRST, LAST = bytes(16), b"\xff" * 16


def _adding(name: str, days: int | None) -> partial[Rules]:
    return partial(_with, name, days)


def _with(name: str, days: int | None, rules: Rules) -> Rules:
    return {**rules, name: days}


class PolicyStoreSuite(SettingsSuite):
    """How long the groups of each class are kept."""

    def test_a_table_comes_back_sorted(self, engine: Engine, database: str, stores: Stores) -> None:
        """With its events, for every process; a class that is kept for ever has no number."""
        store = stores.policies
        assert store.rules("acme") == {}
        store.change("acme", _adding("b.*", None), lambda _: ())
        change = store.change("acme", _adding("a.*", 9), lambda _: ())
        assert change == PolicyChange({"b.*": None}, {"a.*": 9, "b.*": None})
        other = engine.open(database).policies
        assert list(other.rules("acme").items()) == [("a.*", 9), ("b.*", None)]
        assert other.organizations() == ["acme"]
        assert other.rules("globex") == {}

    def test_the_events_see_old_and_new(self, stores: Stores, row: Row) -> None:
        """They are made of what the transaction itself found and left."""
        seen: list[PolicyChange] = []

        def rows(change: PolicyChange) -> list[Row]:
            seen.append(change)
            return [row]

        stores.policies.change("acme", _adding("*", 1), rows)
        assert seen == [PolicyChange({}, {"*": 1})]
        assert actions(stores) == ["settings.change"]

    def test_what_changes_nothing_stores_nothing(self, stores: Stores, row: Row) -> None:
        """And asks for no event."""
        stores.policies.change("acme", _adding("*", 1), lambda _: ())
        stores.policies.change("acme", _adding("*", 1), lambda _: [row])
        assert actions(stores) == []

    def test_change_and_event_are_stored_together(self, stores: Stores, refused: Row) -> None:
        """Where the event is refused, the table is the old one."""
        with pytest.raises(IdConflict):
            stores.policies.change("acme", _adding("*", 1), lambda _: [refused])
        assert stores.policies.rules("acme") == {}

    def test_changes_at_once_lose_nothing(self, engine: Engine, database: str) -> None:
        """Each works on what the one before it left."""
        stores = [engine.open(database) for _ in range(4)]
        at_once(
            *(
                partial(each.policies.change, "acme", _adding(f"a.c{number}", number + 1), lambda _: ())
                for number, each in enumerate(stores)
            )
        )
        assert stores[0].policies.rules("acme") == {f"a.c{number}": number + 1 for number in range(4)}

    def test_an_error_of_the_work_or_of_its_events_undoes_everything(self, stores: Stores) -> None:
        """And comes out as it is."""
        stores.policies.change("acme", _adding("*", 1), lambda _: ())

        def refuse(_: object) -> NoReturn:
            raise Refused("Not like this.")

        with pytest.raises(Refused, match="Not like this"):
            stores.policies.change("acme", _adding("a.*", 2), refuse)
        with pytest.raises(Refused, match="Not like this"):
            stores.policies.change("acme", refuse, lambda _: ())
        assert stores.policies.rules("acme") == {"*": 1}

    def test_nothing_is_confirmed_beside_a_change(
        self, engine: Engine, database: str, stores: Stores, author: Author
    ) -> None:
        """Who asks while the table is being changed hears what became of it."""
        other = engine.open(database).policies
        answers: list[object] = []

        def confirm(rules: Rules) -> threading.Thread:
            call = partial(other.confirm, "acme", rules, (), [author.row("old.table")])
            thread = threading.Thread(target=lambda: answers.append(call()))
            thread.start()
            thread.join(0.3)  # where nothing holds it back, it is through by then
            return thread

        threads = []

        def work(rules: Rules) -> Rules:
            threads.append(confirm(rules))
            return {"*": 1}

        stores.policies.change("acme", work, lambda _: ())
        threads[0].join()
        assert answers == [False]
        assert actions(stores) == []

    def test_an_event_that_quotes_the_table_is_stored_only_while_it_stands(
        self, stores: Stores, row: Row
    ) -> None:
        """Nor where a hold came or went meanwhile."""
        stores.policies.change("acme", _adding("*", 1), lambda _: ())
        assert not stores.policies.confirm("acme", {"*": 2}, (), [row])
        assert not stores.policies.confirm("acme", {"*": 1}, ("a.*",), [row])
        stores.holds.add(HOLD, ())
        assert not stores.policies.confirm("acme", {"*": 1}, (), [row])
        assert actions(stores) == []
        assert stores.policies.confirm("acme", {"*": 1}, ("a.*",), [row])
        assert actions(stores) == ["settings.change"]


HOLD = Hold("hold_1", "acme", "case 7", "Smith v. Acme", "a.*", NOW, "kim")


class HoldStoreSuite(SettingsSuite):
    """Legal holds."""

    def test_a_hold_comes_back(self, engine: Engine, database: str, stores: Stores, row: Row) -> None:
        """All of it, for another process, in its own organization only."""
        stores.holds.add(HOLD, [row])
        other = engine.open(database).holds
        assert other.holds("acme") == [HOLD]
        assert other.get("acme", "hold_1") == HOLD
        assert other.holds("globex") == []
        assert other.get("globex", "hold_1") is None
        assert actions(stores) == ["settings.change"]

    def test_a_hold_ends_once(self, stores: Stores, author: Author) -> None:
        """The first moment stays, and the second event is not stored."""
        stores.holds.add(HOLD, ())
        assert stores.holds.release("acme", "hold_1", NOW + 5, [author.row("hold.end")])
        assert not stores.holds.release("acme", "hold_1", NOW + 9, [author.row("hold.end")])
        assert not stores.holds.release("globex", "hold_1", NOW + 9, [author.row("hold.end")])
        assert stores.holds.holds("acme") == [HOLD._replace(released_at=NOW + 5)]
        assert actions(stores) == ["hold.end"]

    def test_released_by_many_at_once_it_ends_once(
        self, engine: Engine, database: str, stores: Stores, author: Author
    ) -> None:
        """One of them is told so, and its event alone is stored."""
        stores.holds.add(HOLD, ())
        calls = [
            partial(engine.open(database).holds.release, "acme", "hold_1", NOW + number, [row])
            for number, row in enumerate(rows_of(author))
        ]
        answers = at_once(*calls)
        assert sorted(answers, key=repr) == [False, False, False, True]
        winner = answers.index(True)
        assert stores.holds.holds("acme") == [HOLD._replace(released_at=NOW + winner)]
        assert actions(stores) == [f"settings.by_{winner}"]

    def test_change_and_event_are_stored_together(self, stores: Stores, refused: Row) -> None:
        """Where the event is refused, there is no hold."""
        with pytest.raises(IdConflict):
            stores.holds.add(HOLD, [refused])
        assert stores.holds.holds("acme") == []


class PastStoreSuite(SettingsSuite):
    """Finding events by action and by id."""

    def test_every_action_once(self, stores: Stores, author: Author) -> None:
        """Sorted, of one organization."""
        rows = [author.row(action) for action in ("b.x", "a.y", "b.x", "a.x")]
        stores.events.insert([*rows, author.row("z.z", organization="globex")])
        assert stores.past.actions("acme") == ["a.x", "a.y", "b.x"]
        assert stores.past.actions("nobody") == []

    def test_pages_hold_each_event_once_in_the_order_of_ids(self, stores: Stores, author: Author) -> None:
        """Both ends as promised: beyond the first, up to the last."""
        rows = [author.row("a.x" if number % 3 else "b.x") for number in range(40)]
        stores.events.insert([*rows, author.row("a.x", organization="globex")])
        everything = sorted(row.id for row in rows)
        of_one = sorted(row.id for row in rows if row.values[4] == "a.x")
        for walk, wanted in (
            (partial(stores.past.within, "acme"), everything),
            (partial(stores.past.page, "acme", "a.x"), of_one),
        ):
            found: list[bytes] = []
            after = FIRST
            while page := walk(after, LAST, 7):
                assert len(page) <= 7
                found += [event.id for event in page]
                after = page[-1].id
            assert found == wanted
            assert [event.id for event in walk(wanted[3], wanted[5], 9)] == wanted[4:6]


class RangeStoreSuite(SettingsSuite):
    """Closed ranges of ids."""

    @pytest.fixture
    def ids(self, stores: Stores, author: Author) -> list[bytes]:
        """Five events of acme, and one of somebody else in between."""
        rows = [author.row("a.x", occurred_at=NOW + number) for number in range(-5, 0)]
        stores.events.insert([*rows, author.row("a.x", organization="globex", occurred_at=NOW - 3)])
        return [row.id for row in rows]

    def test_a_closed_range_refuses_by_name(self, stores: Stores, author: Author, ids: list[bytes]) -> None:
        """Its own organization, both ends included; nothing of the batch is stored."""
        closed = PrunedRange("acme", ids[1], ids[3], b"m" * 32)
        stores.ranges.close(closed, 3, [author.row("range.closed")])
        assert stores.ranges.ranges("acme") == [closed]
        assert stores.ranges.ranges("globex") == []
        with pytest.raises(InvalidEvent) as refused:
            stores.events.insert([author.row("a.y"), author.row("a.x", occurred_at=NOW - 3)])
        (error,) = refused.value.errors
        assert (error.pointer, error.rule) == ("/events/1/occurred_at", "pruned_range")
        stores.events.insert([author.row("a.x", organization="globex", occurred_at=NOW - 3)])
        assert "a.y" not in actions(stores)

    def test_a_range_is_closed_with_what_was_seen_in_it(
        self, stores: Stores, ids: list[bytes], row: Row
    ) -> None:
        """Another number of events, or an overlap with a closed range, closes nothing and stores no event."""
        with pytest.raises(Refused):
            stores.ranges.close(PrunedRange("acme", ids[1], ids[3], b"m" * 32), 2, [row])
        stores.ranges.close(PrunedRange("acme", ids[1], ids[3], b"m" * 32), 3, ())
        for first, last in ((0, 1), (3, 4), (2, 2), (0, 4)):
            with pytest.raises(Refused, match="overlaps"):
                stores.ranges.close(
                    PrunedRange("acme", ids[first], ids[last], b"n" * 32), last - first + 1, [row]
                )
        assert len(stores.ranges.ranges("acme")) == 1
        assert "settings.change" not in actions(stores)

    def test_deleting_takes_what_was_named_and_again_nothing(self, stores: Stores, ids: list[bytes]) -> None:
        """Only in its range and organization."""
        closed = PrunedRange("acme", ids[1], ids[3], b"m" * 32)
        stores.ranges.close(closed, 3, ())
        assert stores.ranges.delete(closed, ids[1:3]) == 2
        assert stores.ranges.delete(closed, ids[1:4]) == 1
        assert [event.id for event in stores.past.within("acme", FIRST, LAST, 9)] == [ids[0], ids[4]]
        assert len(stores.past.within("globex", FIRST, LAST, 9)) == 1
        with pytest.raises(StorageError):
            stores.ranges.delete(closed, [ids[0]])

    def test_a_hold_stops_a_deletion(self, stores: Stores, ids: list[bytes]) -> None:
        """Also one that came after the look."""
        closed = PrunedRange("acme", ids[0], ids[4], b"m" * 32)
        stores.ranges.close(closed, 5, ())
        stores.holds.add(HOLD, ())
        with pytest.raises(StorageError):
            stores.ranges.delete(closed, ids)
        assert len(stores.past.within("acme", FIRST, LAST, 9)) == 5
