"""Cosigning on a real store: what is stored, what is alarmed, and that nobody waits for a witness."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from affidavit.core.checkpoint import Checkpoint, Opened, open_checkpoint
from affidavit.core.note import Verifier, parse_verifier
from affidavit.core.policy import parse_policy
from affidavit.errors import ConfigError, StorageFull
from affidavit.log import asking
from affidavit.log.cosigning import Cosigner, Pace
from affidavit.log.keys import KeyFile
from affidavit.log.prover import Prover
from affidavit.log.witness_client import WitnessConflict, WitnessRefused, WitnessUnreachable
from affidavit.storage.log import Published
from affidavit.witness.rules import Refusal, StaleSize
from affidavit.witness.trust import read_trusted
from affidavit.witness.witness import Witness, open_key
from tests.unit.log.test_sequencer import sqlite_log_in

PATIENCE = 20
QUICK = Pace(round=0.01, apart=0.0, heartbeat=3_600.0, timeout=5.0)

Ask = Callable[[str, int, Sequence[bytes], bytes, float], list[str]]


class World:
    """A log with a key, and witnesses that are asked without a network."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.log = sqlite_log_in(folder)
        self.keys = KeyFile(folder / "log.key", lambda count: b"\x05" * count, self.clock)
        self.keys.create()
        self.store = self.log.stores.log
        self.witnesses: dict[str, Ask] = {}
        self.lines: list[str] = []
        self.verifiers: dict[str, Verifier] = {}
        self.cosigner: Cosigner | None = None
        monkeypatch.setattr(asking, "add_checkpoint", self._ask)

    def clock(self) -> int:
        """Now, by the log's own clock."""
        return self.log.clock()

    def _ask(self, url: str, *given: object) -> list[str]:
        return self.witnesses[url](url, *given)  # type: ignore[arg-type]

    def publish(self, count: int = 1) -> int:
        """Record, sequence and sign; the size."""
        self.log.record(*["acme"] * count)
        self.log.catch_up()
        tree = self.log.tree()
        root = Prover(self.store).root(tree.number, tree.size)
        note = self.keys.load().note(tree.origin, Checkpoint(tree.origin, tree.size, root).text)
        self.log.writer.publish([Published(tree.number, tree.size, self.clock(), note, cosigned=False)])
        return tree.size

    def witness(self, name: str, answer: Ask | None = None) -> None:
        """Add a witness: a real one, or one that answers so."""
        folder = self.folder / name
        folder.mkdir()
        key, state = open_key(folder, f"{name}.example", lambda count: name.encode().rjust(count, b"\0"))
        vkey = self.keys.load().verifiers(self.log.tree().origin)[0].vkey
        real = Witness(key, read_trusted([vkey], [], None), state, clock=self.clock)

        def ask(_url: str, old: int, proof: Sequence[bytes], note: bytes, _timeout: float) -> list[str]:
            from base64 import b64encode

            lines = [f"old {old}", *(b64encode(each).decode() for each in proof), "", ""]
            try:
                return [real.add_checkpoint("\n".join(lines).encode() + note)]
            except StaleSize as stale:
                raise WitnessConflict(stale.size) from stale
            except Refusal as refusal:
                raise WitnessRefused(refusal.status, str(refusal)) from refusal

        self.witnesses[f"http://{name}"] = answer or ask
        self.verifiers[name] = key.verifier
        self.lines.append(f"witness {name} {key.verifier.vkey} http://{name}")

    def start(
        self, pace: Pace = QUICK, publish: Callable[[Sequence[Published]], None] | None = None
    ) -> Cosigner:
        """Begin to ask all of them; all must agree."""
        names = " ".join(self.verifiers)
        policy = parse_policy(
            "\n".join([*self.lines, f"group everybody all {names}", "quorum everybody", ""])
        )
        self.cosigner = Cosigner(
            policy,
            self.store,
            publish or self.log.writer.publish,
            self.log.writer,
            log_keys=lambda origin: self.keys.load().verifiers(origin),
            clock=self.clock,
            pace=pace,
        )
        self.cosigner.start()
        return self.cosigner

    def step_until(self, condition: Callable[[], bool], what: str) -> None:
        """Step as the worker does, until it holds."""
        assert self.cosigner is not None
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what
            self.cosigner.step()
            threading.Event().wait(0.005)

    def opened(self, size: int) -> Opened:
        """The stored checkpoint of a size."""
        (note,) = [each.note for each in self.store.checkpoints(1) if each.size == size]
        keys = self.keys.load().verifiers(self.log.tree().origin)
        return open_checkpoint(note, keys, list(self.verifiers.values()))

    def names(self, size: int) -> set[str]:
        """Who has cosigned a size."""
        return {witness.name for witness, _ in self.opened(size).cosigned}

    def alarms(self) -> dict[tuple[str, str], str]:
        """Kind and subject to text."""
        return {(each.kind, each.subject): each.text for each in self.log.writer.alarms()}

    def close(self) -> None:
        if self.cosigner is not None:
            self.cosigner.close()
        self.store.close()
        self.log.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A log with one published checkpoint."""
    made = World(tmp_path, monkeypatch)
    made.publish()
    yield made
    made.close()


def unreachable(*_: object) -> list[str]:
    """A witness that is away."""
    raise WitnessUnreachable("away")


def test_cosignatures_are_collected_in_one_checkpoint(world: World) -> None:
    """Each growth is cosigned by both, in one stored note that is marked as cosigned."""
    world.witness("w1")
    world.witness("w2")
    cosigner = world.start()
    for count in (0, 3, 300):
        size = world.publish(count) if count else 1
        world.step_until(lambda size=size: len(world.names(size)) == 2, "both")  # type: ignore[misc]
        stored = {each.size: each for each in world.store.checkpoints(1)}[size]
        assert stored.cosigned
        assert world.opened(size).checkpoint.root == Prover(world.store).root(1, size)
    assert world.alarms() == {}
    assert [cosigner.step() for _ in range(3)] == [0, 0, 0]


def test_silence_is_cosigned_again(world: World) -> None:
    """A tree that does not grow gets a later time at each heartbeat, one line a witness."""
    world.witness("w1")
    world.start(QUICK._replace(heartbeat=0.05))
    world.step_until(lambda: bool(world.names(1)), "the first")
    ((_, first),) = world.opened(1).cosigned
    world.log.clock.now += 7_000_000
    world.step_until(lambda: world.opened(1).cosigned[0][1] > first, "a later time")
    opened = world.opened(1)
    assert opened.cosigned[0][1] == world.clock() // 1_000_000
    assert len(opened.note.signatures) == 2


def test_a_witness_that_hangs_holds_nobody(world: World) -> None:
    """While one never answers, the other's cosignature is stored, and no step waits."""
    release = threading.Event()

    def hang(*_: object) -> list[str]:
        release.wait(PATIENCE)
        raise WitnessUnreachable("too late")

    world.witness("w1", hang)
    world.witness("w2")
    cosigner = world.start()
    world.step_until(lambda: world.names(1) == {"w2.example"}, "the one that answers")
    size = world.publish(2)
    world.step_until(lambda: world.names(size) == {"w2.example"}, "the next one")
    begun = time.monotonic()
    cosigner.step()
    cosigner.close()
    assert time.monotonic() - begun < PATIENCE / 2
    release.set()


