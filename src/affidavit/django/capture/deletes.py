"""``delete()`` of an object or a queryset, and what goes with it: one event for each object.

Where somebody listens, Django loads what it deletes; an object over several tables is deleted from each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models.signals import post_delete, pre_delete

from affidavit.django.capture.known import known
from affidavit.django.capture.marks import Shown
from affidavit.django.capture.models import ALL, Change, is_captured, record
from affidavit.django.capture.shown import mark
from affidavit.django.capture.values import changed, fields_of

__all__ = ["hear_deletes"]

_NOTE = "deletes"


def hear_deletes(model: Any) -> None:
    """Listen to a class."""
    pre_delete.connect(_begins, sender=model, dispatch_uid="affidavit.capture")
    post_delete.connect(_is_done, sender=model, dispatch_uid="affidavit.capture")


class _Deletes:
    """Of one collector: Django announces all of them first, and tells of each when its row has gone."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self.left = 0


def _begins(instance: Any, using: str, origin: Any = None, **_more: Any) -> None:
    shown = mark(using) if origin is not None and is_captured(type(instance)) else None
    if shown is None:
        return  # somebody else sends the signal: nothing is deleted
    deletes: _Deletes = shown.notes.setdefault(_NOTE, _Deletes())
    deletes.objects.append(instance)
    deletes.left += 1
    shown.pairs.add(("delete", instance._meta.db_table))
    for field in instance._meta.many_to_many:
        if field.remote_field.through._meta.auto_created:
            shown.pairs.add(("delete", field.remote_field.through._meta.db_table))


def _is_done(instance: Any, using: str, origin: Any = None, **_more: Any) -> None:
    shown = mark(using) if origin is not None and is_captured(type(instance)) else None
    if shown is None or _NOTE not in shown.notes:
        return
    deletes: _Deletes = shown.notes[_NOTE]
    deletes.left -= 1
    if deletes.left == 0:
        del shown.notes[_NOTE]
        record(using, _changes(deletes.objects, shown, using))


def _changes(objects: list[Any], shown: Shown, using: str) -> Iterator[Change]:
    parts = {part for each in objects for part in _parts(each)}
    whole = [each for each in objects if (each._meta.concrete_model, each.pk) not in parts]
    by_table: dict[str, list[Any]] = {}
    for each in whole:
        by_table.setdefault(each._meta.db_table, []).append(each)
    for table, some in by_table.items():
        rows = shown.rows["delete", table]
        if rows >= len(some):
            for each in some:
                yield Change("delete", type(each), each, _gone(each, using))
        elif rows > 0:  # others were faster, and nobody knows with which
            yield Change("delete", type(some[0]), ALL, {}, {"statement": "delete", "rows": rows})


def _parts(instance: Any) -> Iterator[tuple[Any, Any]]:
    """The rows of other models that an object over several tables is made of."""
    for parent, link in instance._meta.concrete_model._meta.parents.items():
        if link is not None:
            yield parent._meta.concrete_model, getattr(instance, link.attname)


def _gone(instance: Any, using: str) -> dict[str, tuple[Any, Any]]:
    values = known(instance, using) or {}
    fields = fields_of(instance._meta.concrete_model)
    found = changed(fields, dict.fromkeys(values), values)
    return {name: (value, None) for name, (_none, value) in found.items()}
