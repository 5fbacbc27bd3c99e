"""The errors themselves."""

from __future__ import annotations

import pickle

import pytest

from affidavit.errors import (
    AffidavitError,
    FieldError,
    IdConflict,
    InvalidCatalog,
    InvalidEvent,
    InvalidQuery,
    MissingAbility,
    StorageBusy,
)

BROKEN = (FieldError("/actor", "required", "say who did it", None),)


@pytest.mark.parametrize(
    "error",
    [
        InvalidEvent(BROKEN),
        InvalidCatalog(BROKEN, "Billing"),
        InvalidQuery.of("limit", "range", "must be 1 to 1000", 0),
        IdConflict("exists", BROKEN),
        MissingAbility("log:read"),
        StorageBusy(),
        AffidavitError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_through_a_process_pool(error: AffidavitError) -> None:
    """Class, sentence and fields are the same on the other side."""
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is type(error)
    assert there.message == error.message
    assert there.__dict__ == error.__dict__
