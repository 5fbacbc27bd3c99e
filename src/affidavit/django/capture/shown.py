"""Blocks whose statements are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import connections, transaction

from affidavit.django.capture.marks import Pair, Shown, mark_on
from affidavit.django.capture.statements import follow

__all__ = ["mark", "showing"]


@contextmanager
def showing(using: str, pairs: Iterable[Pair], *, whole: bool = False) -> Iterator[Shown]:
    """Run a block in a transaction: what it does to these tables is recorded in it."""
    follow(connections[using])
    block = transaction.atomic(using=using, savepoint=False)
    shown = mark_on(block)
    shown.pairs.update(pairs)
    shown.whole = whole
    with block:
        yield shown


def mark(using: str, *, outside: int = 0) -> Shown | None:
    """The mark of the innermost block, or of one so far outside of it; ``None`` where there is none."""
    follow(connections[using])
    blocks = connections[using].atomic_blocks
    return mark_on(blocks[-1 - outside]) if len(blocks) > outside else None
