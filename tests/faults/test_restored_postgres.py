"""A PostgreSQL database that comes back from before: named, never signed over, and mended on order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from affidavit.errors import LogMismatch
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server
from tests.sealed import Note, check
from tests.sealed_postgres import PostgresWorld, archived, archiving, put_back, remember

REFUSED = "guard_refused"


class Past:
    """A server with two logs of 3 and 2 events at a moment that can be restored; they had 6 and 2 later.

    Attributes:
        seen: the checkpoints that were signed until the later moment.
    """

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder = folder
        self.server = server
        self.engine = PostgresEngine(server, clock=None)
        self.url = self.engine.create()
        world = PostgresWorld(folder, self.url)
        world.record("acme", "beta", "acme", "acme", "beta")
        world.work()
        remember(server)
        world.record("acme", "acme", "acme")
        world.work()
        archived(server)
        self.seen = world.notes()
        self.clock = world.clock.now
        world.close()


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Made once; every test restores a server of its own."""
    with archiving() as server:
        yield Past(tmp_path_factory.mktemp("past"), server)


@pytest.fixture
def restored(past: Past, tmp_path: Path) -> Iterator[Callable[..., PostgresWorld]]:
    """Restores the database to the earlier moment, beside guard and key of today."""
    with ExitStack() as opened:

        def restore() -> PostgresWorld:
            server = opened.enter_context(put_back(past.server))
            shutil.copytree(past.folder, tmp_path / "data")
            url = past.url.replace(f":{past.server.port}/", f":{server.port}/")
            world = PostgresWorld(tmp_path / "data", url, seed=1)
            world.stop()
            world.clock.now = past.clock
            opened.callback(world.close)
            return world

        yield restore


def origin_of(world: PostgresWorld, organization: str = "acme") -> str:
    """The origin of the newest log of an organization."""
    origin: str = world.database.log.trees(organization)[-1].origin
    return origin


def newest(notes: list[Note], origin: str) -> Note:
    """The greatest checkpoint of a log."""
    return max((note for note in notes if note.origin == origin), key=lambda note: note.size)


def test_it_is_named_before_anything_is_written(past: Past, restored: Callable[[], PostgresWorld]) -> None:
    """Attack cases 13, 15: whoever asks learns which log was signed further than it is now."""
    world = restored()
    origin = origin_of(world)
    assert world.kinds() == [(REFUSED, origin)]
    assert "6 were signed" in world.alarms()[0].text
    world.start()
    world.work()
    assert world.kinds() == [(REFUSED, origin)]
    assert [alarm.subject for alarm in world.database.log.alarms()] == [origin]
    assert newest(past.seen, origin).size == 6


@pytest.mark.parametrize("more", [1, 3, 10], ids=["fewer", "as-many", "more"])
def test_it_is_not_signed_over(past: Past, restored: Callable[[], PostgresWorld], more: int) -> None:
    """Written to before the worker starts, until the tree is smaller, as large or larger than before."""
    world = restored()
    origin = origin_of(world)
    before = world.notes()
    world.record(*["acme"] * more, "beta")
    world.start()
    for _ in range(3):
        world.work()
    now = world.notes()
    assert newest(now, origin) == newest(before, origin), "a second history was signed"
    assert newest(now, origin_of(world, "beta")).size == 3, "the other log must go on"
    assert world.kinds() == [(REFUSED, origin)]


@pytest.mark.parametrize("more", [0, 2, 10])
def test_a_new_incarnation_quotes_what_was_signed_last(
    past: Past, restored: Callable[[], PostgresWorld], more: int
) -> None:
    """After reopen every event is covered again, once, at the place it had, and the guard is content."""
    world = restored()
    origin = origin_of(world)
    lost = newest(past.seen, origin)
    world.record(*["acme"] * more, "beta")
    world.start()
    world.work()
    world.stop()
    places = dict(world.stored("SELECT id, seq FROM affidavit_leaves"))
    (done,) = world.reopen()
    assert (done.organization, done.checkpoint) == ("acme", lost.text)
    assert done.origin == origin.removesuffix("/1") + "/2"
    assert places.items() <= dict(world.stored("SELECT id, seq FROM affidavit_leaves")).items()
    world.start()
    world.record("acme", "beta")
    world.work()
    check(world)
    assert world.kinds() == []
    assert world.waiting() == 0
    first, second = world.database.log.trees("acme")
    assert (first.size, first.published, second.size) == (3, 3, more + 2)
    (leaf,) = next(iter(world.database.log.leaves(second.number, 0, 1)))
    (event,) = (event for event in world.events() if event.seq == leaf.seq)
    assert (event.action, json.loads(event.facts or "{}")) == ("log.restored", {"checkpoint": lost.text})
    world.record("acme")
    world.restart()
    world.work()
    check(world)


def test_fsck_says_so_until_it_is_mended(restored: Callable[[], PostgresWorld]) -> None:
    """Attack case 15: the guard's memory is compared, and after reopen nothing is left to say."""
    world = restored()
    world.record("acme", "acme")
    assert "affidavit_guard_heads.size" in world.faults()
    world.reopen()
    world.start()
    world.record("acme", "beta")
    world.work()
    assert world.faults() == []
    check(world)


def test_tables_of_events_alone_from_before(past: Past, restored: Callable[[], PostgresWorld]) -> None:
    """The last event with a leaf is gone: nothing is sequenced over it; reopen covers what is left."""
    world = restored()
    world.start()
    world.record("acme", "acme")
    world.work()
    world.stop()
    with psycopg.connect(world.url, autocommit=True) as connection:
        connection.execute("ALTER TABLE affidavit_events DISABLE TRIGGER USER")
        connection.execute("DELETE FROM affidavit_events WHERE id = (SELECT id FROM affidavit_position)")
        connection.execute("ALTER TABLE affidavit_events ENABLE TRIGGER USER")
    world.record("acme")
    assert [kind for kind, _ in world.kinds()] == ["log_files"]
    world.start()
    with pytest.raises(LogMismatch, match="not in the database"):
        world.sequencer.step()
    world.stop()
    assert [done.organization for done in world.reopen()] == ["acme"]
    world.start()
    world.work()
    check(world)
    assert world.kinds() == []
