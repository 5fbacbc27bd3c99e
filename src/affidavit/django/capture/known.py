"""What an object is known to have had in the database: when it was loaded, and as it was saved since.

It is kept with the object's own state, so it goes where the object goes, and names the layer of the
transaction in which it was true: what was rolled back was never so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, wraps
from typing import Any

from django.db import connections

from affidavit.django.capture.layers import Layer, any_open, layers_of
from affidavit.django.capture.values import is_expression, kept

__all__ = ["keep", "known", "loaded", "refreshed"]

_KEY = "_affidavit_known"
_IMMUTABLE = frozenset(
    (
        "AutoField",
        "BigAutoField",
        "BigIntegerField",
        "BooleanField",
        "CharField",
        "DateField",
        "DateTimeField",
        "DecimalField",
        "DurationField",
        "FloatField",
        "ForeignKey",
        "GenericIPAddressField",
        "IntegerField",
        "OneToOneField",
        "PositiveBigIntegerField",
        "PositiveIntegerField",
        "PositiveSmallIntegerField",
        "SlugField",
        "SmallAutoField",
        "SmallIntegerField",
        "TextField",
        "TimeField",
        "UUIDField",
    )
)
"""Kinds of Django's own fields whose values cannot be changed in place."""


@cache
def _mutable(model: Any) -> tuple[Any, ...]:
    """The fields whose values an app may change in place: anything that is not known to be plain."""
    return tuple(
        field
        for field in model._meta.concrete_fields
        if field.get_internal_type() not in _IMMUTABLE or not type(field).__module__.startswith("django.")
    )


class _Known:
    """Values by attribute, in one database."""

    __slots__ = ("before", "layer", "using", "values")

    def __init__(
        self,
        values: Mapping[str, Any],
        using: str | None,
        layer: Layer | None = None,
        before: _Known | None = None,
    ) -> None:
        self.values = values
        self.using = using
        self.layer = layer
        self.before = before

    def __deepcopy__(self, _memo: object) -> _Known:
        return self  # it is never changed

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Known, (self.values, self.using))


def known(instance: Any, using: str) -> Mapping[str, Any] | None:
    """What an object is known to have in a database; ``None`` where nothing is, as of one made by hand."""
    found = _in_force(instance)
    if found is None or found.using != using:
        return None
    # With another key it is another row.
    if any(found.values.get(f.attname) != getattr(instance, f.attname) for f in instance._meta.pk_fields):
        return None
    return found.values


def keep(instance: Any, using: str, names: Iterable[str], *, afresh: bool = False) -> None:
    """Remember what was just written of an object, until that is rolled back.

    Args:
        instance: of a captured model.
        using: alias of the database.
        names: attributes that were written.
        afresh: the row is a new one, of which nothing was known.
    """
    layer = layers_of(connections[using]).current()
    values = {} if afresh else dict(known(instance, using) or {})
    for field in instance._meta.concrete_fields:
        if field.attname not in names and not field.primary_key and field not in instance._meta.pk_fields:
            continue
        value = instance.__dict__.get(field.attname)
        if is_expression(value) or field.attname not in instance.__dict__:
            values.pop(field.attname, None)
        else:
            values[field.attname] = kept(field, value)
    before = _in_force(instance)
    while before is not None and before.layer is layer:
        before = before.before
    if before is not None and (before.layer is None or before.layer.is_over):
        before = _Known(before.values, before.using)
    vars(instance._state)[_KEY] = _Known(values, using, layer, before)


def loaded(original: Callable[..., Any]) -> Callable[..., Any]:
    """``from_db`` of a class that remembers what its objects are loaded with."""

    @wraps(original)
    def from_db(cls: Any, db: str, field_names: Collection[str], values: Collection[Any]) -> Any:
        new = original(cls, db, field_names, values)
        found = dict(zip(field_names, values, strict=False))
        for field in _mutable(cls):
            if field.attname in found:
                found[field.attname] = kept(field, found[field.attname])
        layer = layers_of(connections[db]).if_open() if any_open() else None
        vars(new._state)[_KEY] = _Known(found, db, layer)
        return new

    return from_db


def refreshed(original: Callable[..., None]) -> Callable[..., None]:
    """``refresh_from_db`` that remembers what is loaded later: all again, or a field that was left out."""

    @wraps(original)
    def refresh_from_db(
        self: Any,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        *more: Any,
        **named: Any,
    ) -> None:
        before = set(self.__dict__)
        fields = None if fields is None else list(fields)
        original(self, using, fields, *more, **named)
        attributes = [
            field
            for field in self._meta.concrete_fields
            if field.attname in self.__dict__
            and (
                fields is None
                or field.name in fields
                or field.attname in fields
                or field.attname not in before
            )
        ]
        _reload(self, attributes)

    return refresh_from_db


def _reload(instance: Any, fields: Iterable[Any]) -> None:
    using = instance._state.db
    values = dict(known(instance, using) or {})
    values |= {field.attname: instance.__dict__[field.attname] for field in instance._meta.pk_fields}
    values |= {field.attname: kept(field, instance.__dict__[field.attname]) for field in fields}
    layer = layers_of(connections[using]).if_open()
    before = _in_force(instance)
    if before is not None and before.layer is layer:
        before = before.before
    vars(instance._state)[_KEY] = _Known(values, using, layer, before)


def _in_force(instance: Any) -> _Known | None:
    found: _Known | None = vars(instance._state).get(_KEY)
    while found is not None and found.layer is not None and found.layer.is_undone:
        found = found.before
    return found
