"""Proofs of one entry that travel as a file (c2sp.org/tlog-proof): index, inclusion proof and checkpoint.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from base64 import b64encode
from typing import NamedTuple

from affidavit.core.checkpoint import Opened
from affidavit.core.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from affidavit.core.note import MAX_NOTE, parse_note
from affidavit.core.strict import base64_of, integer
from affidavit.core.unsound import Contradiction, Malformed

__all__ = ["MAX_HASHES", "MAX_PROOF", "TlogProof", "parse_proof", "verify_proof"]

MAX_HASHES = 63
"""Hashes of the proof of a leaf in the greatest tree."""

MAX_PROOF = 2 * MAX_NOTE
"""Bytes of a proof with its checkpoint."""

_HEADER = "c2sp.org/tlog-proof@v1"


class TlogProof(NamedTuple):
    """A proof as it travels; nothing of it has been checked.

    Attributes:
        index: of the leaf, from 0.
        hashes: the inclusion proof, the leaf's sibling first; each 32 bytes.
        checkpoint: the signed note, byte for byte.
        extra: what the writer added, never empty. Nothing vouches for it.
    """

    index: int  # type: ignore[assignment]  # the word of RFC 6962, and no method of tuples here
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The text of the file.

        Raises:
            Malformed: ``extra`` is empty, which the text cannot say.
        """
        if self.extra == b"":
            raise Malformed("the extra data of a proof", "must not be empty, leave it out")
        extra = [] if self.extra is None else [f"extra {b64encode(self.extra).decode()}"]
        lines = [_HEADER, *extra, f"index {self.index}", *(b64encode(each).decode() for each in self.hashes)]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint


def parse_proof(message: bytes) -> TlogProof:
    """Take a proof apart, checking its form only.

    Raises:
        Malformed: it is longer than :data:`MAX_PROOF`, has lines in another form or order, more than
            :data:`MAX_HASHES` hashes, or a checkpoint that is no note.
    """
    if len(message) > MAX_PROOF:
        raise Malformed("a proof", f"must be at most {MAX_PROOF} bytes", len(message))
    head, separator, checkpoint = message.partition(b"\n\n")
    if not separator:
        raise Malformed("a proof", "must have an empty line before its checkpoint")
    parse_note(checkpoint)
    try:
        header, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("a proof", "must be ASCII up to its checkpoint") from None
    if header != _HEADER:
        raise Malformed("the first line of a proof", f"must be {_HEADER}", header)
    extra = _extra(lines.pop(0)) if lines and lines[0].startswith("extra ") else None
    if not lines or not lines[0].startswith("index "):
        raise Malformed("a proof", "must have its index after the header and the extra data")
    index = integer(lines.pop(0).removeprefix("index "), "the index of a proof")
    if len(lines) > MAX_HASHES:
        raise Malformed("a proof", f"must have at most {MAX_HASHES} hashes", len(lines))
    hashes = tuple(base64_of(line, "a hash of a proof", HASH_SIZE) for line in lines)
    return TlogProof(index, hashes, checkpoint, extra)


def verify_proof(proof: TlogProof, entry: bytes, opened: Opened) -> None:
    """Check that an entry is the leaf that the proof says.

    Args:
        proof: from :func:`parse_proof`.
        entry: the bytes that were logged.
        opened: the proof's own checkpoint, from :func:`affidavit.core.checkpoint.open_checkpoint`.

    Raises:
        Contradiction: what was opened is another checkpoint than that of the proof.
        BadProof, Malformed: the proof is none for this index and size.
        RootMismatch: the entry does not lead to the root.
    """
    if parse_note(proof.checkpoint).text != opened.note.text:
        raise Contradiction("the proof was made for another checkpoint than the one that was opened")
    size, root = opened.checkpoint.size, opened.checkpoint.root
    verify_inclusion(proof.index, size, leaf_hash(entry), proof.hashes, root)


def _extra(line: str) -> bytes:
    extra = base64_of(line.removeprefix("extra "), "the extra data of a proof")
    if not extra:
        raise Malformed("the extra data of a proof", "must not be empty, leave the line out")
    return extra
