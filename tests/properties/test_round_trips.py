"""What is written can be read back, both ways: ids, moments, tokens, questions, differences, JSON."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from affidavit.access.ciphers import TokenCipher
from affidavit.core import ids, times
from affidavit.core.changes import diff
from affidavit.core.cursor import Order, Position, open_token, question_hash, seal_token
from affidavit.core.event import Change
from affidavit.core.filter import Filter
from affidavit.core.query import parse_params, parse_search, to_params
from affidavit.core.row import encode_group
from affidavit.core.scan import decode_json
from affidavit.errors import InvalidEvent, InvalidQuery
from tests.properties.world import questions

MOMENTS = st.integers(0, ids.MAX_MICROSECONDS)
TAILS = st.integers(0, (1 << 62) - 1)
ORDERS: tuple[Order, ...] = ("desc", "asc")


# ids


@given(moment=MOMENTS, tail=TAILS)
@example(moment=0, tail=0)
@example(moment=ids.MAX_MICROSECONDS, tail=(1 << 62) - 1)
def test_an_id_gives_back_its_moment_and_is_a_uuid_of_version_7(moment: int, tail: int) -> None:
    """To the microsecond; text and bytes lead to each other; bounds of the moment hold it."""
    made = ids.make_id(moment, tail)
    assert ids.microseconds_of(made) == moment
    assert (UUID(bytes=made).version, UUID(bytes=made).variant) == (7, "specified in RFC 4122")
    assert ids.format_id(made) == str(UUID(bytes=made))
    assert ids.parse_id(ids.format_id(made)) == ids.parse_id(ids.format_id(made).upper()) == made
    assert ids.first_id(moment) <= made <= ids.last_id(moment)
    assert int.from_bytes(made, "big") & (1 << 62) - 1 == tail


@given(one=MOMENTS, other=MOMENTS, tails=st.tuples(TAILS, TAILS))
def test_the_order_of_ids_is_the_order_of_their_moments(one: int, other: int, tails: tuple[int, int]) -> None:
    """Whatever stands in the tail."""
    assume(one != other)
    assert (ids.make_id(one, tails[0]) < ids.make_id(other, tails[1])) is (one < other)


def test_every_microsecond_of_a_millisecond_has_its_own_rand_a() -> None:
    """``floor(us * 4096 / 1000)`` in the twelve bits, ``ceil`` back: RFC 9562 section 6.2, method 3."""
    made = [ids.make_id(1_700_000_000_000_000 + number, 0) for number in range(1000)]
    rand_a = [int.from_bytes(one[6:8], "big") & 0xFFF for one in made]
    assert rand_a == [number * 4096 // 1000 for number in range(1000)]
    assert [ids.microseconds_of(one) % 1000 for one in made] == list(range(1000))


@given(text=st.text(max_size=40) | st.uuids().map(str))
def test_only_uuids_of_version_7_are_ids(text: str) -> None:
    """Anything else is named as what it is not."""
    try:
        meant = (
            UUID(text) if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text) else None
        )
    except ValueError:
        meant = None
    if meant is not None and meant.version == 7:
        assert ids.parse_id(text) == meant.bytes
    else:
        with pytest.raises(InvalidQuery):
            ids.parse_id(text)


# moments


@given(moment=MOMENTS)
def test_a_moment_is_written_and_read_back(moment: int) -> None:
    """As text of six digits, as an aware datetime and as itself."""
    text = times.format_time(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert times.parse_time(text) == times.parse_time(moment) == moment
    aware = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
    assert times.parse_time(aware) == moment
    assert text == aware.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


@given(
    moment=st.integers(times.DAY, ids.MAX_MICROSECONDS - times.DAY),
    zone=st.integers(-23 * 60, 23 * 60),
    digits=st.text("0123456789", max_size=24),
)
def test_zones_are_converted_and_further_digits_are_cut(moment: int, zone: int, digits: str) -> None:
    """Not rounded: the seventh digit changes nothing."""
    local = datetime(1970, 1, 1) + timedelta(microseconds=moment, minutes=zone)  # noqa: DTZ001
    sign, minutes = ("-", -zone) if zone < 0 else ("+", zone)
    text = (
        f"{local:%Y-%m-%dT%H:%M:%S.%f}".rjust(26, "0")
        + digits
        + f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    )
    assert times.parse_time(text) == moment


@given(moment=MOMENTS)
def test_a_day_as_a_bound_is_the_whole_day(moment: int) -> None:
    """Its first microsecond as a start, its last as an end."""
    day = times.format_time(moment)[:10]
    start, end = (times.parse_bound(day, "x", end=end) for end in (False, True))
    assert start <= moment <= end
    assert end - start == times.DAY - 1
    assert start % times.DAY == 0


# tokens


def cipher(key: bytes = b"k" * 32) -> TokenCipher:
    """With nonces that never repeat within a test."""
    numbers = iter(range(1 << 30))
    return TokenCipher(key, lambda count: next(numbers).to_bytes(count, "big"))


POSITIONS = st.builds(
    Position,
    order=st.sampled_from(ORDERS),
    last=st.binary(max_size=17),
    seq=st.integers(0, 2**63 - 1),
    watermark=MOMENTS,
)
NAMES = st.sampled_from((None, (), ("acme",), ("acme", "globex"), ("globex",)))


@given(position=POSITIONS, pairs=questions(), names=NAMES)
def test_a_token_leads_back_to_its_position(
    position: Position, pairs: list[tuple[str, str]], names: tuple[str, ...] | None
) -> None:
    """For the same question, however it was spelt, and without padding."""
    question = question_hash(parse_params(pairs), names)
    token = seal_token(position, question, cipher())
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    again = question_hash(parse_params(reversed(pairs)), names)
    assert open_token(token, position.order, again, cipher()) == position


@given(position=POSITIONS, pairs=questions(), other=questions(), names=NAMES, others=NAMES)
def test_a_token_belongs_to_its_question(
    position: Position,
    pairs: list[tuple[str, str]],
    other: list[tuple[str, str]],
    names: tuple[str, ...] | None,
    others: tuple[str, ...] | None,
) -> None:
    """Another filter, organization, order or key: refused, by the name of the parameter."""
    one, two = parse_params(pairs), parse_params(other)
    token = seal_token(position, question_hash(one, names), cipher())
    wrong = []
    if one != two:
        wrong.append((position.order, question_hash(two, names), cipher()))
    if names != others:
        wrong.append((position.order, question_hash(one, others), cipher()))
    reverse: Order = "asc" if position.order == "desc" else "desc"
    wrong.append((reverse, question_hash(one, names), cipher()))
    wrong.append((position.order, question_hash(one, names), cipher(b"l" * 32)))
    for order, question, key in wrong:
        with pytest.raises(InvalidQuery, match="continuation_token"):
            open_token(token, order, question, key)


@given(position=POSITIONS, at=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.integers(1, 20))
def test_an_altered_token_is_refused(position: Position, at: int, bit: int, cut: int) -> None:
    """One bit, a piece, something in front, another alphabet."""
    question = question_hash(Filter(), None)
    token = seal_token(position, question, cipher())
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    raw[at % len(raw)] ^= 1 << bit
    flipped = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    for altered in (
        flipped,
        token[:-cut],
        "A" * cut + token,
        token[::-1],
        token + "é",
        token[:5] + "%" + token[5:],
    ):
        with pytest.raises(InvalidQuery, match="continuation_token"):
            open_token(altered, position.order, question, cipher())


@given(text=st.text(max_size=80))
def test_no_other_text_is_a_token(text: str) -> None:
    """Whatever a client sends, it is refused as a parameter."""
    with pytest.raises(InvalidQuery):
        open_token(text, "desc", question_hash(Filter(), None), cipher())


# questions


@given(pairs=questions())
def test_parameters_and_filter_lead_to_each_other(pairs: list[tuple[str, str]]) -> None:
    """And the order in which they stand makes no difference."""
    made = parse_params(pairs)
    assert parse_params(to_params(made)) == made
    assert to_params(parse_params(to_params(made))) == to_params(made)
    assert parse_params(reversed(pairs)) == made
    assert parse_params([*pairs, ("q", ""), ("not_actor", "")], empty="ignore") == made


SYNONYMS = {"start_date": "after", "end_date": "before"}


def search_line(pairs: list[tuple[str, str]], bare: list[bool]) -> str:
    """The line that a person would type, with quotes where they are needed and sometimes elsewhere."""
    pieces = []
    for (name, value), plain in zip(pairs, bare, strict=False):
        qualifier = SYNONYMS.get(name, name.removeprefix("not_"))
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        text = value if plain and re.fullmatch(r'[^\s"]+', value) else f'"{escaped}"'
        pieces.append(f"{'-' if name.startswith('not_') else ''}{qualifier}:{text}")
    return "  ".join(pieces)


@given(pairs=questions(), bare=st.lists(st.booleans(), min_size=20, max_size=20))
def test_a_search_line_says_what_the_parameters_say(pairs: list[tuple[str, str]], bare: list[bool]) -> None:
    """Every filter, value and negation; quoted or bare."""
    assert parse_search(search_line(pairs, bare)) == pairs


@given(words=st.lists(st.from_regex(r"[^\s\":\-][^\s\":]{0,8}", fullmatch=True), min_size=1, max_size=4))
def test_words_without_a_qualifier_are_one_phrase(words: list[str]) -> None:
    """Up to the next qualifier."""
    phrase = " ".join(words)
    assert parse_search(phrase) == [("q", phrase)]
    assert parse_search(f"{phrase} actor:x {phrase}") == [("q", phrase), ("actor", "x"), ("q", phrase)]


@given(line=st.text(st.sampled_from('abc:-"\\ \tq_ß*%') | st.characters(codec="utf-8"), max_size=40))
def test_any_line_is_a_question_or_is_refused(line: str) -> None:
    """By our own error; what is accepted reads the same when it is written out again."""
    try:
        pairs = parse_search(line)
        parse_params(pairs)
    except InvalidQuery:
        return
    assert parse_search(search_line(pairs, [False] * len(pairs))) == pairs


# differences

SCALARS = (
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from((0.0, 1.0, -1.5)) | st.text(max_size=3)
)
KEYS = st.sampled_from(("a", "b", "a.b", 'q"', "x y", "[0]", "\\", "", "ß"))


def states(depth: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    """Nested objects and lists; no member is null, as a missing one is shown so."""
    values = st.recursive(
        SCALARS.filter(lambda value: value is not None),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    )
    return st.dictionaries(KEYS, values, max_size=4)


PATH = re.compile(r"""\.?(?P<plain>[^.\[\]"\s]+)|\[(?P<number>\d+)\]|\.?\["(?P<quoted>(?:[^"\\]|\\.)*)"\]""")


def steps(path: str) -> Iterator[str | int]:
    """The members that a path leads through."""
    position = 0
    while position < len(path):
        piece = PATH.match(path, position)
        assert piece is not None, path
        position = piece.end()
        if piece["number"] is not None:
            yield int(piece["number"])
        elif piece["plain"] is not None:
            yield piece["plain"]
        else:
            yield re.sub(r"\\(.)", r"\1", piece["quoted"])


def put(state: Any, path: list[str | int], value: Any) -> None:
    """Set or, for a member that is gone, take away."""
    for step in path[:-1]:
        state = state.setdefault(step, {}) if isinstance(state, dict) else state[step]
    if value is None and isinstance(state, dict):
        state.pop(path[-1], None)
    else:
        state[path[-1]] = value


def get(state: Any, path: list[str | int]) -> Any:
    """What stands at a path, or nothing."""
    for step in path:
        if isinstance(state, dict):
            state = state.get(step)
        else:
            state = state[step]
    return state


def exact(value: Any) -> str:
    """JSON with the types of numbers told apart, so that ``1``, ``1.0`` and ``true`` differ."""
    return json.dumps(value, sort_keys=True)


@given(old=states(), new=states())
@example(old={"a": 1}, new={"a": True})
@example(old={"a": 1}, new={"a": 1.0})
@example(old={"r": [{"p": 1}, {"p": 2}]}, new={"r": [{"p": 1}, {"p": 3}]})
def test_applying_a_difference_gives_the_new_state(old: dict[str, Any], new: dict[str, Any]) -> None:
    """And undoing it the old one; every entry names a place whose values differ."""
    changes = diff(old, new)
    assert list(changes) == sorted(changes)
    forth, back = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    for path, change in changes.items():
        assert exact(change.old) != exact(change.new), path
        assert exact(get(old, list(steps(path)))) == exact(change.old), path
        assert exact(get(new, list(steps(path)))) == exact(change.new), path
        put(forth, list(steps(path)), change.new)
        put(back, list(steps(path)), change.old)
    assert exact(forth) == exact(new)
    assert exact(back) == exact(old)


@given(state=states())
def test_a_state_does_not_differ_from_itself(state: dict[str, Any]) -> None:
    """Nor from a copy."""
    assert diff(state, json.loads(json.dumps(state))) == {}


def test_a_member_that_became_null_is_shown() -> None:
    """Against the value before; a missing member and a null one look alike."""
    assert diff({"a": 1, "b": None}, {"a": None}) == {"a": Change(old=1, new=None)}


# JSON

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**40), 10**40) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
CODE_POINTS = ("a", "Z", "é", "ﬃ", "\uffff", "\ue000", "\U00010000", "\U0001f600", "aa", "", "\x7f", "\x80")


@given(value=st.dictionaries(TEXTS | st.sampled_from(CODE_POINTS), VALUES, max_size=5))
@example(value=dict.fromkeys(CODE_POINTS, 1))
@example(value={"a": '\u2028\u2029\x7f\x1f\b\f\n\r\t/\\"'})
def test_a_group_is_canonical_json(value: dict[str, Any]) -> None:
    """No white space, keys by code point at every depth, non-ASCII as it is; and it reads back."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert encode_group(value).decode() == canonical
    assert decode_json(encode_group(value), levels=99) == value


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_with_a_fraction_reads_back_as_itself(value: float) -> None:
    """To the last bit; how it is written is ours."""
    text = encode_group({"a": value})
    read = json.loads(text)["a"]
    assert float(read).hex() == value.hex()
    assert encode_group(decode_json(text, levels=2)) == text


class Refused(Exception):
    """The naive reading refuses a document."""


def naive_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object without double keys."""
    if len(dict(pairs)) != len(pairs):
        raise Refused
    return dict(pairs)


def naive_constant(name: str) -> Any:
    """NaN and Infinity are no JSON."""
    raise Refused(name)


def naive_depth(value: Any) -> int:
    """A scalar is 0, ``{}`` is 1."""
    if isinstance(value, dict):
        return 1 + max(map(naive_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(naive_depth, value), default=0)
    return 0


def naive_texts(value: Any) -> Iterator[str]:
    """All texts, keys included."""
    if isinstance(value, str):
        yield value
    for member in value if isinstance(value, list | dict) else ():
        yield from naive_texts(member)
    if isinstance(value, dict):
        for member in value.values():
            yield from naive_texts(member)


def naive_json(raw: bytes, levels: int) -> Any:
    """The standard library's parser, with everything that we refuse looked for afterwards."""
    try:
        value = json.loads(raw.decode(), object_pairs_hook=naive_pairs, parse_constant=naive_constant)
        depth = naive_depth(value)
    except (ValueError, RecursionError) as error:
        raise Refused from error
    if depth > levels:
        raise Refused
    for text in naive_texts(value):
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Refused
    if "inf" in repr(value) and "Infinity" in json.dumps(value):
        raise Refused
    return value


ESCAPES = (
    "\\u0000",
    "\\ud800",
    "\\udc00",
    "\\ud83d\\ude00",
    "\\\\u0000",
    "\\\\ud800",
    '\\"',
    "\\\\",
    "\\/",
    "\\n",
)
PIECES = st.sampled_from(
    (*ESCAPES, "a", "b", ":", ",", "{", "}", "[", "]", " ", "é", "\U0001f600", "\\u0061")
)
STRINGS = st.lists(PIECES, max_size=4).map(lambda pieces: f'"{"".join(pieces)}"')
NUMBERS = st.sampled_from(
    ("0", "-0", "1", "1.0", "-1e3", "1E400", "0.1e-999", "9" * 40, "01", "1.", "+1", ".5", "NaN")
)


def written(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects and arrays around documents, with white space, double keys and trailing commas."""
    members = st.lists(st.tuples(STRINGS, inner).map(":".join), max_size=3)
    space = st.sampled_from(("", "", "", " ", "\n\t", ","))
    objects = st.tuples(space, members, space).map(
        lambda found: f"{{{found[0]}{','.join(found[1])}{found[2]}}}"
    )
    return objects | st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]")


DOCUMENTS = st.recursive(
    STRINGS | NUMBERS | st.sampled_from(("null", "true", "false", "nul")), written, max_leaves=10
)
SEEDS = st.sampled_from(('{"a":[1,{"b":"\\u0000"}],"a":2}', '[{"k":"\\ud800"}]', '{"a":{"a":{"a":"\\\\"}}}'))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A document, perhaps with a few bytes put in, left out or changed."""
    raw = bytearray(draw(DOCUMENTS | SEEDS).encode())
    for _ in range(draw(st.sampled_from((0, 0, 1, 3)))):
        at = draw(st.integers(0, len(raw)))
        piece = draw(
            st.sampled_from((b"", b'"', b"\\", b"{", b"}", b":", b",", b"\0", b"\xff", b"\xed\xa0\x80", b"9"))
        )
        raw[at : at + draw(st.integers(0, 1))] = piece
    return bytes(raw)


@given(raw=damaged(), levels=st.integers(0, 6))
@example(raw=b"[{}]", levels=1)
@example(raw=b"[" * 1_000 + b"]" * 1_000, levels=32)
@example(raw=b'{"a":' * 100_000, levels=32)
@example(raw=b'{"a":1,"\\u0061":2}', levels=9)
@example(raw=b'{"a\\"":1,"a\\\\":2,"":":"}', levels=9)
def test_json_is_read_as_the_naive_reading_reads_it(raw: bytes, levels: int) -> None:
    """The same value, or both refuse it; ours by an error that the caller can be told."""
    try:
        expected: Any = naive_json(raw, levels)
    except Refused:
        with pytest.raises(InvalidEvent) as refused:
            decode_json(raw, levels=levels)
        msgspec.json.encode(refused.value.errors)
    else:
        assert exact(decode_json(raw, levels=levels)) == exact(expected)
