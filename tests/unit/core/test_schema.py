"""Metadata schemas: the part of JSON Schema that a catalog may declare."""

from __future__ import annotations

from typing import Any

import pytest

from affidavit.core.schema import fields, schema_errors, value_errors


@pytest.mark.parametrize(
    ("schema", "good", "bad", "rule"),
    [
        ({"type": "string"}, "a", 1, "type"),
        ({"type": "integer"}, 3, 3.5, "type"),
        ({"type": "integer"}, 3.0, True, "type"),
        ({"type": "number"}, 3.5, "3.5", "type"),
        ({"type": "boolean"}, False, 0, "type"),
        ({"type": ["string", "null"]}, None, 0, "type"),
        ({"enum": ["all", "failed"]}, "all", "none", "enum"),
        ({"enum": [1]}, 1, True, "enum"),
        ({"minimum": 0}, 0, -1, "minimum"),
        ({"maximum": 10}, 10, 11, "maximum"),
        ({"maxLength": 2}, "ab", "abc", "too_long"),
        ({"minLength": 1}, "a", "", "too_short"),
        ({"maxItems": 1}, [1], [1, 2], "too_long"),
        ({"minItems": 1}, [1], [], "too_short"),
        ({"items": {"type": "string"}}, ["a"], ["a", 1], "type"),
        ({"required": ["a"]}, {"a": None}, {"b": 1}, "required"),
        ({"properties": {}, "additionalProperties": False}, {}, {"b": 1}, "unknown_key"),
        (
            {"properties": {"a": {"properties": {"b": {"type": "null"}}}}},
            {"a": {"b": None}},
            {"a": {"b": 0}},
            "type",
        ),
    ],
)
def test_each_keyword_tells_good_from_bad(
    schema: dict[str, Any], good: object, bad: object, rule: str
) -> None:
    """Every keyword accepts what JSON Schema accepts and names the rule that a value breaks."""
    assert schema_errors(schema) == []
    assert value_errors(schema, good) == []
    assert [error.rule for error in value_errors(schema, bad)] == [rule]


def test_pointers_lead_to_the_place() -> None:
    """An error's pointer is the JSON pointer of the value, with / and ~ escaped."""
    schema = {"properties": {"a/b": {"items": {"properties": {"~": {"type": "string"}}}}}}
    (error,) = value_errors(schema, {"a/b": [{}, {"~": 1}]}, "/metadata")
    assert error.pointer == "/metadata/a~1b/1/~0"


@pytest.mark.parametrize(
    "schema",
    [
        [],
        {"pattern": "a+"},
        {"$ref": "#"},
        {"type": "text"},
        {"type": []},
        {"enum": []},
        {"enum": "a"},
        {"required": "a"},
        {"properties": []},
        {"properties": {"a": {"typ": "string"}}},
        {"items": [{"type": "string"}]},
        {"additionalProperties": {"type": "string"}},
        {"minimum": "0"},
        {"maxLength": -1},
        {"maxItems": True},
        {"title": 1},
    ],
)
def test_a_schema_outside_the_subset_is_refused(schema: Any) -> None:
    """What would not be checked, or not as JSON Schema means it, cannot be declared."""
    assert schema_errors(schema)


def test_a_schema_nested_without_end_is_refused() -> None:
    """A schema has at most 16 levels."""
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"items": schema}
    assert [error.rule for error in schema_errors(schema)] == ["schema"]


def test_the_short_form() -> None:
    """``fields`` writes the schema of an object from Python types, words and lists."""
    assert fields(
        "name", "any", name=str, abilities=[str], mode=("all", "failed"), note={"maxLength": 9}
    ) == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "abilities": {"type": "array", "items": {"type": "string"}},
            "mode": {"enum": ["all", "failed"]},
            "note": {"maxLength": 9},
            "any": {},
        },
        "required": ["name", "any"],
    }
