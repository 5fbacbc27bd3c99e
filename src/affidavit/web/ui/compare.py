"""Old and new side by side: one changed field as rows that a person can read.

Objects and lists are taken apart so that each row holds one value, or one item of a list, with what became
of it. The work is bounded, whatever the values are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from typing import Any, Literal

import msgspec

__all__ = ["MISSING", "MOST_ROWS", "Comparison", "Kind", "Missing", "Pairing", "compare"]

MOST_ROWS = 400
"""Rows of one field; the JSON link has the rest."""
_MOST_ITEMS = 400
"""A longer list is shown item beside item, without looking for what moved."""

Kind = Literal["same", "changed", "added", "removed"]


class Missing(msgspec.Struct, frozen=True):
    """The type of :data:`MISSING`."""


MISSING = Missing()
"""A side that has no such value, which is not the same as null."""


class Pairing(msgspec.Struct, frozen=True):
    """One pair of values.

    Attributes:
        path: where in the field, such as ``address.city`` or ``rules[2]``; empty for the field itself.
        old, new: a JSON value, or :data:`MISSING`.
        item: whether this is an item of a list, shown without its path.
    """

    path: str
    kind: Kind
    old: Any
    new: Any
    item: bool = False


class Comparison(msgspec.Struct, frozen=True):
    """All rows of one field; ``cut`` tells that there were more."""

    rows: list[Pairing]
    cut: bool


def compare(old: Any, new: Any) -> Comparison:
    """Put the old and the new value of one field side by side.

    ``None`` on one side of a field means that the side did not exist, as in the event's ``changes``.
    """
    rows = list(islice(_rows("", old, new), MOST_ROWS + 1))
    return Comparison(rows[:MOST_ROWS], len(rows) > MOST_ROWS)


def _rows(path: str, old: Any, new: Any) -> Iterator[Pairing]:
    if _taken_apart(old, new, Mapping):
        yield from _members(path, old or {}, new or {})
    elif _taken_apart(old, new, list):
        yield from _items(path, old or [], new or [])
    else:
        yield Pairing(path, _kind(old, new), old, new)


def _taken_apart(old: Any, new: Any, shape: type) -> bool:
    """Whether both sides have this shape, or one has it and the other is nothing."""
    sides = [side for side in (old, new) if side is not None and side is not MISSING]
    return bool(sides) and all(isinstance(side, shape) and side for side in sides)


def _members(path: str, old: Any, new: Any) -> Iterator[Pairing]:
    before = old if isinstance(old, Mapping) else {}
    after = new if isinstance(new, Mapping) else {}
    for key in {**before, **after}:
        yield from _rows(
            f"{path}.{key}" if path else str(key), before.get(key, MISSING), after.get(key, MISSING)
        )


def _items(path: str, old: Any, new: Any) -> Iterator[Pairing]:
    before = old if isinstance(old, list) else []
    after = new if isinstance(new, list) else []
    for one, other in _aligned(before, after):
        if isinstance(one, Mapping) and isinstance(other, Mapping) and _text(one) != _text(other):
            yield from _members(f"{path}[{_place(before, one)}]", one, other)
        else:
            yield Pairing(path, _kind(one, other), one, other, item=True)


def _aligned(before: list[Any], after: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(before) > _MOST_ITEMS or len(after) > _MOST_ITEMS:
        yield from zip_longest(before, after, fillvalue=MISSING)
        return
    texts = [_text(item) for item in before], [_text(item) for item in after]
    for tag, i, j, k, m in SequenceMatcher(None, *texts, autojunk=False).get_opcodes():
        if tag == "replace" and not _objects(before[i:j] + after[k:m]):
            yield from ((item, MISSING) for item in before[i:j])
            yield from ((MISSING, item) for item in after[k:m])
        else:
            yield from zip_longest(before[i:j], after[k:m], fillvalue=MISSING)


def _objects(items: list[Any]) -> bool:
    return all(isinstance(item, Mapping) for item in items)


def _place(items: list[Any], item: Any) -> int:
    return next(position for position, candidate in enumerate(items) if candidate is item)


def _kind(old: Any, new: Any) -> Kind:
    if _text(old) == _text(new):
        return "same"
    if old is MISSING or (old is None and new is not MISSING):
        return "added"
    if new is MISSING or new is None:
        return "removed"
    return "changed"


def _text(value: Any) -> str:
    """Equality of JSON values: types count, so ``1``, ``1.0`` and ``true`` differ."""
    return "" if value is MISSING else json.dumps(value, sort_keys=True, ensure_ascii=False)
