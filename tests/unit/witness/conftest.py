"""A witness on files of its own, with a clock that tests set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affidavit.core.note import parse_verifier
from affidavit.witness.state import WitnessState
from affidavit.witness.trust import Trusted
from affidavit.witness.witness import Witness, open_key
from tests.watched_log import NaiveLog

ORIGIN = "logs.example/one"


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000

    def __call__(self) -> int:
        return self.seconds * 1_000_000


class World:
    """A witness and the log that it watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.log = NaiveLog(ORIGIN).grow(20)
        self.state: WitnessState
        self.open()

    def open(self) -> None:
        """Start, or start again."""
        key, self.state = open_key(self.folder, "w.example/1", lambda count: b"\x07" * count)
        self.key = key.verifier
        trusted = Trusted([parse_verifier(self.log.vkey)])
        self.witness = Witness(key, trusted, self.state, clock=self.clock)

    def size(self) -> int:
        """What it remembers of the log."""
        with self.state.transaction():
            last = self.state.last(ORIGIN)
        return 0 if last is None else last.seen.size


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A new witness."""
    made = World(tmp_path)
    yield made
    made.state.close()
