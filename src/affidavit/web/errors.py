"""From errors to HTTP: the only place that maps a class of error to a status.

The answer is a problem document (RFC 9457). Of an error that is ours, the message is shown where the caller
caused it; of everything else only a fixed sentence, because texts of databases and stack traces tell
strangers about the machine.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.exceptions import HTTPException

from affidavit import errors

__all__ = ["MEDIA_TYPE", "Answer", "Problem", "problem_of"]

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[Exception], int] = {
    errors.InvalidEvent: 422,
    errors.InvalidQuery: 400,
    errors.TooLarge: 413,
    errors.IdConflict: 409,
    errors.Refused: 422,
    errors.NotSignedIn: 401,
    errors.MissingAbility: 403,
    errors.NotFound: 404,
    errors.AccessRefused: 403,
    errors.NotPublished: 409,
    errors.StorageError: 503,
    errors.AffidavitError: 500,
    Exception: 500,
}
"""The most derived class of an error that stands here decides."""

_UNSEEN = "Something failed on this side; the server's own log has the details under this request's id."


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document.

    Attributes:
        type: ``urn:affidavit:error:`` and the error's category.
        title: the kind of problem, the same for all of a kind.
        status: the HTTP status.
        detail: a sentence about this case that says what to do.
        errors: one entry for each broken rule.
    """

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[errors.FieldError, ...] = ()


class Answer(msgspec.Struct, frozen=True):
    """A problem ready to be sent.

    Attributes:
        status: the HTTP status.
        headers: further headers, lower-case names.
        body: the document as JSON.
        category: the label for metrics.
        unexpected: whether the server's log should hold the traceback.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    category: str
    unexpected: bool


def problem_of(error: Exception) -> Answer:
    """The answer to a request that ended in ``error``."""
    if isinstance(error, HTTPException):
        return _of_http(error)
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    category = error.category if isinstance(error, errors.AffidavitError) else "internal"
    headers: list[tuple[bytes, bytes]] = []
    details: tuple[errors.FieldError, ...] = ()
    if isinstance(error, errors.Refused | errors.AccessRefused):
        detail = error.message
        details = getattr(error, "errors", ())
    elif isinstance(error, errors.NotPublished):
        detail = error.message
        headers.append((b"retry-after", b"2"))
    elif isinstance(error, errors.LogMismatch):
        detail = error.message  # it names places in the log and nothing of an event
    elif isinstance(error, errors.StorageError):
        detail = (type(error).__doc__ or _UNSEEN).strip().splitlines()[0]
        headers.append((b"retry-after", b"1"))
    else:
        detail = _UNSEEN
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="affidavit"'))
    title = category.replace("_", " ").capitalize()
    return _answer(status, category, title, detail, headers, details, unexpected=status >= 500)


def _of_http(error: HTTPException) -> Answer:
    """Starlette's own refusals: no such route, wrong method."""
    phrase = HTTPStatus(error.status_code).phrase
    sentences = {
        404: "There is nothing at this address.",
        405: "This address does not take this method; the header Allow lists those it takes.",
    }
    detail = sentences.get(error.status_code) or (
        error.detail if error.status_code < 500 and error.detail else phrase
    )
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    category = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
    return _answer(error.status_code, category, phrase, detail, headers, (), unexpected=False)


def _answer(
    status: int,
    category: str,
    title: str,
    detail: str,
    headers: list[tuple[bytes, bytes]],
    details: tuple[errors.FieldError, ...],
    *,
    unexpected: bool,
) -> Answer:
    problem = Problem(
        type=f"urn:affidavit:error:{category}", title=title, status=status, detail=detail, errors=details
    )
    body = _encode(problem)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *headers,
    ]
    return Answer(status, headers, body, category, unexpected)


def _encode(problem: Problem) -> bytes:
    """The document as JSON. A quoted value that JSON cannot hold is left out rather than the answer."""
    try:
        return msgspec.json.encode(problem)
    except (TypeError, ValueError):
        plain: list[Any] = [msgspec.structs.replace(error, value=None) for error in problem.errors]
        return msgspec.json.encode(msgspec.structs.replace(problem, errors=tuple(plain)))
