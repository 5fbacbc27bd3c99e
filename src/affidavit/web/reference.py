"""The reference page of the HTTP API, made from the OpenAPI document.

``python -m affidavit.web.reference > docs/reference/http-api.md``
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from affidavit.web.app import OPERATIONS
from affidavit.web.openapi import FILTERS, document

__all__ = ["main", "page"]

_HEAD = """\
# HTTP API

<!-- Made by `python -m affidavit.web.reference`; change the operations, then run it again. -->

JSON over HTTP, described for programs at `/api/openapi.json` (OpenAPI 3.1). Version 1 only adds fields. An
unknown parameter is a 400 and an unknown field of a body a 422; every fault is named.

**Who asks.** `Authorization: Bearer aff_...` with a token of `affidavit token create`, the operator's token
in `operator.token`, or the cookie of a browser that signed in with `affidavit login`. A write with the
cookie must come from a page of this server. A token that is revoked, or that expires, is refused at once by
the process that revoked it and within two seconds by any other.

**Which organization.** A credential of one organization means that one. One of several names it with
`organization=`: without the name the answer is 400, outside its reach 404, the same as for a name that
nobody has. The operator's credential reaches all; it names one, or reads all within `start_date` and
`end_date`.

**Errors** are problem documents (RFC 9457): `type`, `title`, `status`, `detail`, and in `errors` one entry
for each broken rule with `pointer`, `rule`, `message` and the `value`. Every answer has an `X-Request-Id`.

**Reading is recorded.** Reading over HTTP leaves one event `audit.log.read` for each credential,
organization and hour, written after the first answer of that hour. Every export leaves an event
`audit.export.requested` of its own, stored before the first byte leaves. Neither can be switched off by a
client.
"""

_FILTERS = """
## Filters

Every route that says "filters" takes these, combined with AND; a parameter given several times means any of
its values. `not_` before a name excludes, events without the field included. `start_date` and `end_date`
are whole days in UTC, both inclusive, or RFC 3339 moments; they filter `occurred_at` and are given once.

| parameter | meaning |
|---|---|
"""


def page() -> str:
    """The whole page."""
    described = document(OPERATIONS)
    lines = [_HEAD]
    tag = ""
    for operation in OPERATIONS:
        if operation.tag != tag:
            tag = operation.tag
            lines.append(f"\n## {tag.capitalize()}\n")
        one = described["paths"][operation.path][operation.method.lower()]
        lines += _operation(operation.method, operation.path, one, filters=operation.filters)
    lines.append(_FILTERS + "\n".join(f"| `{name}` | {text} |" for name, text in FILTERS.items()) + "\n")
    return "\n".join(lines)


def _operation(method: str, path: str, one: dict[str, Any], *, filters: bool) -> Iterator[str]:
    yield f"### `{method} {path}`\n"
    yield f"{one['summary']}. {one.get('description', '')}".strip() + "\n"
    rows = [_parameter(parameter) for parameter in one["parameters"] if "name" in parameter]
    if rows or filters:
        yield "| parameter | where | |\n|---|---|---|"
        yield from rows
        if filters:
            yield "| filters | query | see [Filters](#filters) |"
        yield ""
    good = [status for status in one["responses"] if status.startswith("2")]
    bad = [status for status in one["responses"] if not status.startswith("2")]
    kinds = ", ".join(f"{status} ({_kind(one['responses'][status])})" for status in good)
    yield f"Answers {kinds}; errors {', '.join(bad)}.\n"


def _parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    words = [parameter.get("description", "")]
    if "enum" in schema:
        words.append("One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".")
    if "minimum" in schema:
        words.append(f"{schema['minimum']} to {schema['maximum']:,}.")
    if "default" in schema:
        words.append(f"Default `{str(schema['default']).lower()}`.")
    if parameter.get("required") and parameter["in"] == "query":
        words.append("Needed.")
    return f"| `{parameter['name']}` | {parameter['in']} | {' '.join(word for word in words if word)} |"


def _kind(answer: dict[str, Any]) -> str:
    kinds = []
    for media_type, content in answer["content"].items():
        reference = content["schema"].get("$ref", "")
        kinds.append(f"`{reference.rpartition('/')[2]}`" if reference else f"`{media_type}`")
    return " or ".join(kinds)


def main() -> None:
    """Print the page."""
    sys.stdout.write(page())


if __name__ == "__main__":
    main()
