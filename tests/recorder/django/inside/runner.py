"""Tests as a project has them, for Django's own runner."""

from __future__ import annotations

from contextlib import suppress

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

from affidavit.django import audit
from affidavit.recorder.capture.uncaptured import counted
from affidavit.recorder.fields import system
from tests.recorder.django.project.models import Plant, Team


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


audit.capture(Plant)


class RolledBack(TestCase):  # type: ignore[misc]
    """Each test is a transaction that is rolled back."""

    def test_captured(self) -> None:
        """A captured object that a rolled-back block has saved knows what is in the database."""
        with audit.context(actor=system("test")):
            plant = Plant.objects.create(name="fern")
            plant.height = 2
            with suppress(ValueError), transaction.atomic():
                plant.save()
                raise ValueError
            plant.save()
        assert events() == 2

    def test_first(self) -> None:
        """One event, of this test."""
        create()
        assert events() == 1

    def test_second(self) -> None:
        """Again one: that of the other test is gone."""
        create()
        assert events() == 1

    def test_denied(self) -> None:
        """What a transaction of its own would keep is there, and gone after the test as everything else."""
        create()
        audit.denied("team.delete", actor=system("test"))
        assert events() == 2

    def test_denied_in_a_block_that_rolls_back(self) -> None:
        """The app's block takes its change back, and what was denied stays."""
        with suppress(ValueError), transaction.atomic():
            create()
            with suppress(KeyError), transaction.atomic():
                audit.denied("team.delete", actor=system("test"))
                raise KeyError
            assert events() == 2
            raise ValueError
        assert events() == 1
        assert not Team.objects.exists()
        create()
        assert events() == 2

    async def test_async_view(self) -> None:
        """So is what an async view records."""
        await self.async_client.get("/refuse-async/x")
        assert await sync_to_async(events)() == 1

    def test_view(self) -> None:
        """The middleware works in it."""
        self.client.get("/rename/x")
        assert events() == 1


class Committed(TransactionTestCase):  # type: ignore[misc]
    """Tests commit, and the tables of models are emptied after each."""

    def test_captured(self) -> None:
        """An event is stored, and nobody is warned of the table's being emptied."""
        before = events()
        with audit.context(actor=system("test")):
            Plant.objects.create(name="fern")
        assert events() == before + 1
        self._fixture_teardown()
        assert not Plant.objects.exists()
        assert counted() == {}

    def test_commit(self) -> None:
        """The event is stored."""
        before = events()
        create()
        assert events() == before + 1

    def test_denied_in_a_block_that_rolls_back(self) -> None:
        """What was denied stays, once, when the transaction of the app is rolled back for good."""
        before = events()
        with suppress(ValueError), transaction.atomic():
            create()
            audit.denied("team.delete", actor=system("test"))
            raise ValueError
        assert events() == before + 1
        with transaction.atomic():
            create()
            audit.denied("team.delete", actor=system("test"))
        assert events() == before + 3

    def test_denied(self) -> None:
        """A transaction of its own sees the same database."""
        before = events()
        audit.denied("team.delete", actor=system("test"))
        assert events() == before + 1
