"""Threads and executors act for whoever started them, and for nobody they served before."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

import pytest

from affidavit.core.event import Actor
from affidavit.recorder.context import context
from affidavit.recorder.threads import carry_into_threads
from tests.recorder.test_context import who


@pytest.fixture(autouse=True)
def _carried() -> None:
    carry_into_threads()


def person(name: str) -> Actor:
    """Somebody."""
    return Actor(type="user", id=name)


def seen_in(thread: threading.Thread) -> None:
    """Run a thread to its end."""
    thread.start()
    thread.join(30)


def test_a_thread_acts_for_whoever_started_it() -> None:
    """Target, subclass and timer: each sees the actor of the block that it was started in."""
    seen: list[str | None] = []

    class Own(threading.Thread):
        def run(self) -> None:
            seen.append(who())

    with context(actor=person("ada")):
        seen_in(threading.Thread(target=lambda: seen.append(who())))
        seen_in(Own())
        seen_in(threading.Timer(0, lambda: seen.append(who())))
    seen_in(Own())
    assert seen == ["ada", "ada", "ada", None]


def test_a_thread_that_outlives_the_block_keeps_its_actor() -> None:
    """The block has ended when the thread looks; it still acts for who started it."""
    ended, seen = threading.Event(), list[str | None]()

    def look() -> None:
        ended.wait(30)
        seen.append(who())

    thread = threading.Thread(target=look)
    with context(actor=person("ada")):
        thread.start()
    with context(actor=person("bea")):
        ended.set()
        thread.join(30)
    assert seen == ["ada"]


def test_a_thread_is_freed() -> None:
    """What carries the context along keeps no thread alive."""
    gc.collect()
    gc.disable()
    try:
        thread = threading.Thread(target=who)
        with context(actor=person("ada")):
            seen_in(thread)
        gone = weakref.ref(thread)
        del thread
        assert gone() is None
    finally:
        gc.enable()


def test_a_thread_of_a_pool_never_keeps_an_earlier_task() -> None:
    """One thread serves two people and then nobody: each task has the context of who gave it."""
    with ThreadPoolExecutor(1) as pool:
        with context(actor=person("ada")):
            first = pool.submit(who)
        with context(actor=person("bea")):
            second, mapped = pool.submit(who), list(pool.map(lambda _: who(), range(3)))
        third = pool.submit(who)
        assert (first.result(30), second.result(30), third.result(30)) == ("ada", "bea", None)
    assert mapped == ["bea"] * 3


def test_what_a_task_of_a_pool_enters_ends_with_it() -> None:
    """A block that is never left by a task is not there for the next one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: context(actor=person("ada")).__enter__()).result(30)
        assert pool.submit(who).result(30) is None


def test_a_pool_of_multiprocessing_has_no_context() -> None:
    """Its threads serve whoever comes: they do not act for whoever was there when they were started."""
    with context(actor=person("ada")), ThreadPool(1) as pool:
        assert pool.apply(who) is None


def test_the_threads_of_asyncio_act_for_the_task_that_waits() -> None:
    """``to_thread`` and ``run_in_executor`` from 100 tasks at once mix up nobody."""

    async def ask(name: str) -> tuple[str | None, str | None]:
        with context(actor=person(name)):
            loop = asyncio.get_running_loop()
            return await asyncio.to_thread(who), await loop.run_in_executor(None, who)

    async def run() -> list[tuple[str | None, str | None]]:
        return await asyncio.gather(*(ask(f"u{number}") for number in range(100)))

    assert asyncio.run(run()) == [(f"u{number}",) * 2 for number in range(100)]


def test_errors_and_results_are_those_of_the_function() -> None:
    """What is run within a context is called as it was said, and raises what it raises."""

    def divide(a: int, *, by: int) -> float:
        return a / by

    with ThreadPoolExecutor(1) as pool, context(actor=person("ada")):
        assert pool.submit(divide, 6, by=3).result(30) == 2
        with pytest.raises(ZeroDivisionError):
            pool.submit(divide, 6, by=0).result(30)


def test_an_app_can_do_without() -> None:
    """``Audit(..., carry_into_threads=False)`` leaves ``threading`` as it is; else it is patched once."""
    program = """
import threading
from concurrent.futures import ThreadPoolExecutor
before = threading.Thread.start, ThreadPoolExecutor.submit
from affidavit.embed import Audit
Audit("sqlite:///x.db", carry_into_threads=False)
assert (threading.Thread.start, ThreadPoolExecutor.submit) == before
Audit("sqlite:///x.db")
once = threading.Thread.start, ThreadPoolExecutor.submit
assert once[0] is not before[0] and once[1] is not before[1]
Audit("sqlite:///x.db")
assert (threading.Thread.start, ThreadPoolExecutor.submit) == once
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
