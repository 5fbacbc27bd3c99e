"""The signer: guard before signature before store, in bounded pieces, at most once a second a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from affidavit.errors import StorageError
from affidavit.log import signer as module
from affidavit.storage.guard import Proposal
from affidavit.storage.log import Alarm
from affidavit.testing.faulty import FaultyStore
from tests.sealed import World, check, notes_of


class Watched:
    """A store that writes down which of its methods were called."""

    def __init__(self, store: Any, calls: list[str], world: World | None = None, step: float = 0.0) -> None:
        self._store = store
        self._calls = calls
        self._world = world
        self._step = step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in ("accept", "publish"):
            return found

        def call(given: Sequence[Proposal]) -> Any:
            self._calls.append(f"{name} {len(given)}")
            if self._world is not None:
                self._world.now += self._step
            return found(given)

        return call


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty instance."""
    made = World(tmp_path / "data")
    yield made
    made.close()


def many(world: World, count: int) -> None:
    """That many logs with one event each."""
    for at in range(0, count, 500):
        world.record(*(f"org-{number}" for number in range(at, min(at + 500, count))))
    world.sequence()


def test_the_guard_comes_before_the_store(world: World) -> None:
    """One transaction of each for all heads of a round."""
    calls: list[str] = []
    world.stop()
    world.start(writer=lambda store: Watched(store, calls), guard=lambda store: Watched(store, calls))
    world.record("acme", "beta", "gamma")
    assert world.work() == 3
    assert calls == ["accept 3", "publish 3"]


def test_nothing_is_published_that_the_guard_did_not_take(world: World) -> None:
    """Where the guard fails no signature leaves this process."""
    world.stop()
    world.start(guard=lambda store: FaultyStore(store, "accept"))
    world.record("acme")
    world.sequence()
    with pytest.raises(StorageError):
        world.sign()
    assert notes_of(world.log_path) == []


def test_a_tree_is_signed_once_a_second_at_most(world: World) -> None:
    """Growth within the second waits for its end; a tree that did not grow is not signed again."""
    world.record("acme")
    assert world.work() == 1
    world.record("acme")
    world.sequence()
    world.now += 0.5
    assert world.signer.step() == 0
    world.now += 0.6
    assert world.signer.step() == 1
    world.now += 5.0
    assert world.signer.step() == 0
    check(world)


def test_many_trees_are_signed_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ends when its time is over, and the next one goes on where it stopped."""
    monkeypatch.setattr(module, "BATCH", 40)
    calls: list[str] = []
    world.stop()
    world.start(guard=lambda store: Watched(store, calls, world, step=module.BUDGET / 2))
    many(world, 130)
    world.now += 100.0
    assert world.signer.step() == 80
    assert calls == ["accept 40", "accept 40"]
    assert world.signer.step() == 50
    assert world.signer.step() == 0
    assert len(notes_of(world.log_path)) == 130
    world.record(*("org-1", "org-129"))
    world.now += 2.0
    assert world.work() == 2


def test_a_thousand_trees_take_one_step(world: World) -> None:
    """In two transactions of the guard; every checkpoint is right."""
    many(world, 1_000)
    world.now += 100.0
    signed = 0
    for _ in range(20):
        signed += world.signer.step()
    assert signed == 1_000
    check(world)


def test_refused_trees_do_not_hold_up_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches of refused trees are passed over, and alarms stay bounded."""
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "MOST_NAMED", 7)
    many(world, 30)
    world.sign()
    world.save("early", only=("guard.db",))
    world.record(*(f"org-{number}" for number in range(30)))
    world.work()
    world.stop()
    world.restore("early", only=("guard.db",))
    world.start()
    world.record(*(f"org-{number}" for number in range(30)), "new")
    assert world.work() == 1
    stored = world.database.log.alarms()
    assert len(stored) == 8
    assert [alarm.subject for alarm in stored].count("") == 1
    world.stop()
    world.accept()
    world.start()
    world.work()
    check(world)
    assert world.kinds() == []


def test_an_alarm_is_sounded_once(world: World) -> None:
    """A missing guard costs no transaction of the log file each second."""
    world.record("acme")
    world.work()
    world.guard_path.rename(world.guard_path.with_name("away"))
    world.record("acme")
    sounded: list[str] = []
    assert world.writer is not None
    original = world.writer.sound

    def sound(alarm: Alarm) -> None:
        sounded.append(alarm.kind)
        original(alarm)

    world.writer.sound = sound  # type: ignore[method-assign]
    for _ in range(3):
        assert world.work() == 0
    assert sounded == ["guard_missing"]


def test_checkpoints_of_an_hour_are_thinned_and_stay_right(world: World) -> None:
    """The newest replaces the one before, one an hour is kept, each of them is a prefix of the tree."""
    for _ in range(5):
        for _ in range(4):
            world.record("acme")
            world.work()
        world.clock.forward(3_600_000_000)
    notes = notes_of(world.log_path)
    assert [note.size for note in notes] == [1, 5, 9, 13, 17, 20]
    check(world)
