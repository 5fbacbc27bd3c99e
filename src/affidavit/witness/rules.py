"""What a witness decides, and nothing else: no clock, no key, no file.

The rules are those of ``add-checkpoint`` (c2sp.org/tlog-witness). Each refusal is a class of its
own with the HTTP status that the protocol gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from affidavit.core import ed25519
from affidavit.core.checkpoint import Checkpoint, Opened, open_checkpoint, parse_checkpoint
from affidavit.core.merkle import HASH_SIZE, verify_consistency
from affidavit.core.note import Check, Verifier, parse_note
from affidavit.core.strict import base64_of, integer
from affidavit.core.unsound import BadSignature, Malformed, UnknownSigner, Unsound

__all__ = [
    "MAX_BODY",
    "MAX_PROOF",
    "BadRequest",
    "Inconsistent",
    "NotTheirs",
    "Refusal",
    "Remembered",
    "Request",
    "StaleSize",
    "UnknownLog",
    "check_growth",
    "is_fork",
    "open_request",
    "parse_request",
]

MAX_BODY = 1_000_000
"""Bytes of a request; room for thousands of signatures."""

MAX_PROOF = 63
"""Lines of a consistency proof."""

_OLD = "old "


class Refusal(Exception):
    """The witness does not cosign; the message says why, and goes into the answer."""

    status: ClassVar[int] = 400


class BadRequest(Refusal):
    """The request is not in the form of the protocol, or goes from a greater size to a smaller one."""


class UnknownLog(Refusal):
    """No key is trusted for this origin."""

    status = 404


class NotTheirs(Refusal):
    """No key that is trusted for this origin has signed the checkpoint, or a signature is bad."""

    status = 403


class StaleSize(Refusal):
    """The request does not start from what this witness cosigned last; it is told the size."""

    status = 409

    def __init__(self, size: int) -> None:
        super().__init__(f"this witness last cosigned size {size}")
        self.size = size


class Inconsistent(Refusal):
    """The checkpoint is not shown to extend what this witness cosigned before."""

    status = 422


class Request(NamedTuple):
    """A request to cosign.

    Attributes:
        old: the size from which the proof starts.
        proof: 32 bytes each.
        note: the checkpoint as it came.
        checkpoint: what its text says; nobody's signature has been checked.
    """

    old: int
    proof: tuple[bytes, ...]
    note: bytes
    checkpoint: Checkpoint


class Remembered(NamedTuple):
    """The checkpoint that a witness cosigned last for a log."""

    size: int
    root: bytes


def parse_request(body: bytes) -> Request:
    r"""Take the body of ``add-checkpoint`` apart: ``old <size>\n``, proof lines, an empty line, a checkpoint.

    Raises:
        BadRequest: any other form; a body above :data:`MAX_BODY`, a proof above :data:`MAX_PROOF` lines.
        Inconsistent: an empty tree with the root of another.
    """
    head, separator, note = body.partition(b"\n\n")
    if len(body) > MAX_BODY or not separator:
        raise BadRequest(
            f"the body must be at most {MAX_BODY} bytes and have an empty line before the checkpoint"
        )
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadRequest("the lines before the checkpoint must be ASCII") from None
    if not first.startswith(_OLD) or len(lines) > MAX_PROOF:
        raise BadRequest(f"the body must begin with old and a size, and then at most {MAX_PROOF} hashes")
    try:
        old = integer(first.removeprefix(_OLD), "the old size")
        proof = tuple([base64_of(line, "a line of the proof", HASH_SIZE) for line in lines])
        text = parse_note(note).text
    except Malformed as error:
        raise BadRequest(error.message) from error
    try:
        return Request(old, proof, note, parse_checkpoint(text))
    except Malformed as error:
        kind = Inconsistent if error.what == "the root hash of an empty tree" else BadRequest
        raise kind(error.message) from error


def open_request(
    request: Request, keys_of: Callable[[str], Sequence[Verifier]], check: Check = ed25519.verify
) -> Opened:
    """Check that the log itself says so, and that sizes do not fall.

    Args:
        request: from :func:`parse_request`.
        keys_of: the keys that are trusted for an origin; none for an unknown log.
        check: how a signature is checked.

    Raises:
        UnknownLog, NotTheirs, BadRequest: in this order.
    """
    origin = request.checkpoint.origin
    keys = keys_of(origin)
    if not keys:
        raise UnknownLog(f"no key is trusted for the origin {origin:.200}")
    try:
        opened = open_checkpoint(request.note, keys, origin=origin, check=check)
    except (UnknownSigner, BadSignature, Malformed) as error:
        raise NotTheirs(error.message) from error
    if request.old > request.checkpoint.size:
        raise BadRequest(f"the old size {request.old} is above the new one, {request.checkpoint.size}")
    return opened


def check_growth(seen: Remembered | None, request: Request) -> None:
    """Check that a checkpoint extends the one that was cosigned last.

    Args:
        seen: that one; ``None`` where this log never came before.
        request: whose signature has been checked.

    Raises:
        StaleSize: the request starts from another size.
        Inconsistent: the proof does not hold or is not empty where it must be, or the same size has another
            root.
    """
    known = seen if seen is not None else Remembered(0, b"")
    checkpoint = request.checkpoint
    if request.old != known.size:
        raise StaleSize(known.size)
    if request.old == 0 or request.old == checkpoint.size:
        if request.proof:
            raise Inconsistent(f"the proof from size {request.old} to {checkpoint.size} must be empty")
        if is_fork(seen, checkpoint):
            raise Inconsistent(f"size {checkpoint.size} was cosigned with another root")
        return
    try:
        verify_consistency(known.size, checkpoint.size, known.root, checkpoint.root, request.proof)
    except Unsound as error:
        raise Inconsistent(error.message) from error


def is_fork(seen: Remembered | None, checkpoint: Checkpoint) -> bool:
    """Whether two signed checkpoints of one size have different roots: proof that the log has lied."""
    return seen is not None and seen.size == checkpoint.size and seen.root != checkpoint.root
