"""The suites of the log's roles: queue, trees, checkpoints, manifests, alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256

import pytest

from affidavit import errors
from affidavit.core.merkle import Frontier, leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import leaf_of
from affidavit.core.times import HOUR
from affidavit.storage.log import Alarm, Claimed, Grown, Manifest, Published, Sealed, Tree
from affidavit.testing.author import NOW, Author
from affidavit.testing.conformance.suite import Suite
from affidavit.testing.engine import Engine, LogSide, Stores

__all__ = ["AlarmStoreSuite", "LogWriterSuite", "ManifestStoreSuite", "QueueSuite"]

HEX = "0123456789abcdef" * 2


def grow(
    side: LogSide,
    claimed: Sequence[Claimed],
    *,
    organization: str = "acme",
    tree: Tree | None = None,
    frontier: Frontier | None = None,
    wrong: bool = False,
) -> Grown:
    """Append claimed events to one tree."""
    before = tree or Tree(side.next_number(), organization, "localhost", HEX, 1, None, 0, 0)
    after = frontier.copy() if frontier is not None else Frontier()
    leaves, tiles = [], []
    for seq, values in claimed:
        digest = leaf_hash(b"something else" if wrong else leaf_of(values, HEX).entry)
        leaves.append(Sealed(seq, after.size, digest))
        after.append(digest, lambda *tile: tiles.append(tile))
    grown = Grown(before, leaves, tiles, after)
    side.append(claimed, [grown])
    return grown


class LogSuite(Suite):
    """What the suites of the log share."""

    @pytest.fixture
    def side(self, stores: Stores) -> Iterator[LogSide]:
        """A writer of the log."""
        made = stores.log_side()
        yield made
        made.close()


class QueueSuite(LogSuite):
    """What is recorded and has no leaf yet."""

    def test_an_empty_table_has_nothing_to_claim(self, side: LogSide) -> None:
        """Not an error, and not a place either."""
        assert side.claim(10) == []
        assert side.progress() == (0, 0, None)

    def test_events_are_claimed_in_recording_order_as_they_stand(
        self, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """Every column, texts as the bytes that are hashed."""
        rows = [author.row(metadata={"n": number, "ü": "ñ"}) for number in range(5)]
        stores.events.insert(rows)
        assert side.progress() == (0, 5, NOW)
        claimed = side.claim(3)
        assert [each.values[0] for each in claimed] == [row.id for row in rows[:3]]
        details = claimed[0].values[COLUMNS.index("details")]
        assert details == '{"metadata":{"n":0,"ü":"ñ"}}'.encode()

    def test_what_was_appended_is_not_claimed_again(
        self, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """Until then it is, as often as one asks."""
        stores.events.insert([author.row() for _ in range(4)])
        assert side.claim(3) == side.claim(3)
        first = side.claim(3)
        side.settle(first)
        grown = grow(side, first)
        (rest,) = side.claim(3)
        assert rest.seq > first[-1].seq
        (tree, frontier) = side.heads(["acme"])["acme"]
        assert (tree.size, frontier.root()) == (3, grown.frontier.root())

    def test_a_new_writer_goes_on_where_the_last_one_stood(self, stores: Stores, author: Author) -> None:
        """The place is stored with the leaves."""
        stores.events.insert([author.row() for _ in range(2)])
        first = stores.log_side()
        grow(first, first.claim(10))
        first.close()
        second = stores.log_side()
        try:
            assert second.progress().waiting == 0
        finally:
            second.close()

    def test_an_event_that_is_another_one_now_is_no_place_to_go_on_from(
        self, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """The row at the queue's place must give the leaf that was stored for it."""
        stores.events.insert([author.row(), author.row()])
        grow(side, side.claim(1), wrong=True)
        with pytest.raises(errors.LogMismatch, match="another one now"):
            side.claim(1)


