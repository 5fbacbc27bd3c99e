"""Django's test cases, and the fixtures of pytest-django."""
# ruff: noqa: PT012 - what is tried is what a whole block leaves behind

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import Client, TestCase, TransactionTestCase

from affidavit import system
from affidavit.django import audit
from affidavit.errors import WrongTransaction
from affidavit.testing import AuditLog
from affidavit.testing.audit_log.place import NotAwaited

ME = system("tests")


class Refused(Exception):
    """Of a test."""


def rows() -> int:
    """Events in the database of the tests."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM affidavit_events")
        return int(cursor.fetchone()[0])


class Cases:
    """What holds in both kinds of test case."""

    client: Any
    async_client: Any
    audit_log: AuditLog

    @pytest.fixture(autouse=True)
    def _audit_log(self, audit_log: AuditLog) -> None:
        self.audit_log = audit_log

    def test_view(self) -> None:
        """A change, something that was refused, and a view that forgot its block."""
        assert self.client.post("/groups/core/").status_code == 201
        resource = self.audit_log.one("group.create", resource_type="auth_group").resource
        assert resource is not None
        assert resource.id == str(Group.objects.get(name="core").pk)
        self.client.post("/deny/")
        assert self.audit_log.one(outcome="failure").reason == "not an owner"
        with pytest.raises(WrongTransaction):
            self.client.post("/forgot/")
        assert (len(self.audit_log), rows()) == (2, 2)

    def test_block_that_rolls_back(self) -> None:
        """What was denied stays, what was recorded is taken back."""
        with pytest.raises(Refused), transaction.atomic():
            audit.record("group.create", actor=ME)
            assert "group.create" in self.audit_log
            audit.denied("group.delete", actor=ME)
            raise Refused
        assert [each.action for each in self.audit_log] == ["group.delete"]
        assert rows() == 1

    async def test_awaited(self) -> None:
        """In a test that is awaited the log is, too, where it has to ask the database."""
        await self.async_client.post("/deny-awaited/")
        assert self.audit_log.one().reason == "not an owner"
        await self.async_client.post("/groups/edge/")
        with pytest.raises(NotAwaited):
            len(self.audit_log)
        assert len(await self.audit_log.look()) == 2

    def test_nothing_is_left(self) -> None:
        """Of other tests."""
        assert (len(self.audit_log), rows()) == (0, 0)


class TestRolledBack(Cases, TestCase):  # type: ignore[misc]
    """Each test is a transaction that is rolled back."""

    @classmethod
    def setUpTestData(cls) -> None:
        """What all tests of the class begin with is of none of them."""
        Group.objects.create(name="of all")

    def test_body(self) -> None:
        """What the test itself calls is in the transaction of the test."""
        audit.record("group.update", actor=ME)
        self.audit_log.one("group.update")


class TestCommitted(Cases, TransactionTestCase):  # type: ignore[misc]
    """Each test commits, and the tables are emptied after it."""

    def test_body(self) -> None:
        """There is no transaction that an event of the test's own could belong to."""
        with pytest.raises(WrongTransaction):
            audit.record("group.update", actor=ME)
        self.audit_log.none()


@pytest.mark.usefixtures("db")
def test_db(client: Client, audit_log: AuditLog) -> None:
    """The fixture ``db``."""
    client.post("/groups/core/")
    audit_log.one("group.create")
    audit.record("group.update", actor=ME)
    assert (len(audit_log), rows()) == (2, 2)


@pytest.mark.usefixtures("transactional_db")
def test_transactional_db(client: Client, audit_log: AuditLog) -> None:
    """The fixture ``transactional_db``."""
    client.post("/groups/core/")
    client.post("/deny/")
    assert (len(audit_log), rows()) == (2, 2)


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left(audit_log: AuditLog) -> None:
    """What a test committed was taken away after it."""
    assert (len(audit_log), rows()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_tables_can_be_emptied() -> None:
    """No trigger keeps a test from emptying our tables."""
    audit.record_now("group.seen", actor=ME)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM affidavit_events")
    assert rows() == 0


def test_without_a_database(audit_log: AuditLog) -> None:
    """A test that uses no database needs none for the log."""
    audit_log.none()
