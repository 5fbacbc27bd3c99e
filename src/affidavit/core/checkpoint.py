"""Checkpoints (c2sp.org/tlog-checkpoint) and the cosignatures of witnesses (c2sp.org/tlog-cosignature).

A checkpoint is a note whose text says origin, tree size and root hash of a log, one a line. Its log signs the
text; a witness signs the text and the moment at which it had seen nothing that contradicts it.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import NamedTuple

from affidavit.core import ed25519
from affidavit.core.merkle import EMPTY_ROOT, HASH_SIZE
from affidavit.core.note import (
    COSIGNATURE,
    Check,
    Note,
    Verifier,
    check_one,
    check_signatures,
    check_text,
    parse_note,
    signatures_by,
)
from affidavit.core.strict import MAX_INTEGER, base64_of, integer
from affidavit.core.unsound import BadSignature, Contradiction, Malformed, UnknownSigner

__all__ = ["Checkpoint", "Opened", "cosignature_message", "open_checkpoint", "parse_checkpoint"]

_TIME_SIZE = 8


class Checkpoint(NamedTuple):
    """What a log says of itself.

    Attributes:
        origin: which log.
        size: leaves, at most 2**63 - 1.
        root: 32 bytes.
        extensions: further lines, whose meaning nobody vouches for.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text that is signed."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, _encode(self.root), *self.extensions))


class Opened(NamedTuple):
    """A checkpoint that the log and perhaps witnesses have signed.

    Attributes:
        checkpoint: what they signed.
        note: how it came.
        signers: the keys of the log that signed it, at least one.
        cosigned: each witness that signed it, with its latest time in seconds since 1970 UTC.
    """

    checkpoint: Checkpoint
    note: Note
    signers: tuple[Verifier, ...]
    cosigned: tuple[tuple[Verifier, int], ...]


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint.

    Raises:
        Malformed: fewer than three lines, an empty one, a control character; a size that is not written in
            the one way, or above 2**63 - 1; a root that is not 32 bytes, or not the empty one for size 0.
    """
    check_text(text)
    lines = text.split("\n")
    if lines.pop() or len(lines) < 3 or not all(lines):
        raise Malformed("the text of a checkpoint", "must be three or more lines, none empty", text)
    origin, size, root, *extensions = lines
    made = Checkpoint(
        origin,
        integer(size, "the tree size of a checkpoint"),
        base64_of(root, "the root hash of a checkpoint", HASH_SIZE),
        tuple(extensions),
    )
    if made.size == 0 and made.root != EMPTY_ROOT:
        raise Malformed("the root hash of an empty tree", f"must be {_encode(EMPTY_ROOT)}", root)
    return made


def cosignature_message(text: str, seconds: int) -> bytes:
    """What a witness signs with Ed25519: a header, the time and the text.

    Args:
        text: of the checkpoint, its final newline included.
        seconds: since 1970 UTC.

    Raises:
        Malformed: a time below 0 or above 2**63 - 1.
    """
    if not 0 <= seconds <= MAX_INTEGER:
        raise Malformed("the time of a cosignature", f"must be from 0 to {MAX_INTEGER}", seconds)
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def open_checkpoint(
    message: bytes,
    log_keys: Sequence[Verifier],
    witnesses: Sequence[Verifier] = (),
    *,
    origin: str | None = None,
    check: Check = ed25519.verify,
) -> Opened:
    """Read a checkpoint and check who signed it.

    Args:
        message: the note.
        log_keys: keys that are trusted to sign for their log, whose origin is their name.
        witnesses: keys of type 0x04 whose cosignatures count. How many there must be is for a policy to say.
        origin: the log that is expected, where that is known.
        check: how a signature is checked.

    Raises:
        Malformed: it is no checkpoint.
        Contradiction: it is one of another log than the one expected.
        UnknownSigner: no trusted key of its origin has signed it.
        BadSignature: a line names a trusted key, which did not make it.
    """
    note = parse_note(message)
    checkpoint = parse_checkpoint(note.text)
    if origin is not None and checkpoint.origin != origin:
        raise Contradiction(f"this is a checkpoint of {checkpoint.origin:.200}, expected was {origin:.200}")
    signers = check_signatures(note, log_keys, check)
    own = tuple(each for each in signers if each.name == checkpoint.origin)
    if not own:
        raise UnknownSigner(f"{signers[0].name:.100} has signed a checkpoint of {checkpoint.origin:.200}")
    return Opened(checkpoint, note, own, _cosigned(note, witnesses, check))


def _cosigned(note: Note, witnesses: Sequence[Verifier], check: Check) -> tuple[tuple[Verifier, int], ...]:
    latest: dict[Verifier, int] = {}
    for witness, value in signatures_by(note, witnesses, COSIGNATURE):
        if len(value) != _TIME_SIZE + ed25519.SIGNATURE_SIZE:
            raise BadSignature(f"the cosignature of {witness.name:.100} must be 72 bytes, not {len(value)}")
        seconds = int.from_bytes(value[:_TIME_SIZE], "big")
        check_one(witness, cosignature_message(note.text, seconds), value[_TIME_SIZE:], check)
        latest[witness] = max(seconds, latest.get(witness, 0))
    return tuple(latest.items())


def _encode(root: bytes) -> str:
    return b64encode(root).decode()
