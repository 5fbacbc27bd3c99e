"""Proofs that travel: written, read, and believed only for their own entry, index and checkpoint."""

from __future__ import annotations

from base64 import b64encode

import pytest

from affidavit.core.checkpoint import Checkpoint, Opened, open_checkpoint
from affidavit.core.merkle import node_hash
from affidavit.core.note import parse_note
from affidavit.core.proof import MAX_HASHES, MAX_PROOF, TlogProof, parse_proof, verify_proof
from affidavit.core.unsound import BadProof, Contradiction, Malformed, RootMismatch, Unsound
from tests.rfc6962 import NaiveTree
from tests.signers import Signer, signed

LOG, WITNESS = Signer("log.example/1"), Signer.witness("witness.example")
ENTRIES = [b"entry %d" % number for number in range(13)]
NAIVE = NaiveTree(ENTRIES)


def checkpoint(size: int, signer: Signer = LOG) -> bytes:
    """A signed checkpoint of the first ``size`` entries."""
    text = Checkpoint(signer.name, size, NAIVE.root(size)).text
    return signed(text, signer.line(text), WITNESS.line(text))


def proof_of(index: int, size: int = 13) -> TlogProof:
    """The proof of an entry, made by the definition."""
    return TlogProof(index, tuple(NAIVE.path(index, 0, size)), checkpoint(size))


def opened(proof: TlogProof) -> Opened:
    """Its checkpoint, checked."""
    return open_checkpoint(proof.checkpoint, [LOG.verifier], [WITNESS.verifier])


def encoded(*lines: str, note: bytes = checkpoint(13)) -> bytes:
    """A proof from its lines."""
    return ("\n".join(["c2sp.org/tlog-proof@v1", *lines]) + "\n\n").encode() + note


HASH = b64encode(bytes(32)).decode()


def test_every_proof_is_written_read_and_verified() -> None:
    """All leaves of trees up to 13, the tree of one leaf without any hash."""
    for size in range(1, 14):
        for index in range(size):
            proof = proof_of(index, size)
            assert parse_proof(proof.encode()) == proof
            verify_proof(proof, ENTRIES[index], opened(proof))
    assert proof_of(0, 1).hashes == ()


def test_the_text_is_that_of_the_specification() -> None:
    """Header, extra data, index, hashes with the sibling first, an empty line, the note as it is."""
    proof = TlogProof(5, (bytes(32), b"\x01" * 32), checkpoint(13), b"extra information")
    assert proof.encode() == (
        b"c2sp.org/tlog-proof@v1\n"
        b"extra ZXh0cmEgaW5mb3JtYXRpb24=\n"
        b"index 5\n"
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        b"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
        b"\n"
    ) + checkpoint(13)
    assert parse_proof(proof.encode()) == proof


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c2sp.org/tlog-proof@v1\n\n",
        encoded("index 0", note=b""),
        encoded("index 0", note=b"\n"),
        encoded("index 0", note=b"checkpoint\n"),
        b"wrong-header\nindex 0\n\n" + checkpoint(13),
        b"c2sp.org/tlog-proof@v2\nindex 0\n\n" + checkpoint(13),
        b"c2sp.org/tlog-proof@v1 \nindex 0\n\n" + checkpoint(13),
        b"\xef\xbb\xbf" + encoded("index 0"),
        encoded("index 0").replace(b"\n", b"\r\n"),
        encoded(),
        encoded(HASH),
        encoded("index"),
        encoded("index "),
        encoded("index x"),
        encoded("index -5"),
        encoded("index 05"),
        encoded("index +5"),
        encoded("index  5"),
        encoded("index 5 "),
        encoded("index 1_0"),
        encoded("index ５"),
        encoded("index 9223372036854775808"),
        encoded("Index 5"),
        encoded("index 5", "index 5"),
        encoded("index 5", "extra AAAA"),
        encoded("extra AAAA"),
        encoded("extra AAAA", "extra AAAA", "index 5"),
        encoded("extra ", "index 5"),
        encoded("extra", "index 5"),
        encoded("extra !!notbase64!!", "index 5"),
        encoded("extra AAB=", "index 5"),
        encoded("index 5", "!!notbase64!!"),
        encoded("index 5", HASH[:-1]),
        encoded("index 5", HASH[:-2] + "B="),
        encoded("index 5", " " + HASH),
        encoded("index 5", b64encode(bytes(31)).decode()),
        encoded("index 5", b64encode(bytes(33)).decode()),
        encoded("index 5", b64encode(bytes(64)).decode()),
        encoded("index 5", *[HASH] * (MAX_HASHES + 1)),
        encoded("index 5", "a" * 70_000),
        encoded("index 5", "\xff"),
    ],
)
def test_messages_that_are_no_proofs(message: bytes) -> None:
    """(case 22) (case 35) (case 36) Other headers, orders, numbers, base64 and lengths."""
    with pytest.raises(Malformed):
        parse_proof(message)


