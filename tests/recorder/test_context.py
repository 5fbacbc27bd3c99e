"""The context: it nests, ends as it began, and belongs to nobody else."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from affidavit.core.event import Actor, Request, Session
from affidavit.embed import Audit
from affidavit.errors import ContextMissing, InvalidEvent
from affidavit.recorder import context as contexts
from affidavit.recorder.context import Context, actor, context, current, entered
from tests.recorder.small import sqlite_app

ADA, BEA, CLEO = (Actor(type="user", id=name) for name in ("ada", "bea", "cleo"))


def who() -> str | None:
    """Whom the current context names."""
    here = current()
    found = here.known().get("actor") if here is not None else None
    return found.id if found is not None else None


def test_an_inner_block_adds_to_the_outer_and_ends_with_it_as_it_was() -> None:
    """Inner fields win, outer ones shine through, and both are gone afterwards."""
    with context(actor=ADA, source="cli", organization="meadow") as outer:
        with context(actor=BEA, project="web") as inner:
            assert inner.known() == {
                "actor": BEA,
                "source": "cli",
                "organization": "meadow",
                "project": "web",
            }
        assert current() is outer
        assert outer.known() == {"actor": ADA, "source": "cli", "organization": "meadow"}
    assert current() is None


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
def test_a_block_that_raises_restores_the_outer_one(raised: type[BaseException]) -> None:
    """However a block ends, what was around it is back."""

    def block() -> None:
        with context(actor=BEA):
            actor("cleo")
            raise raised

    with context(actor=ADA):
        with pytest.raises(raised):
            block()
        assert who() == "ada"
    assert who() is None


def test_a_field_is_taken_away_with_none() -> None:
    """``None`` in an inner block hides what the outer one says."""
    nothing: Any = None
    with context(project="web"), context(project=nothing) as inner:
        assert inner.known()["project"] is None


def test_generators_that_are_read_in_turn_leave_nobody_behind() -> None:
    """The one that was begun first ends first: what it put there goes, what the other put there stays."""

    def acting(person: Actor) -> Iterator[str | None]:
        with context(actor=person):
            yield who()

    first, second = acting(ADA), acting(BEA)
    assert [next(first), next(second)] == ["ada", "bea"]
    assert next(first, None) is None
    assert who() == "bea"
    assert next(second, None) is None
    assert current() is None


def test_a_generator_that_is_thrown_away_leaves_nobody_behind() -> None:
    """A block that ends because nobody reads on ends like any other."""

    def acting() -> Iterator[int]:
        with context(actor=ADA):
            yield 1
            yield 2

    reader = acting()
    next(reader)
    del reader
    gc.collect()
    assert current() is None


def test_a_generator_that_is_closed_elsewhere_raises_nothing() -> None:
    """A dependency that a framework begins and ends in two threads ends without an error."""

    def acting() -> Iterator[None]:
        with context(actor=ADA):
            yield

    reader = acting()
    here, elsewhere = contextvars.copy_context(), contextvars.copy_context()
    here.run(next, reader)
    assert elsewhere.run(next, reader, "ended") == "ended"
    assert here.run(who) is None
    assert elsewhere.run(who) is None


def test_an_async_generator_that_is_abandoned_leaves_nobody_behind() -> None:
    """The event loop closes it in a task of its own; its actor is nobody's afterwards."""

    async def acting() -> AsyncIterator[int]:
        with context(actor=BEA):
            yield 1
            yield 2

    async def read() -> tuple[str | None, str | None]:
        with context(actor=ADA):
            async for _ in acting():
                break
            gc.collect()
            for _turn in range(3):
                await asyncio.sleep(0)
            inside = who()
        return inside, who()

    assert asyncio.run(read()) == ("ada", None)


def test_tasks_keep_the_context_that_they_were_started_in() -> None:
    """A task that outlives the block goes on in it; its own blocks end in it."""

    async def later(began: asyncio.Event) -> list[str | None]:
        await began.wait()
        seen = [who()]
        with context(actor=BEA):
            await asyncio.sleep(0)
            seen.append(who())
        return [*seen, who()]

    async def run() -> tuple[list[str | None], str | None]:
        began = asyncio.Event()
        with context(actor=ADA):
            task = asyncio.create_task(later(began))
        began.set()
        return await task, who()

    assert asyncio.run(run()) == (["ada", "bea", "ada"], None)


def test_tasks_in_blocks_of_their_own_never_meet() -> None:
    """300 tasks that take turns each see the actor of their own block only."""

    async def act(name: str, seen: dict[str, set[str | None]]) -> None:
        with context(actor=Actor(type="user", id=name)):
            for _ in range(5):
                await asyncio.sleep(0)
                seen.setdefault(name, set()).add(who())

    async def run() -> dict[str, set[str | None]]:
        seen: dict[str, set[str | None]] = {}
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(act(f"u{number}", seen))
        return seen

    assert asyncio.run(run()) == {f"u{number}": {f"u{number}"} for number in range(300)}


def test_a_chain_of_tasks_does_not_grow() -> None:
    """Work that schedules itself again from inside its block keeps no trace of the earlier rounds."""

    async def step(left: int, depths: list[int]) -> None:
        following = None
        with context(actor=ADA):
            depths.append(len(contexts._stack.get()))
            if left:
                following = asyncio.create_task(step(left - 1, depths))
        if following is not None:
            await following

    depths: list[int] = []
    asyncio.run(step(50, depths))
    assert len(depths) == 51
    assert max(depths) <= 2


