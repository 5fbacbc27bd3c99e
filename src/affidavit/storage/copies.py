"""The role of every place that may hold a copy of personal data.

An erasure is complete when each place of the registry has erased its copies and finds none any more. A new
part that keeps values of events (a spool, dead letters, kept exports) implements this and is added to the
registry in :mod:`affidavit.wiring`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple, Protocol

from affidavit.core.subject import Subject

__all__ = ["MOST_NAMED", "Copies", "Erasure", "Pieces", "Places"]

MOST_NAMED = 20
"""Places that one search names at most."""

Pieces = Generator[None, None, None]
"""Work in bounded pieces of some 30 ms."""

Places = Generator[None, None, "list[str]"]
"""The same, with where the subject was found; at most :data:`MOST_NAMED`, and never the subject itself."""


class Erasure(NamedTuple):
    """What is being erased.

    Attributes:
        organization: whose data.
        subject: the person.
        include_substrings: whether substring hits were confirmed.
        end: place in recording order up to which events are concerned.
        events: ids of the events that lose groups, with these groups.
        reference: hash of the newest manifest in hex, or the task's id where nothing was found.
    """

    organization: str
    subject: Subject
    include_substrings: bool
    end: int
    events: Mapping[bytes, tuple[str, ...]]
    reference: str

    @property
    def holds(self) -> Callable[[object], bool]:
        """Whether a value without a type of its own is the subject."""
        return lambda value: self.subject.is_value(value) or self.subject.is_name(value)


class Copies(Protocol):
    """One place. Both methods may be repeated, and started again after a crash."""

    @property
    def name(self) -> str:
        """What a person calls it: ``events``, ``search index``, ``tasks``, ..."""
        ...

    def erase(self, erasure: Erasure) -> Pieces:
        """Take every copy away."""
        ...

    def search(self, erasure: Erasure) -> Places:
        """Look for copies that are left."""
        ...
