"""``/api/v1/holds``: legal holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import RETENTION_MANAGE
from affidavit.core.retention import EVERYTHING
from affidavit.storage.retention import Hold
from affidavit.web.api.organizations import moment
from affidavit.web.places import API
from affidavit.web.routes import Asked, Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS"]

Time = Annotated[datetime, Meta(tz=True)]
_CLASS = "Of the events that it keeps: an action, `prefix.*`, or `*`."


class HoldAnswer(Shape, rename={"class_": "class"}):
    """A legal hold. While it stands nothing of its class expires or is pruned."""

    id: str
    organization: str
    name: str
    reason: str
    class_: Annotated[str, Meta(description=_CLASS)]
    created_at: Time
    created_by: str
    released_at: Time | None = None


class HoldList(Shape):
    """Holds, oldest first, released ones included."""

    holds: list[HoldAnswer]


class NewHold(Asked, rename={"class_": "class"}):
    """A hold to place."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    reason: Annotated[str, Meta(min_length=1, max_length=1_000)]
    class_: Annotated[str, Meta(description=_CLASS)] = EVERYTHING


async def list_holds(call: Call[Nothing]) -> Response:
    """The holds of an organization."""
    organization = call.scope.organization
    found = await call.thread(lambda: call.instance.holds.list(organization))
    return json_answer(HoldList(holds=[_answer(hold) for hold in found]))


async def create_hold(call: Call[Nothing]) -> Response:
    """Place one."""
    body: NewHold = call.body
    organization = call.scope.organization
    hold = await call.thread(
        lambda: call.instance.holds.create(
            organization,
            name=body.name,
            reason=body.reason,
            class_=body.class_,
            by=call.credential,
            address=call.address,
        )
    )
    return json_answer(_answer(hold), 201)


async def release_hold(call: Call[Nothing]) -> Response:
    """End one; again changes nothing."""
    organization = call.scope.organization
    hold = await call.thread(
        lambda: call.instance.holds.release(
            organization, call.path["id"], call.credential, address=call.address
        )
    )
    return json_answer(_answer(hold))


def _answer(hold: Hold) -> HoldAnswer:
    return HoldAnswer(
        id=hold.id,
        organization=hold.organization,
        name=hold.name,
        reason=hold.reason,
        class_=hold.class_,
        created_at=moment(hold.created_at),
        created_by=hold.created_by,
        released_at=None if hold.released_at is None else moment(hold.released_at),
    )


OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/holds",
        handler=list_holds,
        tag="holds",
        summary="List legal holds",
        ability=RETENTION_MANAGE,
        scoped=True,
        answers={200: HoldList},
    ),
    Operation(
        method="POST",
        path=f"{API}/holds",
        handler=create_hold,
        tag="holds",
        summary="Place a legal hold",
        description="It counts as soon as the answer is there, also against a run that is under way.",
        ability=RETENTION_MANAGE,
        scoped=True,
        body=NewHold,
        answers={201: HoldAnswer},
    ),
    Operation(
        method="DELETE",
        path=f"{API}/holds/{{id}}",
        handler=release_hold,
        tag="holds",
        summary="Release a legal hold",
        ability=RETENTION_MANAGE,
        scoped=True,
        answers={200: HoldAnswer},
    ),
]
