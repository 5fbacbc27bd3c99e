"""Signed notes: Go's own, those that somebody bent, and keys that nobody may use."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from affidavit.core import note as notes
from affidavit.core.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE,
    MAX_REPEATS,
    Note,
    Signature,
    Verifier,
    check_signatures,
    key_id,
    make_verifier,
    parse_note,
    parse_signatures,
    parse_verifier,
    signature_line,
)
from affidavit.core.unsound import BadSignature, Malformed, UnknownSigner
from tests.signers import Signer, signed

VECTORS = Path(__file__).parents[2] / "vectors"
NOTES: dict[str, Any] = json.loads((VECTORS / "notes.json").read_text(encoding="utf-8"))
GO: dict[str, Any] = NOTES["go"]
PETER, ENOCH = parse_verifier(GO["peter"]), parse_verifier(GO["enoch"])

TEXT = "a text\nof two lines\n"
ALICE, BOB = Signer("alice.example/log"), Signer("bob.example/log")


# what Go and others have signed


def test_the_notes_of_go_are_read_and_checked() -> None:
    """One signature known, both known, the other one known."""
    note = parse_note(signed(GO["text"], GO["peter_line"], GO["enoch_line"]))
    assert note.text == GO["text"]
    assert [(each.name, each.key_id) for each in note.signatures] == [
        ("PeterNeumann", bytes.fromhex("c74f20a3")),
        ("EnochRoot", bytes.fromhex("af0cfe78")),
    ]
    assert check_signatures(note, [PETER]) == [PETER]
    assert check_signatures(note, [ENOCH]) == [ENOCH]
    assert check_signatures(note, [ENOCH, PETER]) == [ENOCH, PETER]
    assert note.encode() == signed(GO["text"], GO["peter_line"], GO["enoch_line"])


def test_a_signature_made_here_is_the_one_that_go_made() -> None:
    """Name, key id, public key and line follow from Go's private key."""
    _, _, name, identity, encoded = GO["peter_private"].split("+", 4)
    private = Ed25519PrivateKey.from_private_bytes(b64decode(encoded)[1:])
    verifier = make_verifier(name, private.public_key().public_bytes_raw())
    assert verifier == PETER
    assert verifier.key_id.hex() == identity
    assert signature_line(name, verifier.key_id, private.sign(GO["text"].encode())) == GO["peter_line"]


@pytest.mark.parametrize(
    ("vkey", "kind"),
    [(GO["peter"], ED25519), (GO["enoch"], ED25519)]
    + [(vkey, ED25519) for vkey in NOTES["vkeys"]["ed25519"]]
    + [(vkey, COSIGNATURE) for vkey in NOTES["vkeys"]["cosignature"]],
)
def test_published_verifier_keys_are_read_and_written(vkey: str, kind: int) -> None:
    """Also where the base64 holds a plus, and those of witnesses."""
    verifier = parse_verifier(vkey)
    assert verifier.kind == kind
    assert verifier.vkey == vkey
    assert make_verifier(verifier.name, verifier.key, kind) == verifier


def test_every_part_and_every_mangling_of_a_verifier_key_is_refused() -> None:
    """All substrings of Go's key, all its characters raised by one, and the two keys that Go refuses."""
    for vkey in (GO["peter"], NOTES["vkeys"]["cosignature"][0]):
        assert parse_verifier(vkey)
        size = len(vkey)
        parts = {vkey[start:end] for start in range(size) for end in range(start, size + 1)} - {vkey}
        raised = {vkey[:at] + chr(ord(vkey[at]) + 1) + vkey[at + 1 :] for at in range(size)}
        for text in sorted(parts | raised) + GO["refused_vkeys"]:
            with pytest.raises(Malformed):
                parse_verifier(text)


