"""Classes of the app's objects, and the resources that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from affidavit.core.event import Resource

__all__ = ["Registered"]

Attribute = str | Callable[[Any], object]
"""The name of an attribute, or a function of the object."""


class _Known(NamedTuple):
    type: str
    id: Attribute
    name: Attribute | None


class Registered:
    """What :meth:`affidavit.embed.Audit.register` was told, and finders that ORMs add."""

    def __init__(self) -> None:
        self._classes: dict[type, _Known] = {}
        self._finders: list[Callable[[object], Resource | None]] = []

    def add(self, cls: type, *, type: str, id: Attribute, name: Attribute | None) -> None:
        """An object of this class, or of one that inherits from it, is this resource."""
        self._classes[cls] = _Known(type, id, name)

    def find_by(self, finder: Callable[[object], Resource | None]) -> None:
        """Ask this for objects of classes that nobody registered; asked in the order of adding, once each."""
        if finder not in self._finders:
            self._finders.append(finder)

    def known(self, cls: type) -> bool:
        """Whether the class, or one that it inherits from, was registered."""
        return any(base in self._classes for base in cls.__mro__)

    def describe(self, value: object) -> Resource | None:
        """The resource that an object is, ``None`` where nobody knows."""
        for cls in type(value).__mro__:
            if (known := self._classes.get(cls)) is not None:
                name = None if known.name is None else _read(value, known.name)
                return Resource(
                    type=known.type,
                    id=str(_read(value, known.id)),
                    name=None if name is None else str(name),
                )
        return next((found for finder in self._finders if (found := finder(value)) is not None), None)


def _read(value: object, attribute: Attribute) -> object:
    return getattr(value, attribute) if isinstance(attribute, str) else attribute(value)
