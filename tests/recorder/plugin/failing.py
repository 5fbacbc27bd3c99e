"""Tests that fail, for what they say then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from affidavit import Actor, Audit
from affidavit.testing import AuditLog, make_tables


@pytest.fixture
def two(audit_log: AuditLog) -> Iterator[AuditLog]:
    """Two events, the second of an attacker."""
    audit = Audit("sqlite:///nowhere.db", organization="acme", carry_into_threads=False)
    with closing(sqlite3.connect(":memory:")) as connection:
        make_tables(connection)
        ana = Actor(type="user", id="ana")
        audit.record(connection, "team.update", actor=ana, resource=("team", 7), changes={"name": ("a", "b")})
        evil = Actor(type="user", id="\x1b[31mev\u202eil")
        audit.record(
            connection,
            "invoice.refund",
            actor=evil,
            resource=("invoice", 8),
            outcome="failure",
            reason="line\nbreak",
        )
        yield audit_log


def test_one_of_none(two: AuditLog) -> None:
    """There is no such event."""
    two.one("team.delete")


def test_filters(two: AuditLog) -> None:
    """Nor one by nobody."""
    two.one(outcome="success", actor="nobody")


def test_one_of_two(two: AuditLog) -> None:
    """There are two."""
    two.one()


def test_none(two: AuditLog) -> None:
    """There is one."""
    two.none("team.*")


def test_nothing(audit_log: AuditLog) -> None:
    """Nothing was recorded at all."""
    audit_log.one()


def test_no_filter(two: AuditLog) -> None:
    """A word that was mistyped is named."""
    two.all(actr="ana")  # type: ignore[call-arg]
