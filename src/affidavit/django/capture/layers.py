"""What of a connection's transaction is still in force: a layer for it, and one for each savepoint.

Django does not tell an object that what was saved of it has been rolled back. What is remembered of an object
names the layer that it was written in, and is forgotten with it.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakSet

__all__ = ["Layer", "Layers", "any_open", "layers_of"]

_KEY = "_affidavit_layers"
_SAVEPOINT = re.compile(
    r'\s*(savepoint|release|rollback\s+to)\s+(?:savepoint\s+)?("[^"]+"|\w+)', re.IGNORECASE
)


class Layer:
    """A transaction, or a savepoint in it.

    Attributes:
        name: of the savepoint.
        around: the layer that it is in.
        undone: it was rolled back.
        ended: the transaction is over.
    """

    __slots__ = ("around", "ended", "name", "undone")

    def __init__(self, name: str | None = None, around: Layer | None = None) -> None:
        self.name = name
        self.around = around
        self.undone = False
        self.ended = False

    @property
    def is_undone(self) -> bool:
        """Whether it was rolled back, or what it is in."""
        return self.undone or (self.around is not None and self.around.is_undone)

    @property
    def is_over(self) -> bool:
        """Whether the transaction has ended, one way or the other."""
        return self.ended if self.around is None else self.around.is_over


class Layers:
    """Of one connection; innermost last."""

    def __init__(self) -> None:
        self._open: list[Layer] = []

    def current(self) -> Layer:
        """The innermost layer; the transaction begins with it where nothing was noted yet."""
        if not self._open:
            self._open.append(Layer())
            _in_use.add(self)
        return self._open[-1]

    def if_open(self) -> Layer | None:
        """The innermost layer, ``None`` where nothing was noted in this transaction."""
        return self._open[-1] if self._open else None

    def executed(self, sql: str) -> bool:
        """Note a statement that has succeeded, whether Django or the app sent it.

        Returns:
            Whether it was one of savepoints.
        """
        found = _SAVEPOINT.match(sql)
        if found is None:
            return False
        name, verb = found[2].strip('"'), found[1].lower()
        if verb == "savepoint":
            self._open.append(Layer(name, self.current()))
        elif verb == "release":
            if (index := self._index(name)) is not None:
                del self._open[index:]
        else:
            self._undo(name)
        return True

    def end(self, *, undone: bool) -> None:
        """The transaction is over."""
        if self._open:
            self._open[0].undone = undone
            self._open[0].ended = True
            self._open.clear()
        _in_use.discard(self)

    def _undo(self, name: str) -> None:
        index = self._index(name)
        if index is None:  # a savepoint from before anything was noted: all that was noted is within it
            self.end(undone=True)
            return
        self._open[index].undone = True
        self._open[index:] = [Layer(name, self._open[index - 1])]

    def _index(self, name: str) -> int | None:
        places = [place for place, layer in enumerate(self._open) if layer.name == name]
        return places[-1] if places else None


_in_use: WeakSet[Layers] = WeakSet()


def any_open() -> bool:
    """Whether any connection of this process has noted something in a transaction."""
    return len(_in_use) > 0


def layers_of(connection: Any) -> Layers:
    """Those of a connection of ``django.db.connections``."""
    found = vars(connection).get(_KEY)
    if found is None:
        found = vars(connection)[_KEY] = Layers()
        _follow(connection, found)
    return found  # type: ignore[no-any-return]


def _follow(connection: Any, layers: Layers) -> None:
    """Hear of the ends of transactions: of a commit when it has succeeded, of all others in any case."""
    commit, rollback, close = connection._commit, connection._rollback, connection._close

    def committed() -> None:
        commit()
        layers.end(undone=False)

    def undone(how: Any) -> Any:
        def ended() -> Any:
            layers.end(undone=True)
            return how()

        return ended

    connection._commit = committed
    connection._rollback = undone(rollback)
    connection._close = undone(close)
