"""What a witness remembers, for good and as evidence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from affidavit.core.checkpoint import open_checkpoint
from affidavit.core.note import parse_verifier
from affidavit.witness.rules import Refusal
from affidavit.witness.state import MOST_KEPT
from tests.unit.witness.conftest import ORIGIN, World
from tests.watched_log import NaiveLog

HASH = sha256(ORIGIN.encode()).hexdigest()


def test_its_memory_outlives_the_process(world: World) -> None:
    """After a start the size is known, and what was cosigned is served as log and witness signed it."""
    world.witness.add_checkpoint(world.log.body(0, 5))
    world.state.close()
    world.open()
    assert world.size() == 5
    served = world.witness.checkpoint(HASH)
    assert served is not None
    opened = open_checkpoint(served, [parse_verifier(world.log.vkey)], [world.key], origin=ORIGIN)
    assert opened.checkpoint.size == 5
    assert opened.cosigned == ((world.key, world.clock.seconds),)
    assert world.witness.checkpoint(HASH[::-1]) is None


@pytest.mark.parametrize("case", ["fork", "rewritten", "replaced"])
def test_a_signed_checkpoint_that_disagrees_is_kept_as_evidence(world: World, case: str) -> None:
    """Cases 9 to 12: a fork, a tail rewritten and signed anew, all replaced: refused, and kept once."""
    world.witness.add_checkpoint(world.log.body(0, 8))
    forged = {
        "fork": NaiveLog(ORIGIN, entries=world.log.entries[:6]).grow(2, b"other"),
        "rewritten": NaiveLog(ORIGIN, entries=world.log.entries[:6]).grow(9, b"other"),
        "replaced": NaiveLog(ORIGIN).grow(12, b"other"),
    }[case]
    for _ in range(3):
        with pytest.raises(Refusal) as refusal:
            world.witness.add_checkpoint(forged.body(8))
        assert refusal.value.status == 422
    (kept,) = world.state.refused()
    assert (kept.origin, kept.seen.size, kept.note) == (ORIGIN, len(forged.entries), forged.note())
    assert world.size() == 8


def test_a_fork_is_kept_whatever_old_size_it_claims(world: World) -> None:
    """Case 11: two signed roots of one size convict the log also where the answer is 409."""
    world.witness.add_checkpoint(world.log.body(0, 8))
    forged = NaiveLog(ORIGIN).grow(8, b"other")
    with pytest.raises(Refusal) as refusal:
        world.witness.add_checkpoint(forged.body(3))
    assert refusal.value.status == 409
    (kept,) = world.state.refused()
    assert "another root" in kept.reason


def test_an_honest_log_leaves_no_evidence(world: World) -> None:
    """Case 13: an old checkpoint that comes again, and a stale old size, are refused and prove nothing."""
    world.witness.add_checkpoint(world.log.body(0, 8))
    asked = (
        (world.log.body(8, 5), 400),
        (world.log.body(5, 5), 409),
        (world.log.body(0, 9), 409),
        (world.log.body(8, 8, proof=[bytes(32)]), 422),
    )
    for body, status in asked:
        with pytest.raises(Refusal) as refusal:
            world.witness.add_checkpoint(body)
        assert refusal.value.status == status
    assert world.state.refused() == []
    assert world.size() == 8


def test_evidence_is_bounded(world: World) -> None:
    """Whoever holds the key cannot fill the disk: the first ones stay."""
    world.witness.add_checkpoint(world.log.body(0, 1))
    for number in range(MOST_KEPT + 5):
        with pytest.raises(Refusal):
            world.witness.add_checkpoint(NaiveLog(ORIGIN).grow(1, b"fork %d" % number).body(1))
        world.clock.seconds += 1
    kept = world.state.refused()
    assert len(kept) == MOST_KEPT
    assert kept[0].note == NaiveLog(ORIGIN).grow(1, b"fork 0").note()


KILLED = """
import os, signal, sys
from pathlib import Path
from affidavit.core.note import parse_verifier
from affidavit.witness.state import WitnessState
from affidavit.witness.trust import Trusted
from affidavit.witness.witness import Witness, open_key
from affidavit.witness import witness as module

folder, vkey, moment = sys.argv[1:]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
key, state = open_key(Path(folder), "w.example/1", lambda count: b"\\7" * count)
if moment == "checked":
    module.WitnessKey.cosign = die
elif moment == "signed":
    WitnessState.remember = die
elif moment == "written":
    inner = WitnessState.remember
    WitnessState.remember = lambda *given: (inner(*given), die())
body = sys.stdin.buffer.read()
line = Witness(key, Trusted([parse_verifier(vkey)]), state, clock=lambda: 10**15).add_checkpoint(body)
if moment == "answering":
    die()
print(line)
"""


@pytest.mark.parametrize(
    ("moment", "remembered"), [("checked", 5), ("signed", 5), ("written", 5), ("answering", 8)]
)
def test_a_kill_between_check_and_answer_never_leaves_two_that_disagree(
    world: World, moment: str, remembered: int
) -> None:
    """SIGKILL after check, signature, write and commit: nothing is said before it is remembered."""
    world.witness.add_checkpoint(world.log.body(0, 5))
    world.state.close()
    command = [sys.executable, "-c", KILLED, str(world.folder), world.log.vkey, moment]
    killed = subprocess.run(
        command, input=world.log.body(5, 8), capture_output=True, check=False, cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    assert (killed.returncode, killed.stdout, killed.stderr) == (-signal.SIGKILL, b"", b"")
    world.open()
    assert world.size() == remembered
    # Whichever of two forks it remembers, it cosigns no other of that size.
    fork = NaiveLog(ORIGIN, entries=world.log.entries[:5]).grow(3, b"other")
    first, second = (fork, world.log) if remembered == 5 else (world.log, fork)
    world.witness.add_checkpoint(first.body(remembered, 8))
    with pytest.raises(Refusal) as refusal:
        world.witness.add_checkpoint(second.body(8, 8))
    assert refusal.value.status == 422
