"""``affidavit demo``: a believable company to look at, in a database of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from affidavit.cli.exits import UsageError
from affidavit.cli.instance import credential, opened
from affidavit.cli.options import SERVING_NOTHING_GIVEN, Serving
from affidavit.cli.output import line
from affidavit.cli.progress import counter
from affidavit.core.event import MAX_BATCH
from affidavit.core.prepare import Rights
from affidavit.core.times import format_time, parse_bound
from affidavit.errors import Refused

if TYPE_CHECKING:
    from affidavit.config import Settings
    from affidavit.wiring import Instance

__all__ = ["FOLDER", "command", "fill"]

FOLDER = "affidavit-demo"
"""The data directory where no other is named."""


class Made(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the mark of a demo database says.

    Attributes:
        end: moment up to which events were made, microseconds since 1970 UTC.
        events: how many; absent while they are being made.
    """

    seed: int
    end: int
    days: int
    events: int | None = None


def command(
    *,
    seed: Annotated[int, Parameter(help="Another seed makes another history.")] = 1,
    end_date: Annotated[
        str | None, Parameter(help="Last day or moment of the history; default: now.", show_default=False)
    ] = None,
    days: Annotated[int, Parameter(help="Days of history.")] = 90,
    serve: Annotated[bool, Parameter(negative="--no-serve", help="Serve it and print a login link.")] = True,
    settings: Serving = SERVING_NOTHING_GIVEN,
) -> None:
    """Fill a database with ninety days of an invented company, serve it and print a login link.

    The data goes to ./affidavit-demo unless --data-dir or --database says otherwise, and the database is
    marked as a demonstration. One that holds real events is refused. The same seed and end give the same
    events.
    """
    if days < 1:
        raise UsageError(f"--days: must be at least 1, not {days}")
    loaded = settings.load()
    if loaded.sources["data_dir"] == "default":
        loaded = settings.load(data_dir=FOLDER)
    chosen = loaded.settings
    now = int(datetime.now(UTC).timestamp() * 1_000_000)
    end = now if end_date is None else min(now, parse_bound(end_date, "end_date", end=True))
    with opened(chosen, make=True, source="api") as instance:
        fill(instance, Made(seed=seed, end=end, days=days))
        if serve:
            _serve(instance, chosen)


def _serve(instance: Instance, settings: Settings) -> None:
    from affidavit.cli.serve import run

    run(instance, settings, welcome=True)


def fill(instance: Instance, wanted: Made) -> None:
    """Make the history, or finish one that was interrupted; a database that has one is left as it is.

    Raises:
        Refused: the database holds events of its own.
    """
    mark = instance.demo_mark
    made = msgspec.json.decode(mark, type=Made) if mark is not None else None
    if made is not None and made.events is not None:
        line(f"The demonstration is there: {made.events:,} events up to {format_time(made.end)}.")
        return
    if made is None and instance.reader.organizations():
        raise Refused("This database holds events that are no demonstration; name another: --data-dir DIR")
    made = made or wanted
    instance.mark_demo(msgspec.json.encode(made).decode())
    with counter("Making events") as count:
        _write(instance, made, count.add)
    for organization in instance.reader.organizations():
        instance.organizations.create(organization, credential())
    made = msgspec.structs.replace(made, events=count.total())
    instance.mark_demo(msgspec.json.encode(made).decode())
    line(f"{count.total():,} events of {made.days} days in {', '.join(instance.reader.organizations())}.")


def _write(instance: Instance, made: Made, done: Callable[[int], None]) -> None:
    """Record the history in the order of recording; what an interrupted run recorded stays as it is."""
    from affidavit.demo import generate

    rights = Rights(may_import=True, may_set_id=True, compare=False)
    end = datetime.fromtimestamp(made.end / 1_000_000, UTC)
    entries = generate(made.seed, end, made.days)
    while batch := list(islice(entries, MAX_BATCH)):
        drafts = [draft for _, _, draft in batch]
        rows = instance.intake.prepare(drafts, organization=None, rights=rights)
        moments = (recorded_at for recorded_at, _, _ in batch)
        instance.insert(
            [
                msgspec.structs.replace(row, recorded_at=moment)
                for row, moment in zip(rows, moments, strict=True)
            ]
        )
        done(len(batch))
