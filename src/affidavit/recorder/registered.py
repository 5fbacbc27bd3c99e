"""Classes of the app's objects, and the resources that they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from affidavit.core.event import Resource
from affidavit.core.mask import MASKED

__all__ = ["Attribute", "Reader", "Registered", "seen"]

Attribute = str | Callable[[Any], object]
"""The name of an attribute, or a function of the object."""

Reader = Callable[[object, str], tuple[object] | None]
"""Reads an attribute as an ORM has it; ``None`` where it does not know the object."""


class _Known(NamedTuple):
    type: str
    id: Attribute
    name: Attribute | None
    exclude: frozenset[str]
    mask: frozenset[str]


class Registered:
    """What :meth:`affidavit.embed.Audit.register` was told, and finders and readers that ORMs add."""

    def __init__(self) -> None:
        self._classes: dict[type, _Known] = {}
        self._finders: list[Callable[[object], Resource | None]] = []
        self._readers: list[Reader] = []

    def add(
        self,
        cls: type,
        *,
        type: str,
        id: Attribute,
        name: Attribute | None,
        exclude: Collection[str] = (),
        mask: Collection[str] = (),
    ) -> None:
        """An object of this class, or of one that inherits from it, is this resource."""
        self._classes[cls] = _Known(type, id, name, frozenset(exclude), frozenset(mask))

    def find_by(self, finder: Callable[[object], Resource | None]) -> None:
        """Ask this for objects of classes that nobody registered; asked in the order of adding, once each."""
        if finder not in self._finders:
            self._finders.append(finder)

    def read_by(self, reader: Reader) -> None:
        """Ask this for attributes, before the object itself, which might load them."""
        if reader not in self._readers:
            self._readers.append(reader)

    def known(self, cls: type) -> bool:
        """Whether the class, or one that it inherits from, was registered."""
        return self._of(cls) is not None

    def type_of(self, cls: type) -> str | None:
        """The type of resource that objects of a class are, ``None`` where nobody registered it."""
        known = self._of(cls)
        return None if known is None else known.type

    def id_of(self, cls: type) -> Attribute | None:
        """What the id of its objects was registered to be, ``None`` where nobody registered the class."""
        known = self._of(cls)
        return None if known is None else known.id

    def shown(self, cls: type, changes: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
        """The changes of an object as its class wants them to be seen."""
        known = self._of(cls)
        if known is None:
            return dict(changes)
        return seen(changes, known.exclude, known.mask)

    def describe(self, value: object) -> Resource | None:
        """The resource that an object is; ``None`` where nobody knows, or where it has no id yet."""
        known = self._of(type(value))
        if known is None:
            return next((found for finder in self._finders if (found := finder(value)) is not None), None)
        key = self._read(value, known.id)
        if key is None:
            return None
        name = None if known.name is None else self._read(value, known.name)
        return Resource(type=known.type, id=str(key), name=None if name is None else str(name))

    def _of(self, cls: type) -> _Known | None:
        return next((self._classes[base] for base in cls.__mro__ if base in self._classes), None)

    def _read(self, value: object, attribute: Attribute) -> object:
        if not isinstance(attribute, str):
            return attribute(value)
        for reader in self._readers:
            if (found := reader(value, attribute)) is not None:
                return found[0]
        return getattr(value, attribute)


def seen(
    changes: Mapping[str, tuple[Any, Any]], exclude: Collection[str], mask: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Changes without what is excluded, and with the mask where a field's values are nobody's business."""
    return {
        name: (_masked(pair[0]), _masked(pair[1])) if name in mask else pair
        for name, pair in changes.items()
        if name not in exclude
    }


def _masked(value: Any) -> Any:
    return None if value is None else MASKED
