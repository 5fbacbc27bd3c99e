"""``save()``: the row and its event in one transaction, before anybody hears that it was saved."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any

from affidavit.django.capture.known import keep, known
from affidavit.django.capture.models import Change, Kind, is_captured, record
from affidavit.django.capture.shown import showing
from affidavit.django.capture.values import changed, fields_of
from affidavit.recorder.context import context, current
from affidavit.recorder.fields import system

__all__ = ["saved", "written"]


def saved(original: Callable[..., bool]) -> Callable[..., bool]:
    """``_save_table`` of a class whose objects record what is written of them.

    This is within ``save_base()``, after the signal ``pre_save`` and before ``post_save``: what receivers
    start after a save finds it committed, as it would without us.
    """

    @wraps(original)
    def save_table(
        self: Any,
        raw: bool = False,
        cls: Any = None,
        force_insert: bool = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Collection[str] | None = None,
    ) -> bool:
        if using is None or cls is None or not is_captured(type(self)):
            return original(self, raw, cls, force_insert, force_update, using, update_fields)
        table = cls._meta.db_table
        with showing(using, {("insert", table), ("update", table)}):
            updated = original(self, raw, cls, force_insert, force_update, using, update_fields)
            # An object over several tables is complete with its own, which is the last one.
            if cls is self._meta.concrete_model:
                fields: Collection[Any] = fields_of(cls, local=raw)
                if update_fields is not None:
                    fields = [f for f in fields if f.name in update_fields or f.attname in update_fields]
                change = written(self, "update" if updated else "create", using, fields)
                with _by_the_loader() if raw else nullcontext():
                    record(using, [change])
        return updated

    return save_table


def _by_the_loader() -> AbstractContextManager[object]:
    """Who acts where a fixture is loaded and nobody says: the command, which knows no request."""
    here = current()
    if here is not None and here.known().get("actor") is not None:
        return nullcontext()
    return context(actor=system("loaddata"))


def written(instance: Any, kind: Kind, using: str, fields: Collection[Any]) -> Change:
    """What was just written of an object, which is remembered from now on.

    Args:
        instance: of a captured model.
        kind: what became of its row.
        using: alias of the database.
        fields: that were written.
    """
    old = known(instance, using) if kind == "update" else {field.attname: None for field in fields}
    changes = changed(fields, old, instance.__dict__)
    keep(instance, using, {field.attname for field in fields}, afresh=kind == "create")
    return Change(kind, type(instance), instance, changes)
