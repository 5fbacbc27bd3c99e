"""Checkpoints and cosignatures: those of others, and what is refused before anybody believes a root."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.core.checkpoint import Checkpoint, cosignature_message, open_checkpoint, parse_checkpoint
from affidavit.core.merkle import EMPTY_ROOT
from affidavit.core.note import COSIGNATURE, check_signatures, make_verifier, parse_note, parse_verifier
from affidavit.core.unsound import BadSignature, Contradiction, Malformed, UnknownSigner
from tests.signers import Signer, signed

NOTES: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "notes.json").read_text(encoding="utf-8")
)
ORIGIN = "log.example/0123/1"
ROOT = bytes(range(32))
ROOT64 = b64encode(ROOT).decode()
TEXT = f"{ORIGIN}\n7\n{ROOT64}\n"
LOG, OTHER = Signer(ORIGIN), Signer("log.example/4567/1")
ONE, TWO = Signer.witness("one.example"), Signer.witness("two.example")
NOON = 1_700_000_000


def text_of(size: str = "7", root: str = ROOT64, *more: str) -> str:
    """The text of a checkpoint, good or bad."""
    return "".join(f"{line}\n" for line in (ORIGIN, size, root, *more))


# what others have signed


def test_a_checkpoint_of_the_go_checksum_database() -> None:
    """Its signature is good; its key has another name than its origin, so here it is nobody's checkpoint."""
    vector = NOTES["sum_golang_org"]
    verifier, note = parse_verifier(vector["vkey"]), parse_note(vector["note"].encode())
    assert check_signatures(note, [verifier]) == [verifier]
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size) == (vector["origin"], vector["size"])
    assert checkpoint.text == note.text
    with pytest.raises(UnknownSigner, match=r"sum\.golang\.org has signed a checkpoint of go\.sum"):
        open_checkpoint(vector["note"].encode(), [verifier])


def test_the_checkpoint_and_the_cosignature_of_sigsum() -> None:
    """Both verify with the public half of the key that made them, and the witness says when."""
    vector = NOTES["sigsum"]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["private"]))
    public = private.public_key().public_bytes_raw()
    opened = open_checkpoint(vector["note"].encode(), [make_verifier(vector["origin"], public)])
    assert opened.checkpoint.size == 10
    assert opened.checkpoint.root.hex().startswith("1c0e47")
    log = Signer("example.org/log")
    text = vector["cosigned_text"]
    witness = make_verifier(vector["witness"], public, COSIGNATURE)
    opened = open_checkpoint(signed(text, log.line(text), vector["cosignature"]), [log.verifier], [witness])
    assert opened.cosigned == ((witness, vector["cosigned_at"]),)


# the text


def test_a_checkpoint_is_read_and_written() -> None:
    """Origin, size, root, and lines of extension as they stand."""
    for text, made in (
        (TEXT, Checkpoint(ORIGIN, 7, ROOT)),
        (text_of("0", b64encode(EMPTY_ROOT).decode()), Checkpoint(ORIGIN, 0, EMPTY_ROOT)),
        (text_of("9223372036854775807"), Checkpoint(ORIGIN, 2**63 - 1, ROOT)),
        (text_of("7", ROOT64, "one", " two "), Checkpoint(ORIGIN, 7, ROOT, ("one", " two "))),
    ):
        assert parse_checkpoint(text) == made
        assert made.text == text


@pytest.mark.parametrize(
    "size", ["007", "+7", "1_000", "１２", " 7", "7 ", "-7", "0x7", "7.0", "", "9223372036854775808", "seven"]
)
def test_other_spellings_of_the_size_are_refused(size: str) -> None:
    """(case 35) Leading zeros, signs, underscores, other scripts, spaces, 2**63."""
    with pytest.raises(Malformed):
        parse_checkpoint(text_of(size))


@pytest.mark.parametrize(
    "root",
    [
        "",
        ROOT64[:-1],
        ROOT64 + "=",
        ROOT64[:-2] + "9=",
        ROOT.hex(),
        b64encode(bytes(31)).decode(),
        b64encode(bytes(33)).decode(),
        " " + ROOT64,
        ROOT64.replace("/", "_").replace("A", "-", 1),
    ],
)
def test_other_spellings_of_the_root_are_refused(root: str) -> None:
    """(case 36) Canonical base64 of 32 bytes, nothing else."""
    with pytest.raises(Malformed):
        parse_checkpoint(text_of("7", root))


