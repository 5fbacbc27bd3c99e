"""Which place a driver of the recorder writes to; what it takes to ask is imported once it is there."""

from __future__ import annotations

import sys
from typing import Any

from affidavit.testing.audit_log.driver_places import AiosqlitePlace, EnginePlace, PsycopgPlace, Sqlite3Place
from affidavit.testing.audit_log.place import Place

__all__ = ["key_of", "kind_of", "place_of"]

_ADAPTERS = "affidavit.recorder.adapters."


def kind_of(driver: Any) -> str:
    """The name of the class of a driver, as its module has it: none is imported for this."""
    return next(cls.__name__ for cls in type(driver).__mro__ if cls.__module__.startswith(_ADAPTERS))


def key_of(driver: Any) -> tuple[str, object]:
    """What two drivers on the same connection have in common; its place keeps the connection alive."""
    connection, kind = driver._connection, kind_of(driver)
    if kind == "DjangoDriver":
        return kind, connection.alias
    return kind, id(connection.engine if kind == "SqlalchemyDriver" else connection)


def place_of(driver: Any) -> Place:
    """Where a driver of :mod:`affidavit.recorder.adapters` writes."""
    connection = driver._connection
    schema = getattr(driver, "_schema", None) or "public"
    kind = kind_of(driver)
    if kind == "SqlalchemyDriver":
        return EnginePlace(connection.engine, schema)
    if kind == "DjangoDriver":
        from affidavit.testing.audit_log.django_places import DjangoPlace

        return DjangoPlace(connection.alias, schema)
    if kind in ("PsycopgDriver", "AsyncPsycopgDriver"):
        return PsycopgPlace(connection, schema)
    if kind == "AiosqliteDriver":
        return AiosqlitePlace(connection)
    place = Sqlite3Place(connection)
    if place.in_memory and "affidavit.django.recording" in sys.modules:
        from affidavit.testing.audit_log.django_places import in_memory

        return in_memory() or place
    return place