def test_the_malformed_notes_of_go_are_refused() -> None:
    """No signature, no line end, a control character, no UTF-8, a name with a space, a line too many."""
    text, line = GO["text"], GO["peter_line"]
    for message in (
        text.encode(),
        signed(text),
        signed(text, line[:-1]),
        signed("\x01" + text, line),
        b"\xff" + signed(text, line),
        signed(text, line.replace("PeterNeumann", "Bad Name")),
        signed(text, line, "Unexpected line.\n"),
    ):
        with pytest.raises(Malformed):
            parse_note(message)


# which signatures count


def test_lines_of_unknown_keys_are_passed_over() -> None:
    """(case 30) Before, between and after known ones, whatever their bytes."""
    other = BOB.line_of(b"no signature at all")
    note = parse_note(signed(TEXT, other, ALICE.line(TEXT), BOB.line(TEXT), other))
    assert check_signatures(note, [ALICE.verifier]) == [ALICE.verifier]


def test_a_note_without_a_known_signature_is_refused() -> None:
    """(case 30) The message names whom the caller trusts and who has signed; nobody at all is refused too."""
    note = parse_note(signed(TEXT, BOB.line(TEXT)))
    with pytest.raises(UnknownSigner, match=r"trusted alice\.example.*signed by bob\.example"):
        check_signatures(note, [ALICE.verifier])
    with pytest.raises(UnknownSigner, match="trusted none"):
        check_signatures(note, [])


@pytest.mark.parametrize("value", [b"x", b"\x00" * 64, b"\x00" * 63, b"\x00" * 72])
def test_a_bad_signature_of_a_known_key_refuses_the_whole_note(value: bytes) -> None:
    """(case 31) Beside a good one of another known key, before and after it."""
    lines = [ALICE.line(TEXT), BOB.line_of(value)]
    for order in (lines, lines[::-1]):
        note = parse_note(signed(TEXT, *order))
        assert check_signatures(note, [ALICE.verifier]) == [ALICE.verifier]
        with pytest.raises(BadSignature, match=r"bob\.example"):
            check_signatures(note, [ALICE.verifier, BOB.verifier])


def test_a_signature_of_another_text_is_bad() -> None:
    """(case 31) Also where the texts differ in their last newline only."""
    for other in ("another text\n", TEXT + "\n", TEXT[:-1], "\n" + TEXT):
        note = parse_note(signed(TEXT, ALICE.line(other)))
        with pytest.raises(BadSignature):
            check_signatures(note, [ALICE.verifier])


def test_a_right_name_with_a_wrong_key_id_is_unknown_and_the_reverse() -> None:
    """(case 32) Both must match: half a match neither counts where it is good nor harms where it is bad."""
    value = ALICE.private.sign(TEXT.encode())
    for name, identity in ((ALICE.name, BOB.key_id), (BOB.name, ALICE.key_id)):
        for each in (value, b"\x00" * 64):
            stranger = signature_line(name, identity, each)
            with pytest.raises(UnknownSigner):
                check_signatures(parse_note(signed(TEXT, stranger)), [ALICE.verifier])
            note = parse_note(signed(TEXT, stranger, ALICE.line(TEXT)))
            assert check_signatures(note, [ALICE.verifier]) == [ALICE.verifier]


def test_a_repeated_line_counts_once() -> None:
    """(case 33) The same line twice is one signature, checked once; a second one must be good too."""
    checked: list[bytes] = []

    def check(key: bytes, message: bytes, signature: bytes) -> None:
        checked.append(signature)

    line = ALICE.line(TEXT)
    assert check_signatures(parse_note(signed(TEXT, line, line, line)), [ALICE.verifier], check) == [
        ALICE.verifier
    ]
    assert len(checked) == 1
    with pytest.raises(BadSignature):
        check_signatures(parse_note(signed(TEXT, line, ALICE.line_of(b"\x01" * 64))), [ALICE.verifier])


