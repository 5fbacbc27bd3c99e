"""After a new incarnation was begun the queue goes back: which events have their leaf already."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, home_of, leaf_of

__all__ = ["hash_of", "replay_bound", "sealed_already"]

_ORGANIZATION = COLUMNS.index("organization")


def replay_bound(log: sqlite3.Connection) -> int:
    """Beyond this place no event can have a leaf before the queue has reached it.

    It is where the last ``log.restored`` event stands: the queue goes back at the same moment at which that
    gets its leaf, so whatever was recorded later is sequenced for the first time when the queue comes by.
    """
    (bound,) = log.execute("SELECT coalesce(max(first_seq), 0) FROM affidavit_trees").fetchone()
    return int(bound)


def sealed_already(log: sqlite3.Connection, seq: int, values: Sequence[Any]) -> bytes | None:
    """The hash of the leaf that a row has in any tree of its organization; ``None`` where it has none.

    The same place is not enough: a database from before hands out the same ones again.

    Args:
        log: the log file.
        seq: the place of the row.
        values: the row, texts as UTF-8 bytes.
    """
    rows = log.execute(
        "SELECT l.hash, t.hex FROM affidavit_leaves l JOIN affidavit_trees t ON t.tree = l.tree"
        " WHERE l.seq = ? AND t.organization = ? ORDER BY t.incarnation DESC",
        (seq, home_of(values[_ORGANIZATION])),
    )
    return next((digest for digest, hex_digits in rows if hash_of(values, hex_digits) == digest), None)


def hash_of(values: Sequence[Any], hex_digits: str) -> bytes | None:
    """The leaf hash of a row; ``None`` for one of a newer version."""
    try:
        return leaf_hash(leaf_of(values, hex_digits).entry)
    except RowVersionError:
        return None
