"""The OpenAPI 3.1 description, made from the declared operations and their types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from affidavit import __version__
from affidavit.core.filter import FIELDS
from affidavit.core.query import MAX_VALUES
from affidavit.web.errors import MEDIA_TYPE, Problem
from affidavit.web.routes import JSON, Operation

__all__ = ["document"]

_REF = "#/components/schemas/{name}"

FILTERS = {
    "actor": "Id or e-mail of the actor, or of whom it acted for.",
    "action": "Whole action such as `user.create`, or a prefix such as `user.*`.",
    "action_group": "First segment of the action.",
    "outcome": "`success` or `failure`.",
    "severity": "Exactly `info`, `warning` or `critical`.",
    "source": "Channel, such as `web`.",
    "resource": "Id or name of a resource.",
    "resource_type": "Type of a resource.",
    "project": "Project.",
    "ip": "Address or CIDR range.",
    "token": "Id or name of the credential used, or of the one that recorded.",
    "session": "Id of the session.",
    "on_behalf_of": "Id or e-mail of whom the actor acted for.",
    "parent_id": "Id of the bulk operation.",
    "request_id": "Id of the request.",
    "trace_id": "Id of the trace.",
    "country_code": "Two letters.",
    "late": "`true` or `false`.",
    "imported": "`true` or `false`.",
    "q": "Text within action, actor, resources, address and payload; ASCII letters match in either case.",
}
"""Each filter, with its sentence."""

_ENUMS = {
    "outcome": ["success", "failure"],
    "severity": ["info", "warning", "critical"],
    "late": ["true", "false"],
    "imported": ["true", "false"],
}

_PROBLEMS = {
    400: "A parameter is unknown or breaks its rule.",
    401: "No valid credential.",
    403: "The credential lacks the ability.",
    404: "Not there, or not within the credential's reach.",
    409: "Recording: other content stands under the same id; nothing was stored. Proofs: no signed "
    "checkpoint covers it yet; the header `Retry-After` says when to ask again.",
    413: "The body is too large.",
    415: "The body is encoded in a way that is not taken.",
    422: "The body breaks a rule; nothing was stored.",
    500: "The log and its events contradict each other; the detail names the place.",
    503: "The database cannot be used right now.",
}


def document(operations: Sequence[Operation], root: str = "/") -> dict[str, Any]:
    """The whole description as plain JSON values.

    Args:
        operations: to describe.
        root: what the address of each begins with.
    """
    types = list(_types(operations))
    _, components = msgspec.json.schema_components([*types, Problem], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Affidavit",
            "version": __version__,
            "description": "The audit log's HTTP API. Version 1 only adds fields. Unknown parameters "
            "and fields are refused.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": root}],
        "tags": [{"name": tag} for tag in dict.fromkeys(operation.tag for operation in operations)],
        "paths": paths,
        "components": {
            "schemas": components,
            "parameters": _filter_parameters(),
            "responses": {str(status): _problem(text) for status, text in _PROBLEMS.items()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token, `aff_...`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-affidavit"},
            },
        },
    }


def _types(operations: Sequence[Operation]) -> Iterable[Any]:
    seen: list[Any] = []
    for operation in operations:
        wanted = list(_bodies(operation))
        wanted += [answer for answer in operation.answers.values() if not isinstance(answer, tuple)]
        for one in wanted:
            if one not in seen:
                seen.append(one)
                yield one


def _bodies(operation: Operation) -> tuple[Any, ...]:
    body = operation.body
    return body if isinstance(body, tuple) else () if body is None else (body,)


def _one_of(shapes: Sequence[Any]) -> dict[str, Any]:
    return _schema(shapes[0]) if len(shapes) == 1 else {"oneOf": [_schema(shape) for shape in shapes]}


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation),
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": _parameters(operation),
        "responses": {
            **{str(status): _answer(answer) for status, answer in operation.answers.items()},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _problems(operation)},
        },
    }
    texts = [operation.description] if operation.description else []
    if operation.ability is not None:
        other = f" or `{operation.or_ability}`" if operation.or_ability is not None else ""
        texts.append(f"Needs the ability `{operation.ability}`{other}.")
        described["security"] = [{"token": []}, {"session": []}]
    if texts:
        described["description"] = " ".join(texts)
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _one_of(_bodies(operation))}},
        }
    return described


def _operation_id(operation: Operation) -> str:
    words = [part for part in operation.path.strip("/").split("/") if part not in ("api", "v1")]
    return "_".join([operation.method.lower(), *(word.strip("{}") for word in words)])


def _problems(operation: Operation) -> list[int]:
    found = {400, 503}
    if operation.ability is not None:
        found |= {401, 403}
    if operation.scoped or "{" in operation.path:
        found.add(404)
    if operation.body is not None:
        found |= {404, 413, 415, 422}
    if operation.path.endswith("/events") and operation.method == "POST":
        found.add(409)
    if operation.signed:
        found |= {409, 500}
    return sorted(found)


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = []
    for part in operation.path.split("/"):
        if part.startswith("{"):
            name = part.strip("{}")
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
    if operation.method == "POST" and operation.path.endswith("/events"):
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "For a request with one event: its `idempotency_key`.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    if operation.scoped:
        parameters.append({"$ref": "#/components/parameters/organization"})
    for field in msgspec.structs.fields(operation.query):
        schema = _without_null(_schema(field.type))
        if not field.required and field.default is not None:
            schema = {**schema, "default": field.default}
        description = schema.pop("description", None)
        parameter = {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": schema,
        }
        if description:
            parameter["description"] = description
        parameters.append(parameter)
    if operation.filters:
        parameters += [{"$ref": f"#/components/parameters/{name}"} for name in _filter_names()]
    return parameters


def _filter_names() -> list[str]:
    return [*FIELDS, *(f"not_{name}" for name in FIELDS), "start_date", "end_date"]


def _filter_parameters() -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "organization": {
            "name": "organization",
            "in": "query",
            "description": "Needed where the credential reaches several; the operator may leave it out "
            "of a question that has both dates.",
            "schema": {"type": "string"},
        }
    }
    for name in FIELDS:
        for prefix, words in (("", ""), ("not_", "Excludes: ")):
            value: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 1024}
            if name in _ENUMS:
                value = {"type": "string", "enum": _ENUMS[name]}
            parameters[prefix + name] = {
                "name": prefix + name,
                "in": "query",
                "description": f"{words}{FILTERS[name]} Repeatable, at most {MAX_VALUES} different values.",
                "explode": True,
                "schema": {"type": "array", "items": value},
            }
    for name, words in (("start_date", "from"), ("end_date", "to")):
        parameters[name] = {
            "name": name,
            "in": "query",
            "description": f"Occurred {words} this day (UTC, inclusive) or RFC 3339 moment.",
            "schema": {"type": "string", "examples": ["2026-01-31", "2026-01-31T08:00:00Z"]},
        }
    return parameters


def _schema(shape: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([shape], ref_template=_REF)
    return schema


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is absent or a text, never null."""
    choices = schema.get("anyOf")
    if choices is None:
        return schema
    rest = [choice for choice in choices if choice != {"type": "null"}]
    others = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    return {**others, **rest[0]} if len(rest) == 1 else {**others, "anyOf": rest}


def _answer(answer: Any) -> dict[str, Any]:
    if isinstance(answer, tuple):
        return {
            "description": "The text.",
            "content": {media_type: {"schema": {"type": "string"}} for media_type in answer},
        }
    text = (answer.__doc__ or "The answer.").strip().splitlines()[0]
    return {"description": text, "content": {JSON: {"schema": _schema(answer)}}}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {MEDIA_TYPE: {"schema": _schema(Problem)}}}
