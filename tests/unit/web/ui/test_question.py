"""From an address to a question, the filter form, and back to addresses."""

from __future__ import annotations

import pytest

from affidavit.catalogs import ready_made
from affidavit.core.filter import Condition
from affidavit.errors import InvalidQuery
from affidavit.log.reader import Bucket
from affidavit.web.ui.chart import HEIGHT, WIDTH, draw
from affidavit.web.ui.form import build
from affidavit.web.ui.links import Links, Pair, is_local
from affidavit.web.ui.paging import Place
from affidavit.web.ui.question import EVERY, Question
from affidavit.web.ui.table import quick_ranges
from tests.unit.web.ui.memory import NOW

GIVEN: list[Pair] = [
    ("organization", "acme"),
    ("search", "rotation -source:web"),
    ("actor", "a"),
    ("actor", "b"),
    ("action", "user.create"),
    ("outcome", "failure"),
    ("outcome", "success"),
    ("not_ip", "10.0.0.0/8"),
    ("severity", ""),
    ("request_id", "r1"),
]


def test_an_address_survives_the_round_trip() -> None:
    """What a link carries is what the next request reads, empty controls left out."""
    question = Question.of([*GIVEN, ("page", "3"), ("continuation_token", "t2"), ("back", "t1")])
    assert question.pairs(place=question.place) == [
        *(pair for pair in GIVEN if pair[1]),
        ("back", "t1"),
        ("page", "3"),
        ("continuation_token", "t2"),
    ]
    assert Question.of(question.pairs(place=question.place)) == question


def test_search_line_and_controls_make_one_filter() -> None:
    """Both are conditions of the same question."""
    asked = Question.of(GIVEN).filter()
    assert Condition("q", ("rotation",)) in asked.conditions
    assert Condition("source", ("web",), negated=True) in asked.conditions
    assert Condition("actor", ("a", "b")) in asked.conditions
    assert Condition("ip", ("10.0.0.0/8",), negated=True) in asked.conditions


@pytest.mark.parametrize(
    ("pairs", "parameter"),
    [
        ([("colour", "red")], "colour"),
        ([("limit", "1000")], "limit"),
        ([("ip", "999.1.1.1")], "ip"),
        ([("start_date", "2026-02-30")], "start_date"),
        ([("search", 'open "quote')], "search"),
        ([("search", "after:2026-01-01"), ("start_date", "2026-01-01")], "start_date"),
    ],
)
def test_a_broken_filter_is_named(pairs: list[Pair], parameter: str) -> None:
    """Unknown parameters and bad values are refused by name, never ignored."""
    with pytest.raises(InvalidQuery) as caught:
        Question.of(pairs).filter()
    assert caught.value.errors[0].pointer == parameter


@pytest.mark.parametrize("name", ["search", "organization"])
def test_the_parameters_of_the_page_are_given_once(name: str) -> None:
    """Two organizations in one address are no question."""
    with pytest.raises(InvalidQuery) as caught:
        Question.of([(name, "a"), (name, "b")])
    assert caught.value.errors[0].rule == "repeated"


def test_without_leaves_one_filter_out_and_starts_again() -> None:
    """The way out of a refused filter keeps all others."""
    question = Question.of([*GIVEN, ("continuation_token", "t")])
    assert ("actor", "a") not in question.without("actor")
    assert ("request_id", "r1") in question.without("actor")
    assert all(name != "search" for name, _ in question.without("search"))
    assert Question.of(question.without("actor")).place == Place()


def submitted(question: Question) -> list[Pair]:
    """What a browser sends when the form is submitted untouched."""
    form = build(question, ready_made(), organizations=("acme", "other"))
    pairs: list[Pair] = [("search", form.search)]
    pairs += [("organization", option.value) for option in form.organizations if option.selected]
    for name, options in (
        ("action_group", form.groups),
        ("outcome", form.outcomes),
        ("severity", form.severities),
        ("source", form.sources),
        ("late", form.late),
        ("imported", form.imported),
    ):
        pairs.append((name, next((option.value for option in options if option.selected), "")))
    pairs += [("action", o.value) for group in form.types for o in group.options if o.selected]
    pairs += [("actor", option.value) for option in form.actors if option.selected]
    pairs += [(date.name, date.value) for date in form.dates]
    pairs += [(field.name, field.value) for field in form.texts]
    return [*pairs, *form.carried]


@pytest.mark.parametrize(
    "pairs",
    [
        GIVEN,
        [("organization", EVERY), ("action", "user.*"), ("action", "made.up"), ("action_group", "auth")],
        [("organization", "acme"), ("start_date", "2026-01-01T08:00:00Z"), ("end_date", "2026-02-01")],
        [("organization", "acme"), ("source", "aws"), ("not_source", "web"), ("q", "a"), ("q", "b")],
        [("organization", "acme"), ("resource", "x"), ("resource", "y"), ("late", "true"), ("trace_id", "f")],
    ],
)
def test_the_form_submitted_untouched_asks_the_same(pairs: list[Pair]) -> None:
    """No control drops or doubles a filter, whichever it is."""
    question = Question.of(pairs)
    again = Question.of([pair for pair in submitted(question) if pair[1]])
    if question.organization != EVERY:
        assert again.organization == question.organization
    assert again.filter() == question.filter()


