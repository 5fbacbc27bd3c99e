"""Ed25519 (RFC 8032), verification only, in Python integers: about a millisecond a signature.

The strict reading of section 5.1.7, so that everybody agrees on which signatures are good: ``S`` below the
order of the group, points in their one canonical encoding, no key of small order, the equation without the
cofactor, ``R`` compared byte for byte. Nothing here is secret, so nothing needs constant time: never sign
with this.

One of the modules of the verifier: standard library only.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha512
from typing import TypeAlias

from affidavit.core.unsound import BadSignature, Malformed

__all__ = ["KEY_SIZE", "SIGNATURE_SIZE", "check_public_key", "verify"]

KEY_SIZE = 32
SIGNATURE_SIZE = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

# (X, Y, Z, T) with x = X/Z, y = Y/Z and x*y = T/Z, as in section 5.1.4.
_Point: TypeAlias = tuple[int, int, int, int]

_IDENTITY: _Point = (0, 1, 1, 0)


def check_public_key(key: bytes) -> None:
    """Check that a key is 32 bytes, the canonical encoding of a point, and not of small order.

    With a key of small order one signature fits many messages.

    Raises:
        Malformed: it is none of these.
    """
    _decode_key(bytes(key))


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Check a signature.

    Args:
        key: 32 bytes.
        message: what was signed.
        signature: 64 bytes, ``R`` and ``S``.

    Raises:
        BadSignature: it is not the signature of this message by this key.
        Malformed: the key fails :func:`check_public_key`.
    """
    point = _decode_key(bytes(key))
    if len(signature) != SIGNATURE_SIZE:
        raise BadSignature(f"an Ed25519 signature is {SIGNATURE_SIZE} bytes, not {len(signature)}")
    commitment, scalar = bytes(signature[:32]), int.from_bytes(signature[32:], "little")
    if scalar >= _L:
        raise BadSignature("the second half of an Ed25519 signature must be below the order of the group")
    challenge = int.from_bytes(sha512(commitment + key + message).digest(), "little") % _L
    if _encode(_sum_of_multiples(scalar, _base(), challenge, _multiples(_negative(point)))) != commitment:
        raise BadSignature()


@lru_cache(maxsize=256)
def _decode_key(key: bytes) -> _Point:
    if len(key) != KEY_SIZE:
        raise Malformed("an Ed25519 public key", f"must be {KEY_SIZE} bytes", len(key))
    point = _decode(key)
    if point is None:
        raise Malformed("an Ed25519 public key", "must be the canonical encoding of a point", key.hex())
    x, y, z, _ = _double(_double(_double(point)))
    if x == 0 and y == z:
        raise Malformed("an Ed25519 public key", "must not be of small order", key.hex())
    return point


def _decode(encoded: bytes) -> _Point | None:
    """Section 5.1.3."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= _P:
        return None
    above, below = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = above * pow(below, 3, _P) * pow(above * pow(below, 7, _P), (_P - 5) // 8, _P) % _P
    if (below * x * x + above) % _P == 0:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (below * x * x - above) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode(point: _Point) -> bytes:
    """Section 5.1.2."""
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


def _negative(point: _Point) -> _Point:
    x, y, z, t = point
    return _P - x, y, z, _P - t


def _add(one: _Point, other: _Point) -> _Point:
    """Section 5.1.4; complete, so it may also double."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * _D * one[3] * other[3] % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: _Point) -> _Point:
    """Section 5.1.4."""
    x, y, z, _ = point
    a, b = x * x % _P, y * y % _P
    h = a + b
    e = h - (x + y) ** 2 % _P
    g = a - b
    f = 2 * z * z % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiples(point: _Point) -> tuple[_Point, ...]:
    """0 to 15 times the point."""
    found = [_IDENTITY, point]
    while len(found) < 16:
        found.append(_add(found[-1], point))
    return tuple(found)


@lru_cache(maxsize=1)
def _base() -> tuple[_Point, ...]:
    point = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert point is not None
    return _multiples(point)


def _sum_of_multiples(one: int, ones: tuple[_Point, ...], other: int, others: tuple[_Point, ...]) -> _Point:
    """``one`` times the first point and ``other`` times the second, four bits of both in each round."""
    result = _IDENTITY
    for shift in range(252, -1, -4):
        result = _double(_double(_double(_double(result))))
        result = _add(_add(result, ones[one >> shift & 15]), others[other >> shift & 15])
    return result
