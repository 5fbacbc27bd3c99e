"""The app: pages and API put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from affidavit.recorder.middleware.asgi import AuditMiddleware, RequestRecorder
from integration_platform import access, api, changes, connectors, db, pages, seed, views

__all__ = ["app"]

STARTUP = (db.make_tables, access.audit.migrate, seed.fill, access.audit.start)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """What has to be there before the first request."""
    for step in STARTUP:
        step()
    yield


app = FastAPI(title="Trellis", lifespan=lifespan)
app.include_router(pages.router)
app.include_router(api.router)
app.mount("/static", StaticFiles(directory=views.STATIC), name="static")
app.add_middleware(access.Callers)
app.add_middleware(AuditMiddleware, requests=RequestRecorder(access.audit, api.endpoints("api.request.")))
app.mount("/audit", access.audit.ui(authorize=lambda r: r.state.viewer, login_url="/login"), name="Audit log")


STATUS: dict[type[Exception], int] = {
    access.Forbidden: 403,
    access.NotSignedIn: 401,
    changes.Missing: 404,
    changes.Taken: 409,
    connectors.Refused: 502,
    RequestValidationError: 422,
}


def problem(request: Request, error: Exception) -> Response:
    """What went wrong, for programs as JSON, for people as a page; whoever has to sign in is led there."""
    status = STATUS[type(error)]
    message = _sentence(error) if isinstance(error, RequestValidationError) else str(error)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"status": status, "detail": message}, status)
    if status == 401 and request.method == "GET":
        return RedirectResponse(f"/login?next={quote(request.url.path)}", 303)
    return views.problem(request, status, message)


def _sentence(error: RequestValidationError) -> str:
    first = error.errors()[0]
    return f"{first['loc'][-1]}: {first['msg']}."


for kind in STATUS:
    app.add_exception_handler(kind, problem)
