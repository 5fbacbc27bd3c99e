"""Follows the transactions and savepoints of SQLAlchemy's connections: which events were undone.

No question is asked of a connection that a test holds: that would begin a transaction, wait for a pool, or
fail in one that is awaited.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

from affidavit.testing.audit_log.entry import Entry

__all__ = ["follow", "listen"]

_WORDS = re.compile(
    r"\s*(?:SAVEPOINT\s+(?P<set>\S+?)"
    r"|RELEASE\s+(?:SAVEPOINT\s+)?(?P<release>\S+?)"
    r"|ROLLBACK\s+(?:(?:WORK|TRANSACTION)\s+)?TO\s+(?:SAVEPOINT\s+)?(?P<back>\S+?)"
    r"|(?P<end>ROLLBACK|COMMIT|END))\s*;?\s*\Z",
    re.IGNORECASE,
)


class _Open:
    """The events of a connection's transaction that may be undone yet.

    Attributes:
        entries: in the order in which they were written.
        marks: savepoints, and how many entries there were at each.
        ending: of a commit that was begun; where it fails a rollback comes next, else a new transaction.
    """

    __slots__ = ("ending", "entries", "marks")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.marks: list[tuple[str, int]] = []
        self.ending: list[Entry] = []

    def undo(self, since: int) -> None:
        """What was written after so many entries is gone."""
        for each in self.entries[since:]:
            each.undone = True
        del self.entries[since:]


_open: WeakKeyDictionary[Any, _Open] = WeakKeyDictionary()
_listening = False


def follow(entry: Entry, connection: Any) -> None:
    """Note when the transaction or savepoint of an event is rolled back.

    Args:
        entry: that was written just now.
        connection: ``sqlalchemy.Connection`` on which it was.
    """
    listen()
    _of(connection).entries.append(entry)


def _of(connection: Any) -> _Open:
    return _open.setdefault(connection, _Open())


def listen() -> None:
    """Once a process, for all engines."""
    global _listening  # noqa: PLW0603 - the events of a class are global, too
    if _listening:
        return
    _listening = True
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    event.listen(Engine, "begin", _begin)
    event.listen(Engine, "commit", _commit)
    event.listen(Engine, "rollback", _rollback)
    event.listen(Engine, "after_cursor_execute", _executed)


def _begin(connection: Any) -> None:
    if (found := _open.get(connection)) is not None:
        found.ending.clear()


def _commit(connection: Any) -> None:
    if (found := _open.get(connection)) is not None:
        found.ending, found.entries, found.marks = found.entries, [], []


def _rollback(connection: Any) -> None:
    if (found := _open.get(connection)) is not None:
        found.entries += found.ending
        found.undo(0)
        found.ending, found.marks = [], []


def _executed(connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
    """Savepoints are statements, SQLAlchemy's as well as the app's own; its event for them knows no name."""
    said = _WORDS.match(statement)
    found = _open.get(connection)
    if said is None or (found is None and said["set"] is None):
        return
    if said["end"]:
        (_rollback if said["end"].upper() == "ROLLBACK" else _commit)(connection)
    elif said["set"]:
        found = _of(connection)
        found.marks.append((said["set"], len(found.entries)))
    elif found is not None and said["back"]:
        found.undo(_since(found, said["back"], after=True))
    elif found is not None:
        _since(found, said["release"], after=False)


def _since(found: _Open, name: str, *, after: bool) -> int:
    """How many entries there were when a savepoint was set: none, where it is older than all of them.

    Args:
        found: of the connection.
        name: of the savepoint; those that were set after it are gone.
        after: whether it stays itself, as after a rollback to it.
    """
    for place in range(len(found.marks) - 1, -1, -1):
        if found.marks[place][0] == name:
            since = found.marks[place][1]
            del found.marks[place + after :]
            return since
    found.marks.clear()
    return 0
