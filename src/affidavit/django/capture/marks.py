"""Marks on atomic blocks: what they do to captured tables that is recorded. A mark goes with its block."""

from __future__ import annotations

from collections import Counter
from typing import Any

__all__ = ["Pair", "Shown", "is_part", "is_shown", "mark_on"]

_KEY = "_affidavit_shown"

Pair = tuple[str, str]
"""``insert``, ``update`` or ``delete``, and the table."""


class Shown:
    """What a block does to captured tables.

    Attributes:
        pairs: that it shows.
        rows: that were changed, as far as that is known.
        uncertain: pairs with rows that nobody has counted.
        whole: the block is recorded as a whole, whatever statements it is made of.
        notes: of who marked it, by name.
    """

    def __init__(self) -> None:
        self.pairs: set[Pair] = set()
        self.rows: Counter[Pair] = Counter()
        self.uncertain: set[Pair] = set()
        self.whole = False
        self.notes: dict[str, Any] = {}


def mark_on(block: Any) -> Shown:
    """The mark of a block, which it is given where it has none."""
    shown: Shown = vars(block).setdefault(_KEY, Shown())
    return shown


def is_shown(connection: Any, pair: Pair, rows: int) -> bool:
    """Whether a statement is that of a block around it, which then counts its rows."""
    for shown in _marks(connection):
        if pair in shown.pairs:
            shown.rows[pair] += max(rows, 0)
            if rows < 0:
                shown.uncertain.add(pair)
            return True
    return False


def is_part(connection: Any, pair: Pair) -> bool:
    """Whether this is a part of something around it that is recorded as a whole."""
    return any(shown.whole and pair in shown.pairs for shown in _marks(connection))


def _marks(connection: Any) -> list[Shown]:
    """Of the blocks around what runs now, the innermost first."""
    marks = [vars(block).get(_KEY) for block in reversed(connection.atomic_blocks)]
    return [shown for shown in marks if shown is not None]
