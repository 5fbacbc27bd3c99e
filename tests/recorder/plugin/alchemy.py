"""Sessions of SQLAlchemy: within the transaction of a test, and committing for good."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from affidavit import Audit
from affidavit.testing import AuditLog
from tests.recorder.plugin.app import ME, OURS, Team, audit, engine, rows, session

__all__ = ["audit", "engine", "session"]


def created(audit: Audit, session: Session, name: str = "Core") -> Team:
    """A team, committed with its event."""
    team = Team(name=name)
    session.add(team)
    audit.record(session, "team.create", resource=team, actor=ME)
    session.commit()
    return team


@pytest.mark.parametrize("time", [1, 2])
def test_savepoint_fixture(audit: Audit, session: Session, audit_log: AuditLog, time: int) -> None:
    """What the app commits is seen, with its changes; what it takes back is not; each time anew."""
    team = created(audit, session)
    assert team.name == "Core"
    team.name = "Edge"
    audit.record(session, "team.update", resource=team, actor=ME)
    session.commit()
    assert audit_log.one("team.update").changes == {"name": ("Core", "Edge")}

    team.name = "Gone"
    audit.record(session, "team.update", resource=team, actor=ME, reason="undone")
    session.flush()
    assert [each.reason for each in audit_log.all("team.update")] == [None, "undone"]
    session.rollback()
    assert [each.reason for each in audit_log.all("team.update")] == [None]

    with session.begin_nested() as inner:
        team.name = "Inner"
        audit.record(session, "team.rename", resource=team, actor=ME)
        session.flush()
        assert "team.rename" in audit_log
        inner.rollback()
    audit_log.none("team.rename")
    assert [each.action for each in audit_log] == ["team.create", "team.update"]


def test_own_transactions(audit: Audit, session: Session, audit_log: AuditLog) -> None:
    """What is recorded in a transaction of its own is seen at once, whatever the test's transaction holds."""
    team = created(audit, session)
    audit.denied("team.delete", resource=team, actor=ME, reason="not an owner")
    assert audit_log.one(outcome="failure").reason == "not an owner"
    with pytest.raises(KeyError), audit.attempt(session, "team.archive", resource=team, actor=ME):
        raise KeyError("no plan")
    session.rollback()
    assert audit_log.one("team.archive").outcome == "failure"
    audit.record_now("team.seen", actor=ME)
    assert len(audit_log) == 4


def test_own_sql(audit: Audit, session: Session, audit_log: AuditLog) -> None:
    """Savepoints that the app sets in SQL of its own count, too."""
    session.execute(text("SAVEPOINT mine"))
    audit.record(session.connection(), "team.kept", actor=ME)
    session.execute(text("SAVEPOINT more"))
    audit.record(session.connection(), "team.lost", actor=ME)
    session.execute(text("ROLLBACK TO SAVEPOINT more"))
    session.execute(text("RELEASE SAVEPOINT mine"))
    assert [each.action for each in audit_log] == ["team.kept"]


def test_committed_for_good(audit: Audit, engine: Engine, audit_log: AuditLog) -> None:
    """Without a fixture around it the app commits, and the event is in the table."""
    before = rows(engine)
    with Session(engine) as session:
        created(audit, session)
    with Session(engine) as session:
        session.add(Team(name="Never"))
        audit.record(session, "team.create", actor=ME, reason="never")
        session.flush()
        session.rollback()
    assert audit_log.one("team.*").reason is None
    assert rows(engine) == [*before, "team.create"]


def test_nothing_is_left(audit: Audit, engine: Engine, audit_log: AuditLog) -> None:
    """What earlier tests committed was taken away; what a fixture of the session recorded stays, unseen."""
    assert rows(engine) == ["app.start"]
    assert len(audit_log) == 0


def test_order_of_fixtures(audit_log: AuditLog, session: Session, audit: Audit, engine: Engine) -> None:
    """The log may come before the session, which then ends after it."""
    created(audit, session)
    audit_log.one("team.create")


def test_clear(audit: Audit, session: Session, audit_log: AuditLog) -> None:
    """What was only prepared can be left out."""
    created(audit, session)
    audit_log.clear()
    audit_log.none()
    created(audit, session, "Edge")
    audit_log.one("team.create")


def test_tables_can_be_emptied(audit: Audit, engine: Engine) -> None:
    """No trigger keeps a test from emptying our tables."""
    audit.record_now("team.seen", actor=ME)
    assert rows(engine) == ["app.start", "team.seen"]
    ours = text("DELETE FROM affidavit_events WHERE action = 'team.seen' AND organization = :ours")
    with engine.begin() as connection:
        connection.execute(ours, {"ours": OURS})
    assert rows(engine) == ["app.start"]
