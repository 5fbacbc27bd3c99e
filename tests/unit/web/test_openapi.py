"""The description of the API is valid OpenAPI and says what the code does."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis

from affidavit.core.event import Draft
from affidavit.core.query import PARAMETERS
from affidavit.web.api.shapes import Event, NewEvent
from affidavit.web.app import OPERATIONS, description
from affidavit.web.openapi import FILTERS

DOCUMENT: dict[str, Any] = json.loads(description())


def references(value: Any) -> set[str]:
    """Every reference within the document."""
    return set(re.findall(r'"\$ref":\s*"(#[^"]+)"', json.dumps(value)))


def test_another_program_finds_it_valid() -> None:
    """It keeps the schema of OpenAPI 3.1, as schemathesis checks it."""
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    broken = copy.deepcopy(DOCUMENT)
    broken["paths"]["/healthz"]["get"]["responses"]["200"] = {"content": 1}
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(broken).validate()


def test_every_reference_leads_somewhere() -> None:
    """No reference hangs, and no component stands unused."""
    used = references(DOCUMENT)
    for reference in used:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    for kind in ("schemas", "parameters", "responses"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in used


def test_every_operation_is_described_once() -> None:
    """Each has an id of its own, a summary, and the security that its ability asks for."""
    ids = set()
    for operation in OPERATIONS:
        one = DOCUMENT["paths"][operation.path][operation.method.lower()]
        ids.add(one["operationId"])
        assert one["summary"]
        assert ("security" in one) == (operation.ability is not None)
        if operation.ability is not None:
            assert f"`{operation.ability}`" in one["description"]
            assert {"401", "403"} <= set(one["responses"])
    assert len(ids) == len(OPERATIONS)


def test_every_filter_is_described() -> None:
    """The parameters are those that the parser takes, no more and no fewer."""
    described = set(DOCUMENT["components"]["parameters"]) - {"organization"}
    assert described == set(PARAMETERS)
    assert set(FILTERS) == {name for name in PARAMETERS if not name.startswith("not_")} - {
        "start_date",
        "end_date",
    }


def test_the_event_of_the_description_is_the_event_of_the_recorder() -> None:
    """A client may send every field but ours, and reads every field back."""
    ours = {"id", "facts"}
    assert set(NewEvent.__struct_fields__) == set(Draft.__struct_fields__) - ours
    read = set(Event.__struct_fields__)
    assert set(Draft.__struct_fields__) - read == {"idempotency_key"}


def test_every_field_of_an_answer_has_a_type() -> None:
    """No answer is described as just anything."""
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, described in schema.get("properties", {}).items():
            loose = not {"type", "$ref", "anyOf", "enum"} & set(described)
            assert not loose or (name, field) in {
                ("Change", "old"),
                ("Change", "new"),
                ("FieldError", "value"),
            }


def test_the_description_does_not_depend_on_the_day() -> None:
    """It is the same bytes each time it is made."""
    from affidavit.web.openapi import document

    assert msgspec.json.encode(document(OPERATIONS)) == description()
