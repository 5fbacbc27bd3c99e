"""What a queryset writes at once: ``bulk_create``, ``bulk_update`` and ``update``.

Many objects make an event each. Rows that no object shows make one event that says how many there were, or
one for each where the statement names their keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In

from affidavit.core.event import MAX_BATCH
from affidavit.django.capture.marks import is_part
from affidavit.django.capture.models import ALL, Change, is_captured, record, tables_of
from affidavit.django.capture.saves import written
from affidavit.django.capture.shown import showing
from affidavit.django.capture.values import fields_of, shown

__all__ = ["watch_querysets"]

_KEY = "_affidavit_watched"


def watch_querysets() -> None:
    """Watch all querysets, once; those of models that nobody captures do what they did."""
    if _KEY in vars(QuerySet):
        return
    setattr(QuerySet, _KEY, True)
    for name, around in (("update", _update), ("bulk_create", _bulk_create), ("bulk_update", _bulk_update)):
        setattr(QuerySet, name, _watched(getattr(QuerySet, name), around))


def _watched(original: Callable[..., Any], around: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_captured(self.model):
            return original(self, *args, **kwargs)
        self._for_write = True
        return around(original, self, *args, **kwargs)

    return method


def _update(original: Callable[..., int], self: Any, **values: Any) -> int:
    model, using = self.model, self.db
    pair = ("update", model._meta.db_table)
    if is_part(connections[using], pair):
        return original(self, **values)
    with showing(using, {("update", table) for table in tables_of(model)}):
        rows = original(self, **values)
        if rows:
            new = dict(_set(model, values))
            keys = _keys(self.query, model, rows)
            if keys is None:
                noted = {"statement": "update", "rows": rows}
                record(using, [Change("update", model, ALL, new, noted)])
            else:
                record(using, [Change("update", model, key, new) for key in keys])
    return rows


def _set(model: Any, values: dict[str, Any]) -> Iterator[tuple[str, tuple[None, Any]]]:
    for name, value in values.items():
        field = model._meta.get_field(name)
        if isinstance(value, Model):
            value = getattr(value, field.target_field.attname)
        yield field.attname, (None, shown(field, value))


def _keys(query: Any, model: Any, rows: int) -> list[Any] | None:
    """The keys of the rows that a statement has changed, where it names as many as there were."""
    where = query.where
    if where.negated or where.connector != "AND":
        return None
    for each in where.children:
        if (
            isinstance(each, Exact | In)
            and isinstance(each.lhs, Col)
            and each.lhs.target == model._meta.pk
            and not hasattr(each.rhs, "resolve_expression")
        ):
            keys = {each.rhs} if isinstance(each, Exact) else set(each.rhs)
            if len(keys) == rows <= MAX_BATCH:
                return sorted(keys, key=str)
    return None


def _bulk_create(original: Callable[..., Any], self: Any, objs: Any, *args: Any, **kwargs: Any) -> Any:
    objs = list(objs)
    if not objs:
        return original(self, objs, *args, **kwargs)
    model, using = self.model, self.db
    pair = ("insert", model._meta.db_table)
    ignores, updates = _on_conflict(*args, **kwargs)
    with showing(using, {pair}) as block:
        made = original(self, objs, *args, **kwargs)
        rows = block.rows[pair] if ignores else len(objs)
        if rows == len(objs) and not updates and all(one._is_pk_set() for one in made):
            record(using, [written(one, "create", using, fields_of(model)) for one in made])
        elif rows:
            record(using, [Change("create", model, ALL, {}, {"statement": "insert", "rows": rows})])
    return made


def _on_conflict(
    _size: Any = None,
    ignore_conflicts: bool = False,
    update_conflicts: bool = False,
    *_args: Any,
    **_more: Any,
) -> tuple[bool, bool]:
    """Whether rows that were there already are left as they are, or changed."""
    return ignore_conflicts, update_conflicts


def _bulk_update(
    original: Callable[..., int], self: Any, objs: Any, fields: Any, *args: Any, **kwargs: Any
) -> int:
    objs, fields = tuple(objs), list(fields)
    model, using = self.model, self.db
    pairs = {("update", table) for table in tables_of(model)}
    with showing(using, pairs, whole=True):
        rows = original(self, objs, fields, *args, **kwargs)
        chosen = [model._meta.get_field(name) for name in fields]
        if rows == len({one.pk for one in objs}):
            record(using, [written(one, "update", using, chosen) for one in objs])
        elif rows:
            noted = {"statement": "update", "rows": rows}
            record(using, [Change("update", model, ALL, {f.attname: (None, None) for f in chosen}, noted)])
    return rows