def test_who_is_missing_is_named_until_he_is_back(world: World) -> None:
    """An unreachable witness and the missed quorum are alarms of their own, and go when they are over."""
    world.witness("w1")
    world.witness("w2")
    back = world.witnesses["http://w2"]
    world.witnesses["http://w2"] = unreachable
    world.start()
    origin = world.log.tree().origin
    expected = {("witness_unreachable", "w2"), ("witness_quorum", origin)}
    world.step_until(lambda: set(world.alarms()) == expected, "both alarms")
    assert "missing of w2" in world.alarms()["witness_quorum", origin]
    world.witnesses["http://w2"] = back
    world.step_until(lambda: world.alarms() == {}, "no alarm")
    assert world.names(1) == {"w1.example", "w2.example"}


def test_alarms_of_an_earlier_process_are_taken_back(world: World) -> None:
    """A new worker clears what an old one had raised."""
    world.witness("w1")
    back = world.witnesses["http://w1"]
    world.witnesses["http://w1"] = unreachable
    world.start()
    world.step_until(lambda: len(world.alarms()) == 2, "both alarms")
    assert world.cosigner is not None
    world.cosigner.close()
    world.witnesses["http://w1"] = back
    world.start()
    world.step_until(lambda: world.alarms() == {}, "no alarm")


def test_a_refusal_is_an_alarm_with_what_the_witness_said(world: World) -> None:
    """A checkpoint that a witness refuses stays without its line."""

    def refuse(*_: object) -> list[str]:
        raise WitnessRefused(422, "the witness refused (422): another root")

    world.witness("w1", refuse)
    world.start()
    origin = world.log.tree().origin
    world.step_until(lambda: ("witness_refused", f"w1 {origin}") in world.alarms(), "the alarm")
    assert "another root" in world.alarms()["witness_refused", f"w1 {origin}"]
    assert world.names(1) == set()
    assert not world.store.checkpoints(1)[0].cosigned


def test_a_defect_of_ours_ends_no_thread(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is logged with its trace and alarmed; the next one is asked."""
    world.witness("w1")
    back = world.witnesses["http://w1"]

    def broken(*_: object) -> list[str]:
        raise RuntimeError("unforeseen")

    world.witnesses["http://w1"] = broken
    world.start()
    origin = world.log.tree().origin
    world.step_until(lambda: ("witness_refused", f"w1 {origin}") in world.alarms(), "the alarm")
    assert "unforeseen" in caplog.text
    world.witnesses["http://w1"] = back
    size = world.publish()
    world.step_until(lambda: bool(world.names(size)), "the next one")


def test_what_could_not_be_stored_is_stored_by_the_next_step(world: World) -> None:
    """A full disk loses no cosignature: the step raises, and the one after it has them."""
    world.witness("w1")
    failures = [StorageFull(), StorageFull()]

    def publish(checkpoints: Sequence[Published]) -> None:
        if failures:
            raise failures.pop()
        world.log.writer.publish(checkpoints)

    cosigner = world.start(publish=publish)
    end = time.monotonic() + PATIENCE
    raised = 0
    while not world.names(1):
        assert time.monotonic() < end
        try:
            cosigner.step()
        except StorageFull:
            raised += 1
    assert raised == 2


def test_a_policy_without_an_address_is_refused(world: World) -> None:
    """Nobody to ask is a mistake, not an empty quorum; so is an address that is none."""
    world.witness("w1")
    vkey = world.verifiers["w1"].vkey
    for line in (f"witness w1 {vkey}", f"witness w1 {vkey} ftp://w1"):
        world.lines = [line]
        with pytest.raises(ConfigError, match="address"):
            world.start()
    assert parse_verifier(vkey) == world.verifiers["w1"]
