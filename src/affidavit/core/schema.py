"""Metadata schemas: the part of JSON Schema (draft 2020-12) that a catalog may declare, without a dependency.

A schema says what the metadata of an event type looks like. It documents and is checked by
``affidavit catalog check``; it never refuses an event. The keywords are those of :data:`KEYWORDS`; another
one is an error where it is declared, so that nothing is believed to be checked that is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affidavit.errors import FieldError

__all__ = ["KEYWORDS", "Kind", "fields", "schema_errors", "value_errors"]

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list, tuple),
    "null": (type(None),),
}
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems")
_BOUNDS = ("minimum", "maximum")
_NOTES = ("title", "description")
KEYWORDS = frozenset(
    (
        *("type", "enum", "properties", "required", "additionalProperties", "items"),
        *_COUNTS,
        *_BOUNDS,
        *_NOTES,
    )
)
"""The keywords that may stand in a metadata schema. ``title`` and ``description`` only document."""

_MAX_LEVELS = 16

Kind = type | tuple[str, ...] | list[type] | Mapping[str, Any]
"""How :func:`fields` names a type: ``str``, ``int``, ``float``, ``bool``, ``dict``, ``[str]``, the words of
an enumeration as a tuple, or a schema."""

_NAMES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object"}


def fields(*required: str, **kinds: Kind) -> dict[str, Any]:
    """A schema of an object, in short: ``fields("name", name=str, abilities=[str], mode=("all", "failed"))``.

    Args:
        required: the keys that are always there; a key that ``kinds`` does not name is of any type.
        kinds: the type of each key.
    """
    properties = {name: _schema_of(kind) for name, kind in kinds.items()}
    for name in required:
        properties.setdefault(name, {})
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


def _schema_of(kind: Kind) -> dict[str, Any]:
    if isinstance(kind, Mapping):
        return dict(kind)
    if isinstance(kind, tuple):
        return {"enum": list(kind)}
    if isinstance(kind, list):
        return {"type": "array", "items": _schema_of(kind[0])}
    return {"type": _NAMES[kind]}


def schema_errors(schema: Any, pointer: str = "", level: int = 0) -> list[FieldError]:
    """What is wrong with a schema itself; empty where it can be used."""
    if not isinstance(schema, Mapping):
        return [FieldError(pointer, "schema", "must be a JSON Schema object", schema)]
    if level > _MAX_LEVELS:
        return [FieldError(pointer, "schema", f"must have at most {_MAX_LEVELS} levels")]
    errors = [
        FieldError(
            f"{pointer}/{keyword}", "unknown_keyword", "is not among: " + ", ".join(sorted(KEYWORDS)), keyword
        )
        for keyword in schema
        if keyword not in KEYWORDS
    ]
    for keyword, value in schema.items():
        if keyword in KEYWORDS:
            errors += _keyword_errors(keyword, value, f"{pointer}/{keyword}", level)
    return errors


def _keyword_errors(keyword: str, value: Any, pointer: str, level: int) -> list[FieldError]:
    if keyword == "properties":
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            return [FieldError(pointer, "schema", "must be an object of schemas", value)]
        return [
            error
            for name, inner in value.items()
            for error in schema_errors(inner, f"{pointer}/{_escaped(name)}", level + 1)
        ]
    if keyword == "items":
        return schema_errors(value, pointer, level + 1)
    wrong = _wrong_value(keyword, value)
    return [FieldError(pointer, "schema", wrong, value)] if wrong else []


def _wrong_value(keyword: str, value: Any) -> str | None:
    if keyword == "type":
        names = value if isinstance(value, list) and value else [value]
        known = all(isinstance(name, str) and name in _TYPES for name in names)
        return None if known else "must be one or several of: " + ", ".join(_TYPES)
    if keyword == "enum":
        return None if isinstance(value, list) and value else "must be a list of at least one value"
    if keyword == "required":
        listed = isinstance(value, list) and all(isinstance(name, str) for name in value)
        return None if listed else "must be a list of key names"
    if keyword == "additionalProperties":
        return None if isinstance(value, bool) else "must be true or false"
    if keyword in _COUNTS:
        count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return None if count else "must be an integer of at least 0"
    if keyword in _BOUNDS:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return None if number else "must be a number"
    return None if isinstance(value, str) else "must be text"


def value_errors(schema: Mapping[str, Any], value: Any, pointer: str = "") -> list[FieldError]:
    """Where a value departs from a schema; empty where it follows it.

    Args:
        schema: one that :func:`schema_errors` finds nothing wrong with.
        value: as decoded from JSON.
        pointer: JSON pointer to the value, put before each error's own.
    """
    kinds = schema.get("type")
    if kinds is not None and not _is_one_of(value, kinds if isinstance(kinds, list) else [kinds]):
        wanted = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
        return [FieldError(pointer, "type", f"must be of type {wanted}", value)]
    allowed = schema.get("enum")
    if allowed is not None and not any(_same(value, choice) for choice in allowed):
        return [FieldError(pointer, "enum", "must be one of: " + ", ".join(map(str, allowed)), value)]
    if isinstance(value, Mapping):
        return _object_errors(schema, value, pointer)
    if isinstance(value, list | tuple):
        return _array_errors(schema, value, pointer)
    return _scalar_errors(schema, value, pointer)


def _object_errors(schema: Mapping[str, Any], value: Mapping[str, Any], pointer: str) -> list[FieldError]:
    properties: Mapping[str, Any] = schema.get("properties", {})
    errors = [
        FieldError(f"{pointer}/{_escaped(name)}", "required", "is missing")
        for name in schema.get("required", ())
        if name not in value
    ]
    for name, inner in value.items():
        place = f"{pointer}/{_escaped(name)}"
        if name in properties:
            errors += value_errors(properties[name], inner, place)
        elif schema.get("additionalProperties") is False:
            errors.append(FieldError(place, "unknown_key", "is not declared in the schema", inner))
    return errors


def _array_errors(schema: Mapping[str, Any], value: Any, pointer: str) -> list[FieldError]:
    errors = _length_errors(schema, len(value), pointer, "Items", "items")
    if "items" in schema:
        for number, item in enumerate(value):
            errors += value_errors(schema["items"], item, f"{pointer}/{number}")
    return errors


def _scalar_errors(schema: Mapping[str, Any], value: Any, pointer: str) -> list[FieldError]:
    if isinstance(value, str):
        return _length_errors(schema, len(value), pointer, "Length", "characters")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return []
    errors = []
    if value < schema.get("minimum", value):
        errors.append(FieldError(pointer, "minimum", f"must be at least {schema['minimum']}", value))
    if value > schema.get("maximum", value):
        errors.append(FieldError(pointer, "maximum", f"must be at most {schema['maximum']}", value))
    return errors


def _length_errors(
    schema: Mapping[str, Any], length: int, pointer: str, suffix: str, unit: str
) -> list[FieldError]:
    least, most = schema.get("min" + suffix, 0), schema.get("max" + suffix, length)
    if length < least:
        return [FieldError(pointer, "too_short", f"must have at least {least} {unit}")]
    if length > most:
        return [FieldError(pointer, "too_long", f"must have at most {most} {unit}")]
    return []


def _is_one_of(value: Any, kinds: list[str]) -> bool:
    if isinstance(value, bool):  # a bool is an int in Python and no number in JSON
        return "boolean" in kinds
    if isinstance(value, float) and value.is_integer() and "integer" in kinds:
        return True
    return any(isinstance(value, _TYPES[kind]) for kind in kinds if kind != "boolean")


def _same(value: Any, choice: Any) -> bool:
    return bool(value == choice) and isinstance(value, bool) == isinstance(choice, bool)


def _escaped(name: str) -> str:
    """A key as one step of a JSON pointer (RFC 6901 section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
