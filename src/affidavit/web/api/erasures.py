"""``/api/v1/erasures``: ask for the erasure of a subject's personal data, and look at what became of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import ERASURE_MANAGE
from affidavit.log.tasks import Task
from affidavit.storage.tasks import TaskState
from affidavit.web.api.organizations import moment
from affidavit.web.places import API
from affidavit.web.routes import Asked, Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS"]

Time = Annotated[datetime, Meta(tz=True)]
Counts = dict[str, int]


class ErasureAnswer(Shape):
    """An erasure. The subject is never shown: it is forgotten when the erasure has ended."""

    id: str
    organization: str
    state: TaskState
    basis: str
    include_substrings: bool
    dry_run: bool
    created_at: Time
    created_by: str
    started_at: Time | None = None
    ended_at: Time | None = None
    error: (
        Annotated[str, Meta(description="Why it failed, and where the subject was still found.")] | None
    ) = None
    events: Annotated[int, Meta(description="Events that lose a group.")] | None = None
    groups: Annotated[Counts, Meta(description="Events that lose each group.")] | None = None
    hits: Annotated[Counts, Meta(description="Events with a hit of each kind.")] | None = None
    unconfirmed: (
        Annotated[
            Counts, Meta(description="Events in whose groups the text merely occurs, which stay as they are.")
        ]
        | None
    ) = None
    clear: Annotated[Counts, Meta(description="Events with the text in a field that stays.")] | None = None
    examples: Annotated[dict[str, list[str]], Meta(description="Ids, of a dry run.")] | None = None
    manifests: Annotated[list[str], Meta(description="SHA-256 of each signed manifest, hex.")] | None = None


class ErasureList(Shape):
    """Erasures, newest first, dry runs included."""

    erasures: list[ErasureAnswer]


class NewErasure(Asked):
    """An erasure to ask for."""

    subject: Annotated[
        str,
        Meta(min_length=1, max_length=1_024, description="Id, name, e-mail or address of the person."),
    ]
    basis: Annotated[
        str,
        Meta(min_length=1, max_length=1_000, description="Why; is recorded, so it must not name the person."),
    ]
    include_substrings: Annotated[
        bool, Meta(description="Erase groups too in which the text merely occurs.")
    ] = False
    dry_run: Annotated[bool, Meta(description="Count only; nothing is recorded or changed.")] = False


async def list_erasures(call: Call[Nothing]) -> Response:
    """The erasures of an organization."""
    organization = call.scope.organization
    found = await call.thread(lambda: call.instance.erasures.list(organization))
    return json_answer(ErasureList(erasures=[_answer(task) for task in found]))


async def request_erasure(call: Call[Nothing]) -> Response:
    """Ask for one."""
    body: NewErasure = call.body
    organization = call.scope.organization
    task = await call.thread(
        lambda: call.instance.erasures.request(
            organization,
            subject=body.subject,
            basis=body.basis,
            include_substrings=body.include_substrings,
            dry_run=body.dry_run,
            by=call.credential,
            address=call.address,
        )
    )
    return json_answer(_answer(task), 202)


async def get_erasure(call: Call[Nothing]) -> Response:
    """One of them."""
    organization = call.scope.organization
    task = await call.thread(lambda: call.instance.erasures.get(organization, call.path["id"]))
    return json_answer(_answer(task))


def _answer(task: Task) -> ErasureAnswer:
    outcome: dict[str, Any] = dict(task.outcome or {})
    shown = ("error", "events", "groups", "hits", "unconfirmed", "clear", "examples", "manifests")
    return ErasureAnswer(
        id=task.id,
        organization=task.organization,
        state=task.state,
        basis=task.request["basis"],
        include_substrings=task.request["include_substrings"],
        dry_run=task.request["dry_run"],
        created_at=moment(task.created_at),
        created_by=task.created_by,
        started_at=None if task.started_at is None else moment(task.started_at),
        ended_at=None if task.ended_at is None else moment(task.ended_at),
        **{name: outcome[name] for name in shown if name in outcome},
    )


OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/erasures",
        handler=list_erasures,
        tag="erasures",
        summary="List erasures",
        ability=ERASURE_MANAGE,
        scoped=True,
        answers={200: ErasureList},
    ),
    Operation(
        method="POST",
        path=f"{API}/erasures",
        handler=request_erasure,
        tag="erasures",
        summary="Ask for the erasure of a subject",
        description="The worker does it; `GET /erasures/{id}` says when it is done. Every proof stays valid.",
        ability=ERASURE_MANAGE,
        scoped=True,
        body=NewErasure,
        answers={202: ErasureAnswer},
    ),
    Operation(
        method="GET",
        path=f"{API}/erasures/{{id}}",
        handler=get_erasure,
        tag="erasures",
        summary="Read an erasure",
        ability=ERASURE_MANAGE,
        scoped=True,
        answers={200: ErasureAnswer},
    ),
]