def test_whoever_fills_it_in_fills_it_in_for_all_who_are_in_it() -> None:
    """What a dependency in a copied context says is there for the endpoint: the object is one."""
    with context() as here:
        contextvars.copy_context().run(actor, "ada", name="Ada")
        assert here.known()["actor"] == Actor(type="user", id="ada", name="Ada")


def test_what_has_to_be_asked_for_is_asked_once_and_only_if_needed() -> None:
    """Entering an inner block asks nothing; an actor that it names saves the question."""
    asked: list[str] = []

    def answer() -> Actor:
        asked.append("actor")
        return ADA

    outer = Context()
    outer.ask("actor", answer)
    with entered(outer):
        with context(project="web") as inner:
            assert asked == []
            assert inner.known()["actor"] == ADA
        with context(actor=BEA) as named:
            assert named.known()["actor"] == BEA
        assert asked == ["actor"]
        assert outer.known()["actor"] is outer.known()["actor"]
    assert asked == ["actor", "actor"]


def test_two_threads_that_ask_at_once_both_get_an_answer() -> None:
    """None of them goes without an actor because the other is still asking."""
    both = threading.Barrier(2)
    shared = Context()

    def ask() -> Actor:
        both.wait(10)
        return ADA

    shared.ask("actor", ask)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(shared.known().get("actor"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [ADA, ADA]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user": "ada"}, "'user' is not part of a context"),
        ({"metadata": {}}, "'metadata' is not part of a context"),
        ({"actor": "ada"}, "actor must be of type Actor, not str"),
        ({"session": ("web",)}, "session must be of type Session, not tuple"),
        ({"ip": 3}, "ip must be of type str, not int"),
        ({"parent_id": "0190"}, "parent_id must be of type UUID, not str"),
    ],
)
def test_what_is_no_part_of_a_context_is_named(fields: dict[str, Any], message: str) -> None:
    """A wrong name or type is refused where it is said, and not when an event is recorded."""
    with pytest.raises(TypeError, match=message):
        context(**fields).__enter__()
    assert current() is None


@pytest.mark.parametrize("wrong", [None, True, 1.5, b"ada", ["ada"]])
def test_an_actor_needs_an_id(wrong: Any) -> None:
    """The id of an object that was never stored does not become an actor called None."""
    with context(actor=ADA):
        with pytest.raises(TypeError, match="the actor's id must be"):
            actor(wrong)
        assert who() == "ada"


def test_what_becomes_known_with_the_actor_goes_along() -> None:
    """Organization and source stand beside the actor; what is no part of a context leaves it as it was."""
    with context(organization="acme") as here:
        actor("ada", organization="meadow", source="api")
        assert (who(), here.fields["organization"], here.fields["source"]) == ("ada", "meadow", "api")
        with pytest.raises(TypeError, match="'metadata' is not part of a context"):
            actor("bea", metadata={})  # type: ignore[call-arg]
        assert who() == "ada"


@pytest.mark.parametrize("kind", ["api_token", "oauth_client"])
def test_a_token_that_acts_is_the_session_too(kind: str) -> None:
    """A token's id and name are in the session, but in place of none that is known or will be asked for."""
    with context() as here:
        actor("t-1", type=kind, name="nightly")
        assert here.fields["session"] == Session(type=kind, token_id="t-1", token_name="nightly")
        actor("t-2", type=kind, name="daily", session=Session(type="web"))
        assert here.fields["session"] == Session(type="web")
    asked = Context(asked={"session": lambda: Session(type="mine")})
    with entered(asked):
        actor("t-1", type=kind)
    assert asked.known()["session"] == Session(type="mine")
    with context() as here:
        actor("ada")
        assert "session" not in here.fields


def test_an_actor_without_a_context_is_an_error() -> None:
    """There is nobody to remember it: that is said, with what to do."""
    with pytest.raises(ContextMissing, match="add the middleware, or use: with audit"):
        actor("ada")


def test_an_event_takes_what_the_context_says(tmp_path: Any) -> None:
    """Actor, session, request and organization of the block stand in the row; outside of it nobody acts."""
    app = sqlite_app(tmp_path)
    audit = Audit(app.url)
    request = Request(id="r-1", method="POST", endpoint="/teams")
    with audit.context(actor=ADA, organization="meadow", session=Session(type="web"), request=request):
        audit.record_now("team.create")
        with audit.context(ip="192.0.2.7", source="cli"):
            audit.record_now("team.update", actor=BEA)
    with pytest.raises(InvalidEvent, match="actor"):
        audit.record_now("team.delete", organization="meadow")
    assert app.events("action", "actor_id", "organization", "source", "actor", "context") == [
        (
            "team.create",
            "ada",
            "meadow",
            "app",
            '{"actor":{"id":"ada","type":"user"},"session":{"type":"web"}}',
            '{"request":{"endpoint":"/teams","id":"r-1","method":"POST"}}',
        ),
        (
            "team.update",
            "bea",
            "meadow",
            "cli",
            '{"actor":{"id":"bea","type":"user"},"session":{"type":"web"}}',
            '{"ip":"192.0.2.7","request":{"endpoint":"/teams","id":"r-1","method":"POST"}}',
        ),
    ]
