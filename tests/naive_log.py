"""A log by the definitions of RFC 6962, in the fewest lines and without any module of the product.

A second opinion for tests of witnesses: trees, proofs and signed notes are made here by recursion and with
the library's Ed25519, and checked there by the product.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["NaiveLog", "consistency", "root"]


def _hash(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def root(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1."""
    if len(entries) < 2:
        return _hash(b"\0" + entries[0]) if entries else _hash(b"")
    half = _split(len(entries))
    return _hash(b"\1" + root(entries[:half]) + root(entries[half:]))


def consistency(old: int, entries: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF and SUBPROOF of RFC 6962 section 2.1.2."""
    if old == len(entries):
        return [] if whole else [root(entries)]
    half = _split(len(entries))
    if old <= half:
        return [*consistency(old, entries[:half], whole=whole), root(entries[half:])]
    return [*consistency(old - half, entries[half:], whole=False), root(entries[:half])]


def _split(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


class NaiveLog:
    """A log with a key.

    Args:
        origin: its name, and that of its key.
        seed: one byte that stands for the key.
        entries: its leaves.
    """

    def __init__(self, origin: str, seed: int = 1, entries: Sequence[bytes] = ()) -> None:
        self.origin = origin
        self.entries = list(entries)
        self.key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
        self.public = self.key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        return _hash(self.origin.encode() + b"\n\x01" + self.public)[:4]

    @property
    def vkey(self) -> str:
        return f"{self.origin}+{self.key_id.hex()}+{b64encode(bytes([1]) + self.public).decode()}"

    def grow(self, count: int, word: bytes = b"leaf") -> NaiveLog:
        """Append leaves."""
        self.entries += [b"%b %d" % (word, len(self.entries)) for _ in range(count)]
        return self

    def text(self, size: int) -> str:
        """The text of a checkpoint."""
        return f"{self.origin}\n{size}\n{b64encode(root(self.entries[:size])).decode()}\n"

    def note(self, size: int | None = None, text: str | None = None) -> bytes:
        """A signed checkpoint; of another text where one is given."""
        signed = text if text is not None else self.text(len(self.entries) if size is None else size)
        line = b64encode(self.key_id + self.key.sign(signed.encode())).decode()
        return f"{signed}\n— {self.origin} {line}\n".encode()

    def body(self, old: int, size: int | None = None, *, proof: Sequence[bytes] | None = None) -> bytes:
        """A request to a witness; with an honest proof where none is given."""
        size = len(self.entries) if size is None else size
        if proof is None:
            proof = consistency(old, self.entries[:size]) if 0 < old < size else []
        lines = [f"old {old}", *(b64encode(each).decode() for each in proof), "", ""]
        return "\n".join(lines).encode() + self.note(size)
