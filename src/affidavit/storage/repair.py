"""The role that begins new incarnations after a restore. Only the holder of the worker's lease uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

__all__ = ["LogRepair", "Opening"]


class Opening(NamedTuple):
    """A tree that is to be begun.

    Attributes:
        organization: its tenant.
        host, hex_digits, incarnation: its origin.
        seq: the place of the event that is leaf 0, where it has one already.
        leaf: the hash of leaf 0.
        id: of that event, 16 bytes.
    """

    organization: str
    host: str
    hex_digits: str
    incarnation: int
    seq: int
    leaf: bytes
    id: bytes


class LogRepair(Protocol):
    """Compares leaves with events from the end, and puts new trees behind old ones."""

    def last_match(self) -> int:
        """The place of the last event whose leaf, in the newest tree of its organization, is still its own.

        What lies beyond it was lost or replaced; 0 where nothing matches.
        """
        ...

    def beyond(self, seq: int) -> list[str]:
        """The organizations whose newest tree has leaves of events beyond this place."""
        ...

    def reopen(self, openings: Sequence[Opening], matched: int) -> None:
        """Begin these trees, each with its leaf 0, in one transaction, durable on return.

        The tree before keeps the leaves that its newest checkpoint covers; no signature ever spoke of the
        others. The queue goes back to where the first event without a leaf may be; from there on it passes
        over those that have theirs.

        Args:
            openings: at most one an organization.
            matched: from :meth:`last_match`.
        """
        ...
