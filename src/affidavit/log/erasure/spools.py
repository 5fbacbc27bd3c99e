"""Spools as a place that may hold copies of personal data.

An event that waits in a spool is no event yet: before a subject is looked for, everything that waits is
stored, so that it is found, and explained by the manifest, like every other event
(:meth:`Spools.gather`). What the database refused for good stays behind among the dead letters; there the
groups that hold the subject are emptied.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Literal, NamedTuple, Protocol

from affidavit.core.event import GROUPS
from affidavit.core.row import COLUMNS
from affidavit.core.spooled import emptied, row_in
from affidavit.core.subject import SUBSTRING
from affidavit.log.tasks import WAITING
from affidavit.storage.copies import MOST_NAMED, Erasure, Pieces, Places

__all__ = ["DeadLetter", "Refuge", "Spools"]

AT_ONCE = 100
"""Dead letters that are looked at in one piece."""
_AT = {name: number for number, name in enumerate(COLUMNS)}


class DeadLetter(Protocol):
    """What the database refused for good."""

    @property
    def number(self) -> int:
        """Of the entry."""
        ...

    @property
    def body(self) -> bytes:
        """Its bytes."""
        ...

    @property
    def error(self) -> str:
        """Why it was refused; may quote from it."""
        ...


class Refuge(Protocol):
    """One spool of this machine, as an erasure needs it."""

    @property
    def name(self) -> str:
        """Where it is, for people."""
        ...

    def first(self) -> int:
        """Number of the entry that waits longest, 0 where none does."""
        ...

    def last(self) -> int:
        """Number of the newest entry, 0 where none waits."""
        ...

    def drain(self, number: int) -> bool:
        """Store a piece of what waits, up to a number; false where another writer holds the database."""
        ...

    def dead_letters(self, after: int, limit: int) -> Sequence[DeadLetter]:
        """The oldest of what was refused beyond a number."""
        ...

    def rewrite(self, number: int, body: bytes | None, error: str) -> None:
        """Put something else instead of a dead letter; ``None`` throws it away."""
        ...


class _Found(NamedTuple):
    """A dead letter that holds the subject, and what is left of it without."""

    number: int
    body: bytes | None
    error: str


class Spools:
    """The spools of this machine that the settings name.

    Args:
        spools: each of them.
    """

    name = "spool"

    def __init__(self, spools: Sequence[Refuge]) -> None:
        self._spools = tuple(spools)

    def gather(self) -> Generator[Literal["waiting"] | None, None, None]:
        """Store everything that waits by now; what comes later was recorded later."""
        for spool in self._spools:
            last = spool.last()
            while 0 < spool.first() <= last:
                yield None if spool.drain(last) else WAITING

    def erase(self, erasure: Erasure) -> Pieces:
        """Empty the groups of dead letters that hold the subject."""
        for spool in self._spools:
            for piece in self._pieces(spool):
                for letter in piece:
                    found = _without(letter, erasure)
                    if found is not None:
                        spool.rewrite(*found)
                yield

    def search(self, erasure: Erasure) -> Places:
        """The dead letters that still hold it."""
        left: list[str] = []
        for spool in self._spools:
            for piece in self._pieces(spool):
                found = [letter.number for letter in piece if _without(letter, erasure) is not None]
                left += [f"dead letter {number} of {spool.name}" for number in found]
                yield
        return left[:MOST_NAMED]

    def _pieces(self, spool: Refuge) -> Generator[Sequence[DeadLetter], None, None]:
        last = 0
        while piece := spool.dead_letters(last, AT_ONCE):
            last = piece[-1].number
            yield piece


def _without(letter: DeadLetter, erasure: Erasure) -> _Found | None:
    """What becomes of a dead letter; ``None`` where it does not hold the subject."""
    within = erasure.subject.is_within
    row = row_in(letter.body)
    if row is None:
        # Nobody can read it, so nobody can say whose it is, nor store it ever.
        held = within(letter.body.decode(errors="replace"))
        return _Found(letter.number, None, "") if held else None
    if row.organization != erasure.organization:
        return None
    texts = [_encoded(row.values[_AT[name]]) for name in GROUPS]
    hits = erasure.subject.hits(texts)
    going = frozenset(
        group for group, kinds in hits.items() if erasure.include_substrings or kinds != {SUBSTRING}
    )
    quoted = within(letter.error)  # the database's words may quote the event
    if not going and not quoted:
        return None
    return _Found(letter.number, emptied(row, going), "[erased]" if quoted else letter.error)


def _encoded(text: object) -> bytes | None:
    return text.encode(errors="replace") if isinstance(text, str) else None