def test_a_key_cannot_cost_more_than_16_verifications() -> None:
    """(case 33) (case 41) 17 different signatures of one known key are refused before any is checked."""
    lines = [ALICE.line_of(bytes([number]) * 64) for number in range(MAX_REPEATS + 1)]
    with pytest.raises(Malformed, match="at most 16"):
        check_signatures(parse_note(signed(TEXT, *lines)), [ALICE.verifier])
    with pytest.raises(BadSignature):
        check_signatures(parse_note(signed(TEXT, *lines[1:])), [ALICE.verifier])


@pytest.mark.parametrize("count", [16, 1000])
def test_a_note_may_have_many_signatures(count: int) -> None:
    """(case 41) 16 known ones all count; 1,000 lines are accepted, the known one last."""
    signers = [Signer(f"signer-{number}.example") for number in range(min(count, 16))]
    strangers = [BOB.line_of(number.to_bytes(64, "big")) for number in range(count - len(signers))]
    note = parse_note(signed(TEXT, *strangers, *(each.line(TEXT) for each in signers)))
    assert len(note.signatures) == count
    verifiers = [each.verifier for each in signers]
    assert check_signatures(note, verifiers) == verifiers


def test_two_known_keys_of_one_name_and_key_id_are_an_error_of_the_caller() -> None:
    """Nobody could tell which of them a line means. The same key twice is one key."""
    twin = Verifier(ALICE.name, ALICE.key_id, ED25519, BOB.public)
    note = parse_note(signed(TEXT, ALICE.line(TEXT)))
    with pytest.raises(Malformed, match="must differ in name or key id"):
        check_signatures(note, [ALICE.verifier, twin])
    assert check_signatures(note, [ALICE.verifier, ALICE.verifier]) == [ALICE.verifier]


def test_the_key_of_a_witness_signs_no_notes() -> None:
    """A key of type 0x04 does not count here, even where its plain signature would be good."""
    witness = Signer.witness("witness.example")
    line = witness.line_of(witness.private.sign(TEXT.encode()))
    with pytest.raises(UnknownSigner):
        check_signatures(parse_note(signed(TEXT, line)), [witness.verifier])


def test_the_caller_may_bring_a_faster_check() -> None:
    """Another library does the arithmetic; what it refuses is refused with the name of the key."""

    def check(key: bytes, message: bytes, signature: bytes) -> None:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except InvalidSignature as error:
            raise BadSignature from error

    assert check_signatures(parse_note(signed(TEXT, ALICE.line(TEXT))), [ALICE.verifier], check)
    with pytest.raises(BadSignature, match=r"alice\.example"):
        check_signatures(parse_note(signed(TEXT, ALICE.line("other\n"))), [ALICE.verifier], check)


# the form


def test_text_and_signatures_part_at_the_last_empty_line() -> None:
    """(case 34) Empty lines before it belong to the text, and are signed."""
    text = "one\n\n\ntwo\n\n"
    note = parse_note(signed(text, ALICE.line(text)))
    assert note.text == text
    assert check_signatures(note, [ALICE.verifier]) == [ALICE.verifier]
    forged = signed("one\n\n" + ALICE.line("one\n") + "two\n", BOB.line("x\n"))
    with pytest.raises(UnknownSigner):
        check_signatures(parse_note(forged), [ALICE.verifier])