def test_event_types_follow_the_group() -> None:
    """With a group chosen only its types are offered; the groups carry their titles."""
    form = build(Question.of([("action_group", "auth")]), ready_made())
    assert [group.title for group in form.types] == ["Authentication"]
    assert all(option.value.startswith("auth.") for group in form.types for option in group.options)
    everything = build(Question(), ready_made(), actions=["aws.iam.createuser"])
    titles = {group.title for group in everything.types}
    assert {"Authentication", "Users", "Roles", "Organizations"} <= titles
    assert any(o.value == "aws.iam.createuser" for g in everything.types for o in g.options)


def test_chips_name_each_filter_and_how_to_remove_it() -> None:
    """Each removes itself and nothing else."""
    question = Question.of(GIVEN)
    chips = build(question, ready_made(), names={"a": "Ana"}).chips
    words = [(chip.label, chip.value, chip.excluded) for chip in chips]
    assert ("Actor", "Ana", False) in words
    assert ("IP address", "10.0.0.0/8", True) in words
    assert ("Event type", "User created", False) in words
    for chip in chips:
        assert len(Question.of(list(chip.rest)).given) == len(question.given) - 1


def test_one_organization_needs_no_choice() -> None:
    """The control appears when there is something to choose."""
    assert build(Question(), ready_made(), organizations=("acme",)).organizations == ()
    both = build(Question(organization="b"), ready_made(), organizations=("a", "b"), across=True)
    assert [(option.value, option.selected) for option in both.organizations] == [
        ("a", False),
        ("b", True),
        (EVERY, False),
    ]


def test_links_follow_the_mount() -> None:
    """Served alone, mounted as the root of a path, and with characters that need quoting."""
    alone = Links.of("", "/audit", {"page.css": "page.1.css"})
    assert alone.list([("q", "a b&c")]) == "/audit?q=a+b%26c"
    assert alone.event("x", "acme") == "/audit/events/x?organization=acme"
    assert alone.asset("page.css") == "/audit/assets/page.1.css"
    mounted = Links.of("/my app/", "", {"page.css": "page.1.css"})
    assert mounted.list() == "/my%20app/"  # without the slash the product would redirect each time
    assert mounted.login() == "/my%20app/login"
    assert mounted.json("x") == "/my%20app/api/v1/events/x"
    assert Links.of("", "", {}).list() == "/"


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("/audit?x=1", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("https://evil.example", False),
        ("javascript:alert(1)", False),
        ("/a\r\nSet-Cookie: x", False),
        ("/\tb", False),
        ("", False),
    ],
)
def test_only_a_path_of_this_host_is_returned_to(address: str, local: bool) -> None:
    """Signing in never leads to another site."""
    assert is_local(address) is local


def test_the_chart_in_words_and_bars() -> None:
    """The sentence says what the bars show, and a bound reads "at least"."""
    hour = 3_600_000_000
    buckets = [Bucket(NOW, NOW + hour, 10, 1), Bucket(NOW + hour, NOW + 2 * hour, 0, 0)]
    chart = draw(buckets, 10, at_least=True)
    assert chart is not None
    assert chart.total == "At least 10 events"
    assert chart.failures == "1 failed"
    assert chart.summary.startswith("At least 10 events, 1 of them failed, between 21 Nov 2026, 05:29 and ")
    first, second = chart.bars
    assert first.height == HEIGHT
    assert second.height == 0
    assert second.slot + second.slot_width == WIDTH
    assert (first.start, first.end) == ("2026-11-21T05:29:43.000000Z", "2026-11-21T06:29:42.999999Z")
    assert draw(buckets, 1, at_least=False).total == "1 event"  # type: ignore[union-attr]
    assert draw([], 0, at_least=False) is None
    assert draw([Bucket(0, hour, 0, 0)], 0, at_least=False) is None


def test_quick_ranges_keep_the_other_filters() -> None:
    """They replace the dates and start at the first page."""
    question = Question.of([*GIVEN, ("start_date", "2026-11-15"), ("continuation_token", "t")])
    ranges = quick_ranges(question, NOW)
    assert [(words, current) for words, _, current in ranges] == [
        ("24 hours", False),
        ("7 days", True),
        ("30 days", False),
        ("90 days", False),
        ("All", False),
    ]
    for words, pairs, _ in ranges:
        assert ("request_id", "r1") in pairs
        dates = [value for name, value in pairs if name == "start_date"]
        assert len(dates) == (0 if words == "All" else 1)
        assert Question.of(pairs).place == Place()
