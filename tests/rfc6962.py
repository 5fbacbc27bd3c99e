"""RFC 6962 section 2.1 as it is written, recursion for recursion: what the product's tree is compared with.

Slow, and nothing of it is shared with :mod:`affidavit.core.merkle`. The formulas speak of lists
``D[start:end]``; here they are the two numbers, so that a hash is computed once.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def largest_power_below(number: int) -> int:
    """The ``k`` of the RFC: the largest power of two smaller than ``number``."""
    power = 1
    while power * 2 < number:
        power *= 2
    return power


class NaiveTree:
    """The tree over a list of entries, and over every part of it."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self._known: dict[tuple[int, int], bytes] = {}

    def mth(self, start: int, end: int) -> bytes:
        """Merkle Tree Hash of ``D[start:end]``."""
        if (start, end) not in self._known:
            self._known[start, end] = self._mth(start, end)
        return self._known[start, end]

    def root(self, size: int | None = None) -> bytes:
        """MTH of the first ``size`` entries."""
        return self.mth(0, len(self.entries) if size is None else size)

    def path(self, m: int, start: int, end: int) -> list[bytes]:
        """PATH(m, D[start:end]), section 2.1.1; ``m`` counts from ``start``."""
        n = end - start
        if n == 1:
            return []
        k = largest_power_below(n)
        if m < k:
            return [*self.path(m, start, start + k), self.mth(start + k, end)]
        return [*self.path(m - k, start + k, end), self.mth(start, start + k)]

    def proof(self, m: int, n: int) -> list[bytes]:
        """PROOF(m, D[0:n]), section 2.1.2."""
        return self._subproof(m, 0, n, complete=True)

    def _mth(self, start: int, end: int) -> bytes:
        n = end - start
        if n == 0:
            return sha256().digest()
        if n == 1:
            return sha256(b"\x00" + self.entries[start]).digest()
        k = largest_power_below(n)
        return sha256(b"\x01" + self.mth(start, start + k) + self.mth(start + k, end)).digest()

    def _subproof(self, m: int, start: int, end: int, *, complete: bool) -> list[bytes]:
        n = end - start
        if m == n:
            return [] if complete else [self.mth(start, end)]
        k = largest_power_below(n)
        if m <= k:
            return [*self._subproof(m, start, start + k, complete=complete), self.mth(start + k, end)]
        return [*self._subproof(m - k, start + k, end, complete=False), self.mth(start, start + k)]
