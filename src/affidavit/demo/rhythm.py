"""When things happen: office hours, weekends, days off, and choices where the first is the most frequent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import accumulate
from random import Random
from typing import TypeVar

from affidavit.demo.cast import Person, identity
from affidavit.demo.scribe import MINUTE

__all__ = ["HOUR", "busy", "days_before", "is_working_day", "midnight", "moments", "works_on", "zipf"]

HOUR = 60 * MINUTE
_EPOCH = date(1970, 1, 1)

Item = TypeVar("Item")


def midnight(day: date) -> int:
    """The start of a day in UTC, microseconds since 1970."""
    return (day - _EPOCH).days * 24 * HOUR


def days_before(end: datetime, days: int) -> date:
    """The day that many days before the day of ``end`` in UTC."""
    return end.astimezone(UTC).date() - timedelta(days=days)


def is_working_day(day: date) -> bool:
    """Monday to Friday."""
    return day.weekday() < 5


def works_on(person: Person, day: date, random: Random) -> bool:
    """Whether somebody works on a day: rarely at weekends, not in the two weeks of a holiday."""
    week = day.isocalendar().week
    away = int(identity(person.email, "holiday")[:2], 16) % 26
    if week % 26 == away:
        return False
    return random.random() < (0.95 if is_working_day(day) else 0.04)


def busy(random: Random, weight: float, mean: float) -> int:
    """How many things somebody does on a day: ``mean`` for the busiest, some days none, few days many."""
    return min(40, int(random.expovariate(1 / (mean * weight)) + 0.5))


def moments(random: Random, first: int, last: int, count: int) -> list[int]:
    """So many moments between two, in order, fewer around the middle (lunch) than before and after it."""
    span = last - first
    found = []
    for _ in range(count):
        share = random.betavariate(2.0, 3.2) / 2 + (0.5 if random.random() < 0.52 else 0.0)
        found.append(first + int(share * span))
    return sorted(found)


def zipf(random: Random, items: Sequence[Item]) -> Item:
    """One of several; the first is more than twice as frequent as the second, four times as the third."""
    return random.choices(items, cum_weights=_shares(len(items)))[0]


@cache
def _shares(count: int) -> list[float]:
    return list(accumulate(rank**-1.25 for rank in range(1, count + 1)))
