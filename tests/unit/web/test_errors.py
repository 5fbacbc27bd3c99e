"""Errors become problem documents; what is not ours to show is not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from affidavit import errors
from affidavit.web.errors import STATUS, problem_of

SECRET = "UNIQUE constraint failed: /srv/private/app.db"


def document(error: Exception) -> dict[str, Any]:
    """The body of the answer."""
    decoded: dict[str, Any] = json.loads(problem_of(error).body)
    return decoded


def every_error(
    base: type[errors.AffidavitError] = errors.AffidavitError,
) -> list[type[errors.AffidavitError]]:
    """The whole tree of our errors."""
    return [base, *(found for child in base.__subclasses__() for found in every_error(child))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_problem(kind: type[errors.AffidavitError]) -> None:
    """The nearest ancestor in the table decides."""
    error = kind.__new__(kind)
    errors.AffidavitError.__init__(error)
    error.__dict__.setdefault("errors", ())
    answer = problem_of(error)
    nearest = next(parent for parent in kind.__mro__ if parent in STATUS)
    assert answer.status == STATUS[nearest]
    shown = document(error)
    assert shown["status"] == answer.status
    assert shown["type"] == f"urn:affidavit:error:{kind.category}"
    assert shown["detail"]


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        RuntimeError(SECRET),
        errors.StorageError(SECRET),
        errors.StorageBusy(SECRET),
        errors.ConfigError(SECRET),
        errors.AffidavitError(SECRET),
        HTTPException(500, SECRET),
    ],
)
def test_what_happened_inside_is_not_told(error: Exception) -> None:
    """Neither the text of an unexpected error nor that of the database goes out."""
    answer = problem_of(error)
    assert answer.status >= 500
    assert b"UNIQUE" not in answer.body
    assert b"private" not in answer.body


def test_what_the_caller_caused_is_told() -> None:
    """Message and each broken rule are in the document, and the headers say what to do."""
    shown = document(errors.InvalidQuery.of("limit", "range", "must be 1 to 1000", 0))
    assert shown["detail"] == "limit: must be 1 to 1000"
    assert shown["errors"] == [
        {"pointer": "limit", "rule": "range", "message": "must be 1 to 1000", "value": 0}
    ]
    assert (b"www-authenticate", b'Bearer realm="affidavit"') in problem_of(errors.NotSignedIn()).headers
    assert (b"retry-after", b"1") in problem_of(errors.StorageBusy()).headers


@pytest.mark.parametrize("value", ["\ud800", object(), float("nan")])
def test_a_value_that_json_cannot_hold_does_not_break_the_answer(value: object) -> None:
    """The document goes out all the same."""
    shown = document(errors.InvalidQuery.of("actor", "utf8", "is not text", value))
    assert shown["errors"][0]["pointer"] == "actor"
