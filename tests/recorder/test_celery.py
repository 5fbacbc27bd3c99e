"""Celery: a task acts for whoever sent it, with a real worker behind a broker in memory."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, chain, group
from celery.contrib.testing.worker import start_worker
from celery.signals import task_postrun

from affidavit.core.event import Actor, Request, Session
from affidavit.embed import Audit
from affidavit.errors import Refused
from affidavit.recorder.celery import HEADER, install
from affidavit.recorder.context import Context, context, current
from tests.recorder.apps import App
from tests.recorder.small import sqlite_app

ADA = Actor(type="user", id="ada", name="Ada", email="ada@example.com")
PARENT = UUID("019349c1-7d2e-7000-8000-000000000001")
LONGEST = 30


class Product:
    """An app with tasks and a worker.

    Attributes:
        audit: records into the database of the test that runs.
        again: how often the task ``try_again`` has run.
        left: the context after each task, as the worker sees it.
    """

    audit: Audit
    again = 0
    left: list[Context | None]


def _look(**_: object) -> None:
    Product.left.append(current())


def product_tasks(celery: Celery) -> None:
    """Give the app its tasks."""

    def record(action: str) -> None:
        Product.audit.record_now(action)

    def after(_result: object, action: str) -> None:
        Product.audit.record_now(action)

    def known() -> list[str]:
        here = current()
        return sorted(here.known()) if here is not None else ["no context"]

    def try_again(self: Any) -> None:
        Product.audit.record_now("team.try")
        Product.again += 1
        if Product.again < 3:
            with Product.audit.context(actor=Actor(type="system", id="inside")):
                raise self.retry(countdown=0, max_retries=5)

    def fail() -> None:
        Product.audit.actor("somebody else")
        raise ZeroDivisionError

    def send_on() -> str:
        Product.audit.record_now("team.first")
        return str(celery.tasks["record"].delay("team.second").id)

    def change_and_send() -> str:
        with Product.audit.context(actor=Actor(type="system", id="sweeper")):
            return str(celery.tasks["record"].delay("team.swept").id)

    for each in (record, after, known, fail, send_on, change_and_send):
        celery.task(each, name=each.__name__)
    celery.task(try_again, name="try_again", bind=True)


@pytest.fixture(scope="module")
def celery() -> Iterator[Celery]:
    """The app, with one worker thread that serves every test in turn."""
    celery = Celery("product", broker="memory://", backend="cache+memory://", set_as_current=False)
    celery.conf.update(
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"polling_interval": 0.01},
    )
    product_tasks(celery)
    install()
    install()
    task_postrun.connect(_look, weak=False)
    with start_worker(celery, perform_ping_check=False, shutdown_timeout=LONGEST):
        yield celery


@pytest.fixture(autouse=True)
def app(tmp_path: Path) -> App:
    """The app's database."""
    app = sqlite_app(tmp_path)
    Product.audit = Audit(app.url, organization="meadow")
    Product.again = 0
    Product.left = []
    return app


def done(result: Any) -> Any:
    """Wait for a task."""
    return result.get(timeout=LONGEST, interval=0.01, disable_sync_subtasks=False)


def test_a_task_acts_for_whoever_sent_it(celery: Celery, app: App) -> None:
    """Actor, session, request, address and trace come along; the agent and parameters do not."""
    with context(
        actor=ADA,
        session=Session(type="web", id="s-1"),
        ip="192.0.2.7",
        user_agent="curl/8",
        request=Request(id="r-1", method="POST", endpoint="/teams", params={"a": "b"}),
        trace_id="0af7651916cd43dd8448eb211c80319c",
        parent_id=PARENT,
        project="web",
    ):
        done(celery.tasks["record"].delay("team.update"))
    ((action, source, project, parent, actor, where),) = app.events(
        "action", "source", "project", "parent_id", "actor", "context"
    )
    assert (action, source, project, parent) == ("team.update", "task", "web", PARENT.bytes)
    assert json.loads(actor) == {
        "actor": {"type": "user", "id": "ada", "name": "Ada", "email": "ada@example.com"},
        "session": {"type": "web", "id": "s-1"},
    }
    assert json.loads(where) == {
        "ip": "192.0.2.7",
        "request": {"id": "r-1", "method": "POST", "endpoint": "/teams"},
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
    }


