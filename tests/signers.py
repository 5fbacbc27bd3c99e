"""Private keys for tests, and what is signed with them: by ``cryptography``, not by the code under test."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from affidavit.core.note import COSIGNATURE, ED25519, Verifier


class Signer:
    """A key under a name. The same name and seed give the same key."""

    def __init__(self, name: str, kind: int = ED25519, seed: str = "") -> None:
        self.name = name
        self.kind = kind
        self.private = Ed25519PrivateKey.from_private_bytes(sha256(f"{name} {kind} {seed}".encode()).digest())
        self.public = self.private.public_key().public_bytes_raw()
        self.key_id = sha256(name.encode() + b"\n" + bytes([kind]) + self.public).digest()[:4]
        self.verifier = Verifier(name, self.key_id, kind, self.public)

    @classmethod
    def witness(cls, name: str, seed: str = "") -> Signer:
        """A key that cosigns."""
        return cls(name, COSIGNATURE, seed)

    def line(self, text: str, seconds: int = 1_700_000_000) -> str:
        """The signature line, or the cosignature line of a witness at that time."""
        if self.kind == ED25519:
            return self.line_of(self.private.sign(text.encode()))
        signed = b"cosignature/v1\ntime %d\n%s" % (seconds, text.encode())
        return self.line_of(seconds.to_bytes(8, "big") + self.private.sign(signed))

    def line_of(self, value: bytes) -> str:
        """A line with any bytes as signature."""
        return f"— {self.name} {b64encode(self.key_id + value).decode()}\n"


def signed(text: str, *lines: str) -> bytes:
    """A note."""
    return (text + "\n" + "".join(lines)).encode()