@pytest.mark.parametrize("control", [chr(code) for code in range(32) if code != 10] + ["\r\n"])
def test_no_control_character_but_newline(control: str) -> None:
    """(case 34) CRLF, NUL, tab and the others, in the text and in a signature line."""
    for message in (
        signed(TEXT.replace("\n", control), ALICE.line(TEXT)),
        signed(f"a{control}b\n", ALICE.line(TEXT)),
        signed(TEXT, ALICE.line(TEXT).replace("\n", control + "\n")),
        signed(TEXT, ALICE.line(TEXT).replace("alice", f"al{control}ice")),
    ):
        with pytest.raises(Malformed):
            parse_note(message)


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\u0085", "\ufeff", "\x7f", "\u202e", "\u200b"])
def test_other_odd_characters_are_text_like_any_other(odd: str) -> None:
    """(case 34) They end no line and are not removed: the signature covers them, without them it is bad."""
    text = f"{odd}one{odd}\n{odd}\n"
    note = parse_note(signed(text, ALICE.line(text)))
    assert note.text == text
    assert check_signatures(note, [ALICE.verifier]) == [ALICE.verifier]
    with pytest.raises(BadSignature):
        check_signatures(parse_note(signed("one\n\n", ALICE.line(text))), [ALICE.verifier])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\n",
        b"\n\n",
        b"text\n",
        b"text",
        b"text\n\n",
        b"text\n\n\n",
        b"text\n\n" + ALICE.line("text\n").encode()[:-1],
        b"text\n" + ALICE.line("text\n").encode(),
        b"text\n\n" + ALICE.line("text\n").encode() + b"\n",
        b"text\n\n" + ALICE.line("text\n").encode() + b"\n\n",
        b"\xff\xfe" + "text\n\n— a AAAAAAA=\n".encode("utf-16-le"),
        b"text\xc0\x8a\n\n" + ALICE.line("text\n").encode(),
        b"text\xed\xa0\x80\n\n" + ALICE.line("text\n").encode(),
    ],
)
def test_messages_that_are_no_notes(message: bytes) -> None:
    """(case 34) No final newline, no empty line, empty lines after the signatures, no UTF-8."""
    with pytest.raises(Malformed):
        parse_note(message)


@pytest.mark.parametrize(
    "line",
    [
        "- name AAAAAAA=\n",
        "– name AAAAAAA=\n",
        "—name AAAAAAA=\n",
        "—\u00a0name AAAAAAA=\n",
        "—  name AAAAAAA=\n",
        " — name AAAAAAA=\n",
        "— name  AAAAAAA=\n",
        "— name AAAAAAA= \n",
        "— name AAAAAAA=AAAAAAA=\n",
        "—  AAAAAAA=\n",
        "— AAAAAAA=\n",
        "— name\n",
        "— name \n",
        "— na+me AAAAAAA=\n",
        "— na\u2003me AAAAAAA=\n",
        "— na\u0085me AAAAAAA=\n",
        "— na\u2028me AAAAAAA=\n",
        "— na\u3000me AAAAAAA=\n",
    ],
)
def test_lines_that_are_no_signatures(line: str) -> None:
    """(case 34) Another dash, other spaces, spaces of other scripts in a name, an empty name, a plus."""
    with pytest.raises(Malformed):
        parse_note(signed(TEXT, line))
    with pytest.raises(Malformed):
        parse_signatures(line)


@pytest.mark.parametrize(
    "encoded", ["", "AAAAAA==", "AAAAAAA", "AAAAAAB=", "AAAAAAA=\u200b", "AAAAAA-_", "AAAA"]
)
def test_a_signature_is_canonical_base64_and_longer_than_its_key_id(encoded: str) -> None:
    """(case 36) Stray bits, missing padding, another alphabet; four bytes are a key id and nothing else."""
    with pytest.raises(Malformed):
        parse_note(signed(TEXT, f"— name {encoded}\n"))


def test_a_note_is_at_most_a_million_bytes() -> None:
    """One byte more is refused before anything is parsed."""
    line = ALICE.line(TEXT)
    longest = "x" * (MAX_NOTE - len(signed("\n", line))) + "\n"
    assert len(parse_note(signed(longest, line)).text) == len(longest)
    with pytest.raises(Malformed, match="at most 1000000 bytes"):
        parse_note(signed("x" + longest, line))


@pytest.mark.parametrize(
    "note",
    [
        Note("", (Signature("a", b"abcd", b"x"),)),
        Note("no newline", (Signature("a", b"abcd", b"x"),)),
        Note("text\n", ()),
        Note("te\rxt\n", (Signature("a", b"abcd", b"x"),)),
        Note("text\n", (Signature("a b", b"abcd", b"x"),)),
        Note("text\n", (Signature("", b"abcd", b"x"),)),
        Note("text\n", (Signature("a", b"abc", b"x"),)),
        Note("text\n", (Signature("a", b"abcd", b""),)),
    ],
)
def test_nothing_is_written_that_could_not_be_read(note: Note) -> None:
    """A bad text, name, key id or value is refused by the writer too."""
    with pytest.raises(Malformed):
        note.encode()


