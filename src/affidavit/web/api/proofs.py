"""``/api/v1/events/{id}/proof`` and ``/receipt``: that an event is in the log, to keep and to check."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import EVENTS_WRITE, LIST
from affidavit.access.scope import Scope
from affidavit.core.ids import parse_id
from affidavit.core.row import StoredEvent
from affidavit.errors import InvalidQuery, NotFound
from affidavit.web.places import API
from affidavit.web.routes import JSON, Call, Nothing, Operation, Shape

__all__ = ["OPERATIONS", "Receipt", "may_have_receipt"]


class Receipt(Shape):
    """Everything that shows, without asking anybody, that an event is in the log."""

    v: Literal[1]
    leaf: Annotated[str, Meta(description="The exact text that was logged.")]
    disclosures: Annotated[
        list[str],
        Meta(
            description="What opens the leaf's digests, `[salt, group, value]` as exact text; "
            "erased groups are missing."
        ),
    ]
    proof: Annotated[str, Meta(description="A c2sp.org/tlog-proof with its checkpoint.")]


def may_have_receipt(scope: Scope, event: StoredEvent) -> bool:
    """Whether a scope may have the receipt of an event: it reads events, or its own token recorded this one.

    Once the event's actor was erased, nobody can show any more that a token recorded it.
    """
    if LIST in scope.abilities:
        return True
    credential = scope.credential
    if credential.kind != "token" or EVENTS_WRITE not in scope.abilities:
        return False
    recorded_by = event.groups().get("recorded_by")
    if not isinstance(recorded_by, dict):
        return False
    return recorded_by.get("type") == "api_token" and recorded_by.get("token_id") == credential.id


def _event(call: Call[Any]) -> StoredEvent:
    try:
        event_id = parse_id(call.path["id"])
    except InvalidQuery:
        raise NotFound() from None
    return call.instance.reader.get(call.scope.organizations, event_id)


def _attached(call: Call[Any], extension: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{call.path["id"]}.{extension}"'}


async def proof(call: Call[Nothing]) -> Response:
    """The proof of one event."""
    body = await call.thread(lambda: call.instance.receipts.proof(_event(call)))
    call.note_read()
    return Response(body, media_type="text/plain; charset=utf-8", headers=_attached(call, "tlog-proof"))


async def receipt(call: Call[Nothing]) -> Response:
    """The receipt of one event."""

    def work() -> bytes:
        event = _event(call)
        if not may_have_receipt(call.scope, event):
            raise NotFound("There is no event with this id.")
        return call.instance.receipts.receipt(event)

    body = await call.thread(work)
    call.note_read()
    return Response(body, media_type=JSON, headers=_attached(call, "receipt.json"))


OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/events/{{id}}/proof",
        handler=proof,
        tag="events",
        summary="Prove one event",
        description="A text file (c2sp.org/tlog-proof) with index, inclusion proof and newest checkpoint. "
        "While no signed checkpoint covers the event, a 409 of the type `not_published`, with `Retry-After`.",
        ability=LIST,
        signed=True,
        scoped=True,
        answers={200: ("text/plain",)},
    ),
    Operation(
        method="GET",
        path=f"{API}/events/{{id}}/receipt",
        handler=receipt,
        tag="events",
        summary="Get the receipt of one event",
        description="Leaf, groups and proof together, to keep: it verifies without this server, also after "
        "the event's data was erased here. With `events:write` alone only for events that the same token "
        "recorded. While no signed checkpoint covers the event, a 409 of the type `not_published`, with "
        "`Retry-After`.",
        ability=LIST,
        or_ability=EVENTS_WRITE,
        signed=True,
        scoped=True,
        answers={200: Receipt},
    ),
]
