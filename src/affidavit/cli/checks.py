"""The checks of ``affidavit doctor``: none changes anything, none opens a database file by itself."""

from __future__ import annotations

import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from affidavit.core.credentials import ALL
from affidavit.core.filter import Filter
from affidavit.core.times import MINUTE, format_time
from affidavit.errors import StorageError
from affidavit.wiring.health import Finding, State, engine_findings
from affidavit.wiring.spools import oldest_in, standings

if TYPE_CHECKING:
    from affidavit.config import Settings
    from affidavit.wiring import Instance

__all__ = ["CHECKS", "unreachable"]

LITTLE_SPACE = 1 << 30
"""Bytes of free disk below which there is a warning."""
NO_SPACE = 100 << 20
"""Bytes of free disk below which recording will soon fail."""
LAG = 10.0
"""Seconds by which the index may be behind."""


def unreachable(error: StorageError) -> Finding:
    """The finding for a database that cannot be opened."""
    return Finding(
        "database", State.FAIL, error.message, "Mend this first; the other checks need the database."
    )


def _modes(_instance: Instance, settings: Settings) -> Iterator[Finding]:
    """Folder and key files belong to one account alone."""
    folder = settings.data_dir
    if folder.is_dir():
        yield _private("data directory", folder, 0o700)
    for name in ("operator.token", "token.key", "log.key"):
        if (folder / name).exists():
            yield _private(name, folder / name, 0o600)
    if settings.database_path is not None:
        yield _private("database file", settings.database_path, 0o600, worst=State.WARN)


def _private(check: str, path: Path, wanted: int, worst: State = State.FAIL) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077 == 0:
        return Finding(check, State.OK, f"{path} has mode {mode:04o}")
    inside = path.parent.stat().st_mode & 0o077 == 0
    state = State.OK if inside and worst is State.WARN else worst
    advice = "" if state is State.OK else f"chmod {wanted:o} {path}"
    return Finding(check, state, f"{path} has mode {mode:04o}, others may read it", advice)


def _schema(_instance: Instance, settings: Settings) -> Iterator[Finding]:
    """The instance opened, so the schema is the one of this version."""
    from affidavit.wiring import planned_migrations

    missing = planned_migrations(settings)
    if missing:
        yield Finding("schema", State.FAIL, f"{len(missing)} migrations are missing", "affidavit migrate")
    else:
        yield Finding("schema", State.OK, "The schema is that of this version")


def _engine(instance: Instance, _settings: Settings) -> Iterator[Finding]:
    """What only the database's own engine knows to ask."""
    return engine_findings(instance.engine)


def _demo(instance: Instance, _settings: Settings) -> Iterator[Finding]:
    if instance.is_demo:
        yield Finding(
            "demo", State.WARN, "This database holds generated data", "Use another one for real events."
        )
    else:
        yield Finding("demo", State.OK, "No generated data")


def _worker(instance: Instance, _settings: Settings) -> Iterator[Finding]:
    lease = instance.engine.lease()
    alive = not lease.take()
    lease.release()
    health = instance.health()
    behind, seconds = health["index_behind_events"], health["index_behind_seconds"]
    lag = f"the index is {behind:,} events and {seconds:.0f} s behind" if behind else "the index is current"
    if not alive:
        advice = "affidavit serve or affidavit worker; until then searches read more and take longer."
        yield Finding("worker", State.WARN, f"No worker runs; {lag}", advice)
    elif seconds > LAG:
        advice = "Wait where a large import runs; else look at the log of the worker."
        yield Finding("worker", State.WARN, f"A worker runs, but {lag}", advice)
    else:
        yield Finding("worker", State.OK, f"A worker runs and {lag}")


def _log(instance: Instance, settings: Settings) -> Iterator[Finding]:
    """Leaves, signatures and the guard: what was alarmed, and what can be seen from here."""
    from affidavit.wiring.log import log_standing

    health = instance.health()
    waiting, age = health["queue_events"], health["queue_age_seconds"]
    found = log_standing(settings, instance.database)
    for alarm in found:
        yield Finding(
            "log",
            State.FAIL,
            f"{alarm.kind}{f' of {alarm.subject}' if alarm.subject else ''}: {alarm.text}",
            "Recording goes on. See: affidavit log status",
        )
    if waiting and age > LAG:
        advice = "affidavit serve or affidavit worker; until then nothing new can be proven."
        yield Finding("log", State.WARN, f"{waiting:,} events wait for their leaf since {age:.0f} s", advice)
    elif not found:
        yield Finding("log", State.OK, "Nothing stands against the log; every leaf is made within seconds")


def _spools(instance: Instance, _settings: Settings) -> Iterator[Finding]:
    """What apps on this machine recorded while they could not reach the database."""
    for path, standing in standings(instance.engine):
        if isinstance(standing, StorageError):
            advice = "Run the worker, and this, as the account that the app runs as."
            yield Finding("spool", State.WARN, standing.message, advice)
            continue
        if standing.refused:
            found = f"{standing.refused:,} events of the spool {path} were refused for good"
            yield Finding(
                "spool", State.WARN, found, "Look at its dead letters in the app: see docs/howto/deploy.md"
            )
        waits = time.time_ns() // 1000 - oldest_in(standing)
        if standing.waiting and waits > MINUTE:
            found = (
                f"{standing.waiting:,} events wait in the spool {path}, the oldest for {waits / 1e6:,.0f} s"
            )
            yield Finding(
                "spool", State.WARN, found, "affidavit serve or affidavit worker; where one runs, its log."
            )
        elif not standing.refused:
            yield Finding("spool", State.OK, f"{standing.waiting:,} events wait in the spool {path}")


def _disk(_instance: Instance, settings: Settings) -> Iterator[Finding]:
    """Room for the database where it is a file, and for keys and guard, which are."""
    path = settings.database_path
    what, folder = ("the database is", path.parent) if path else ("keys and guard are", settings.data_dir)
    free = shutil.disk_usage(folder).free
    found = f"{free / (1 << 30):.1f} GiB are free where {what}"
    if free < NO_SPACE:
        yield Finding("disk", State.FAIL, found, "Make room now; recording fails on a full disk.")
    elif free < LITTLE_SPACE:
        yield Finding("disk", State.WARN, found, "Make room soon.")
    else:
        yield Finding("disk", State.OK, found)


def _clock(instance: Instance, _settings: Settings) -> Iterator[Finding]:
    """The newest event cannot have been recorded in the future, unless the clock went back."""
    now = time.time_ns() // 1000
    newest = instance.reader.page(ALL, Filter(), limit=1).events
    if newest and newest[0].recorded_at > now + MINUTE:
        recorded = format_time(newest[0].recorded_at)
        found = f"The clock says {format_time(now)}, an event was recorded at {recorded}"
        yield Finding("clock", State.FAIL, found, "Set the clock, and keep it by NTP.")
    else:
        yield Finding("clock", State.OK, f"The clock says {format_time(now)}")


CHECKS: tuple[Callable[[Instance, Settings], Iterator[Finding]], ...] = (
    _modes,
    _schema,
    _engine,
    _worker,
    _log,
    _spools,
    _disk,
    _clock,
    _demo,
)
"""In the order in which their findings are shown."""
