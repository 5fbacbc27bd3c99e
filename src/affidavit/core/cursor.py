"""Continuation tokens: where a walk over pages stands, opaque to whoever carries it.

A token is encrypted and authenticated (AES-GCM, through the cipher that the caller hands in), and bound to
the filter, the organizations and the order of the question that it continues. It never widens access: the
scope is checked anew on every page.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from typing import Literal, Protocol

import msgspec

from affidavit.core.filter import Filter
from affidavit.errors import InvalidQuery

__all__ = ["Cipher", "Order", "Position", "open_token", "question_hash", "seal_token"]

Order = Literal["desc", "asc"]


class Cipher(Protocol):
    """Authenticated encryption under a key of the server (``token.key``)."""

    def encrypt(self, plain: bytes, associated: bytes) -> bytes:
        """A fresh nonce and the sealed text."""

    def decrypt(self, sealed: bytes, associated: bytes) -> bytes | None:
        """The text, or ``None`` where it was not sealed under this key with this associated data."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page starts.

    Attributes:
        order: of the walk.
        last: the last id looked at (16 bytes; ``desc``), exclusive.
        seq: the last place in recording order looked at (``asc``), exclusive.
        watermark: of the index at the first page, microseconds since 1970 UTC.
    """

    order: Order
    last: bytes = b""
    seq: int = 0
    watermark: int = 0


_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.Decoder(Position).decode


def question_hash(filter_: Filter, organizations: tuple[str, ...] | None) -> bytes:
    """What a token is bound to; ``None`` stands for all organizations."""
    return sha256(_encode([filter_, organizations])).digest()


def seal_token(position: Position, question: bytes, cipher: Cipher) -> str:
    """The token as base64url without padding."""
    sealed = cipher.encrypt(_encode(position), question + position.order.encode())
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def open_token(token: str, order: Order, question: bytes, cipher: Cipher) -> Position:
    """The position a token stands for.

    Raises:
        InvalidQuery: not one of ours, altered, or made for another filter, organization or order.
    """
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (ValueError, binascii.Error):
        raw = b""
    plain = cipher.decrypt(raw, question + order.encode())
    if plain is None:
        raise InvalidQuery.of(
            "continuation_token",
            "token",
            "does not belong to this question; start again from the first page with the same filters",
            token[:100],
        )
    return _decode(plain)
