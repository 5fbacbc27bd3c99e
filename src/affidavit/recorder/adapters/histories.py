"""Old and new values of mapped objects, as the ORM has them at each flush of a transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from affidavit.recorder.fields import Said

__all__ = ["Histories"]

_Changed = dict[str, tuple[Any, Any]]


class Histories:
    """What changed since the transaction began; an attribute's own history is empty after its flush."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[object, _Changed]] = {}

    def take(self, session: Session) -> None:
        """Add what this flush has written; called while the session still shows the state before it."""
        for one in (*session.new, *session.dirty):
            self._add(one)
        for one in session.deleted:
            self._add(one, deleted=True)

    def completed(self, said: Said) -> Said:
        """With the changes of the object that it speaks of, where the caller gave none."""
        if "changes" in said.fields:
            return said
        known = self._of.get(id(said.fields.get("resource")))
        if known is None or not known[1]:
            return said
        return said._replace(fields={**said.fields, "changes": dict(known[1])})

    def forget(self) -> None:
        """The transaction has ended, or a part of it was undone."""
        self._of.clear()

    def _add(self, one: object, *, deleted: bool = False) -> None:
        state = inspect(one)
        changed = self._of.setdefault(id(one), (one, {}))[1]
        for attribute in state.mapper.column_attrs:
            name = attribute.key
            history = state.attrs[name].history
            if deleted:
                old = history.deleted[0] if history.deleted else state.dict.get(name)
                pair = (old, None)
            elif history.added:
                pair = (history.deleted[0] if history.deleted else None, history.added[0])
            else:
                continue
            first = changed[name][0] if name in changed else pair[0]
            changed[name] = (first, pair[1])
            if first == pair[1]:
                del changed[name]  # a new object's empty attributes are no change, nor is one that came back