def test_an_empty_tree_has_the_empty_root() -> None:
    """(case 24) Size 0 with another root is refused; which root it must be stands in the message."""
    with pytest.raises(Malformed, match="empty tree must be 47DEQ"):
        parse_checkpoint(text_of("0"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        ORIGIN + "\n",
        f"{ORIGIN}\n7\n",
        TEXT[:-1],
        TEXT + "\n",
        "\n" + TEXT,
        f"{ORIGIN}\n\n7\n{ROOT64}\n",
        f"\n7\n{ROOT64}\n",
        TEXT + "extension\n\nmore\n",
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\u2028"),
        TEXT.replace("\n", "\x0b"),
        TEXT + "ext\x00ension\n",
    ],
)
def test_texts_that_are_no_checkpoints(text: str) -> None:
    """(case 34) (case 37) Too few lines, empty ones, other line ends, control characters in an extension."""
    with pytest.raises(Malformed):
        parse_checkpoint(text)


# who signed


def test_a_checkpoint_is_opened_with_the_key_of_its_log() -> None:
    """What comes back is what was signed, and by whom."""
    message = signed(TEXT, OTHER.line(TEXT), LOG.line(TEXT), ONE.line(TEXT))
    opened = open_checkpoint(message, [OTHER.verifier, LOG.verifier], origin=ORIGIN)
    assert opened.checkpoint == Checkpoint(ORIGIN, 7, ROOT)
    assert opened.note == parse_note(message)
    assert opened.signers == (LOG.verifier,)
    assert opened.cosigned == ()


def test_extension_lines_are_signed() -> None:
    """(case 37) They are kept as they are; changed, added or removed they make the signature bad."""
    text = text_of("7", ROOT64, "extension")
    opened = open_checkpoint(signed(text, LOG.line(text), ONE.line(text)), [LOG.verifier], [ONE.verifier])
    assert opened.checkpoint.extensions == ("extension",)
    for other in (text_of("7", ROOT64), text_of("7", ROOT64, "extensioN"), text + "more\n"):
        with pytest.raises(BadSignature):
            open_checkpoint(signed(other, LOG.line(text)), [LOG.verifier])
        with pytest.raises(BadSignature, match=r"one\.example"):
            open_checkpoint(signed(other, LOG.line(other), ONE.line(text)), [LOG.verifier], [ONE.verifier])


def test_another_origin_than_the_expected_one_is_a_contradiction() -> None:
    """(case 38) (case 45) one log offered for another, and names that look alike."""
    for name in (
        OTHER.name,
        ORIGIN.upper(),
        ORIGIN + "/",
        ORIGIN + ".",
        "log.ехample/0123/1",
        "\ufeff" + ORIGIN,
    ):
        signer = Signer(name)
        text = TEXT.replace(ORIGIN, name)
        with pytest.raises(Contradiction, match="expected was"):
            open_checkpoint(signed(text, signer.line(text)), [signer.verifier, LOG.verifier], origin=ORIGIN)


def test_the_key_of_another_log_cannot_sign_for_this_one() -> None:
    """(case 38) (case 45) Trusted for its own origin, it does not count for this one."""
    with pytest.raises(UnknownSigner, match=r"log\.example/4567/1 has signed a checkpoint of"):
        open_checkpoint(signed(TEXT, OTHER.line(TEXT)), [OTHER.verifier, LOG.verifier])
    with pytest.raises(UnknownSigner):
        open_checkpoint(signed(TEXT, LOG.line(TEXT)), [OTHER.verifier])


def test_a_key_that_comes_with_the_evidence_is_no_key() -> None:
    """(case 42) Without a key from elsewhere nothing is opened, whatever the note carries in its text."""
    text = text_of("7", ROOT64, LOG.verifier.vkey)
    with pytest.raises(UnknownSigner, match="trusted none"):
        open_checkpoint(signed(text, LOG.line(text)), [])
    with pytest.raises(UnknownSigner):
        open_checkpoint(signed(text, LOG.line(text)), [Signer(ORIGIN, seed="another").verifier])


def test_old_and_new_key_sign_together() -> None:
    """(case 43) During a rotation both lines stand there; either key opens it, and both are named."""
    new = Signer(ORIGIN, seed="new")
    message = signed(TEXT, LOG.line(TEXT), new.line(TEXT))
    assert open_checkpoint(message, [new.verifier]).signers == (new.verifier,)
    assert set(open_checkpoint(message, [LOG.verifier, new.verifier]).signers) == {LOG.verifier, new.verifier}


def test_a_bad_signature_of_a_trusted_key_of_another_log_refuses_the_note() -> None:
    """(case 31) Known is known, whatever its name."""
    message = signed(TEXT, LOG.line(TEXT), OTHER.line_of(bytes(64)))
    assert open_checkpoint(message, [LOG.verifier]).signers == (LOG.verifier,)
    with pytest.raises(BadSignature, match="4567"):
        open_checkpoint(message, [LOG.verifier, OTHER.verifier])


