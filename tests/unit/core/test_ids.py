"""Ids: time order, exact microseconds, and the layout of RFC 9562."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.core.ids import (
    MAX_MICROSECONDS,
    first_id,
    format_id,
    keyed_tail,
    last_id,
    make_id,
    microseconds_of,
    parse_id,
)
from affidavit.errors import InvalidQuery

moments = st.integers(0, MAX_MICROSECONDS)
tails = st.integers(0, 2**64 - 1)


@given(moments, tails)
def test_the_moment_comes_back_to_the_microsecond(moment: int, tail: int) -> None:
    """An id holds occurred_at exactly, whatever its random part."""
    assert microseconds_of(make_id(moment, tail)) == moment


@given(moments, tails, moments, tails)
def test_id_order_is_time_order(one: int, tail: int, other: int, other_tail: int) -> None:
    """Of two ids of different moments the later moment's is greater, as bytes."""
    if one != other:
        assert (make_id(one, tail) < make_id(other, other_tail)) == (one < other)


@given(moments, tails)
def test_bounds_enclose_every_id_of_their_microsecond(moment: int, tail: int) -> None:
    """first_id and last_id are the inclusive bounds of one microsecond and of no other."""
    assert first_id(moment) <= make_id(moment, tail) <= last_id(moment)
    if moment:
        assert last_id(moment - 1) < first_id(moment)


@given(moments, tails)
def test_ids_are_uuids_of_version_7(moment: int, tail: int) -> None:
    """The standard library reads version, variant and milliseconds as RFC 9562 lays them out."""
    uuid = UUID(bytes=make_id(moment, tail))
    assert (uuid.version, uuid.variant) == (7, "specified in RFC 4122")
    assert uuid.int >> 80 == moment // 1000
    assert (uuid.int >> 64) & 0xFFF == moment % 1000 * 4096 // 1000


@given(moments, tails)
def test_text_and_bytes_are_each_others_inverse(moment: int, tail: int) -> None:
    """format_id writes what uuid.UUID writes, and parse_id takes it back in either case."""
    event_id = make_id(moment, tail)
    text = format_id(event_id)
    assert text == str(UUID(bytes=event_id))
    assert parse_id(text) == parse_id(text.upper()) == event_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not-an-id",
        "01a1fd77-d086-4f60-b226-97b6a5026b7b",
        "01a1fd77-d086-7f60-c226-97b6a5026b7b",
        "01a1fd77d0867f60b22697b6a5026b7b",
        "01a1fd77-d086-7f60-b226-97b6a5026b7",
        "01a1fd77-d086-7f60-b226-97b6a5026b7g",
        "01a1fd77-d086-7f60-b226-97b6a5026b7b\n",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """Only a canonical UUIDv7 is an id; the error names the parameter."""
    with pytest.raises(InvalidQuery) as refused:
        parse_id(text, "event")
    assert refused.value.errors[0].pointer == "event"


def test_keyed_tail_is_the_first_62_bits_of_the_hash() -> None:
    """The tail of a keyed id is SHA-256(secret, key) cut to 62 bits."""
    secret = bytes(range(32))
    expected = int(sha256(secret + "schlüssel".encode()).hexdigest(), 16) >> (256 - 62)
    assert keyed_tail(secret, "schlüssel") == expected
    assert make_id(0, keyed_tail(secret, "schlüssel"))[8:] == ((0b10 << 62) | expected).to_bytes(8, "big")
