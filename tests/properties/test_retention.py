"""Which class an action belongs to, and what is past it, against a naive second version."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from affidavit.core.retention import (
    EXPLAINING,
    MAX_CLASSES,
    MAX_DAYS,
    Policy,
    class_covers,
    class_is_valid,
    explains_others,
    longest_match,
    parse_policy,
)
from affidavit.core.unsound import Malformed

SEGMENT = st.sampled_from(["a", "b", "ab", "a-b", "log", "audit", "hold", "retention", "a_1"])
ACTION = st.lists(SEGMENT, min_size=2, max_size=4).map(".".join)
CLASS = st.one_of(
    ACTION, st.just("*"), st.lists(SEGMENT, min_size=1, max_size=3).map(lambda s: ".".join(s) + ".*")
)
RULES = st.dictionaries(CLASS, st.one_of(st.none(), st.integers(1, MAX_DAYS)), max_size=8)
DAY = 86_400_000_000


def naive_classes(action: str) -> list[str]:
    """Every class that an action is of, the narrowest first: built from its segments, nothing is matched."""
    segments = action.split(".")
    prefixes = [".".join([*segments[:size], "*"]) for size in range(len(segments) - 1, 0, -1)]
    return [action, *prefixes, "*"]


def naive_days(rules: dict[str, int | None], action: str) -> int | None:
    """What the first class that stands in the table says."""
    segments = action.split(".")
    ours = {("audit", "erasure"), ("audit", "hold"), ("audit", "retention")}
    if segments[0] == "log" or (len(segments) > 2 and (segments[0], segments[1]) in ours):
        return None
    return next((rules[name] for name in naive_classes(action) if name in rules), None)


@given(RULES, ACTION)
@example({"a.*": 3, "a.b": 5}, "a.b")
@example({"a.*": 3, "ab.*": 5}, "ab.a")
@example({"*": 1}, "audit.retention.changed")
def test_the_narrowest_class_decides(rules: dict[str, int | None], action: str) -> None:
    """The longest class that covers an action counts; where none does the groups are kept for ever."""
    assert Policy(rules).days(action) == naive_days(rules, action)


@given(CLASS, ACTION)
def test_a_class_covers_what_its_segments_say(name: str, action: str) -> None:
    """A hold keeps exactly the actions of its class; half a segment is none."""
    assert class_covers(name, action) == (name in naive_classes(action))
    assert longest_match([name], action) == (name if name in naive_classes(action) else None)


@given(RULES, ACTION, st.integers(0, 2**50), st.integers(0, 2**50))
def test_past_counts_whole_days_from_recording(
    rules: dict[str, int | None], action: str, recorded_at: int, later: int
) -> None:
    """Past means that all its days have gone by since ``recorded_at``, to the microsecond."""
    policy = Policy(rules)
    days = naive_days(rules, action)
    moment = recorded_at + later
    assert policy.is_past(action, recorded_at, moment) == (days is not None and later // DAY >= days)
    if days is not None:
        end = recorded_at + days * DAY
        assert policy.is_past(action, recorded_at, end)
        assert not policy.is_past(action, recorded_at, end - 1)


@given(RULES)
def test_the_table_comes_back_from_its_text(rules: dict[str, int | None]) -> None:
    """The text in the facts holds the whole table, sorted, whatever order it was given in."""
    text = Policy(rules).text
    assert parse_policy(text).rules == rules
    assert text == Policy(dict(reversed(rules.items()))).text
    assert [part.partition("=")[0] for part in text.split()] == sorted(rules)


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "*",
        "*=",
        "*=0",
        "*=090",
        "*=+9",
        "*=36501",
        "*=Forever",
        "*=9 ",
        "*=9  a.*=9",
        "a.*=9 *=9",
        "*=9 *=9",
        "*=9 *=8",
        "a=9",
        "a*=9",
        "a.b*=9",
        "A.*=9",
        ".*=9",
        "a..*=9",
        "a.*.b=9",
        "*.a=9",
        "*=9\n",
        "*=９",
        "a.b=9=9",
        "x" * 127 + ".*=9",
    ],
)
def test_another_text_is_no_table(text: str) -> None:
    """One table has one text: everything else in the facts of an event is refused, not guessed at."""
    with pytest.raises(Malformed):
        parse_policy(text)


def test_a_table_is_bounded() -> None:
    """More classes than fit into a leaf are refused."""
    rules: dict[str, int | None] = {f"a.c{number}": 1 for number in range(MAX_CLASSES)}
    assert len(parse_policy(Policy(rules).text).rules) == MAX_CLASSES
    with pytest.raises(Malformed, match=str(MAX_CLASSES)):
        Policy(rules | {"a.more": 1})


@pytest.mark.parametrize("prefix", EXPLAINING)
def test_what_explains_others_belongs_to_no_class(prefix: str) -> None:
    """Not even a class that names it lets an explanation expire, early or late."""
    action = f"{prefix}changed"
    assert explains_others(action)
    policy = Policy({"*": 1, f"{prefix}*": 1, action: 1})
    assert policy.days(action) is None
    assert not policy.is_past(action, 0, 2**60)


@pytest.mark.parametrize("name", ["access.token.created", "audit.log.read", "auditor.hold.x", "logs.a"])
def test_other_events_of_ours_have_a_class(name: str) -> None:
    """Reading the log is recorded too, and that may expire like everything else."""
    assert Policy({"*": 7}).days(name) == 7


def test_a_class_of_128_characters_is_the_longest() -> None:
    """As long as an action can be."""
    assert class_is_valid("a" * 126 + ".*")
    assert not class_is_valid("a" * 127 + ".*")
