"""The task runner: pieces in turn, waiting, crashes, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from affidavit.errors import Refused, StorageBusy
from affidavit.log.tasks import WAITING, Task, TaskRunner, TaskSteps, new_task
from affidavit.storage.sql.tasks import SqlTasks
from affidavit.storage.sqlite.database import SqliteDatabase, migrate_file
from affidavit.testing.author import NOW, Clock


class Desk:
    """A store of tasks, a clock, and runners on them."""

    def __init__(self, database: SqliteDatabase, clock: Clock) -> None:
        self.store = SqlTasks(database)
        self.clock = clock
        self.seconds = 0.0
        self._made = 0

    def order(self, kind: str, **request: Any) -> str:
        self._made += 1
        number = self._made.to_bytes(8, "big")
        task = new_task(kind, "acme", request, by="kim", now=self.clock(), entropy=lambda _: number)
        self.store.add(task)
        return task.id

    def runner(self, **kinds: Callable[[Task], TaskSteps]) -> TaskRunner:
        return TaskRunner(self.store, kinds, clock=self.clock, monotonic=lambda: self.seconds)

    def state(self, task_id: str) -> tuple[str, Mapping[str, Any] | None]:
        task = self.store.get(task_id)
        assert task is not None
        return task.state, task.outcome


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """An empty one."""
    migrate_file(tmp_path / "a.db")
    clock = Clock()
    database = SqliteDatabase(tmp_path / "a.db", clock=clock)
    yield Desk(database, clock)
    database.close()


def counting(seen: list[str], pieces: int) -> Callable[[Task], TaskSteps]:
    """A task of so many pieces."""

    def run(task: Task) -> TaskSteps:
        for _ in range(pieces):
            seen.append(task.request["name"])
            yield None
        return {"pieces": pieces}

    return run


def test_tasks_take_turns_piece_by_piece(desk: Desk) -> None:
    """One step is one piece of one task; both end with what they returned."""
    seen: list[str] = []
    first, second = desk.order("count", name="a"), desk.order("count", name="b")
    runner = desk.runner(count=counting(seen, 3))
    assert runner.step()
    assert seen == ["a"]
    while runner.step():
        pass
    assert seen == ["a", "b"] * 3
    assert desk.state(first) == desk.state(second) == ("done", {"pieces": 3})


def test_one_that_waits_lets_the_others_work(desk: Desk) -> None:
    """A task that waits for another one is passed over; alone it makes the runner idle."""
    ready: list[bool] = []

    def waiting(_: Task) -> TaskSteps:
        while not ready:
            yield WAITING
        return {}

    def opening(_: Task) -> TaskSteps:
        yield None
        ready.append(True)
        return {}

    waits = desk.order("wait")
    runner = desk.runner(wait=waiting, open=opening)
    assert not runner.step()
    assert desk.state(waits)[0] == "running"
    opens = desk.order("open")
    while runner.step():
        pass
    assert desk.state(waits)[0] == desk.state(opens)[0] == "done"


def test_an_interrupted_task_starts_again_with_what_it_noted(desk: Desk) -> None:
    """A second runner, as after a crash, begins it from its beginning and hands it its notes."""
    given: list[Any] = []

    def noting(task: Task) -> TaskSteps:
        given.append(task.outcome)
        desk.store.note(task.id, {"place": 7})
        yield None
        yield None
        return {"place": 8}

    task = desk.order("note")
    runner = desk.runner(note=noting)
    runner.step()
    runner.close()
    again = desk.runner(note=noting)
    while again.step():
        pass
    assert given == [None, {"place": 7}]
    assert desk.state(task) == ("done", {"place": 8})


def test_an_error_of_storage_is_tried_again_later(desk: Desk) -> None:
    """A busy disk ends no task: it starts again after a pause, and other tasks go on meanwhile."""
    tries: list[float] = []

    def busy(_: Task) -> TaskSteps:
        yield None
        tries.append(desk.seconds)
        if len(tries) == 1:
            raise StorageBusy()
        return {}

    task, other = desk.order("busy"), desk.order("count", name="a")
    runner = desk.runner(busy=busy, count=counting([], 2))
    for _ in range(10):
        runner.step()
    assert tries == [0.0]
    assert desk.state(task)[0] == "running"
    assert desk.state(other)[0] == "done"
    desk.seconds = 2.0
    while runner.step():
        pass
    assert tries == [0.0, 2.0]
    assert desk.state(task)[0] == "done"


def test_a_failed_task_says_why_and_keeps_its_notes(desk: Desk) -> None:
    """Our own errors are quoted, a defect only by its kind; neither stops another task."""

    def refused(task: Task) -> TaskSteps:
        desk.store.note(task.id, {"place": 7})
        yield None
        raise Refused("The hold h keeps it.")

    def broken(_: Task) -> TaskSteps:
        yield None
        raise ValueError("ana@x.io")

    first, second, third = desk.order("refuse"), desk.order("break"), desk.order("unheard_of")
    last = desk.order("count", name="a")
    runner = desk.runner(count=counting([], 1), refuse=refused, **{"break": broken})
    while runner.step():
        pass
    assert desk.state(first) == ("failed", {"place": 7, "error": "The hold h keeps it."})
    assert desk.state(second) == ("failed", {"error": "A defect of the program: ValueError."})
    assert desk.state(third)[0] == "failed"
    assert desk.state(last)[0] == "done"


def test_the_subject_of_a_request_ends_with_its_task(desk: Desk) -> None:
    """However a task ends, the member that names a person is taken out of its request; the rest stays."""

    def refused(_: Task) -> TaskSteps:
        yield None
        raise Refused("No.")

    done, failed = desk.order("count", name="a", subject="ana"), desk.order("refuse", subject="ana", x=1)
    runner = desk.runner(count=counting([], 1), refuse=refused)
    while runner.step():
        pass
    task, other = desk.store.get(done), desk.store.get(failed)
    assert task is not None
    assert other is not None
    assert task.request == {"name": "a"}
    assert other.request == {"x": 1}
    assert task.created_at == task.started_at == task.ended_at == NOW
