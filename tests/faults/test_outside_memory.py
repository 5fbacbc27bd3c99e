"""Events, log and guard restored together: nothing inside can tell, whoever kept a checkpoint outside can."""

from __future__ import annotations

import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from affidavit.access.ciphers import TokenCipher
from affidavit.core.filter import Filter
from affidavit.export.bundle import Bundles
from affidavit.log import witnessed
from affidavit.log.entries import Entries
from affidavit.log.reader import Reader
from affidavit.log.witness_client import WitnessConflict, WitnessRefused, WitnessUnreachable
from affidavit.verifier.command import Asked, verdict_of
from affidavit.witness.rules import Refusal, StaleSize
from affidavit.witness.trust import read_trusted
from affidavit.witness.witness import Witness, open_key
from tests.sealed import Note, World, check, notes_of

ALL = ("affidavit.db", "affidavit-log.db", "guard.db")
URL = "http://witness.example"


class Outside:
    """A real witness on another host, without the network between."""

    def __init__(self, folder: Path, world: World) -> None:
        folder.mkdir()
        key, self.state = open_key(folder, "w.example", lambda count: b"\x07" * count)
        vkeys = [vkey for origin in origins(world) for vkey in world.verifiers(origin)]
        self.witness = Witness(key, read_trusted([], vkeys[:1], None), self.state, clock=world.clock)
        self.reachable = True
        self.asked = 0

    def ask(self, url: str, old: int, proof: Sequence[bytes], note: bytes, _timeout: float) -> list[str]:
        """What the client answers."""
        assert url == URL
        self.asked += 1
        if not self.reachable:
            raise WitnessUnreachable(f"the witness at {url} does not answer")
        lines = [f"old {old}", *(b64encode(each).decode() for each in proof), "", ""]
        try:
            return [self.witness.add_checkpoint("\n".join(lines).encode() + note)]
        except StaleSize as stale:
            raise WitnessConflict(stale.size) from stale
        except Refusal as refusal:
            raise WitnessRefused(refusal.status, str(refusal)) from refusal


def origins(world: World) -> list[str]:
    """Of all logs."""
    return [tree.origin for tree in world.database.log.all_trees()]


def bundle_of(world: World, path: Path) -> Path:
    """Everything of acme's newest log, as a bundle for an auditor."""
    log, events = world.database.log, world.database.events
    reader = Reader(events, world.database.index, log, TokenCipher(bytes(32), os.urandom))
    made = Bundles(log, log, Entries(log, events, log), reader)
    path.write_bytes(b"".join(made.open("acme", Filter()).chunks()))
    return path


def note_file(world: World, path: Path) -> tuple[Note, Path]:
    """The newest checkpoint of acme, as an auditor keeps it."""
    (tree,) = world.database.log.trees("acme")
    newest = world.database.log.newest(tree.number)
    assert newest is not None
    path.write_bytes(newest.note)
    return next(n for n in notes_of(world.log_path) if (n.origin, n.size) == (tree.origin, newest.size)), path


