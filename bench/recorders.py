"""Recording beside what a person writes by hand, and beside other recorders.

Each side is a process of its own on a database of its own; in each round they work one after the other, in
another order each time. After each piece of work the audit rows are counted in plain SQL: a number without
its rows is thrown away with an error.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.recorders_places import Child, OnPostgres, OnSqlite
from bench.recorders_plain import HUNDRED
from bench.recorders_record import RECORD, Timing, read, write
from bench.recorders_seen import NAMES, look
from bench.results import Results, at_most_ratio, median, paired

__all__ = ["ROUNDS", "measure", "see", "take"]

ROUNDS: Final = 31
TIMES: Final = {"one": 25, "hundred": 2, "together": 2, "saves": 1}
"""Transactions of a round: few, so that neighbours see the same machine."""
EVENTS: Final = {"one": 1, "hundred": HUNDRED, "together": HUNDRED, "saves": HUNDRED}
"""Events of a transaction."""
PYTHON_PEERS: Final = ("auditlog", "easyaudit", "simple_history", "continuum")
"""Those that record from Python, as we do."""


class Group(NamedTuple):
    """Sides that are measured side by side.

    Attributes:
        stack: what holds the transaction.
        engine: ``SQLite`` or ``PostgreSQL``.
        peers: sides beside ``bare``, ``hand`` and ``ours``.
    """

    stack: str
    engine: str
    peers: tuple[str, ...] = ()


GROUPS: Final = (
    Group("sqlite3", "SQLite"),
    Group("aiosqlite", "SQLite"),
    Group("SQLAlchemy Connection", "SQLite"),
    Group("SQLAlchemy Session", "SQLite", ("capture", "continuum")),
    Group("SQLAlchemy AsyncSession", "SQLite"),
    Group("Django", "SQLite", ("capture", "auditlog", "easyaudit", "simple_history")),
    Group("psycopg", "PostgreSQL"),
    Group("psycopg, async", "PostgreSQL"),
    Group("SQLAlchemy Connection", "PostgreSQL"),
    Group("SQLAlchemy Session", "PostgreSQL", ("capture", "triggers", "continuum", "native")),
    Group("SQLAlchemy AsyncSession", "PostgreSQL"),
    Group(
        "Django",
        "PostgreSQL",
        ("capture", "triggers", "auditlog", "easyaudit", "simple_history", "pghistory"),
    ),
)

AT_ONCE: Final = ("SQLAlchemy Session", "SQLAlchemy AsyncSession")


class Times:
    """Milliseconds of a transaction, one for each round.

    Attributes:
        clock: action and side to milliseconds by the clock.
        cpu: the same of one core, by the process that records and by PostgreSQL for it, on which disk and
            neighbours weigh little.
    """

    def __init__(self) -> None:
        self.clock: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.cpu: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, action: str, side: str, took: tuple[float, float]) -> None:
        """Note what a round took, by the clock and of a core."""
        for kept, milliseconds in zip((self.clock, self.cpu), took, strict=True):
            kept[action, side].append(milliseconds)

    def of_cpu(self, ours: tuple[str, str], beside: tuple[str, str]) -> str:
        """The ratio of what it took of a core, in words."""
        return f"{paired(self.cpu[ours], self.cpu[beside]):.2f}x of a core"


def see(makers: OnSqlite | OnPostgres, results: Results, path: Path = RECORD) -> None:
    """Ask every recorder for every operation, and keep what it recorded for docs/comparison.md."""
    found = read(path)
    kept = [each for each in found.recorders if each.engine != makers.label]
    found.recorders = [*kept, *look(makers)]
    found.measured = results.measured
    write(found, path)


def measure(
    makers: OnSqlite | OnPostgres,
    results: Results,
    path: Path = RECORD,
    *,
    rounds: int = ROUNDS,
    stacks: Sequence[str] = (),
) -> None:
    """Add the rows of every adapter on an engine.

    Args:
        makers: of its databases.
        results: gets them.
        path: of what docs/comparison.md is made from.
        rounds: how many, beside one that warms up.
        stacks: only these.
    """
    for group in GROUPS:
        if group.engine == makers.label and (not stacks or group.stack in stacks):
            times = _rounds(makers, group, rounds)
            _add_rows(results, group, times)
            if group.peers:
                found = read(path)
                kept = [
                    each for each in found.timings if (each.stack, each.engine) != (group.stack, group.engine)
                ]
                found.timings = [*kept, *_timings(group, times)]
                found.timed = f"{results.measured}, with a load of {os.getloadavg()[0]:.0f} at the end."
                write(found, path)


def _rounds(makers: OnSqlite | OnPostgres, group: Group, rounds: int) -> Times:
    times = Times()
    sides = ("bare", "hand", "ours", *group.peers)
    with _children(makers, group.stack, sides) as children:
        for number in range(rounds + 1):
            for action in TIMES:
                at = number % len(sides)
                for side in (*sides[at:], *sides[:at]):
                    if _does(group, side, action):
                        took = take(children[side], action)
                        if number:
                            times.add(action, side, took)
    return times


def _does(group: Group, side: str, action: str) -> bool:
    """Whether there is such a thing: hundreds of events are not for recorders that wait for changes."""
    if action == "saves":
        return bool(group.peers)
    return action == "one" or side in ("hand", "ours")


@contextmanager
def _children(makers: OnSqlite | OnPostgres, stack: str, sides: Sequence[str]) -> Iterator[dict[str, Child]]:
    made: dict[str, Child] = {}
    plain = stack in ("sqlite3", "aiosqlite", "psycopg", "psycopg, async")
    try:
        for side in sides:
            place = makers.make(customers=plain, by_hand=side in ("bare", "hand"))
            made[side] = Child(stack, side, place)
            made[side].begun()
        yield made
    finally:
        for child in made.values():
            child.end()


def take(child: Child, action: str) -> tuple[float, float]:
    """Milliseconds of a transaction, by the clock and of a core.

    Raises:
        RuntimeError: the audit rows of the work are not there, or there are too many.
    """
    answer, events = child.ask(do=action, times=TIMES[action])
    wanted = 0 if child.side == "bare" else TIMES[action] * EVENTS[action]
    if events != wanted:
        raise RuntimeError(
            f"{child.stack} on {child.place.label}, {child.side}, {action}: {events} audit rows, not {wanted}"
        )
    each = 1000 / TIMES[action]
    return answer["seconds"] * each, answer["cpu"] * each


def _add_rows(results: Results, group: Group, times: Times) -> None:
    where, one = f"{group.stack}, {group.engine}", ("one", "ours")
    beside = [("one by hand", "hand", 1.2)]
    if group.stack == "SQLAlchemy Session":
        beside.append(("the bare write", "bare", 2.0))
    for words, side, target in beside:
        results.add(
            at_most_ratio(
                f"one event in a transaction, {where}, beside {words}",
                times.clock[one],
                times.clock["one", side],
                target,
                unit="ms",
                note=times.of_cpu(one, ("one", side)),
            )
        )
    _add_hundreds(results, where, group, times)
    for action, what in (("one", "one change"), ("saves", f"{HUNDRED} changes")):
        _add_peers(results, where, group, times, action, what)


def _add_hundreds(results: Results, where: str, group: Group, times: Times) -> None:
    """On PostgreSQL beside a hundred inserts, on SQLite beside one executemany."""
    beside, words, target = (
        (("hundred", "hand"), f"{HUNDRED} inserts", 0.6)
        if group.engine == "PostgreSQL"
        else (("together", "hand"), "an executemany", 1.2)
    )
    # A session puts together what it was told; elsewhere record_many does.
    ours = ("together", "ours")
    note = times.of_cpu(ours, beside)
    if group.stack not in AT_ONCE:
        apart = paired(times.clock["hundred", "ours"], times.clock[beside])
        note += f"; {HUNDRED} calls of record {apart:.2f}x"
    results.add(
        at_most_ratio(
            f"{HUNDRED} events in a transaction, {where}, beside {words} by hand",
            times.clock[ours],
            times.clock[beside],
            target,
            unit="ms",
            note=note,
        )
    )


def _add_peers(results: Results, where: str, group: Group, times: Times, action: str, what: str) -> None:
    peers = [side for side in group.peers if side in PYTHON_PEERS]
    if not peers:
        return
    fastest = min(peers, key=lambda side: median(times.clock[action, side]))
    for side in ("ours", *(each for each in group.peers if each == "capture")):
        name = NAMES[side].replace("`", "")
        results.add(
            at_most_ratio(
                f"{what} in a transaction, {where}: {name}, beside the fastest peer in Python",
                times.clock[action, side],
                times.clock[action, fastest],
                1.0,
                unit="ms",
                note=f"{NAMES[fastest]}; {times.of_cpu((action, side), (action, fastest))}",
            )
        )


def _timings(group: Group, times: Times) -> Iterator[Timing]:
    for side in ("bare", "hand", "ours", *group.peers):
        yield Timing(
            group.stack,
            group.engine,
            {"bare": "no recorder", "hand": "an insert by hand"}.get(side) or NAMES[side],
            *_cost(times, "one", side),
            *_cost(times, "saves", side),
        )


def _cost(times: Times, action: str, side: str) -> tuple[float, float, float]:
    clock, cpu = times.clock[action, side], times.cpu[action, side]
    return (
        round(median(clock), 2),
        round(paired(clock, times.clock[action, "bare"]), 2),
        round(paired(cpu, times.cpu[action, "bare"]), 2),
    )
