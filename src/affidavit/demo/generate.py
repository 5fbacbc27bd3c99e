"""The generator: ordinary days and hidden stories of the three organizations, in the order of recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random

from affidavit.demo import cloud_work, data_work, studio_work
from affidavit.demo.cast import Organization
from affidavit.demo.machines import machine_day, system_day
from affidavit.demo.office import Deeds, office_day
from affidavit.demo.organizations import HARBOUR, MEADOW, ORCHARD, ORGANIZATIONS
from affidavit.demo.rhythm import days_before, midnight
from affidavit.demo.scribe import Entry, Scribe
from affidavit.demo.stories import STORIES

__all__ = ["DAYS", "generate"]

DAYS = 90

_DEEDS: dict[str, tuple[Deeds, float]] = {
    MEADOW.name: (data_work.DEEDS, 9.0),
    HARBOUR.name: (cloud_work.DEEDS, 8.0),
    ORCHARD.name: (studio_work.DEEDS, 8.0),
}
"""What people do in each organization, and how much of it the busiest does on a working day."""


def generate(
    seed: int, end: datetime, days: int = DAYS, organizations: Sequence[Organization] = ORGANIZATIONS
) -> Iterator[Entry]:
    """The events of the demonstration up to a moment.

    The same seed, end and days give the same events, ids included; another hour of the same last day only
    cuts them earlier. Stories that would start before the first day are left out.

    Args:
        seed: any number.
        end: aware; nothing is recorded after it.
        days: how many days before the day of ``end`` the first one lies.
        organizations: those of :data:`~affidavit.demo.organizations.ORGANIZATIONS` that take part.

    Yields:
        Recording time in microseconds since 1970 UTC, organization and event, in the order of recording. An
        event is recorded 5 to 400 ms after it occurred.
    """
    last = int((end - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
    scribes = [Scribe(organization, Random(0)) for organization in organizations]  # noqa: S311
    waiting: list[Entry] = []
    for number in range(days, -1, -1):
        day = days_before(end, number)
        for scribe in scribes:
            _live(scribe, seed, day, end)
            waiting += scribe.take()
        waiting.sort(key=lambda entry: (entry[0], entry[2].id))
        tomorrow = midnight(day + timedelta(days=1))
        ready = [entry for entry in waiting if entry[0] < tomorrow]
        waiting = waiting[len(ready) :]
        for entry in ready:
            if entry[0] > last:
                return
            yield entry


def _live(scribe: Scribe, seed: int, day: date, end: datetime) -> None:
    """One day of an organization: its people, its machines, and the stories that start on it."""
    name = scribe.organization.name
    deeds, mean = _DEEDS[name]
    scribe.random.seed(f"{seed}/{name}/{day}")
    office_day(scribe, day, deeds, mean)
    machine_day(scribe, day)
    system_day(scribe, day)
    for organization, before, weekday, story in STORIES:
        if organization.name == name and _first_day(end, before, weekday) == day:
            scribe.random.seed(f"{seed}/{name}/{story.__name__}")
            story(scribe, midnight(day))


def _first_day(end: datetime, before: int, weekday: int | None) -> date:
    day = days_before(end, before)
    if weekday is None:
        return day
    return day - timedelta(days=(day.weekday() - weekday) % 7)
