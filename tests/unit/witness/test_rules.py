"""The answers of a witness, one by one, as c2sp.org/tlog-witness has them."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest

from affidavit.core.checkpoint import cosignature_message
from affidavit.core.ed25519 import verify
from affidavit.core.note import parse_signatures
from affidavit.witness.rules import (
    MAX_BODY,
    Inconsistent,
    Refusal,
    Remembered,
    StaleSize,
    check_growth,
    parse_request,
)
from tests.unit.witness.conftest import ORIGIN, World
from tests.watched_log import NaiveLog, consistency, root


def status(world: World, body: bytes) -> int:
    """The status of the refusal, 200 where it cosigned."""
    try:
        world.witness.add_checkpoint(body)
    except Refusal as refusal:
        return refusal.status
    return 200


def test_every_growth_of_a_log_is_cosigned() -> None:
    """From each size to each greater one, the naive proof is taken, a longer or changed one is not."""
    log = NaiveLog(ORIGIN).grow(18)
    for old in range(1, 18):
        seen = Remembered(old, root(log.entries[:old]))
        for new in range(old, 19):
            check_growth(seen, parse_request(log.body(old, new)))
            honest = consistency(old, log.entries[:new])
            for forged in ([*honest, bytes(32)], honest[:-1], [bytes(32), *honest[1:]]):
                if forged != honest:
                    with pytest.raises(Inconsistent):
                        check_growth(seen, parse_request(log.body(old, new, proof=forged)))


def test_the_cosignature_is_over_time_and_text(world: World) -> None:
    """The line verifies as the specification of cosignatures composes it, with the witness's own key id."""
    line = world.witness.add_checkpoint(world.log.body(0, 5))
    (signature,) = parse_signatures(line)
    seconds = int.from_bytes(signature.value[:8], "big")
    assert seconds == world.clock.seconds
    message = f"cosignature/v1\ntime {seconds}\n{world.log.text(5)}".encode()
    assert message == cosignature_message(world.log.text(5), seconds)
    verify(world.key.key, message, signature.value[8:])
    assert signature.name == "w.example/1"
    assert signature.key_id == sha256(b"w.example/1\n\x04" + world.key.key).digest()[:4]


def test_what_was_cosigned_is_remembered_and_named(world: World) -> None:
    """A request from another size is told the size: 409; from the right one it goes on: 200."""
    assert status(world, world.log.body(0, 5)) == 200
    with pytest.raises(StaleSize) as stale:
        world.witness.add_checkpoint(world.log.body(0, 9))
    assert stale.value.size == 5
    assert status(world, world.log.body(4, 9)) == 409
    assert status(world, world.log.body(5, 9)) == 200
    assert world.size() == 9


def test_the_same_size_again_refreshes_the_time(world: World) -> None:
    """The heartbeat: an empty proof, the same root, a later time; an earlier clock does not take it back."""
    world.witness.add_checkpoint(world.log.body(0, 5))
    world.clock.seconds += 3_600
    (again,) = parse_signatures(world.witness.add_checkpoint(world.log.body(5, 5)))
    assert int.from_bytes(again.value[:8], "big") == world.clock.seconds
    latest = world.clock.seconds
    world.clock.seconds -= 86_400
    (back,) = parse_signatures(world.witness.add_checkpoint(world.log.body(5, 6)))
    assert int.from_bytes(back.value[:8], "big") == latest


def test_statuses_of_the_protocol(world: World) -> None:
    """400, 403, 404, 422, each for what the table says."""
    log = world.log
    assert status(world, log.body(0, 0)) == 200
    assert status(world, log.body(0, 5)) == 200
    assert status(world, log.body(9, 7)) == 400
    assert status(world, log.body(5, 9, proof=[bytes(32)])) == 422
    assert status(world, log.body(5, 5, proof=[bytes(32)])) == 422
    assert status(world, NaiveLog("logs.example/other").grow(3).body(0)) == 404
    assert status(world, NaiveLog(ORIGIN, seed=2).grow(9).body(5)) == 403
    assert (
        status(world, log.body(5, 9).replace(b64encode(root(log.entries[:9])), b64encode(bytes(32)))) == 403
    )
    fresh = NaiveLog(ORIGIN).grow(7)
    assert status(world, fresh.body(0, 7, proof=[bytes(32)])) == 409
    assert world.size() == 5