class LogWriterSuite(LogSuite):
    """Trees that grow, and what readers see of them."""

    def claimed(self, stores: Stores, side: LogSide, author: Author, count: int) -> Sequence[Claimed]:
        """Record events and claim them."""
        stores.events.insert([author.row() for _ in range(count)])
        return side.claim(count)

    def test_leaves_tiles_and_heads_are_stored_together(
        self, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """300 leaves are one full tile; every reader's question about them is answered."""
        claimed = self.claimed(stores, side, author, 300)
        grown = grow(side, claimed)
        (tree,) = stores.log.trees("acme")
        assert tree == Tree(1, "acme", "localhost", HEX, 1, None, 300, 0)
        assert tree.origin == f"localhost/{HEX}/1"
        assert stores.log.tree(HEX, 1) == tree
        assert stores.log.tree(HEX, 2) is None
        assert stores.log.trees("other") == []
        assert [leaf for piece in stores.log.leaves(1, 0, 300) for leaf in piece] == list(grown.leaves)
        assert [leaf for piece in stores.log.leaves(1, 298, 400) for leaf in piece] == list(
            grown.leaves[298:]
        )
        assert stores.log.hashes(1, 0, 10, 2) == [grown.leaves[10].hash, grown.leaves[11].hash]
        expected = Frontier()
        for leaf in grown.leaves[:256]:
            expected.append(leaf.hash)
        assert stores.log.hashes(1, 1, 0, 256) == [expected.root()]
        events = stores.events.after(0, 300)
        places = stores.log.places(events)
        assert [places[event.seq].index for event in events] == list(range(300))
        assert not places[events[0].seq].published

    def test_a_batch_that_begins_elsewhere_changes_nothing(
        self, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """Compare-and-swap on the place of the queue and on the size of each tree."""
        claimed = self.claimed(stores, side, author, 2)
        grow(side, claimed)
        before = side.heads(["acme"])["acme"]
        with pytest.raises(errors.LogMoved):
            grow(side, claimed)  # the tree exists
        with pytest.raises(errors.LogMoved):
            grow(side, claimed, tree=before[0]._replace(size=1), frontier=Frontier(1, [b"x" * 32]))
        with pytest.raises(errors.LogMoved):
            grow(side, claimed, tree=before[0], frontier=before[1])  # the queue stands behind them
        after = side.heads(["acme"])["acme"]
        assert (after[0], after[1].hashes) == (before[0], before[1].hashes)
        assert [leaf.seq for piece in stores.log.leaves(1, 0, 10) for leaf in piece] == [
            each.seq for each in claimed
        ]

    def test_two_writers_never_both_append(
        self, engine: Engine, database: str, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """Whoever claimed first and comes second is refused, whatever the lease says."""
        other = engine.open(database).log_side()
        try:
            claimed = self.claimed(stores, side, author, 3)
            theirs = other.claim(3)
            assert theirs == claimed
            grow(side, claimed)
            with pytest.raises(errors.LogMoved):
                grow(other, theirs)
        finally:
            other.close()

    def test_checkpoints_replace_each_other_within_their_hour(
        self, stores: Stores, side: LogSide, author: Author
    ) -> None:
        """The first of each hour, the newest, and every cosigned one are kept."""
        claimed = self.claimed(stores, side, author, 10)
        grow(side, claimed)
        assert [tree.size for tree, _ in side.unpublished()] == [10]
        hour = NOW // HOUR * HOUR
        for size, moment, cosigned in (
            (1, hour, False),
            (2, hour + 1, False),
            (3, hour + 2, True),
            (4, hour + 3, False),
            (5, hour + 4, False),
            (6, hour + HOUR, False),
            (7, hour + HOUR + 1, False),
            (10, hour + HOUR + 2, False),
        ):
            side.publish([Published(1, size, moment, b"note %d" % size, cosigned)])
        kept = stores.log.checkpoints(1)
        assert [each.size for each in kept] == [1, 3, 6, 10]
        assert kept[-1] == Published(1, 10, hour + HOUR + 2, b"note 10", cosigned=False)
        assert stores.log.newest(1) == kept[-1]
        assert stores.log.newest(2) is None
        assert [each.size for each in stores.log.kept(1, 10, 100)] == [1, 3, 6]
        assert len(stores.log.kept(1, 11, 2)) == 2
        assert side.unpublished() == []
        (tree,) = stores.log.trees("acme")
        assert tree.published == 10
        events = stores.events.after(0, 10)
        assert all(place.published for place in stores.log.places(events).values())


class ManifestStoreSuite(LogSuite):
    """What was erased on purpose."""

    def test_a_manifest_is_kept_once_and_read_back(self, stores: Stores, side: LogSide) -> None:
        """The same one again changes nothing; each organization has its own."""
        made = [
            Manifest(sha256(name.encode()).digest(), name, "erasure", name.encode(), b"note", NOW + number)
            for number, name in enumerate(("acme", "other"))
        ]
        for manifest in (*made, made[0]):
            side.add(manifest)
        assert side.manifests() == made
        assert side.manifests("acme") == made[:1]
        assert side.manifests("nobody") == []


class AlarmStoreSuite(LogSuite):
    """What an operator must look at."""

    def test_an_alarm_stands_until_it_is_cleared(self, side: LogSide) -> None:
        """The first of a kind and subject keeps its time; clearing takes one, or all of a kind."""
        first = Alarm("guard_refused", "a", NOW, "one")
        side.sound(first)
        side.sound(first._replace(raised_at=NOW + 5, text="two"))
        side.sound(first._replace(subject="b", raised_at=NOW + 6))
        side.sound(Alarm("queue", "", NOW + 7, "three"))
        assert side.alarms()[0] == first
        side.clear("guard_refused", "a")
        assert [each.subject for each in side.alarms()] == ["b", ""]
        side.clear("guard_refused")
        assert [each.kind for each in side.alarms()] == ["queue"]
