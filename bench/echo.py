"""The peer of single events: a handler on the same server that answers with what it was sent."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def _echo(request: Request) -> Response:
    return Response(await request.body(), 201, media_type="application/json")


if __name__ == "__main__":
    app = Starlette(routes=[Route("/events", _echo, methods=["POST"])])
    uvicorn.run(app, port=int(sys.argv[1]), log_config=None, access_log=False, server_header=False)
