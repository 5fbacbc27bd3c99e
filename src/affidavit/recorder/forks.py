"""What holds files or threads and must know when its process forks.

SQLite keeps what it knows of a file's locks for the whole process. A child that opens a file which its parent
has open takes locks for held that are its parent's alone, and writes into a WAL that its parent deletes: what
it committed is lost (tried). So whatever has such a file open closes it before the process forks.
"""

from __future__ import annotations

import logging  # noqa: F401 - first: it and threading have their locks and threads in order before we go on
import os
from collections.abc import Callable
from typing import Protocol
from weakref import ref

__all__ = ["Forked", "when_forked"]


class Forked(Protocol):
    """Is told of a fork; each method is called in the thread that forks."""

    def before_fork(self) -> None:
        """Let go of what a child must not have, and let no other thread take it up again."""
        ...

    def after_fork(self, *, child: bool) -> None:
        """Go on, in the parent or as a child."""
        ...


_known: dict[int, ref[Forked]] = {}
"""By identity; a dictionary, because its values are copied in one step while other threads add to it."""
_told: list[Forked] = []


def when_forked(one: Forked) -> None:
    """Tell an object of each fork of this process for as long as it exists."""
    number = id(one)
    _known[number] = ref(one, lambda gone: _forget(number, gone))


def _forget(number: int, gone: ref[Forked]) -> None:
    if _known.get(number) is gone:
        del _known[number]


def _before() -> None:
    _told[:] = [one for each in list(_known.values()) if (one := each()) is not None]
    for one in _told:
        one.before_fork()


def _after(*, child: bool) -> Callable[[], None]:
    def tell() -> None:
        told = list(reversed(_told))
        _told.clear()
        for one in told:
            one.after_fork(child=child)

    return tell


os.register_at_fork(before=_before, after_in_parent=_after(child=False), after_in_child=_after(child=True))
