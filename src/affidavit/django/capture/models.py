"""Which models are captured, for whom, and the events that their changes become."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal, NamedTuple

from django.db import connections
from django.db.models import Model

from affidavit.core.event import MAX_BATCH, Resource
from affidavit.recorder.adapters.django import DjangoAdapter
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.registered import seen

__all__ = [
    "ALL",
    "KINDS",
    "Captured",
    "Change",
    "Kind",
    "add",
    "captured",
    "captured_tables",
    "check_fields",
    "family",
    "forget",
    "is_captured",
    "is_counted",
    "names_of",
    "record",
    "spelled",
    "tables_of",
    "watched",
]

Kind = Literal["create", "update", "delete"]
KINDS: tuple[Kind, ...] = ("create", "update", "delete")
ALL = "*"
"""Stands for rows or ids that are not known one by one."""
_adapter = DjangoAdapter()


class Change(NamedTuple):
    """What becomes one event.

    Attributes:
        kind: of change.
        model: whose row it is.
        of: the object, or its key; ``*`` for rows that are not known one by one.
        changes: field to old and new value, as JSON has them.
        metadata: of the event.
    """

    kind: Kind
    model: type
    of: Any
    changes: Mapping[str, tuple[Any, Any]]
    metadata: Mapping[str, Any] | None = None


class Captured(NamedTuple):
    """A model, for one recorder."""

    recorder: Recorder
    schema: str
    model: type
    actions: Mapping[Kind, str]
    exclude: frozenset[str]
    mask: frozenset[str]

    def fields(self, change: Change) -> dict[str, Any] | None:
        """The fields of the event; ``None`` where there is nothing to say."""
        if change.kind not in self.actions:
            return None
        shown = self.recorder.registered.shown(change.model, change.changes)
        changes = seen(shown, self.exclude, self.mask)
        if change.kind == "update" and not changes:
            return None
        metadata = dict(change.metadata or {})
        resource = change.of
        if not isinstance(resource, Model):
            resource = self._by_key(change.model, resource, metadata)
        found: dict[str, Any] = {"resource": resource, "changes": changes}
        return {**found, "metadata": metadata} if metadata else found

    def _by_key(self, model: Any, key: Any, metadata: dict[str, Any]) -> Resource:
        """The resource that a row is; its key is in the metadata where the id is something else."""
        registered, primary = self.recorder.registered, model._meta.pk
        if key != ALL and registered.id_of(model) not in (None, "pk", primary.name, primary.attname):
            metadata["key"], key = str(key), ALL
        return Resource(type=registered.type_of(model) or model._meta.db_table, id=str(key))


_captured: dict[tuple[int, type], Captured] = {}
_nearest: dict[type, tuple[Captured, ...]] = {}
_tables: dict[str, tuple[str, bool]] = {}
"""Table in lower case to its name, and whether a change of its rows is one of a captured model."""


def add(found: Captured) -> None:
    """Capture a model."""
    _captured[id(found.recorder), found.model] = found
    forget()


def forget() -> None:
    """Models have come: look again what is captured."""
    _nearest.clear()
    _tables.clear()


def captured(cls: type) -> tuple[Captured, ...]:
    """For each recorder, what is nearest to a class."""
    known = _nearest.get(cls)
    if known is None:
        known = _nearest[cls] = tuple(_find(cls))
    return known


def is_captured(cls: type) -> bool:
    """Whether anybody captures the class."""
    return bool(captured(cls))


def _find(cls: type) -> Iterator[Captured]:
    found: set[int] = set()
    for base in cls.__mro__:
        for (recorder, model), each in _captured.items():
            if model is base and recorder not in found:
                found.add(recorder)
                yield each


def family(model: Any) -> list[Any]:
    """A model and all that inherit from it, proxies among them."""
    found = [model]
    for child in model.__subclasses__():
        if not child._meta.abstract:
            found += family(child)
        else:
            found += [each for each in family(child) if each is not child]
    return found


def tables_of(model: Any) -> set[str]:
    """The tables that hold the rows of a model: its own, and those of its parents."""
    return {each._meta.db_table for each in (model, *model._meta.all_parents)}


def watched(table: str) -> str | None:
    """The name of a table, given in any case, that holds or relates captured models; else ``None``."""
    if not _tables and _captured:
        for each in list(_captured.values()):
            for model in family(each.model):
                name = model._meta.db_table
                _tables[name.lower()] = (name, True)
                for field in model._meta.local_many_to_many:
                    between = field.remote_field.through._meta
                    name = between.db_table
                    _tables.setdefault(name.lower(), (name, bool(between.auto_created)))
    found = _tables.get(table.lower())
    return None if found is None else found[0]


def is_counted(table: str) -> bool:
    """Whether nobody else would see the rows change: all but those of a relation's own, uncaptured model."""
    return _tables[table.lower()][1]


def captured_tables() -> str:
    """The tables whose changes are recorded here: a JSON list, empty where none is."""
    names = {
        model._meta.db_table for each in _captured.values() for model in family(each.model) if each.actions
    }
    return json.dumps(sorted(names)) if names else ""


def record(using: str, changes: Iterable[Change]) -> None:
    """Write the events of changes in the transaction that makes them, many in one statement.

    Raises:
        InvalidEvent: no actor is known, or a value breaks a rule; the changes cannot be committed.
    """
    said: dict[int, tuple[Captured, list[Any]]] = {}
    for change in changes:
        for each in captured(change.model):
            fields = each.fields(change)
            if fields is not None:
                said.setdefault(id(each.recorder), (each, []))[1].append(
                    each.recorder.said(each.actions[change.kind], fields)
                )
    for each, all_said in said.values():
        left = iter(all_said)
        while some := list(islice(left, MAX_BATCH)):
            _adapter.record(each.recorder, connections[using], some, each.schema)


def names_of(actions: Mapping[Kind, Any] | None, model: Any) -> dict[Kind, str]:
    """The action of each kind that is captured.

    Raises:
        TypeError: a kind that there is not.
    """
    table = re.sub(r"[^a-z0-9_-]", "_", str(model._meta.db_table).lower())
    given: Mapping[Kind, Any] = {kind: f"{table}.{kind}" for kind in KINDS} if actions is None else actions
    if unknown := given.keys() - set(KINDS):
        raise TypeError(f"{min(unknown)!r} is none of {', '.join(KINDS)}")
    return {kind: getattr(action, "action", action) for kind, action in given.items()}


def spelled(cls: Any, names: Collection[str]) -> frozenset[str]:
    """Names of fields as the events have them: ``team_id`` for ``team``."""
    known = _fields(cls) if isinstance(cls, type) and issubclass(cls, Model) else {}
    return frozenset(known.get(name, name) for name in names)


def check_fields(model: Any, names: Collection[str]) -> None:
    """Refuse a misspelt name: what it was to keep back would be shown.

    Raises:
        TypeError: neither the model nor one that inherits from it has such a field.
    """
    known: set[str] = set()
    for each in family(model):
        known |= _fields(each).keys()
        known |= {field.name for field in each._meta.many_to_many}
    if unknown := set(names) - known:
        raise TypeError(f"{model.__name__} has no field {min(unknown)!r}")


def _fields(model: Any) -> dict[str, str]:
    found = {field.name: field.attname for field in model._meta.concrete_fields}
    return found | {attname: attname for attname in found.values()}