def rolled_back(world: World) -> None:
    """Everything of this host goes back to the backup, and other events are recorded."""
    world.close()
    world.restore("backup", only=ALL)
    world.open()
    world.record(*["acme"] * 5, action="user.delete")
    world.work()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A log of 6 events whose backup has 3."""
    made = World(tmp_path / "data")
    made.record("acme", "acme", "acme")
    made.work()
    made.save("backup", only=ALL)
    made.record("acme", "acme", "acme")
    made.work()
    yield made
    made.close()


@pytest.fixture
def outside(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Outside]]:
    """Configures the witness as the guard and starts the worker again."""
    made: list[Outside] = []

    def configure() -> Outside:
        made.append(Outside(tmp_path / "witness", world))
        monkeypatch.setattr(witnessed, "add_checkpoint", made[0].ask)
        world.guard_with(URL)
        world.restart()
        return made[0]

    yield configure
    for each in made:
        each.state.close()


def test_the_host_alone_notices_nothing(world: World, tmp_path: Path) -> None:
    """Attack cases 10, 13: guard and database from one backup agree, and another history is signed."""
    kept, _ = note_file(world, tmp_path / "kept")
    rolled_back(world)
    assert world.kinds() == []
    check(world)
    with pytest.raises(AssertionError, match="a checkpoint of another history"):
        check(world, signed=[kept])


def test_verify_names_it_to_whoever_kept_a_checkpoint(world: World, tmp_path: Path) -> None:
    """Attack cases 9, 12, 13: the new history verifies by itself and fails with --since."""
    _, kept = note_file(world, tmp_path / "kept")
    (vkey,) = world.verifiers(origins(world)[0])
    before = bundle_of(world, tmp_path / "before.zip")
    assert verdict_of(Asked(str(before), (vkey,), since=str(kept)), 0).exit_code == 0
    rolled_back(world)
    after = bundle_of(world, tmp_path / "after.zip")
    assert verdict_of(Asked(str(after), (vkey,)), 0).exit_code == 0
    assert verdict_of(Asked(str(after), (vkey,), since=str(kept)), 0).exit_code == 1


def test_a_witness_as_guard_lets_nothing_be_signed(world: World, outside: Callable[[], Outside]) -> None:
    """Attack cases 10, 13, 15: what the host forgot the witness remembers."""
    witness = outside()
    world.record("acme")
    world.work()
    assert witness.asked > 0
    seen = notes_of(world.log_path)
    assert max(note.size for note in seen) == 7
    world.close()
    world.restore("backup", only=ALL)
    world.open()
    before = notes_of(world.log_path)
    for more in (2, 2, 5):
        world.record(*["acme"] * more, action="user.delete")
        world.work()
    assert notes_of(world.log_path) == before
    assert world.kinds() == [("guard_refused", origins(world)[0])]


def test_two_hosts_cannot_both_grow_a_log_that_a_witness_watches(
    world: World, outside: Callable[[], Outside], tmp_path: Path
) -> None:
    """Attack cases 11, 16: a second host with copies of everything, its guard included, is stopped."""
    outside()
    world.record("acme")
    world.work()
    world.stop()
    (tmp_path / "second").mkdir()
    for name in (*ALL, "log.key"):
        if name.endswith(".db"):
            world.save("copy", only=(name,))
            shutil.copy(world.folder / "copy" / name, tmp_path / "second" / name)
        else:
            shutil.copy(world.folder / name, tmp_path / "second" / name)
    world.start()
    second = World(tmp_path / "second", seed=9)
    second.guard_with(URL)
    second.restart()
    world.record("acme")
    second.record("acme", action="user.delete")
    assert world.work() == 1
    assert second.work() == 0
    assert [kind for kind, _ in second.kinds()] == ["guard_refused"]
    check(world)
    second.close()


def test_a_witness_that_is_behind_catches_up(world: World, outside: Callable[[], Outside]) -> None:
    """It is shown a proof from the size that it names, also after a restart that forgot that."""
    witness = outside()
    for _ in range(3):
        world.record("acme", "beta")
        world.work()
    world.guard_with("")
    world.restart()
    world.record(*["acme"] * 300)
    world.work()
    world.guard_with(URL)
    world.restart()
    world.record("acme")
    world.work()
    assert witness.reachable
    check(world)
    assert world.kinds() == []


def test_a_witness_that_is_away_stops_signing_and_nothing_else(
    world: World, outside: Callable[[], Outside]
) -> None:
    """Recording and sequencing go on, it is asked rarely, and what waited is signed when it is back."""
    from affidavit.errors import GuardRefused

    witness = outside()
    witness.reachable = False
    seen = notes_of(world.log_path)
    world.record("acme", "beta")
    world.sequence()
    with pytest.raises(GuardRefused, match="does not answer"):
        world.sign()
    asked = witness.asked
    world.now -= 995.0
    with pytest.raises(GuardRefused, match="does not answer"):
        world.sign()
    assert witness.asked in (asked, asked + 1)
    assert notes_of(world.log_path) == seen
    witness.reachable = True
    world.work()
    check(world)
