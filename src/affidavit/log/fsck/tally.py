"""Comparing two large collections in constant memory: sums of hashes in buckets.

Equal collections have equal sums whatever their order. Where sums differ, the buckets say which part must
be looked at again. The hash is the interpreter's own, keyed with a random seed at each start: what is
compared so is never evidence, only what was derived from it.
"""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["BUCKETS", "Tally", "bucket_of"]

BUCKETS = 4_096
_MASK = (1 << 64) - 1


def bucket_of(item: Hashable) -> int:
    """The bucket of an item."""
    return hash(item) % BUCKETS


class Tally:
    """A collection, of which only sums are kept."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums = [0] * BUCKETS

    def add(self, item: Hashable, times: int = 1) -> None:
        """Add an item so many times."""
        number = hash(item)
        self._sums[number % BUCKETS] += (number | 1) * times

    def differences(self, other: Tally) -> list[int]:
        """Buckets that differ."""
        return [
            bucket
            for bucket, (one, two) in enumerate(zip(self._sums, other._sums, strict=True))
            if (one - two) & _MASK
        ]
