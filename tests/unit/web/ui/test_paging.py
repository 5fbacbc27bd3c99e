"""Previous and Next without JavaScript."""

from __future__ import annotations

from itertools import pairwise

import pytest

from affidavit.errors import InvalidQuery
from affidavit.web.ui.paging import BACK_CHARACTERS, Place


def walk(pages: int, length: int = 100) -> list[Place]:
    """The places of a walk forward, each read back from the address that leads to it."""
    places = [Place()]
    for number in range(pages - 1):
        token = str(number).rjust(length, "t")
        places.append(Place.of(places[-1].next(token).pairs()))
    return places


def test_previous_retraces_every_step() -> None:
    """Going back from the seventh page shows each page that was seen, down to the first."""
    places = walk(7)
    for before, after in pairwise(places):
        assert after.previous_is_known
        assert after.previous() == before
    assert [place.number for place in places] == [1, 2, 3, 4, 5, 6, 7]
    assert places[0].pairs() == []
    assert not places[0].has_previous


def test_a_deep_walk_keeps_the_address_short() -> None:
    """On page 300 the oldest tokens are gone: Previous still works, and in the end offers the first page."""
    place = walk(300)[-1]
    assert sum(len(name) + len(value) for name, value in place.pairs()) < BACK_CHARACTERS + 1_000
    steps = 0
    while place.previous_is_known:
        place = place.previous()
        steps += 1
    assert steps == BACK_CHARACTERS // 100
    assert place.number == 300 - steps
    assert place.has_previous
    assert place.previous() == Place()


@pytest.mark.parametrize(
    ("pairs", "rule"),
    [
        ([("continuation_token", "a"), ("continuation_token", "b")], "repeated"),
        ([("page", "2"), ("page", "3"), ("continuation_token", "a")], "repeated"),
        ([("page", "x"), ("continuation_token", "a")], "integer"),
        ([("page", "-1"), ("continuation_token", "a")], "integer"),
        ([("page", "\u0663"), ("continuation_token", "a")], "integer"),
        ([("page", "9" * 9), ("continuation_token", "a")], "integer"),
    ],
)
def test_a_made_up_place_is_refused(pairs: list[tuple[str, str]], rule: str) -> None:
    """What Previous and Next never write is named and refused."""
    with pytest.raises(InvalidQuery) as caught:
        Place.of(pairs)
    assert caught.value.errors[0].rule == rule


def test_without_a_token_it_is_the_first_page() -> None:
    """A page number alone leads nowhere: there is no jump to an arbitrary page."""
    assert Place.of([("page", "7"), ("back", "x")]) == Place()
    assert Place.of([("page", ""), ("continuation_token", "")]) == Place()
