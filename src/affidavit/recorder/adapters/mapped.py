"""What SQLAlchemy has in memory of a mapped object. Nothing here asks the database or loads an attribute."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.orm.attributes import instance_state

from affidavit.core.event import Resource

__all__ = ["columns", "is_mapped", "many_to_many", "mapped", "peek", "state_of"]


def state_of(value: object) -> InstanceState[Any] | None:
    """The ORM's state of an object, ``None`` where it is not mapped."""
    try:
        return instance_state(value)
    except AttributeError:
        return None


def is_mapped(value: object) -> bool:
    """Whether an ORM has the object."""
    return state_of(value) is not None


def mapped(value: object) -> Resource | None:
    """The resource that a mapped object is: its table and its primary key; ``None`` where it has none yet."""
    state = state_of(value)
    if state is None:
        return None
    identity = _identity(state)
    if identity is None:
        return None
    name = getattr(state.mapper.local_table, "name", None) or state.mapper.class_.__name__
    return Resource(type=str(name), id=",".join(str(part) for part in identity))


def _identity(state: InstanceState[Any]) -> tuple[Any, ...] | None:
    if state.identity is not None:
        return tuple(state.identity)
    mapper = state.mapper
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    parts = tuple(state.dict.get(key) for key in keys)
    return None if any(part is None for part in parts) else parts


def peek(value: object, name: str) -> tuple[object] | None:
    """An attribute of a mapped object, as it is in memory.

    Returns:
        The value, ``None`` for one that is not loaded, in a tuple; ``None`` where it is no mapped attribute
        of a mapped object and is read as any other.
    """
    state = state_of(value)
    if state is None or name not in state.mapper.attrs:
        return None
    if name in state.dict:
        return (state.dict[name],)
    if state.identity is not None:
        for column, part in zip(state.mapper.primary_key, state.identity, strict=True):
            if state.mapper.get_property_by_column(column).key == name:
                return (part,)
    return (None,)


def columns(mapper: Mapper[Any]) -> list[str]:
    """The attributes that stand for columns of tables, those of the primary key left out."""
    primary = set(mapper.primary_key)
    return [
        attribute.key
        for attribute in mapper.column_attrs
        if isinstance(attribute.columns[0], Column) and primary.isdisjoint(attribute.columns)
    ]


def many_to_many(mapper: Mapper[Any]) -> list[str]:
    """The relationships over a table of their own."""
    return [each.key for each in mapper.relationships if each.secondary is not None and not each.viewonly]
