"""Tests as a project has them, for Django's own runner."""

from __future__ import annotations

from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from affidavit.django import audit
from affidavit.recorder.fields import system
from tests.recorder.django.project.models import Team


def events() -> int:
    """In the test database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM affidavit_events")
        return int(cursor.fetchone()[0])


def create() -> None:
    """A change and its event."""
    with transaction.atomic():
        team = Team.objects.create(name="t")
        audit.record("team.create", resource=team, actor=system("test"))


class RolledBack(TestCase):  # type: ignore[misc]
    """Each test is a transaction that is rolled back."""

    def test_first(self) -> None:
        """One event, of this test."""
        create()
        assert events() == 1

    def test_second(self) -> None:
        """Again one: that of the other test is gone."""
        create()
        assert events() == 1

    def test_view(self) -> None:
        """The middleware works in it."""
        self.client.get("/rename/x")
        assert events() == 1


class Committed(TransactionTestCase):  # type: ignore[misc]
    """Tests commit, and the tables of models are emptied after each."""

    def test_commit(self) -> None:
        """The event is stored."""
        before = events()
        create()
        assert events() == before + 1

    def test_denied(self) -> None:
        """A transaction of its own sees the same database."""
        before = events()
        audit.denied("team.delete", actor=system("test"))
        assert events() == before + 1
