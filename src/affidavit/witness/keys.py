"""The key that a witness signs with: an Ed25519 key of its own, in a file that only its owner can read.

The file has one line, as signers of notes are written: ``PRIVATE+KEY+<name>+<key id>+<base64(type, seed)>``.
"""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from affidavit.core.checkpoint import cosignature_message
from affidavit.core.note import COSIGNATURE, make_verifier, signature_line
from affidavit.core.strict import base64_of
from affidavit.core.unsound import Malformed
from affidavit.errors import ConfigError

__all__ = ["SEED_SIZE", "WitnessKey", "load_witness_key", "make_witness_key"]

SEED_SIZE = 32
_PREFIX = "PRIVATE+KEY+"
_MOST = 4_096


class WitnessKey:
    """Signs what a witness has seen (c2sp.org/tlog-cosignature, Ed25519).

    Args:
        name: of the witness, as its verifier key has it.
        seed: 32 bytes.

    Raises:
        Malformed: a name that no key can have.
    """

    def __init__(self, name: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = make_verifier(name, public, COSIGNATURE)

    def cosign(self, text: str, seconds: int) -> str:
        """The signature line over a checkpoint's text at a moment, in seconds since 1970 UTC."""
        signature = self._key.sign(cosignature_message(text, seconds))
        value = seconds.to_bytes(8, "big") + signature
        return signature_line(self.verifier.name, self.verifier.key_id, value)


def make_witness_key(path: Path, name: str, entropy: Callable[[int], bytes]) -> WitnessKey:
    """Make a key and its file of mode 0600, on the disk when this returns.

    Raises:
        ConfigError: the file exists or cannot be made, or the name cannot be used.
    """
    seed = entropy(SEED_SIZE)
    try:
        key = WitnessKey(name, seed)
    except Malformed as error:
        raise ConfigError(error.message) from error
    typed = b64encode(bytes([COSIGNATURE]) + seed).decode()
    line = f"{_PREFIX}{name}+{key.verifier.key_id.hex()}+{typed}\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"The witness's key {path} cannot be made: {error.strerror}.") from error
    return key


def load_witness_key(path: Path) -> WitnessKey:
    """Read the file.

    Raises:
        ConfigError: it is missing, can be read by others, is no regular file, or holds no key of a witness.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"The witness's key {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(_MOST)
    if not stat.S_ISREG(mode):
        raise ConfigError(f"The witness's key {path} is not a regular file.")
    if mode & 0o077:
        raise ConfigError(f"The witness's key {path} can be read by others; run: chmod 600 {path}")
    try:
        return _read(content.decode())
    except (Malformed, ValueError):
        # Neither the text nor the reader's error is shown: they may hold the seed.
        raise ConfigError(
            f"The witness's key {path} is damaged; restore it from where you keep it."
        ) from None


def _read(content: str) -> WitnessKey:
    name, stated, encoded = content.removeprefix(_PREFIX).removesuffix("\n").split("+", 2)
    typed = base64_of(encoded, "the key")
    if not content.startswith(_PREFIX) or len(typed) != 1 + SEED_SIZE or typed[0] != COSIGNATURE:
        raise ValueError("another form")
    key = WitnessKey(name, typed[1:])
    if key.verifier.key_id.hex() != stated:
        raise ValueError("another key id")
    return key
