"""From where on ``affidavit doctor`` names something about a PostgreSQL database."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LIMITS", "Limits"]


class Limits(NamedTuple):
    """The bounds of the checks.

    Attributes:
        skew_seconds: between our clock and the database's.
        refused_seconds: the same, where events begin to be refused.
        little_space: free bytes of the disk below which there is a warning.
        no_space: free bytes below which recording will soon fail.
        months_ahead: made months after this one.
        queue_seconds: age of the oldest event that waits for its leaf.
        bloat_bytes: size of the queue or its index below which nothing is said about it.
        bloat_times: how many times as large as its rows need it may be.
        held_seconds: age of a transaction that keeps dead rows.
        held_transactions: the same of what has no age in seconds, such as a standby's slot.
    """

    skew_seconds: float = 1.0
    refused_seconds: float = 300.0
    little_space: int = 1 << 30
    no_space: int = 100 << 20
    months_ahead: int = 3
    queue_seconds: float = 10.0
    bloat_bytes: int = 256 << 20
    bloat_times: int = 10
    held_seconds: float = 60.0
    held_transactions: int = 100_000


LIMITS = Limits()
"""What a person is told of."""
