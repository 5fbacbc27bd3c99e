"""Makes events as the product does, with a clock and randomness that a test chooses."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from affidavit.catalogs import ready_made
from affidavit.core.event import Actor, Draft, RecordedBy
from affidavit.core.row import Row
from affidavit.recorder.intake import Intake, Rights

__all__ = ["NOW", "Author", "Clock", "draft"]

NOW = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z, where a test's clock starts."""


class Clock:
    """Stands still until it is told to move; microseconds since 1970 UTC."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        """The moment."""
        return self.now

    def forward(self, microseconds: int = 1_000_000) -> None:
        """Let time pass."""
        self.now += microseconds


def draft(action: str = "user.create", **fields: Any) -> Draft:
    """A draft with an actor, where none is given."""
    fields.setdefault("actor", Actor(type="user", id="ana"))
    return Draft(action=action, **fields)


class Author:
    """Makes rows, ready to be stored, through the one way in.

    Args:
        clock: microseconds since 1970 UTC.
        seed: of ids and secrets.
    """

    RIGHTS = Rights(may_import=True, may_set_id=True)

    def __init__(self, clock: Callable[[], int], seed: int = 0) -> None:
        random = Random(seed)
        catalogs = ready_made()
        self.intake = Intake(
            self._nowhere,
            clock=clock,
            entropy=random.randbytes,
            catalogs=lambda: catalogs,
            organization_secret=lambda name: name.encode().ljust(32, b"\0")[:32],
        )

    @staticmethod
    def _nowhere(_rows: object) -> Any:
        raise AssertionError("this intake only prepares")

    def rows(
        self,
        *drafts: Draft,
        organization: str = "acme",
        by: RecordedBy | None = None,
        rights: Rights = RIGHTS,
    ) -> list[Row]:
        """The rows of these drafts."""
        return self.intake.prepare(drafts, organization=organization, by=by, rights=rights)

    def row(self, action: str = "user.create", *, organization: str = "acme", **fields: Any) -> Row:
        """The row of one event with these fields."""
        (row,) = self.rows(draft(action, **fields), organization=organization)
        return row