# witnesses


def test_cosignatures_say_when_the_witness_saw_it() -> None:
    """Of two good ones by a witness the later time counts; unknown witnesses are passed over."""
    lines = [LOG.line(TEXT), ONE.line(TEXT, NOON), ONE.line(TEXT, NOON - 60), TWO.line(TEXT, 0)]
    message = signed(TEXT, *lines, Signer.witness("three.example").line_of(b"x"))
    opened = open_checkpoint(message, [LOG.verifier], [TWO.verifier, ONE.verifier])
    assert dict(opened.cosigned) == {ONE.verifier: NOON, TWO.verifier: 0}


@pytest.mark.parametrize(
    "other",
    [
        TEXT.replace("0123", "4567"),
        TEXT.replace("\n7\n", "\n8\n"),
        TEXT.replace(ROOT64, b64encode(bytes(32)).decode()),
        TEXT + "extension\n",
    ],
)
def test_a_cosignature_of_another_checkpoint_is_bad(other: str) -> None:
    """(case 40) Copied from another origin, size, root or extension."""
    message = signed(TEXT, LOG.line(TEXT), ONE.line(other))
    with pytest.raises(BadSignature, match=r"one\.example"):
        open_checkpoint(message, [LOG.verifier], [ONE.verifier])
    assert open_checkpoint(message, [LOG.verifier], [TWO.verifier]).cosigned == ()


def test_the_time_of_a_cosignature_is_signed() -> None:
    """(case 40) A later time in front of the same signature makes it bad."""
    value = NOON.to_bytes(8, "big") + ONE.private.sign(cosignature_message(TEXT, NOON))
    later = (NOON + 1).to_bytes(8, "big") + value[8:]
    good = open_checkpoint(signed(TEXT, LOG.line(TEXT), ONE.line_of(value)), [LOG.verifier], [ONE.verifier])
    assert good.cosigned == ((ONE.verifier, NOON),)
    with pytest.raises(BadSignature):
        open_checkpoint(signed(TEXT, LOG.line(TEXT), ONE.line_of(later)), [LOG.verifier], [ONE.verifier])


@pytest.mark.parametrize("seconds", [0, 1, NOON, 253_402_300_800, 2**63 - 1])
def test_times_from_0_to_the_greatest_are_handed_on(seconds: int) -> None:
    """(case 40) Nobody has a clock here: a time of 0 or in the future is for the caller to judge."""
    message = signed(TEXT, LOG.line(TEXT), ONE.line(TEXT, seconds))
    assert open_checkpoint(message, [LOG.verifier], [ONE.verifier]).cosigned == ((ONE.verifier, seconds),)


@pytest.mark.parametrize("seconds", [2**63, 2**64 - 1])
def test_a_time_above_the_greatest_is_refused(seconds: int) -> None:
    """(case 40) Even where the witness has signed it."""
    line = ONE.line(TEXT, seconds)
    with pytest.raises(Malformed, match="time of a cosignature"):
        open_checkpoint(signed(TEXT, LOG.line(TEXT), line), [LOG.verifier], [ONE.verifier])
    with pytest.raises(Malformed, match="time of a cosignature"):
        cosignature_message(TEXT, -1)


@pytest.mark.parametrize("size", [1, 64, 71, 73, 2428])
def test_a_cosignature_is_72_bytes(size: int) -> None:
    """A time and a signature; another length by a known witness refuses the note."""
    message = signed(TEXT, LOG.line(TEXT), ONE.line_of(bytes(size)))
    with pytest.raises(BadSignature, match="72 bytes"):
        open_checkpoint(message, [LOG.verifier], [ONE.verifier])


def test_a_log_key_is_no_witness_and_a_witness_is_no_log() -> None:
    """The type of a key says what it may do: the other signature of the same name does not count."""
    cosigner = Signer.witness(ORIGIN)
    plain = cosigner.line_of(cosigner.private.sign(TEXT.encode()))
    with pytest.raises(UnknownSigner):
        open_checkpoint(signed(TEXT, plain), [cosigner.verifier])
    opened = open_checkpoint(signed(TEXT, LOG.line(TEXT)), [LOG.verifier], [LOG.verifier])
    assert opened.cosigned == ()


def test_what_a_witness_signs() -> None:
    """Two lines and the text, byte for byte as the specification shows it."""
    assert cosignature_message("example.com/behind-the-sofa\n20852163\nCsUYapGG=\n", 1679315147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGG=\n"
    )