# keys


def test_a_key_id_is_made_of_name_type_and_key() -> None:
    """The first four bytes of one hash; another name, type or key gives another id."""
    expected = sha256(b"alice.example/log\n\x01" + ALICE.public).digest()[:4]
    assert key_id(ALICE.name, ED25519, ALICE.public) == expected == ALICE.verifier.key_id
    assert make_verifier(ALICE.name, ALICE.public) == ALICE.verifier
    assert make_verifier(ALICE.name, ALICE.public, COSIGNATURE).key_id != expected


@pytest.mark.parametrize("encoded", json.loads((VECTORS / "ed25519.json").read_text())["small_order"])
@pytest.mark.parametrize("kind", [ED25519, COSIGNATURE])
def test_no_verifier_key_is_of_small_order(encoded: str, kind: int) -> None:
    """(case 39) In the text that a person is given, too, with the right key id."""
    key = bytes.fromhex(encoded)
    vkey = f"log.example+{key_id('log.example', kind, key).hex()}+{b64encode(bytes([kind]) + key).decode()}"
    with pytest.raises(Malformed, match=r"small order|canonical"):
        parse_verifier(vkey)
    with pytest.raises(Malformed, match=r"small order|canonical"):
        make_verifier("log.example", key, kind)


@pytest.mark.parametrize(
    ("vkey", "rule"),
    [
        ("", "name+hash+base64"),
        ("log.example", "name+hash+base64"),
        ("log.example+c74f20a3", "name+hash+base64"),
        (GO["peter"].replace("c74f20a3", "C74F20A3"), "hexadecimal"),
        (GO["peter"].replace("c74f20a3", "c74f20a"), "hexadecimal"),
        (GO["peter"].replace("c74f20a3", "0c74f20a3f"), "4 bytes"),
        (GO["peter"].replace("c74f20a3", "c74f20a4"), "must be c74f20a3"),
        (GO["peter"].replace("PeterNeumann", "Peterneumann"), "key id"),
        (GO["peter"].replace("PeterNeumann", "Peter Neumann"), "key name"),
        (GO["peter"].replace("PeterNeumann", "Peter\u2028Neumann"), "key name"),
        (GO["peter"].replace("PeterNeumann", ""), "key name"),
        (GO["peter"].replace("PeterNeumann", "\ud800"), "key name"),
        (GO["peter"] + "\n", "base64"),
        (GO["peter"] + "=", "base64"),
        ("log.example+00000000+", "must not be empty"),
        ("log.example+00000000+AQ==", "32 bytes"),
        ("log.example+00000000+" + b64encode(b"\x02" + bytes(32)).decode(), "0x01 or 0x04"),
        ("log.example+00000000+" + b64encode(b"\x06" + bytes(1312)).decode(), "0x01 or 0x04"),
    ],
)
def test_verifier_keys_that_are_refused_say_why(vkey: str, rule: str) -> None:
    """What must be otherwise, by name; post-quantum keys are not known here."""
    with pytest.raises(Malformed) as caught:
        parse_verifier(vkey)
    assert rule in caught.value.message


def test_the_errors_of_hostile_notes_stay_short() -> None:
    """A megabyte of name does not become a megabyte of message."""
    name = "x" * 500_000
    with pytest.raises(UnknownSigner) as caught:
        check_signatures(parse_note(signed(TEXT, f"— {name} AAAAAAA=\n")), [ALICE.verifier])
    assert len(caught.value.message) < 500
    with pytest.raises(Malformed) as refused:
        parse_note(signed(TEXT, f"— {name} AAAAAAB=\n"))
    assert len(refused.value.message) < 500
    assert notes.MAX_NOTE == 1_000_000
