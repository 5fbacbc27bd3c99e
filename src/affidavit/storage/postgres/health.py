"""What ``affidavit doctor`` asks a PostgreSQL server: version, roles, durability, clock, connections, room.

Nothing here changes anything, and each question is a statement of its own, so that a refused one refuses no
other. What the tables and those who hold them up are asked stands in :mod:`.health_tables` and
:mod:`.health_holders`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from affidavit.errors import StorageError
from affidavit.storage.health import Finding, State
from affidavit.storage.postgres.connect import Address, Session, connect, translate
from affidavit.storage.postgres.health_holders import HOLDERS
from affidavit.storage.postgres.health_limits import LIMITS, Limits
from affidavit.storage.postgres.health_tables import TABLES
from affidavit.storage.postgres.preflight import OLDEST, granted, suited, unclaimed, writable

__all__ = ["NEWEST", "examine"]

NEWEST = 18
"""The newest major version that the tests run on."""

_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")
_WHOSE = (
    "SELECT coalesce(r.rolname::text, 'every role'), coalesce(d.datname::text, 'every database')"
    " FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole"
    " LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c"
    " WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
    " AND c = 'synchronous_commit=off' ORDER BY 1, 2"
)
_ROOM = (
    "SELECT current_setting('max_connections')::integer"
    " - current_setting('superuser_reserved_connections')::integer"
    " - coalesce(current_setting('reserved_connections', true), '0')::integer,"
    " (SELECT count(*) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND application_name NOT LIKE 'affidavit%'),"
    " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
    " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())"
)
_LACKING = (
    "SELECT string_agg(w.wanted || ' on ' || c.relname, ', ' ORDER BY c.relname, w.wanted),"
    " current_user::text"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,"
    " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS w(wanted)"
    " WHERE n.nspname = ? AND c.relname LIKE 'affidavit\\_%' AND c.relkind IN ('r', 'p')"
    " AND has_table_privilege('affidavit_server', c.oid, w.wanted)"
    " AND NOT has_table_privilege(c.oid, w.wanted)"
)
_ROLE_STANDS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'affidavit_server')"


def examine(
    address: Address,
    *,
    pool: int,
    clock: Callable[[], int],
    limits: Limits = LIMITS,
    disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
) -> Iterator[Finding]:
    """Look at a database and its server.

    Args:
        address: of the database.
        pool: connections that one of our processes opens at most.
        clock: of this machine, microseconds since 1970 UTC.
        limits: from where on something is named.
        disk: free bytes of a folder of this machine.

    Yields:
        What each check found; those of the tables only where there are tables.

    Raises:
        StorageError: no connection is to be had.
    """
    with closing(connect(address, name="affidavit doctor")) as session:
        try:
            server = [_version, _takes_writes, _durable, _vacuums]
            for check in server:
                yield from _tried(session, check)
            yield from _clock(session, clock, limits)
            yield from _connections(session, pool)
            yield from _disk(session, limits, disk)
            if not unclaimed(session):
                rights = list(_rights(session))
                yield from rights
                # Without these every other question would be answered in the same way.
                tables = TABLES if rights[0].state == State.OK else ()
                for examination in (*tables, *HOLDERS):
                    yield from _tried(
                        session,
                        lambda its, check=examination: check(its, limits),  # type: ignore[misc]
                    )
        except psycopg.Error as error:
            raise translate(error, address) from error


def _tried(session: Session, check: Callable[[Session], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; a role that may not look is a finding too."""
    try:
        yield from check(session)
    except psycopg.errors.InsufficientPrivilege as error:
        yield Finding(
            "grants",
            State.WARN,
            f"The role of the connection may not look at something: {error.diag.message_primary}",
            'Run as the owner of the tables or a superuser: GRANT affidavit_server TO "the role"',
        )


