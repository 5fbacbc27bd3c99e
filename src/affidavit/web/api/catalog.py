"""``/api/v1/catalog``: event types, their titles, groups and schemas."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import LIST
from affidavit.core.event import Severity
from affidavit.web.places import API
from affidavit.web.routes import Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS"]


class CatalogType(Shape):
    """An event type."""

    action: str
    title: str
    group: Annotated[str, Meta(description="First segment of the action.")]
    requires: tuple[str, ...] = ()
    inferred: Annotated[bool, Meta(description="Follows from a source document that does not name it.")] = (
        False
    )
    severity: Severity | None = None
    metadata_schema: dict[str, Any] | None = None


class CatalogGroup(Shape):
    """An action group."""

    group: str
    title: str


class CatalogAnswer(Shape):
    """All catalogs as one."""

    groups: list[CatalogGroup]
    types: list[CatalogType]


async def catalog(call: Call[Nothing]) -> Response:
    """All event types."""
    catalogs = call.instance.catalogs
    answer = CatalogAnswer(
        groups=[CatalogGroup(group=segment, title=title) for segment, title in catalogs.groups()],
        types=[
            CatalogType(
                action=one.action,
                title=one.title,
                group=one.group,
                requires=tuple(one.requires),
                inferred=one.inferred,
                severity=one.severity,
                metadata_schema=one.metadata_schema,
            )
            for one in catalogs.types()
        ],
    )
    return json_answer(answer)


OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/catalog",
        handler=catalog,
        tag="catalog",
        summary="List event types",
        ability=LIST,
        answers={200: CatalogAnswer},
    ),
]
