"""The suite of the role ``TaskStore``."""

from __future__ import annotations

from functools import partial

from affidavit.storage.tasks import SUBJECT, Task
from affidavit.testing.author import NOW
from affidavit.testing.conformance.suite import Suite, at_once
from affidavit.testing.engine import Engine, Stores

__all__ = ["TaskStoreSuite"]


def task(number: int, kind: str = "erase", organization: str = "acme", **request: object) -> Task:
    """A task that nobody has begun."""
    return Task(f"task_{number:04}", kind, organization, request, "waiting", None, NOW + number, "kim")


class TaskStoreSuite(Suite):
    """Work that was ordered."""

    def test_a_task_is_kept_as_it_was_ordered(self, stores: Stores, engine: Engine, database: str) -> None:
        """Everything comes back, in another process too; an unknown one does not exist."""
        ordered = task(1, text="ä\u2028", size=2**40, nothing=None, inner={"a": [1, True]})
        stores.tasks.add(ordered)
        assert stores.tasks.get(ordered.id) == ordered
        assert engine.open(database).tasks.get(ordered.id) == ordered
        assert stores.tasks.get("task_other") is None

    def test_open_ones_come_oldest_first_until_they_end(self, stores: Stores) -> None:
        """Waiting and running ones, in the order in which they were ordered."""
        for number in (3, 1, 2, 4):
            stores.tasks.add(task(number))
        stores.tasks.begin("task_0002", NOW)
        stores.tasks.end("task_0001", "done", {}, NOW)
        stores.tasks.end("task_0004", "failed", {"error": "x"}, NOW)
        assert [(each.id, each.state) for each in stores.tasks.open()] == [
            ("task_0002", "running"),
            ("task_0003", "waiting"),
        ]

    def test_lists_are_of_a_kind_and_an_organization_newest_first(self, stores: Stores) -> None:
        """Other kinds and organizations are left out; ended ones are not."""
        for number, kind, organization in (
            (1, "erase", "acme"),
            (2, "expire", "acme"),
            (3, "erase", "globex"),
            (4, "erase", "acme"),
        ):
            stores.tasks.add(task(number, kind, organization))
        stores.tasks.end("task_0001", "done", {}, NOW)
        assert [each.id for each in stores.tasks.list("erase", "acme")] == ["task_0004", "task_0001"]
        assert [each.id for each in stores.tasks.list("erase")] == ["task_0004", "task_0003", "task_0001"]
        assert [each.id for each in stores.tasks.list("erase", limit=1)] == ["task_0004"]

    def test_progress_is_kept_while_it_runs(self, stores: Stores) -> None:
        """A note replaces the one before; a task that waits or has ended takes none."""
        stores.tasks.add(task(1))
        stores.tasks.note("task_0001", {"too": "early"})
        stores.tasks.begin("task_0001", NOW + 5)
        stores.tasks.begin("task_0001", NOW + 9)
        stores.tasks.note("task_0001", {"place": 1})
        stores.tasks.note("task_0001", {"place": 2})
        running = stores.tasks.get("task_0001")
        assert running is not None
        assert (running.state, running.outcome, running.started_at) == ("running", {"place": 2}, NOW + 5)
        stores.tasks.end("task_0001", "done", {"events": 3}, NOW + 7)
        stores.tasks.note("task_0001", {"too": "late"})
        done = stores.tasks.get("task_0001")
        assert done is not None
        assert (done.state, done.outcome, done.ended_at, done.ended) == ("done", {"events": 3}, NOW + 7, True)

    def test_the_end_is_the_end(self, stores: Stores) -> None:
        """An ended task does not end again, nor begin."""
        stores.tasks.add(task(1))
        stores.tasks.end("task_0001", "failed", {"error": "first"}, NOW)
        stores.tasks.end("task_0001", "done", {}, NOW + 1)
        stores.tasks.begin("task_0001", NOW + 2)
        found = stores.tasks.get("task_0001")
        assert found is not None
        assert (found.state, found.outcome, found.started_at) == ("failed", {"error": "first"}, None)

    def test_the_subject_goes_with_the_end_or_before(self, stores: Stores) -> None:
        """The member that names a person leaves the request when asked to, and at the end at the latest."""
        for number in (1, 2):
            stores.tasks.add(task(number, **{SUBJECT: "ana", "basis": "b"}))
        stores.tasks.forget("task_0001")
        stores.tasks.end("task_0002", "failed", {}, NOW)
        requests = [each.request for each in stores.tasks.list("erase")]
        assert requests == [{"basis": "b"}, {"basis": "b"}]

    def test_many_at_once(self, stores: Stores) -> None:
        """Orders from several threads are all kept."""
        at_once(*[partial(stores.tasks.add, task(number)) for number in range(16)])
        assert len(stores.tasks.open()) == 16

    def test_ended_twice_at_once_it_ends_one_way(self, engine: Engine, database: str) -> None:
        """State, outcome and time are of one caller, and the person is gone from the request."""
        stores = [engine.open(database) for _ in range(4)]
        stores[0].tasks.add(task(1, **{SUBJECT: "ana", "basis": "b"}))
        calls = [
            partial(each.tasks.end, "task_0001", "done" if number % 2 else "failed", {"by": number}, number)
            for number, each in enumerate(stores)
        ]
        calls.append(partial(engine.open(database).tasks.forget, "task_0001"))
        assert at_once(*calls) == [None] * 5
        found = stores[0].tasks.get("task_0001")
        assert found is not None
        assert found.request == {"basis": "b"}
        assert found.ended_at is not None
        assert found.outcome == {"by": found.ended_at}
        assert found.state == ("done" if found.ended_at % 2 else "failed")
