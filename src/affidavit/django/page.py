"""The page in a Django project, under WSGI and ASGI: a view that answers everything below its address."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from affidavit.access.viewers import Viewer
from affidavit.core.event import MAX_BATCH_BYTES
from affidavit.django.addresses import keep_prefix
from affidavit.errors import AccessRefused, NotFound
from affidavit.mount.asgi import Mounted, inner_scope
from affidavit.mount.asking import Authorize, checked
from affidavit.mount.exchange import Exchange

__all__ = ["urls_of"]


def urls_of(page: Mounted, authorize: Authorize, namespace: str) -> tuple[list[Any], str, str]:
    """What ``path("audit/", ...)`` takes.

    Args:
        page: that answers.
        authorize: the project's callback; gets Django's request.
        namespace: of the URLs; ``NAMESPACE:page`` is the page.
    """
    view = _view(page, authorize)
    return [path("", view, name="page"), re_path("^(?P<rest>.+)$", view)], "affidavit", namespace


def _view(page: Mounted, authorize: Authorize) -> Callable[..., HttpResponseBase]:
    def view(request: Any, rest: str = "", **_of_the_route: Any) -> HttpResponseBase:
        scope = _scope(request, rest)
        keep_prefix()
        exchange = Exchange(page.answer, scope, _body(request), lambda: _asked(authorize, request))
        status, headers, streams = exchange.begin()
        return _response(request, exchange, status, headers, streams=streams)

    # Writes have a check of their own, which programs with a token pass as well: see affidavit.web.host.
    exempt = csrf_exempt(view)
    for alias in settings.DATABASES:
        # It reads on connections of its own; a block around it would hold up those who write.
        exempt = transaction.non_atomic_requests(using=alias)(exempt)
    return exempt  # type: ignore[no-any-return]


def _asked(authorize: Authorize, request: Any) -> Viewer | None:
    try:
        answer: Any = authorize(request)
        if inspect.isawaitable(answer):
            answer = async_to_sync(_awaited)(answer)
        return checked(answer)
    except PermissionDenied as error:
        raise AccessRefused(str(error) or "You may not see this.") from error
    except Http404 as error:
        raise NotFound() from error


async def _awaited(answer: Any) -> Any:
    return await answer


def _scope(request: Any, rest: str) -> MutableMapping[str, Any]:
    root = request.path.removesuffix(rest).rstrip("/")
    if request.path != root and not request.path.startswith(f"{root}/"):
        raise Http404  # the route has no slash at its end, and this is another address that begins like it
    host = request.get_host()  # refuses hosts that are not ours
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
        if name != "Host"
    ]
    query = request.META.get("QUERY_STRING", "")
    peer = request.META.get("REMOTE_ADDR")
    return inner_scope(
        {
            "type": "http",
            # A client that goes away is an error of send.
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.scheme,
            "path": request.path,
            "root_path": root,
            "query_string": query.encode("utf-8" if isinstance(request, ASGIRequest) else "latin-1"),
            "headers": [(b"host", host.encode("latin-1", "replace")), *headers],
            "client": (peer, 0) if peer else None,
            "server": None,
        }
    )


def _body(request: Any) -> bytes:
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return b""
    body: bytes = request.read(MAX_BATCH_BYTES + 1)
    return body


def _response(
    request: Any, exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], *, streams: bool
) -> HttpResponseBase:
    response: HttpResponseBase
    if not streams:
        response = HttpResponse(b"".join(exchange), status=status)
    elif isinstance(request, ASGIRequest):
        response = StreamingHttpResponse(_Awaited(exchange), status=status)
    else:
        response = StreamingHttpResponse(exchange, status=status)
    del response["Content-Type"]
    for name, value in headers:
        response[name.decode("latin-1")] = value.decode("latin-1")
    if "no-store" in response.get("Cache-Control", ""):
        # Django's cache for the whole site keeps whatever does not say this.
        response["Cache-Control"] = "private, no-store"
    return response


class _Awaited:
    """The pieces of an answer for a server that awaits them; Django closes it, read or not."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.close = exchange.close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await asyncio.to_thread(next, self._exchange, None)
        if piece is None:
            raise StopAsyncIteration
        return piece
