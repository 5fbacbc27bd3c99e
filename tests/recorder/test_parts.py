"""Parts of an event that are given as something else."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from affidavit import Audit, system
from affidavit.errors import InvalidEvent


@pytest.mark.parametrize("field", ["actor", "on_behalf_of", "session", "location", "ci", "request"])
def test_a_part_of_another_type_is_named(field: str) -> None:
    """Before anything is written: field, rule and what was given."""
    connection = sqlite3.connect(":memory:")
    fields: Any = {"actor": system("nightly"), field: "ada"}
    audit: Any = Audit(lambda: connection, organization="acme")
    with pytest.raises(InvalidEvent) as raised:
        audit.record(connection, "a.b", **fields)
    (broken,) = raised.value.errors
    assert (broken.pointer, broken.rule, broken.value) == (f"/{field}", "type", "str")
    connection.close()
