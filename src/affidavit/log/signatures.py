"""Checking Ed25519 signatures at the speed of a library; the same verdicts as :mod:`affidavit.core.ed25519`.

Whoever passes :func:`check_signature` as ``check`` has read the keys with
:func:`~affidavit.core.note.make_verifier` or :func:`~affidavit.core.note.parse_verifier`, which refuse what
this library would take: keys of small order or in another encoding.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from affidavit.core.unsound import BadSignature

__all__ = ["check_signature"]


def check_signature(key: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature; see :data:`affidavit.core.note.Check`.

    Raises:
        BadSignature: it is not the signature of this message by this key.
    """
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise BadSignature() from error
