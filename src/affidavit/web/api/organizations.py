"""``/api/v1/organizations``: list and declare organizations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import INSTANCE_OPERATE
from affidavit.core.credentials import Organization
from affidavit.core.names import NAME_RULE
from affidavit.web.places import API
from affidavit.web.routes import Asked, Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS", "moment"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(microseconds: int) -> datetime:
    """Microseconds since 1970 UTC as a datetime, which JSON shows as RFC 3339."""
    return _EPOCH + timedelta(microseconds=microseconds)


class OrganizationAnswer(Shape):
    """An organization."""

    name: str
    created_at: Annotated[datetime, Meta(tz=True)]
    declared: Annotated[bool, Meta(description="Made on purpose, not on the way by a first keyed event.")]


class OrganizationList(Shape):
    """Organizations by name."""

    organizations: list[OrganizationAnswer]


class NewOrganization(Asked):
    """An organization to declare."""

    name: Annotated[str, Meta(description=NAME_RULE)]


async def list_organizations(call: Call[Nothing]) -> Response:
    """The organizations that the credential reaches."""
    reach = call.credential.organizations
    found = await call.thread(lambda: call.instance.organizations.list(reach))
    return json_answer(OrganizationList(organizations=[_answer(one) for one in found]))


async def create_organization(call: Call[Nothing]) -> Response:
    """Declare one; again changes nothing."""
    body: NewOrganization = call.body
    made, created = await call.thread(
        lambda: call.instance.organizations.create(body.name, call.credential, address=call.address)
    )
    return json_answer(_answer(made), 201 if created else 200)


def _answer(one: Organization) -> OrganizationAnswer:
    return OrganizationAnswer(name=one.name, created_at=moment(one.created_at), declared=one.declared)


OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/organizations",
        handler=list_organizations,
        tag="organizations",
        summary="List organizations",
        ability=INSTANCE_OPERATE,
        answers={200: OrganizationList},
    ),
    Operation(
        method="POST",
        path=f"{API}/organizations",
        handler=create_organization,
        tag="organizations",
        summary="Declare an organization",
        ability=INSTANCE_OPERATE,
        body=NewOrganization,
        answers={201: OrganizationAnswer, 200: OrganizationAnswer},
    ),
]
