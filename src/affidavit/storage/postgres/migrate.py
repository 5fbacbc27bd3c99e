"""Numbered migrations: each once, in order, while recording goes on.

A step is one transaction together with the note of its checksum. It waits for a lock at most 200 ms and
lets nobody wait for longer; then it gives way and tries again. A file whose first line is ``-- concurrently``
holds ``CREATE INDEX CONCURRENTLY`` only, see :mod:`affidavit.storage.postgres.indexes`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from random import uniform
from typing import Any

import psycopg
from psycopg import errors as pg

from affidavit import errors
from affidavit.storage.postgres.blocking import Watch
from affidavit.storage.postgres.connect import Address, Session, connect, translated
from affidavit.storage.postgres.indexes import build
from affidavit.storage.postgres.preflight import granted, permitted, suited, unclaimed, writable
from affidavit.storage.postgres.roles import (
    become_owner,
    grant,
    make_roles,
    standing_objects,
    take_from_others,
)
from affidavit.storage.sql.migration import Migration, steps_in

__all__ = ["LOCK_MILLISECONDS", "Migration", "applied", "available", "check", "migrate", "pending", "planned"]

LOCK_MILLISECONDS = 200
"""How long a step waits for a lock, and how long it lets others wait."""
PATIENCE_SECONDS = 60.0
"""How long a step is tried again before its error goes out."""
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.15
"""Between two tries, by lot: with a pause that does not change, the tries met a report that comes back every
1.2 s at the same point of it again and again, and a migration that takes 3 s needed 30 to 60."""
CONCURRENTLY = "-- concurrently"
_TABLE = (
    "CREATE TABLE IF NOT EXISTS affidavit_migrations ("
    " number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at bigint NOT NULL)"
)

log = logging.getLogger("affidavit.migrate")


class _Elsewhere(Exception):
    """Another process migrates this schema right now."""


def available() -> list[Migration]:
    """The migrations that this version brings, in order."""
    return steps_in("affidavit.storage.postgres", "migrations")


def applied(session: Session) -> dict[int, tuple[str, str]]:
    """Number to name and checksum of what was applied; empty for a schema without our tables.

    Raises:
        NotOurs: tables or functions stand there under our names, and nothing says that we made them.
    """
    if unclaimed(session):
        return {}
    rows = session.execute("SELECT number, name, checksum FROM affidavit_migrations ORDER BY number")
    return {number: (name, checksum) for number, name, checksum in rows.fetchall()}


def pending(session: Session, steps: Sequence[Migration] | None = None) -> list[Migration]:
    """What :func:`migrate` would do.

    Raises:
        SchemaTooNew: a migration was applied that this version does not know.
        SchemaChanged: an applied migration has another text here.
        NotOurs: see :func:`applied`.
    """
    done = applied(session)
    steps = available() if steps is None else steps
    shown = session.address.shown
    newest = steps[-1].number
    if done and max(done) > newest:
        raise errors.SchemaTooNew(
            f"{shown} is at schema {max(done)}, this version knows {newest}; upgrade Affidavit."
        )
    for step in steps:
        if step.number in done and done[step.number][1] != step.checksum:
            raise errors.SchemaChanged(
                f"{shown}: migration {step.number} ({step.name}) was applied with another text"
                f" (checksum {done[step.number][1][:12]}, here {step.checksum[:12]})."
            )
    return [step for step in steps if step.number not in done]


def planned(address: Address) -> list[Migration]:
    """What :func:`migrate` would apply; changes nothing."""
    session = connect(address, name="affidavit migrate")
    try:
        with translated(address):
            suited(session)
            return pending(session)
    finally:
        session.close()


def check(session: Session, *, writes: bool = True) -> None:
    """Raise unless the server may work with this database: the schema, its encoding, the grants of the role.

    Args:
        session: outside of a transaction.
        writes: whether it must be able to write; a reader may use a standby.

    Raises:
        SchemaMissing: migrations are to be applied first.
        StorageReadOnly: a standby, or the role of the connection lacks grants.
        StorageError: in another of its kinds, as :func:`pending` and :func:`migrate`.
    """
    with translated(session.address):
        suited(session)
        if writes:
            writable(session)
        if not unclaimed(session):
            granted(session, writes=writes)
        if missing := pending(session):
            raise errors.SchemaMissing(
                f"{session.address.shown} lacks {len(missing)} of this version's migrations;"
                " run: affidavit migrate"
            )


def migrate(
    address: Address,
    *,
    steps: Sequence[Migration] | None = None,
    patience: float = PATIENCE_SECONDS,
    clock: Callable[[], float] = time.time,
) -> list[Migration]:
    """Bring the schema up to date; several processes may try at once, one works at a time.

    Args:
        address: of the database; the schema is made where it is missing.
        steps: what to bring it to; this version's by default.
        patience: seconds for which a step that meets locks is tried again.
        clock: seconds since 1970 UTC.

    Returns:
        What was applied, in order; empty where nothing was to do.

    Raises:
        StorageError: in one of its kinds. Steps that were applied before stay, nothing is half done.
    """
    steps = available() if steps is None else steps
    session = connect(address, name="affidavit migrate")
    try:
        session.connection.add_notice_handler(_tell)
        with translated(address):
            suited(session)
            writable(session)
            if pending(session, steps):
                permitted(session)
                make_roles(session)
            work = _Work(session, steps, clock, watched=not unclaimed(session))
            done = work.run(patience)
            if all(step.number in applied(session) for step in available()):
                work.attempt(lambda: grant(session), "the grants", patience)
            return done
    finally:
        session.close()


def _tell(notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        log.warning("%s", notice.message_primary)


class _Work:
    """The steps of one run of :func:`migrate`.

    Args:
        session: outside of a transaction.
        steps: all of them.
        clock: seconds since 1970 UTC.
        watched: whether somebody may use the tables meanwhile.
    """

    def __init__(
        self, session: Session, steps: Sequence[Migration], clock: Callable[[], float], *, watched: bool
    ) -> None:
        self._session = session
        self._steps = steps
        self._clock = clock
        self._watched = watched

    def run(self, patience: float) -> list[Migration]:
        """Apply what is pending."""
        done: list[Migration] = []
        while missing := pending(self._session, self._steps):
            step = missing[0]
            name = f"migration {step.number} ({step.name})"
            if self.attempt(lambda step=step: self._apply(step), name, patience):  # type: ignore[misc]
                done.append(step)
        return done

    def attempt(self, work: Callable[[], Any], name: str, patience: float) -> Any:
        """Run ``work`` in a transaction that gives way to others, again and again until it goes through."""
        deadline = time.monotonic() + patience
        watch = Watch(self._session, LOCK_MILLISECONDS / 1000) if self._watched else None
        while True:
            try:
                with self._session.transaction():
                    self._begin()
                    if watch is None:
                        return work()
                    with watch:
                        return work()
            except _Elsewhere:
                if time.monotonic() > deadline:
                    raise errors.StorageBusy(
                        f"Another process migrates {self._session.address.shown} and does not end; try later."
                    ) from None
            except (pg.LockNotAvailable, pg.QueryCanceled, pg.DeadlockDetected) as error:
                if time.monotonic() > deadline:
                    raise errors.StorageBusy(self._refused(name, watch)) from error
            time.sleep(uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))  # noqa: S311 - no secret

    def _refused(self, name: str, watch: Watch | None) -> str:
        holders = "" if watch is None else watch.holders()
        return (
            f"{self._session.address.shown}: {name} got no lock within {LOCK_MILLISECONDS} ms, again and"
            f" again; nothing of it was done. {holders or 'Others hold the tables in turn; try again.'}"
        )

    def _begin(self) -> None:
        """Settle what the transaction may do, and keep other migrating processes out."""
        run = self._session.execute
        run("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        run(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}")
        run("SET LOCAL idle_in_transaction_session_timeout = 0")
        run("SET LOCAL statement_timeout = 0")
        # Tried and not waited for: who waits holds a snapshot, and a concurrent index build waits for that.
        name = f"affidavit migrate {self._session.address.schema}"
        if not (run("SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))", (name,)).fetchone() or [0])[
            0
        ]:
            raise _Elsewhere

    def _apply(self, step: Migration) -> bool:
        """Apply one step; False where another process was first."""
        session = self._session
        become_owner(session)
        before = standing_objects(session)
        session.execute(_TABLE)
        if step.number in applied(session):
            return False
        if step.sql.splitlines()[0].strip() == CONCURRENTLY:
            # What was asked last keeps its snapshot, for which the build would wait; this one does not.
            session.connection.execute("SELECT")
            build(session.address, step.sql)
        else:
            session.connection.execute(step.sql.encode())
            take_from_others(session, before)
        session.execute(
            "INSERT INTO affidavit_migrations VALUES (?, ?, ?, ?)",
            (step.number, step.name, step.checksum, int(self._clock() * 1_000_000)),
        )
        return True
