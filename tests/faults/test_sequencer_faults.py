"""The fault table of sequencer and signer: each writing step x {failed, applied too} x {retry, restart}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.errors import LogMoved, StorageError
from affidavit.log.sequencer import Sequencer, _finished
from affidavit.testing.faulty import FaultyStore
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server
from tests.sealed import World, check
from tests.sealed_postgres import PostgresWorld

STEPS = ("settle", "append", "accept", "publish")


@pytest.fixture
def sqlite_world(tmp_path: Path) -> Iterator[World]:
    """An instance on SQLite."""
    made = World(tmp_path / "data")
    yield made
    made.close()


@pytest.fixture
def postgres_world(tmp_path: Path, postgres: Server) -> Iterator[World]:
    """An instance on PostgreSQL."""
    engine = PostgresEngine(postgres, clock=None)
    made = PostgresWorld(tmp_path / "data", engine.create())
    yield made
    made.close()
    engine.close()


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest) -> World:
    """Three logs with a first checkpoint each, on each engine."""
    made: World = request.getfixturevalue(f"{request.param}_world")
    for _ in range(3):
        made.record("acme", "beta", "acme", "gamma")
    made.work()
    return made


def _start_with_fault(world: World, step: str, applied: bool) -> None:
    """The first call of a step fails; the store that is opened after that is a sound one."""
    faults = [lambda store: FaultyStore(store, step, applied=applied)]

    def wrap(store: object) -> object:
        return faults.pop()(store) if faults else store

    world.start(guard=wrap) if step == "accept" else world.start(writer=wrap)


@pytest.mark.parametrize("recovery", ["retry", "restart"])
@pytest.mark.parametrize("applied", [False, True], ids=["failed", "failed-but-applied"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_loses_nothing_and_doubles_nothing(
    world: World, step: str, applied: bool, recovery: str
) -> None:
    """Attack cases 17, 18: whatever fails, afterwards each event has one leaf and there is one history."""
    before = world.notes()
    world.record("acme", "delta", *["beta"] * 300)
    world.stop()
    _start_with_fault(world, step, applied)
    with pytest.raises(StorageError, match=f"^{step} failed"):
        world.work()
    seen = [*before, *world.notes()]
    if recovery == "restart":
        world.restart()
    world.record("acme", "gamma", "epsilon")
    world.work()
    check(world, signed=seen)
    assert world.alarms() == []
    world.record("acme")
    world.work()
    check(world, signed=seen)


@pytest.mark.parametrize("applied", [False, True], ids=["failed", "failed-but-applied"])
def test_every_second_call_fails_for_a_while(world: World, applied: bool) -> None:
    """Attack case 17: faults one after another, at every step in turn, still leave one history."""
    for count in range(12):
        step = STEPS[count % len(STEPS)]
        world.record("acme", *["beta"] * (count % 3), f"org-{count}")
        world.stop()
        _start_with_fault(world, step, applied)
        with pytest.raises(StorageError, match=f"^{step} failed"):
            world.work()
    world.restart()
    world.work()
    check(world)
    assert world.alarms() == []


def test_two_sequencers_at_once_never_give_an_index_twice(world: World) -> None:
    """Attack case 16: without the lease compare-and-swap stops the slower one, which then goes on."""
    other = world.engine.writer()
    second = Sequencer(
        other, other, other, host="log.example", clock=world.clock, entropy=world.random.randbytes
    )
    world.record("acme", "beta")
    assert second.step() == 2
    world.record("acme", "zeta")
    claimed = other.claim(10)
    grown, _ = second._grow(claimed)
    world.sequencer.forget()
    world.sequence()  # the first one is faster
    with pytest.raises(LogMoved):
        other.append(claimed, [_finished(each) for each in grown])
    second.forget()
    world.record("acme", "beta", "zeta")
    assert second.step() == 3
    other.close()
    world.restart()
    world.work()
    check(world)


def test_a_sequencer_with_stale_heads_is_stopped(world: World) -> None:
    """Attack case 16: heads that somebody else has moved are refused, then loaded again."""
    other = world.engine.writer()
    second = Sequencer(
        other, other, other, host="log.example", clock=world.clock, entropy=world.random.randbytes
    )
    world.record("acme")
    second.step()
    world.record("acme")
    world.sequencer.forget()
    world.sequence()
    world.record("acme")
    with pytest.raises(LogMoved):
        second.step()
    assert second.step() == 1
    other.close()
    world.restart()
    world.work()
    check(world)