def test_a_task_that_nobody_sent_has_only_its_source(celery: Celery, app: App) -> None:
    """Not the actor of the task before, not even after one that failed: its event is refused."""
    with context(actor=ADA):
        with pytest.raises(ZeroDivisionError):
            done(celery.tasks["fail"].delay())
        done(celery.tasks["record"].delay("team.update"))
    assert done(celery.tasks["known"].delay()) == ["source"]
    with pytest.raises(Refused, match="actor"):
        done(celery.tasks["record"].delay("team.update"))
    assert app.events("actor_id") == [("ada",)]


def test_a_retry_acts_for_the_same_person(celery: Celery, app: App) -> None:
    """Also where it was asked for inside a block of somebody else."""
    with context(actor=ADA):
        result = celery.tasks["try_again"].delay()
    done(result)
    assert app.events("action", "actor_id") == [("team.try", "ada")] * 3


def test_what_a_task_sends_acts_for_the_same_person(celery: Celery, app: App) -> None:
    """Tasks of tasks, chains and groups; a block in a task speaks for what is sent in it."""
    record, after = celery.tasks["record"], celery.tasks["after"]
    with context(actor=ADA):
        sent = celery.tasks["send_on"].delay()
        swept = celery.tasks["change_and_send"].delay()
        chained = chain(record.si("team.third"), after.s("team.fourth"), after.s("team.fifth")).apply_async()
        grouped = group(record.si("team.sixth"), record.si("team.seventh")).apply_async()
    for each in (sent, swept):
        done(celery.AsyncResult(done(each)))
    done(chained)
    done(grouped)
    assert dict(app.events("action", "actor_id")) == {
        f"team.{name}": "ada" for name in ("first", "second", "third", "fourth", "fifth", "sixth", "seventh")
    } | {"team.swept": "sweeper"}


def test_the_context_ends_with_the_task(celery: Celery, app: App) -> None:
    """Whatever a task did and however it ended, the worker's thread has no context afterwards."""
    with context(actor=ADA):
        done(celery.tasks["record"].delay("team.update"))
        done(celery.tasks["change_and_send"].delay())
        with pytest.raises(ZeroDivisionError):
            done(celery.tasks["fail"].delay())
        done(celery.tasks["try_again"].delay())
    done(celery.tasks["known"].delay())
    done(celery.tasks["known"].delay())  # one worker: the others are over
    assert len(Product.left) >= 7
    assert set(Product.left) == {None}


def test_tasks_of_many_people_are_not_mixed_up(celery: Celery, app: App) -> None:
    """Sixty people send one task each, three in turn nobody: each event has its sender."""
    results = []
    for number in range(60):
        with context(actor=Actor(type="user", id=f"u{number}")):
            results.append(celery.tasks["record"].delay(f"team.of-{number}"))
        celery.tasks["known"].delay()
    for result in results:
        done(result)
    assert sorted(app.events("action", "actor_id")) == sorted(
        (f"team.of-{number}", f"u{number}") for number in range(60)
    )


@pytest.mark.parametrize(
    "header",
    [
        "garbage",
        ["actor"],
        {"actor": "ada"},
        {"actor": {"type": "user"}},
        {"actor": {"type": "king", "id": "ada"}},
        {"actor": {"type": "user", "id": "ada", "crown": True}, "parent_id": "no"},
        {"source": "web", "user_agent": "x", "unknown": 1},
    ],
)
def test_a_context_that_cannot_be_understood_is_none(
    celery: Celery, app: App, header: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A task with a damaged header runs, without an actor: what it records for nobody is refused."""
    caplog.set_level(logging.WARNING)
    assert done(celery.tasks["known"].apply_async(headers={HEADER: header})) == ["source"]
    warned = [record.message for record in caplog.records if "cannot be understood" in record.message]
    assert bool(warned) == (isinstance(header, dict) and "actor" in header)


def test_a_task_that_runs_at_once_ends_in_the_senders_context(celery: Celery, app: App) -> None:
    """``apply`` runs in the sender's thread: an own context for the task, the sender's back afterwards."""
    with context(actor=ADA):
        assert celery.tasks["known"].apply().get() == ["source"]
        here = current()
        assert here is not None
        assert here.known()["actor"] == ADA
    assert current() is None


def test_a_retry_that_runs_at_once_leaves_nobody_behind(celery: Celery, app: App) -> None:
    """Each try ends its own context, under one id."""
    with context(actor=ADA):
        celery.tasks["try_again"].apply(headers={HEADER: {"actor": {"type": "user", "id": "bea"}}})
        here = current()
        assert here is not None
        assert here.known()["actor"] == ADA
    assert current() is None
    assert {actor for (actor,) in app.events("actor_id")} == {"bea"}
