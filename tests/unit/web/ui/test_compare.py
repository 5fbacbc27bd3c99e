"""Old and new side by side."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from affidavit.web.ui.compare import MISSING, MOST_ROWS, compare


def shown(old: Any, new: Any) -> list[tuple[str, str, Any, Any]]:
    """Path, kind, old and new of each row."""
    return [(row.path, row.kind, row.old, row.new) for row in compare(old, new).rows]


def test_plain_values() -> None:
    """A text that became another is one row; null is the side that did not exist."""
    assert shown("free", "pro") == [("", "changed", "free", "pro")]
    assert shown(None, "pro") == [("", "added", None, "pro")]
    assert shown("free", None) == [("", "removed", "free", None)]


def test_ability_lists_are_aligned() -> None:
    """Items of a list stand beside themselves; what went and what came stands alone."""
    assert shown(["a", "b", "c"], ["a", "x", "c", "d"]) == [
        ("", "same", "a", "a"),
        ("", "removed", "b", MISSING),
        ("", "added", MISSING, "x"),
        ("", "same", "c", "c"),
        ("", "added", MISSING, "d"),
    ]


def test_nested_objects_are_taken_apart() -> None:
    """Each member of a nested object is a row of its own, named by its path."""
    assert shown({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5}) == [
        ("a.b", "same", 1, 1),
        ("a.c", "changed", 2, 4),
        ("d", "removed", 3, MISSING),
        ("e", "added", MISSING, 5),
    ]


def test_objects_in_lists_are_taken_apart() -> None:
    """A changed object of a list is shown by its members, an unchanged one whole."""
    old = [{"kind": "runs", "max": 10}, {"kind": "assets", "max": 100}]
    new = [{"kind": "runs", "max": 25}, {"kind": "assets", "max": 100}]
    assert shown(old, new) == [
        ("[0].kind", "same", "runs", "runs"),
        ("[0].max", "changed", 10, 25),
        ("", "same", old[1], new[1]),
    ]


def test_types_count() -> None:
    """``1``, ``1.0`` and ``true`` are three values."""
    assert [row.kind for row in compare([1], [True]).rows] == ["removed", "added"]
    assert shown(1, 1.0)[0][1] == "changed"


def test_the_work_is_bounded() -> None:
    """Two long hostile lists cost little and say that there is more."""
    start = time.perf_counter()
    comparison = compare(["a", "b"] * 50_000, ["b", "a"] * 50_000)
    assert comparison.cut
    assert len(comparison.rows) == MOST_ROWS
    assert time.perf_counter() - start < 5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(json_values)
def test_equal_values_show_no_difference(value: Any) -> None:
    """Whatever the value, comparing it with itself marks nothing."""
    assert {row.kind for row in compare(value, value).rows} <= {"same"}


@given(st.lists(json_values, max_size=5), st.lists(json_values, max_size=5))
def test_no_item_of_a_list_is_lost(old: list[Any], new: list[Any]) -> None:
    """Lists of plain values: each item stands on its side, in its order."""
    old = [item for item in old if not isinstance(item, dict)]
    new = [item for item in new if not isinstance(item, dict)]
    if old and new:
        rows = compare(old, new).rows
        assert [row.old for row in rows if row.old is not MISSING] == old
        assert [row.new for row in rows if row.new is not MISSING] == new