def one(session: Session, statement: str, parameters: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """The only row of an answer."""
    row = session.execute(statement, parameters).fetchone()
    assert row is not None
    return row


def _version(session: Session) -> Iterator[Finding]:
    """Version and encoding, as whoever migrates asks them, and a version that nobody has tried."""
    try:
        suited(session)
    except StorageError as error:
        yield Finding("PostgreSQL", State.FAIL, error.message, "Use another server or database.")
        return
    number, words = one(
        session,
        "SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_version')",
    )
    if number > NEWEST:
        yield Finding(
            "PostgreSQL",
            State.WARN,
            f"The server runs {words}; this version of Affidavit was tried with {OLDEST} to {NEWEST}",
            "Look for a newer Affidavit.",
        )
    else:
        yield Finding("PostgreSQL", State.OK, f"The server runs {words}, the database is in UTF-8")


def _takes_writes(session: Session) -> Iterator[Finding]:
    try:
        writable(session)
    except StorageError as error:
        yield Finding("writing", State.FAIL, error.message, "See the message.")
    else:
        yield Finding("writing", State.OK, "The server is a primary and takes writes")


def _durable(session: Session) -> Iterator[Finding]:
    """What must be on for an answered event to survive a crash."""
    off = [name for name in _DURABLE if one(session, "SELECT current_setting(?)", (name,))[0] == "off"]
    for name in [each for each in off if each != "synchronous_commit"]:
        yield Finding(
            "durability",
            State.FAIL,
            f"{name} is off: a crash of the machine can destroy the database",
            f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf();",
        )
    whose = [f"{role} in {database}" for role, database in session.execute(_WHOSE).fetchall()]
    if "synchronous_commit" in off or whose:
        where = f" (set for {', '.join(whose)})" if whose else ""
        yield Finding(
            "durability",
            State.FAIL,
            f"synchronous_commit is off{where}: events that were answered can be lost in a crash",
            "Take the setting away: ALTER SYSTEM, ALTER DATABASE or ALTER ROLE ... RESET synchronous_commit",
        )
    elif not off:
        yield Finding("durability", State.OK, f"{', '.join(_DURABLE)} are on")


def _vacuums(session: Session) -> Iterator[Finding]:
    off = [
        name
        for name in ("autovacuum", "track_counts")
        if one(session, "SELECT current_setting(?)", (name,))[0] == "off"
    ]
    if off:
        yield Finding(
            "autovacuum",
            State.WARN,
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: the queue grows, pages get slow",
            " ".join(f"ALTER SYSTEM SET {name} = on;" for name in off) + " SELECT pg_reload_conf();",
        )
    else:
        yield Finding("autovacuum", State.OK, "autovacuum is on")


def _clock(session: Session, clock: Callable[[], int], limits: Limits) -> Iterator[Finding]:
    """The database's clock against ours; the shortest of three questions says how exactly that is known."""
    best: tuple[float, float] | None = None
    for _ in range(3):
        begun, ours = time.perf_counter(), clock()
        (theirs,) = one(session, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        took = time.perf_counter() - begun
        if best is None or took < best[0]:
            best = took, theirs / 1e6 - ours / 1e6 - took / 2
    assert best is not None
    took, ahead = best
    apart = f"The clock of the database is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ours"
    if abs(ahead) - took / 2 <= limits.skew_seconds:
        yield Finding("clock of the database", State.OK, apart)
        return
    state = State.FAIL if abs(ahead) > limits.refused_seconds else State.WARN
    yield Finding("clock of the database", state, apart, "Keep both machines on time by NTP.")


def _connections(session: Session, pool: int) -> Iterator[Finding]:
    """Whether a server, its worker and a command beside them find a connection."""
    places, others, of_role, of_database = one(session, _ROOM)
    bounds = [bound for bound in (places, of_role, of_database) if bound is not None and bound >= 0]
    free = min(bounds[0] - others, *bounds)
    # One process records on a connection of its own; the worker has about eight beside its pool.
    needed = 2 * pool + 10
    found = (
        f"{free} connections are left for Affidavit, a server and a worker with database_pool = {pool}"
        f" open {needed} at most"
    )
    if free < needed:
        advice = "Raise max_connections or the limit of the role or database, or lower database_pool."
        yield Finding("connections", State.WARN, found, advice)
    else:
        yield Finding("connections", State.OK, found)


def _disk(session: Session, limits: Limits, disk: Callable[[Path], int]) -> Iterator[Finding]:
    """Room for the database, where its folder is on this machine and this role may know which it is."""
    info = session.connection.info
    if info.hostaddr not in ("", "127.0.0.1", "::1"):
        return
    row = session.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
    if row is None or not row[0]:
        return
    try:
        free = disk(Path(row[0]))
    except OSError:
        return  # a container's folder, or one that only the server's account may enter
    found = f"{free / (1 << 30):.1f} GiB are free where the database is"
    if free < limits.no_space:
        yield Finding(
            "disk of the database", State.FAIL, found, "Make room now; recording fails on a full disk."
        )
    elif free < limits.little_space:
        yield Finding("disk of the database", State.WARN, found, "Make room soon.")
    else:
        yield Finding("disk of the database", State.OK, found)


def _rights(session: Session) -> Iterator[Finding]:
    """What the role of the connection lacks of what a server and its worker need."""
    try:
        granted(session, writes=True)
    except StorageError as error:
        yield Finding("grants", State.FAIL, error.message, "See the message.")
        return
    if one(session, _ROLE_STANDS)[0]:
        lacking, role = one(session, _LACKING, (session.address.schema,))
        if lacking:
            yield Finding(
                "grants",
                State.FAIL,
                f"The role {role} lacks {lacking}",
                f'Run as the owner of the tables or a superuser: GRANT affidavit_server TO "{role}"',
            )
            return
    yield Finding("grants", State.OK, "The role of the connection has what a server needs")