def test_from_nothing_the_proof_must_be_empty(world: World) -> None:
    """A proof from size 0 proves nothing and is refused, whatever it holds: 422."""
    assert status(world, world.log.body(0, 7, proof=[bytes(32)])) == 422
    assert world.size() == 0


def test_an_empty_tree_has_the_empty_root(world: World) -> None:
    """Size 0 with another root: 422."""
    text = f"{ORIGIN}\n0\n{b64encode(bytes(32)).decode()}\n"
    assert status(world, b"old 0\n\n" + world.log.note(text=text)) == 422


@pytest.mark.parametrize(
    "mangle",
    [
        lambda body: body.replace(b"old 5", b"old 05"),
        lambda body: body.replace(b"old 5", b"old +5"),
        lambda body: body.replace(b"old 5", b"old 5 "),
        lambda body: body.replace(b"old 5", b"old  5"),
        lambda body: body.replace(b"old 5", b"OLD 5"),
        lambda body: body.replace(b"old 5", "old ５".encode()),
        lambda body: body.replace(b"old 5", b"old 9223372036854775808"),
        lambda body: body.replace(b"old 5", b""),
        lambda body: body.replace(b"\n\n", b"\n", 1),
        lambda body: body.replace(b"\n", b"\r\n"),
        lambda body: body.replace(b"=\n", b"\n", 1),
        lambda body: body.replace(b"old 5\n", b"old 5\n\n"),
        lambda body: body.replace(b"old 5\n", b"old 5\n" + b64encode(bytes(31)) + b"\n"),
        lambda body: body.replace(b"old 5\n", b"old 5\n" + b64encode(bytes(33)) + b"\n"),
        lambda body: body.replace(b"old 5\n", b"old 5\n" + (b64encode(bytes(32)) + b"\n") * 64),
        lambda body: body.replace("— ".encode(), b"- "),
        lambda body: body[:-1],
        lambda body: body + b"\n",
        lambda body: body + b"\xff\n",
        lambda body: body.replace(b"\n9\n", b"\n09\n"),
        lambda body: body.replace(b"\n9\n", b"\n\n9\n"),
        lambda body: b"",
        lambda body: b"\n\n",
        lambda body: body + b"x" * MAX_BODY,
        lambda body: b"\x00" + body,
        lambda body: "\ufeff".encode() + body,
    ],
)  # fmt: skip
def test_any_other_form_is_malformed(world: World, mangle: object) -> None:
    """400, and nothing is remembered of it; the honest request beside it is cosigned."""
    world.witness.add_checkpoint(world.log.body(0, 5))
    honest = world.log.body(5, 9)
    assert callable(mangle)
    mangled = mangle(honest)
    assert mangled != honest
    assert status(world, mangled) == 400
    assert world.size() == 5
    assert status(world, honest) == 200


def test_a_note_with_a_thousand_signatures_is_read(world: World) -> None:
    """Attack case 41: 16 and 1,000 lines of unknown keys beside the log's own; none of them is kept."""
    for count, size in ((16, 5), (1_000, 6)):
        lines = "".join(
            f"— other.example/{number} {b64encode(bytes(68)).decode()}\n" for number in range(count)
        )
        old = size - 1 if size > 5 else 0
        assert status(world, world.log.body(old, size) + lines.encode()) == 200
        kept = world.witness.checkpoint(sha256(ORIGIN.encode()).hexdigest())
        assert kept is not None
        assert kept.count("— ".encode()) == 2
