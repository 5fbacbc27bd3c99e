"""Storage role that takes values away: what erasure, expiry and the re-applying of manifests use.

Nothing else changes a recorded event. Each call is allowed by a permit, a row that stands for the length of
the transaction and names why: the hash of a manifest, or the id of a policy's event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

__all__ = ["HOLD_SECONDS", "PermitKind", "Redaction", "Redactor"]

PermitKind = Literal["erasure", "expiry"]

HOLD_SECONDS = 0.010
"""How long one transaction holds the write lock at most, the commit apart: recording never waits longer."""


class Redaction(NamedTuple):
    """What is to go of one event.

    Attributes:
        organization: its tenant.
        id: 16 bytes.
        groups: names of groups; those that are gone already stay gone.
    """

    organization: str
    id: bytes
    groups: Sequence[str]


class Redactor(Protocol):
    """Takes the values of groups away. What it did is durable after :meth:`scrub`, and may be repeated."""

    def redact(self, kind: PermitKind, reference: str, redactions: Sequence[Redaction]) -> int:
        """Take groups away, in as many transactions as :data:`HOLD_SECONDS` asks for.

        The digest of each group that goes is kept, and the salts of those that stay; the secret, from which
        all salts could be made, goes. With the actor's group goes the column that repeats the actor's id.

        Args:
            kind: what allows it.
            reference: hash of the manifest, or id of the policy's event.
            redactions: events that are not there are passed over. A few hundred make one bounded piece.

        Returns:
            How many events lost something.
        """
        ...

    def scrub(self) -> bool:
        """Make what was done durable, and empty the write-ahead log, so that nothing is left in it.

        Recording is held up for a few milliseconds at most.

        Returns:
            False where a reader or a writer was in the way; try again.
        """
        ...
