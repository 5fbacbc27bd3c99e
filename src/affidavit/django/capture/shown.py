"""Which statements come from something that is recorded: told by the atomic blocks that they run in.

A mark on a block goes with it, however it ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connections, transaction

__all__ = ["Shown", "is_part", "is_shown", "mark", "showing"]

_KEY = "_affidavit_shown"

Pair = tuple[str, str]
"""``insert``, ``update`` or ``delete``, and the table."""


class Shown:
    """What a block does to captured tables.

    Attributes:
        pairs: that it shows.
        rows: that were changed.
        whole: the block is recorded as a whole, whatever statements it is made of.
        notes: of who marked it, by name.
    """

    def __init__(self) -> None:
        self.pairs: set[Pair] = set()
        self.rows: Counter[Pair] = Counter()
        self.whole = False
        self.notes: dict[str, Any] = {}


@contextmanager
def showing(using: str, pairs: Iterable[Pair], *, whole: bool = False) -> Iterator[Shown]:
    """Run a block in a transaction: what it does to these tables is recorded in it."""
    block = transaction.atomic(using=using, savepoint=False)
    shown = vars(block)[_KEY] = Shown()
    shown.pairs.update(pairs)
    shown.whole = whole
    with block:
        yield shown


def mark(using: str, *, outside: int = 0) -> Shown | None:
    """The mark of the innermost block, or of one so far outside of it; ``None`` where there is none."""
    blocks = connections[using].atomic_blocks
    return vars(blocks[-1 - outside]).setdefault(_KEY, Shown()) if len(blocks) > outside else None


def is_shown(connection: Any, pair: Pair, rows: int = 0) -> bool:
    """Whether a statement is that of a block around it, which then counts its rows."""
    for block in reversed(connection.atomic_blocks):
        shown: Shown | None = vars(block).get(_KEY)
        if shown is not None and pair in shown.pairs:
            shown.rows[pair] += max(rows, 0)
            return True
    return False


def is_part(connection: Any, pair: Pair) -> bool:
    """Whether this is a part of something around it that is recorded as a whole."""
    marks = (vars(block).get(_KEY) for block in connection.atomic_blocks)
    return any(shown is not None and shown.whole and pair in shown.pairs for shown in marks)