def test_a_proof_may_have_63_hashes_and_a_large_checkpoint() -> None:
    """(case 41) 1,000 signatures are read; two million bytes and one more are not looked at."""
    many = signed("log.example/1\n1\n" + HASH + "\n", *[WITNESS.line_of(bytes(72))] * 1000)
    proof = parse_proof(encoded("index 5", *[HASH] * MAX_HASHES, note=many))
    assert len(proof.hashes) == 63
    assert len(parse_note(proof.checkpoint).signatures) == 1000
    with pytest.raises(Malformed, match="at most 2000000 bytes"):
        parse_proof(encoded("index 5").ljust(MAX_PROOF + 1, b"\n"))


def test_empty_extra_data_is_not_written() -> None:
    """It would come back as something else."""
    with pytest.raises(Malformed, match="must not be empty"):
        TlogProof(0, (), checkpoint(1), b"").encode()


def test_a_proof_proves_no_other_entry_and_no_other_index() -> None:
    """(case 1) Every other entry and every other index of the tree, below and above."""
    for index in range(13):
        proof = proof_of(index)
        for other in range(13):
            if other != index:
                with pytest.raises(RootMismatch):
                    verify_proof(proof, ENTRIES[other], opened(proof))
                with pytest.raises(Unsound):
                    verify_proof(proof._replace(index=other), ENTRIES[index], opened(proof))
        for outside in (13, 2**63 - 1):
            with pytest.raises(BadProof):
                verify_proof(proof._replace(index=outside), ENTRIES[index], opened(proof))


def test_a_proof_of_another_length_is_refused() -> None:
    """(case 22) Too long, too short, with the root at its end."""
    proof = proof_of(5)
    for hashes in (proof.hashes[:-1], proof.hashes[1:], (*proof.hashes, NAIVE.root()), ()):
        with pytest.raises(BadProof, match="hashes, not"):
            verify_proof(proof._replace(hashes=hashes), ENTRIES[5], opened(proof))


def test_a_node_passed_off_as_an_entry_is_refused() -> None:
    """(case 20) The bytes under a node are hashed as an entry, so they lead elsewhere."""
    left, right = NAIVE.mth(0, 1), NAIVE.mth(1, 2)
    upper = NAIVE.path(0, 0, 4)[1:]
    text = Checkpoint(LOG.name, 2, NAIVE.root(4)).text  # even where the log itself signed a wrong size
    forged = TlogProof(0, tuple(upper), signed(text, LOG.line(text)))
    assert node_hash(node_hash(left, right), upper[0]) == NAIVE.root(4)
    for entry in (left + right, b"\x01" + left + right):
        with pytest.raises(RootMismatch):
            verify_proof(forged, entry, opened(forged))


def test_a_proof_counts_only_for_its_own_checkpoint() -> None:
    """(case 45) (case 68) Opened was another size, or that of another log: nothing is compared at all."""
    proof = proof_of(5)
    verify_proof(proof, ENTRIES[5], opened(proof))
    with pytest.raises(Contradiction, match="another checkpoint"):
        verify_proof(proof, ENTRIES[5], opened(proof_of(5, 12)))
    other = Signer("log.example/2")
    foreign = open_checkpoint(checkpoint(13, other), [other.verifier])
    with pytest.raises(Contradiction, match="another checkpoint"):
        verify_proof(proof, ENTRIES[5], foreign)


def test_extra_data_changes_nothing() -> None:
    """Nothing vouches for it, and nothing depends on it."""
    proof = proof_of(5)._replace(extra=b"\x00\xff")
    assert parse_proof(proof.encode()).extra == b"\x00\xff"
    verify_proof(proof, ENTRIES[5], opened(proof))
