"""The suite of the role ``Follower``."""

from __future__ import annotations

from affidavit.core.event import Actor
from affidavit.storage.protocols import Follower, Progress
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.conformance.suite import Suite, catch_up, seal
from affidavit.testing.engine import Engine, Stores

__all__ = ["FollowerSuite"]


class FollowerSuite(Suite):
    """Follow the event table from a stored place on."""

    def test_an_empty_table_leaves_nothing_to_do(self, stores: Stores, follower: Follower) -> None:
        """Not one step, and no upkeep."""
        assert follower.progress() == Progress(0, None, 0)
        assert follower.step() == 0
        assert not follower.tidy()

    def test_it_comes_up_to_the_newest_event(
        self, stores: Stores, follower: Follower, author: Author, clock: Clock
    ) -> None:
        """Its place and that which readers see are one, and carry the moment of the event there."""
        stores.events.insert([author.row(), author.row()])
        seal(stores)
        clock.forward(3)
        stores.events.insert([author.row()])
        seal(stores)
        assert follower.progress().behind == 3
        assert catch_up(follower) == 3
        assert follower.progress() == Progress(stores.events.last_seq(), NOW + 3, 0)
        assert stores.index.progress() == follower.progress()
        assert follower.step() == 0

    def test_the_next_one_goes_on_where_the_last_one_stood(self, stores: Stores, author: Author) -> None:
        """The place is stored with what was taken in."""
        stores.events.insert([author.row()])
        seal(stores)
        first = stores.follower()
        assert catch_up(first) == 1
        first.close()
        stores.events.insert([author.row(), author.row()])
        seal(stores)
        second = stores.follower()
        assert second.progress().behind == 2
        assert catch_up(second) == 2
        second.close()

    def test_a_lost_index_comes_back(self, stores: Stores, follower: Follower, author: Author) -> None:
        """The follower notices by itself, under an open connection, and begins anew."""
        stores.events.insert([author.row(), author.row()])
        seal(stores)
        catch_up(follower)
        stores.lose_index()
        assert stores.index.progress().behind == 2
        assert follower.progress().behind == 2
        assert catch_up(follower) == 2
        assert stores.index.progress().behind == 0

    def test_upkeep_comes_to_an_end(self, stores: Stores, follower: Follower, author: Author) -> None:
        """Many small steps, then as many pieces of upkeep as there are, all of them finite."""
        for number in range(300):
            stores.events.insert([author.row(actor=Actor(type="user", id=f"u{number % 7}"))])
            seal(stores)
            assert follower.step() == 1
        for _ in range(10_000):
            if not follower.tidy():
                break
        assert not follower.tidy()
        assert follower.progress().behind == 0

    def test_it_only_reads_the_events(
        self, engine: Engine, database: str, stores: Stores, follower: Follower, author: Author
    ) -> None:
        """Rows are the same to the byte before and after it."""
        stores.events.insert([author.row(metadata={"n": number}) for number in range(20)])
        seal(stores)
        before = [(event.seq, event.texts, event.secret) for event in stores.events.after(0, 100)]
        catch_up(follower)
        assert [(e.seq, e.texts, e.secret) for e in engine.open(database).events.after(0, 100)] == before
