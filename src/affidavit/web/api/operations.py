"""``/healthz``, ``/readyz``, ``/metrics``: for whoever runs the server."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import INSTANCE_OPERATE
from affidavit.web.metrics import MEDIA_TYPE
from affidavit.web.routes import Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS"]


class Health(Shape):
    """The process is up."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether requests can be served."""

    ready: Annotated[bool, Meta(description="The database answers and its schema is the right one.")]


async def healthz(_call: Call[Nothing]) -> Response:
    """The process answers; nothing else is asked."""
    return json_answer(Health(status="ok"))


async def readyz(call: Call[Nothing]) -> Response:
    """The database answers. A database that does not is a 503 from the error layer."""
    await call.thread(call.instance.health)
    return json_answer(Readiness(ready=True))


async def metrics(call: Call[Nothing]) -> Response:
    """Counters of this process and the state of queue and index."""
    health = await call.thread(call.instance.health)
    text = call.request.app.state.metrics.text(health)
    return Response(text.encode(), headers={"content-type": MEDIA_TYPE})


OPERATIONS = [
    Operation(
        method="GET",
        path="/healthz",
        handler=healthz,
        tag="operations",
        summary="Is the process up",
        answers={200: Health},
    ),
    Operation(
        method="GET",
        path="/readyz",
        handler=readyz,
        tag="operations",
        summary="Can requests be served",
        answers={200: Readiness},
    ),
    Operation(
        method="GET",
        path="/metrics",
        handler=metrics,
        tag="operations",
        summary="Metrics for Prometheus",
        ability=INSTANCE_OPERATE,
        answers={200: ("text/plain",)},
    ),
]
