"""Parts of an event that are given as something else."""

from __future__ import annotations

import sqlite3

import pytest

from affidavit import Audit, system
from affidavit.errors import InvalidEvent


@pytest.mark.parametrize("field", ["actor", "on_behalf_of", "session", "location", "ci", "request"])
def test_a_part_of_another_type_is_named(field: str) -> None:
    """Before anything is written: field, rule and what was given."""
    connection = sqlite3.connect(":memory:")
    fields = {"actor": system("nightly"), field: "ada"}
    with pytest.raises(InvalidEvent) as raised:
        Audit(lambda: connection, organization="acme").record(connection, "a.b", **fields)  # type: ignore[arg-type]
    (broken,) = raised.value.errors
    assert (broken.pointer, broken.rule, broken.value) == (f"/{field}", "type", "str")
    connection.close()
