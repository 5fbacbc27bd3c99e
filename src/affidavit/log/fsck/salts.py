"""Whether two events share a secret: whoever knows the salts of one could then guess the values of the other.

A bitmap of constant size marks what was seen. Two secrets may fall on one bit by chance, so candidates are
looked up again.
"""

from __future__ import annotations

from typing import Any

from affidavit.core.row import COLUMNS
from affidavit.log.fsck.findings import Findings
from affidavit.storage.evidence import Evidence, Fault

__all__ = ["SaltCheck"]

_BITS = 27
_MASK = (1 << _BITS) - 1
_MOST = 200_000
"""Candidates that are kept; in ten million honest events there are about 370,000 false ones."""
_SECRET = COLUMNS.index("secret")
_PIECE = 4_096


class SaltCheck:
    """Sees every secret once."""

    def __init__(self) -> None:
        self._bits = bytearray(1 << (_BITS - 3))
        self._candidates: set[bytes] = set()

    def see(self, secret: Any) -> None:
        """Mark one secret."""
        if type(secret) is not bytes:
            return
        place = hash(secret) & _MASK  # keyed by the interpreter with a random seed
        byte, bit = place >> 3, 1 << (place & 7)
        if self._bits[byte] & bit and len(self._candidates) < _MOST:
            self._candidates.add(secret)
        self._bits[byte] |= bit

    def finish(self, evidence: Evidence, last: int, findings: Findings) -> None:
        """Look the candidates up and name the events that share a secret."""
        if not self._candidates:
            return
        first: dict[bytes, int] = {}
        after = -(2**63)
        while rows := evidence.events(after, _PIECE):
            after = rows[-1].seq
            for seq, values in rows:
                secret = values[_SECRET]
                if seq > last or secret not in self._candidates:
                    continue
                if secret in first:
                    rule = "is the secret of another event too, so one tells the salts of the other"
                    findings.fault(
                        Fault(
                            "affidavit_events",
                            "secret",
                            f"seq {seq}",
                            rule,
                            "",
                            f"also at seq {first[secret]}",
                        )
                    )
                first.setdefault(secret, seq)
