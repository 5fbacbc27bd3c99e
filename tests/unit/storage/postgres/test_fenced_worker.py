"""A worker that overslept its lease changes nothing more, neither tasks nor settings nor events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from affidavit.errors import LogMoved
from affidavit.storage.postgres.connect import Address, connect
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.lease import Lease
from affidavit.storage.sql.tasks import SqlTasks
from affidavit.testing.author import NOW, Author, Clock
from affidavit.testing.conformance.tasks import task
from affidavit.testing.postgres import PostgresEngine
from tests.postgres import Server


@pytest.fixture
def address(postgres: Server) -> Iterator[Address]:
    """An empty database."""
    engine = PostgresEngine(postgres, clock=None)
    yield Address(engine.create())
    engine.close()


def test_the_end_that_an_old_worker_writes_is_not_stored(address: Address) -> None:
    """The task stays what the new holder makes of it, and the old one's event is not there."""
    old, new = Lease(address), Lease(address)
    assert old.take()
    database = PostgresDatabase(address, clock=Clock(), fence=old.check)
    tasks = SqlTasks(database)
    tasks.add(task(1))
    tasks.begin("task_0001", NOW)
    session = connect(address)
    session.execute("UPDATE affidavit_leases SET until = 0")  # it slept through the end
    assert new.take()
    with pytest.raises(LogMoved, match="taken over"):
        tasks.end("task_0001", "failed", {}, NOW)
    with pytest.raises(LogMoved, match="taken over"):
        database.change(lambda _: None, lambda _: [Author(Clock()).row("old.worker")])
    found = tasks.get("task_0001")
    assert found is not None
    assert found.state == "running"
    assert session.execute("SELECT count(*) FROM affidavit_events").fetchall() == [(0,)]
    with closing(PostgresDatabase(address, fence=new.check)) as of_the_new_one:
        SqlTasks(of_the_new_one).end("task_0001", "done", {}, NOW + 1)
    found = tasks.get("task_0001")
    assert found is not None
    assert (found.state, found.ended_at) == ("done", NOW + 1)
    session.close()
    database.close()
    old.release()
    new.release()
