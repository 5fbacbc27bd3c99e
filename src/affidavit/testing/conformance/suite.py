"""What the suites share: an empty database for each test, and the events in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import TypeVar

import pytest

from affidavit.core.merkle import Frontier, leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import home_of, leaf_of
from affidavit.storage.log import Claimed, Grown, Sealed, Tree
from affidavit.storage.protocols import Follower
from affidavit.testing.author import Author, Clock
from affidavit.testing.engine import Engine, Stores

__all__ = ["Suite", "at_once", "catch_up", "seal"]

T = TypeVar("T")
_ORGANIZATION = COLUMNS.index("organization")


class Suite:
    """Fixtures of every suite; the module of the engine adds ``engine`` and ``clock``."""

    @pytest.fixture
    def database(self, engine: Engine) -> str:
        """An empty database."""
        return engine.create()

    @pytest.fixture
    def stores(self, engine: Engine, database: str) -> Stores:
        """Its stores."""
        return engine.open(database)

    @pytest.fixture
    def author(self, clock: Clock) -> Author:
        """Makes rows."""
        return Author(clock)

    @pytest.fixture
    def follower(self, stores: Stores) -> Iterator[Follower]:
        """A follower of the index."""
        made = stores.follower()
        yield made
        made.close()


def seal(stores: Stores) -> None:
    """Give every event its leaf and its place, as the worker does."""
    side = stores.log_side()
    try:
        while claimed := side.claim(1_000):
            side.settle(claimed)
            batches: dict[str, list[Claimed]] = {}
            for each in claimed:
                batches.setdefault(home_of(each.values[_ORGANIZATION]), []).append(each)
            heads = side.heads(batches)
            side.append(
                claimed,
                [
                    _grown(heads.get(name), name, side.next_number() + number, batch)
                    for number, (name, batch) in enumerate(batches.items())
                ],
            )
    finally:
        side.close()


def _grown(
    head: tuple[Tree, Frontier] | None, organization: str, number: int, batch: Sequence[Claimed]
) -> Grown:
    hex_digits = sha256(organization.encode()).hexdigest()[:32]
    tree, frontier = head or (Tree(number, organization, "localhost", hex_digits, 1, None, 0, 0), Frontier())
    after = frontier.copy()
    leaves, tiles = [], []
    for seq, values in batch:
        digest = leaf_hash(leaf_of(values, tree.hex_digits).entry)
        leaves.append(Sealed(seq, after.size, digest))
        after.append(digest, lambda *tile: tiles.append(tile))
    return Grown(tree, leaves, tiles, after)


def catch_up(follower: Follower) -> int:
    """Let a follower take in everything and tidy up; how many events it took in."""
    taken = 0
    while number := follower.step():
        taken += number
    while follower.tidy():
        pass
    return taken


def at_once(*calls: Callable[[], T]) -> Sequence[T | BaseException]:
    """Call each on a thread of its own, all at the same moment; answers and errors in order."""
    barrier = threading.Barrier(len(calls))
    answers: list[T | BaseException] = [RuntimeError("no answer")] * len(calls)

    def run(number: int) -> None:
        barrier.wait()
        try:
            answers[number] = calls[number]()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            answers[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
