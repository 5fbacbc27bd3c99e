"""Ed25519 against published vectors, against ``cryptography``, and against points of small order."""

from __future__ import annotations

import json
import random
import timeit
from hashlib import sha512
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from affidavit.core import ed25519
from affidavit.core.unsound import BadSignature, Malformed

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "ed25519.json").read_text(encoding="utf-8")
)
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19


def verdict(key: bytes, message: bytes, signature: bytes) -> str:
    """What the product says: good, bad, or that the key cannot be used."""
    try:
        ed25519.verify(key, message, signature)
    except BadSignature:
        return "bad"
    except Malformed:
        return "key"
    return "good"


def verdict_of_openssl(key: bytes, message: bytes, signature: bytes) -> str:
    """What the library says."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return "bad"
    return "good"


# published vectors


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS["rfc8032"])
def test_the_signatures_of_the_reference_implementation(key: str, message: str, signature: str) -> None:
    """They verify, and none of them does for another message."""
    arguments = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert verdict(*arguments) == "good"
    assert verdict(arguments[0], arguments[1] + b"\x00", arguments[2]) == "bad"


def test_wycheproof() -> None:
    """All 210: the valid ones verify, the invalid ones do not, keys of small order are refused.

    Wycheproof leaves open keys with a part of small order; without the cofactor they verify where the
    equation holds, as in OpenSSL.
    """
    expected = {"valid": "good", "invalid": "bad"}
    seen = 0
    for group in VECTORS["wycheproof"]:
        key = bytes.fromhex(group["key"])
        for number, flag, result, message, signature in group["tests"]:
            want = expected.get(result) or {"SmallOrderPublicKey": "key", "MixedOrderPublicKey": "good"}[flag]
            assert verdict(key, bytes.fromhex(message), bytes.fromhex(signature)) == want, (number, flag)
            seen += 1
    assert seen == 210


@pytest.mark.parametrize(("number", "key", "signature", "message", "flags"), VECTORS["cctv"])
def test_cctv(number: int, key: str, signature: str, message: str, flags: list[str]) -> None:
    """Edge cases of points: what a strict verifier without the cofactor says of each combination."""
    if {"low_order_A", "non_canonical_A"} & set(flags):
        want = "key"
    elif {"low_order_residue", "non_canonical_R", "reencoded_k"} & set(flags):
        want = "bad"
    else:
        want = "good"
    assert verdict(bytes.fromhex(key), message.encode(), bytes.fromhex(signature)) == want


# keys


@pytest.mark.parametrize("encoded", VECTORS["small_order"])
def test_no_key_is_of_small_order(encoded: str) -> None:
    """(case 39) All eight points and their six other encodings are refused, whatever the signature."""
    key = bytes.fromhex(encoded)
    with pytest.raises(Malformed, match=r"small order|canonical"):
        ed25519.check_public_key(key)
    for signature in (b"\x00" * 64, b"\x01" + b"\x00" * 63, key + b"\x00" * 32):
        assert verdict(key, b"message", signature) == "key"


@pytest.mark.parametrize("encoded", ["01" + "00" * 30 + "80", "ec" + "ff" * 31])
def test_minus_zero_is_no_coordinate(encoded: str) -> None:
    """(case 39) A sign on x = 0 is another encoding of that point, and none that is canonical."""
    with pytest.raises(Malformed, match="canonical"):
        ed25519.check_public_key(bytes.fromhex(encoded))


def test_the_universal_forgery_by_the_neutral_key_is_refused() -> None:
    """(case 39) With the key 01 00 ... 00 one signature fits all messages in OpenSSL; here it is no key."""
    neutral = bytes([1]) + bytes(31)
    base = (4 * pow(5, -1, PRIME) % PRIME).to_bytes(32, "little")
    forged = base + (1).to_bytes(32, "little")
    for message in (b"one", b"another"):
        assert verdict_of_openssl(neutral, message, forged) == "good"
        assert verdict(neutral, message, forged) == "key"


@pytest.mark.parametrize("high", [0, 1])
def test_no_key_is_encoded_above_the_prime(high: int) -> None:
    """(case 39) The 19 values from 2**255 - 19 on, with either sign, encode nothing."""
    for number in range(PRIME, 2**255):
        with pytest.raises(Malformed, match="canonical"):
            ed25519.check_public_key((number | high << 255).to_bytes(32, "little"))


def test_half_of_all_numbers_are_no_points() -> None:
    """A number that is the y of no point is refused, the others are not, as Euler's criterion says."""
    d = -121665 * pow(121666, -1, PRIME)
    verdicts = set()
    for y in range(2, 60):
        square = (y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME
        is_point = pow(square, (PRIME - 1) // 2, PRIME) in (0, 1)
        verdicts.add(is_point)
        key = y.to_bytes(32, "little")
        if is_point:
            ed25519.check_public_key(key)
        else:
            with pytest.raises(Malformed, match="canonical"):
                ed25519.check_public_key(key)
    assert verdicts == {True, False}


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_is_32_bytes(size: int) -> None:
    """No other length, and no guess."""
    with pytest.raises(Malformed, match="32 bytes"):
        ed25519.check_public_key(b"\x09" * size)


# signatures


@pytest.mark.parametrize("size", [0, 63, 65, 128])
def test_a_signature_is_64_bytes(size: int) -> None:
    """No other length."""
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert verdict(key, b"", b"\x01" * size) == "bad"


def test_a_signature_has_one_form_only() -> None:
    """Adding the order of the group to S, once or more often, makes no second signature."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key, message = private.public_key().public_bytes_raw(), b"message"
    signature = private.sign(message)
    assert verdict(key, message, signature) == "good"
    scalar = int.from_bytes(signature[32:], "little")
    for times in range(1, 2**256 // ORDER):
        moved = (scalar + times * ORDER).to_bytes(32, "little")
        assert verdict(key, message, signature[:32] + moved) == "bad"


def test_the_library_and_the_product_agree_on_random_and_mutated_signatures() -> None:
    """600 signatures as they were made, and each with one bit of key, message or signature flipped."""
    chance = random.Random(20261121)
    verdicts = {"good": 0, "bad": 0, "key": 0}
    for size in range(600):
        private = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        message = chance.randbytes(size % 200 + 1)
        parts = [private.public_key().public_bytes_raw(), message, private.sign(message)]
        assert verdict(*parts) == verdict_of_openssl(*parts) == "good"
        which = chance.randrange(3)
        bit = chance.randrange(8 * len(parts[which]))
        number = int.from_bytes(parts[which], "little") ^ 1 << bit
        parts[which] = number.to_bytes(len(parts[which]), "little")
        found = verdict(*parts)
        assert verdict_of_openssl(*parts) == "bad"
        assert found == "bad" or (found == "key" and which == 0)
        verdicts[found] += 1
    assert verdicts["bad"] > 400
    assert verdicts["key"] > 50


Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    """The addition of the curve as in RFC 8032 section 5.1, in plain coordinates."""
    (x1, y1), (x2, y2) = one, other
    product = -121665 * pow(121666, -1, PRIME) * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, PRIME)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, PRIME)
    return x % PRIME, y % PRIME


def times(number: int, point: Point) -> Point:
    """The point added to itself so often."""
    result: Point = (0, 1)
    for digit in f"{number:b}":
        result = add(result, result)
        if digit == "1":
            result = add(result, point)
    return result


def encode(point: Point) -> bytes:
    """RFC 8032 section 5.1.2."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def test_parts_of_small_order_in_key_and_signature() -> None:
    """All 64 pairs: a signature is good where the small parts of both cancel, says the arithmetic modulo 8.

    The key is ``a B + i T`` and R is ``r B + j T`` with T of order 8, so the equation leaves ``(j + k i) T``.
    OpenSSL says the same of each.
    """
    base = (
        15112221349535400772501151409588531511454012693041857206046113283949847762202,
        46316835694926478169428394003475163141307993866256225615783033603165251855960,
    )
    y = int.from_bytes(bytes.fromhex(VECTORS["small_order"][4]), "little")
    d = -121665 * pow(121666, -1, PRIME)
    square = (y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != square:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    small = (x, y)
    assert times(8, small) == (0, 1) != times(4, small)
    secret, nonce = 123456789, 987654321
    verdicts = {"good": 0, "bad": 0}
    for i in range(8):
        key = encode(add(times(secret, base), times(i, small)))
        for j in range(8):
            first = encode(add(times(nonce, base), times(j, small)))
            for number in range(6):
                message = b"message %d" % number
                k = int.from_bytes(sha512(first + key + message).digest(), "little") % ORDER
                signature = first + ((nonce + k * secret) % ORDER).to_bytes(32, "little")
                want = "good" if (j + k * i) % 8 == 0 else "bad"
                assert verdict(key, message, signature) == want
                assert verdict_of_openssl(key, message, signature) == want
                verdicts[want] += 1
    assert min(verdicts.values()) > 30


def test_a_verification_takes_a_few_milliseconds_at_most() -> None:
    """Slow machines included: the best of twenty stays under 20 ms."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    key, signature = private.public_key().public_bytes_raw(), private.sign(b"message")
    assert min(timeit.repeat(lambda: ed25519.verify(key, b"message", signature), number=1, repeat=20)) < 0.02
