"""A project whose tests use a database that is there already, as the documentation of pytest-django shows."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, transaction

from affidavit import system
from affidavit.django import audit


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """Makes no database for tests."""


@pytest.mark.django_db(transaction=True)
def test_it_keeps_its_triggers() -> None:
    """Nobody takes them from a database that has not been made for tests."""
    audit.record_now("group.seen", actor=system("tests"))
    with (
        connection.cursor() as cursor,
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
    ):
        cursor.execute("DELETE FROM affidavit_events")
