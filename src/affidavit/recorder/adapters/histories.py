"""Old and new values of mapped objects, as the ORM has them at each flush of a transaction.

An attribute's own history is empty after its flush, and an autoflush comes with any query: what each flush
wrote is kept in layers, one for each savepoint, that leave with it or join the one around it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import ClauseElement
from sqlalchemy.orm import InstanceState, PassiveFlag, SessionTransaction
from sqlalchemy.orm.attributes import get_history

from affidavit.recorder.adapters.mapped import columns, many_to_many, mapped, state_of

__all__ = ["Changed", "Histories", "Kind", "computed", "flushed"]

Kind = Literal["create", "update", "delete"]
Changed = dict[str, tuple[Any, Any]]
"""Attribute to its old and new value."""

_plans: dict[Any, tuple[list[str], list[str]]] = {}


def flushed(one: object, kind: Kind) -> Changed:
    """What a flush writes of an object; asked while the session still shows the state before it.

    A value that the ORM has not loaded is ``None``; one that the database computes is the text of its
    expression. Of a relationship over a table of its own: the resources that left, and those that came.
    """
    state = state_of(one)
    assert state is not None
    plan = _plans.get(state.mapper)
    if plan is None:
        plan = _plans[state.mapper] = (columns(state.mapper), many_to_many(state.mapper))
    found: Changed = {}
    for name in plan[0]:
        pair = _pair(one, state, name, kind)
        if pair is not None and not _same(*pair):
            found[name] = (_value(pair[0]), _value(pair[1]))
    for name in plan[1]:
        history = get_history(one, name, PassiveFlag.PASSIVE_NO_INITIALIZE)
        left = [*history.deleted, *(history.unchanged if kind == "delete" else ())]
        came = () if kind == "delete" else history.added
        if left or came:
            found[name] = ([_key(each) for each in left] or None, [_key(each) for each in came] or None)
    return found


def computed(one: object) -> Changed:
    """The attributes that an expression of SQL was assigned to, with their old values and its text."""
    state = state_of(one)
    assert state is not None
    names = [name for name in state.committed_state if isinstance(state.dict.get(name), ClauseElement)]
    found: Changed = {}
    for name in names:
        left = get_history(one, name, PassiveFlag.PASSIVE_NO_INITIALIZE).deleted
        found[name] = (left[0] if left else None, _value(state.dict[name]))
    return found


def _pair(one: object, state: InstanceState[Any], name: str, kind: Kind) -> tuple[Any, Any] | None:
    if kind == "create":
        # A default is in the object by now, and in no history.
        return (None, state.dict.get(name))
    if kind == "update" and name not in state.committed_state:
        return None
    history = get_history(one, name, PassiveFlag.PASSIVE_NO_INITIALIZE)
    if kind == "delete":
        return (history.deleted[0] if history.deleted else state.dict.get(name), None)
    if not history.added:
        return None
    return (history.deleted[0] if history.deleted else None, history.added[0])


def _value(value: Any) -> Any:
    return str(value) if isinstance(value, ClauseElement) else value


def _key(one: object) -> str | None:
    found = None if one is None else mapped(one)
    return None if found is None else found.id


def _same(old: Any, new: Any) -> bool:
    if old is new:
        return True
    if type(old) is not type(new) or isinstance(old, ClauseElement):
        return False
    try:
        return bool(old == new)
    except (TypeError, ValueError):  # such as arrays, of which each part is compared
        return False


class _Layer:
    """What one transaction or savepoint changed, by the objects' identity; it keeps them alive meanwhile."""

    def __init__(self, transaction: SessionTransaction) -> None:
        self.transaction = transaction
        self.of: dict[int, tuple[object, Changed]] = {}

    def add(self, one: object, changed: Mapping[str, tuple[Any, Any]]) -> None:
        known = self.of.setdefault(id(one), (one, {}))[1]
        for name, (old, new) in changed.items():
            first = known[name][0] if name in known else old
            known[name] = (first, new)
            if _same(first, new):
                del known[name]  # it came back to what it was


class Histories:
    """What changed since the transaction, or the innermost savepoint that changed an object, began."""

    def __init__(self) -> None:
        self._layers: list[_Layer] = []

    def add(self, transaction: SessionTransaction, one: object, changed: Changed) -> None:
        """A flush within a transaction or savepoint has written this."""
        if not self._layers or self._layers[-1].transaction is not transaction:
            self._layers.append(_Layer(transaction))
        self._layers[-1].add(one, changed)

    def of(self, one: object) -> Changed:
        """What changed of an object."""
        for layer in reversed(self._layers):
            if (known := layer.of.get(id(one))) is not None and known[1]:
                return dict(known[1])
        return {}

    def released(self, transaction: SessionTransaction, around: SessionTransaction) -> None:
        """A savepoint was released: what it changed belongs to what is around it."""
        if self._layers and self._layers[-1].transaction is transaction:
            layer = self._layers.pop()
            for one, changed in layer.of.values():
                self.add(around, one, changed)

    def ended(self, transaction: SessionTransaction) -> None:
        """A transaction has ended, or a savepoint was undone."""
        self._layers = [layer for layer in self._layers if layer.transaction is not transaction]
