"""The cipher of continuation tokens: AES-256-GCM under ``token.key`` in the data directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from affidavit.errors import ConfigError

__all__ = ["TokenCipher", "load_key"]

_NONCE = 12
_KEY = 32


class TokenCipher:
    """Seals and opens short texts; see :class:`affidavit.core.cursor.Cipher`.

    Args:
        key: 32 bytes.
        entropy: that many random bytes, for nonces (NIST SP 800-38D section 8.2.2: at most 2**32 a key).
    """

    def __init__(self, key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._gcm = AESGCM(key)
        self._entropy = entropy

    def encrypt(self, plain: bytes, associated: bytes) -> bytes:
        """Nonce and sealed text."""
        nonce = self._entropy(_NONCE)
        return nonce + self._gcm.encrypt(nonce, plain, associated)

    def decrypt(self, sealed: bytes, associated: bytes) -> bytes | None:
        """The text, or ``None`` where it is not ours."""
        if len(sealed) < _NONCE + 16:
            return None
        try:
            return self._gcm.decrypt(sealed[:_NONCE], sealed[_NONCE:], associated)
        except InvalidTag:
            return None


def load_key(path: Path, entropy: Callable[[int], bytes]) -> bytes:
    """The key in a file of mode 0600, made where there is none; shared by all servers of one database.

    Raises:
        ConfigError: the file can be read by others, or holds no key.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "wb") as file:
            file.write(entropy(_KEY).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except ValueError:
        key = b""
    if len(key) != _KEY:
        raise ConfigError(f"{path} holds no key of 64 hex digits; remove it, and a new one is made")
    return key
