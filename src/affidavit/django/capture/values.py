"""The values of an object's fields: as they are in memory, as they are compared, and as an event has them.

Nothing here asks the database or loads a field.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db.models import FileField

from affidavit.errors import InvalidEvent
from affidavit.recorder.fields import plain

__all__ = ["Changed", "changed", "fields_of", "is_expression", "kept", "shown"]

Changed = dict[str, tuple[Any, Any]]
"""Field to its old and new value."""

_PLAIN = (str, int, float, Decimal, datetime, date, time, timedelta, UUID, bytes, memoryview)
_IMMUTABLE = frozenset({*_PLAIN, bool, type(None)})


@cache
def fields_of(model: Any, *, local: bool = False) -> tuple[Any, ...]:
    """The fields that an event tells of: those of the key and what the database derives left out.

    Args:
        model: a class.
        local: only those of its own table.
    """
    keys = {field for each in (model, *model._meta.all_parents) for field in each._meta.pk_fields}
    fields = model._meta.local_concrete_fields if local else model._meta.concrete_fields
    return tuple(field for field in fields if field not in keys and not field.generated)


def is_expression(value: object) -> bool:
    """Whether SQL computes the value."""
    return type(value) not in _IMMUTABLE and hasattr(value, "resolve_expression")


def kept(field: Any, value: Any) -> Any:
    """What is remembered of a value: one that the app may change in place is copied."""
    if type(value) in _IMMUTABLE:
        return value
    if isinstance(field, FileField):
        return str(value)
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - a value of the app's own, whose copying may fail in any way
        return value


def changed(fields: Iterable[Any], old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Changed:
    """What is written of an object.

    Args:
        fields: that are written.
        old: by attribute, as far as it is known.
        new: the object's own attributes.
    """
    found: Changed = {}
    for field in fields:
        name = field.attname
        if name not in new:
            continue  # it was never loaded, and is not written
        if old is None or name not in old:
            found[name] = (None, shown(field, new[name]))
        elif (pair := _pair(field, old[name], new[name])) is not None:
            found[name] = pair
    return found


def _pair(field: Any, old: Any, new: Any) -> tuple[Any, Any] | None:
    if not is_expression(new):
        if type(old) is type(new) and _equal(old, new):
            return None
        new = _converted(field, new)
        if _equal(old, new) and type(old) is type(new):
            return None
    pair = (shown(field, old), shown(field, new))
    return None if type(pair[0]) is type(pair[1]) and _equal(*pair) else pair


def _converted(field: Any, value: Any) -> Any:
    """A value of another type as the field has it: the text ``5`` of a form is the number 5."""
    if isinstance(field, FileField):
        return str(value)
    try:
        return field.to_python(value)
    except (ValidationError, TypeError, ValueError):
        return value


def _equal(old: Any, new: Any) -> bool:
    try:
        return bool(old == new)
    except (TypeError, ValueError):  # such as arrays, of which each part is compared
        return False


def shown(field: Any, value: Any) -> Any:
    """A value as JSON has it; what JSON cannot say is its text."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if is_expression(value) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    if not isinstance(value, (*_PLAIN, dict, list, tuple)):
        value = _prepared(field, value)
    try:
        return plain(value, field.name)
    except InvalidEvent:
        return str(value)


def _prepared(field: Any, value: Any) -> Any:
    """A value of a field's own kind, such as a file, as the database gets it."""
    try:
        return field.get_prep_value(value)
    except (ValidationError, TypeError, ValueError):
        return value
