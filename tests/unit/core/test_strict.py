"""The readers of small forms take one text for one value."""

from __future__ import annotations

import json
import time
from base64 import b64encode

import pytest

from affidavit.core import strict
from affidavit.core.unsound import Malformed


@pytest.mark.parametrize(
    ("text", "number"), [("0", 0), ("7", 7), ("10", 10), ("9223372036854775807", 2**63 - 1)]
)
def test_numbers_are_read(text: str, number: int) -> None:
    """In ASCII, without leading zeros, up to 2**63 - 1."""
    assert strict.integer(text, "a size") == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "007",
        "00",
        "+7",
        "-7",
        "-0",
        "1_000",
        "1e3",
        "0x7",
        "1.0",
        " 7",
        "7 ",
        "7\n",
        "\t7",
        "１２",
        "1２",
        "٧",
        "²",
    ],
)
def test_other_spellings_of_numbers_are_refused(text: str) -> None:
    """(case 35) What ``int`` would take: signs, underscores, spaces, other scripts."""
    with pytest.raises(Malformed, match="a size must be a decimal number from 0 to 9223372036854775807"):
        strict.integer(text, "a size")


@pytest.mark.parametrize("text", ["9223372036854775808", "1" * 20, "9" * 5000])
def test_greater_numbers_are_refused(text: str) -> None:
    """(case 49) Above 2**63 - 1, and with 5,000 digits, which ``int`` would choke on."""
    with pytest.raises(Malformed, match="from 0 to 9223372036854775807"):
        strict.integer(text, "a size")


def test_a_number_may_have_a_lower_limit() -> None:
    """The limit itself is allowed."""
    assert strict.integer("255", "a width", 255) == 255
    with pytest.raises(Malformed, match="from 0 to 255"):
        strict.integer("256", "a width", 255)


@pytest.mark.parametrize("text", "A AA AAA AA= A=== AA=== AAAA= AB== AAF= AA==AA==".split())
def test_other_spellings_of_base64_are_refused(text: str) -> None:
    """(case 36) Missing and surplus padding, bits that are not zero, two texts in one."""
    with pytest.raises(Malformed, match="base64"):
        strict.base64_of(text, "a hash")


@pytest.mark.parametrize(
    "text", ["AAA\n", " AAAA", "AA AA", "AA\nAA", "AAA-", "AAA_", "AAAé", "AAA\x00", "ＡAAA"]
)
def test_no_stray_character_in_base64(text: str) -> None:
    """(case 36) Spaces, line ends, the other alphabet, other scripts."""
    for reader in (strict.base64_of, strict.base64url_of):
        if reader is strict.base64_of or not set(text) & set("-_"):
            with pytest.raises(Malformed, match="base64"):
                reader(text, "a hash")


@pytest.mark.parametrize("text", ["AA==", "AAA=", "A", "AB", "AAF", "AA+A", "AA/A"])
def test_other_spellings_of_base64url_are_refused(text: str) -> None:
    """(case 36) No padding, no bits that are not zero, not the standard alphabet."""
    with pytest.raises(Malformed, match="base64url"):
        strict.base64url_of(text, "a salt")


@pytest.mark.parametrize("text", ["0", "0g", "AB", "aB", "0 ", " 00", "0x00", "00\n", "٠٠", "a b "])
def test_other_spellings_of_hexadecimal_are_refused(text: str) -> None:
    """Upper case, odd numbers of digits, spaces, digits of other scripts."""
    with pytest.raises(Malformed, match="hexadecimal"):
        strict.hex_of(text, "a digest")


def test_a_value_of_another_length_is_refused() -> None:
    """Where a length is asked for, 31 and 33 bytes are wrong, and the message says so."""
    for size in (0, 31, 33):
        value = bytes(size)
        readers = {
            strict.base64_of: b64encode(value).decode(),
            strict.base64url_of: strict.write_base64url(value),
            strict.hex_of: value.hex(),
        }
        for reader, text in readers.items():
            with pytest.raises(Malformed, match=f"a hash must be 32 bytes, not {size}"):
                reader(text, "a hash", 32)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"o":{"x":1,"y":2,"x":3}}',
        "NaN",
        "[Infinity]",
        '{"a":-Infinity}',
        "1e400",
        "-1E999",
        '"\\ud800"',
        '{"\\udc00":1}',
        '"\\udc00\\ud800"',
        "1" * 5000,
        "",
        "{}{}",
        "{} x",
        "{'a':1}",
        "[1,]",
        '"\n"',
        "\ufeff{}",
        "01",
    ],
)
def test_json_that_two_readers_would_read_differently_is_refused(text: str) -> None:
    """(case 48) (case 50) (case 51) Duplicate keys, also by escape, no numbers, half surrogates, a BOM."""
    for form in (text, text.encode()):
        with pytest.raises(Malformed, match="a manifest is not strict JSON"):
            strict.json_of(form, "a manifest")


def test_json_is_utf_8() -> None:
    """No other encoding is guessed."""
    for encoded in (b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', '"x"'.encode("utf-16")):
        with pytest.raises(Malformed, match="not strict JSON"):
            strict.json_of(encoded, "a manifest")


def test_json_keeps_what_is_different_different() -> None:
    """(case 49) (case 52) Great integers, composed and decomposed letters, astral characters, -0."""
    assert strict.json_of('["é","e\u0301"]', "x") == ["é", "e\u0301"]
    assert strict.json_of('["\\ud83d\\ude00","😀"]', "x") == ["😀", "😀"]
    assert strict.json_of(f"[{2**53 + 1},{10**400}]", "x") == [2**53 + 1, 10**400]
    assert str(strict.json_of("-0.0", "x")) == "-0.0"


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_json_nests_64_levels_and_no_more(opening: str, closing: str) -> None:
    """(case 53) 64 are read, 65 and 100,000 are refused by name; brackets in strings do not count."""
    assert strict.json_of(opening * 64 + "1" + closing * 64, "a leaf") == json.loads(
        opening * 64 + "1" + closing * 64
    )
    for depth in (65, 100_000):
        with pytest.raises(Malformed, match="nested deeper than 64"):
            strict.json_of(opening * depth + "1" + closing * depth, "a leaf")
    assert strict.json_of(json.dumps(["[{" * 100, '\\"[' * 100]), "a leaf") == ["[{" * 100, '\\"[' * 100]


def test_nobody_can_make_the_reader_slow() -> None:
    """A megabyte of escaped quotes is refused at once, not after a search from each of them."""
    started = time.perf_counter()
    for text in (
        "[" * 65 + '"' + '\\"' * 500_000,
        '"' + '\\"' * 500_000 + "[" * 65,
        '"\\\n' * 300_000 + "[" * 65,
    ):
        with pytest.raises(Malformed):
            strict.json_of(text, "a leaf")
    assert time.perf_counter() - started < 5
