"""Who keeps dead rows from being cleared away, so that the queue grows: for ``affidavit doctor``.

Sequencing itself waits for nobody. But a row that was deleted from the queue stays in the table while some
transaction, prepared transaction or replication slot is older than its deletion. What such a transaction ran
is not shown: it may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from affidavit.storage.health import Finding, State
from affidavit.storage.postgres.connect import Session
from affidavit.storage.postgres.health_limits import Limits

__all__ = ["HOLDERS"]

_TRANSACTIONS = (
    "SELECT pid, coalesce(nullif(application_name, ''), 'no application name'),"
    " coalesce(usename::text, 'nobody'),"
    " extract(epoch FROM clock_timestamp() - xact_start)::float8, state"
    " FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)"
    " AND datid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND backend_type <> 'autovacuum worker' AND xact_start < clock_timestamp() - ? * interval '1 second'"
    " ORDER BY xact_start LIMIT 5"
)
_SEES_ALL = "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"
_PREPARED = (
    "SELECT gid, owner::text, extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts"
    " WHERE database = current_database() AND prepared < clock_timestamp() - ? * interval '1 second'"
    " ORDER BY prepared LIMIT 5"
)
_SLOTS = (
    "SELECT slot_name::text, active, age(xmin) FROM pg_replication_slots"
    " WHERE xmin IS NOT NULL AND (NOT active OR age(xmin) > ?) ORDER BY age(xmin) DESC LIMIT 5"
)


def _transactions(session: Session, limits: Limits) -> Iterator[Finding]:
    """Transactions of this database that began long ago."""
    held = session.execute(_TRANSACTIONS, (limits.held_seconds,)).fetchall()
    for pid, application, role, age, state in held:
        idle = ", and does nothing" if state.startswith("idle in transaction") else ""
        yield Finding(
            "long transaction",
            State.WARN,
            f"A transaction of {role} ({application}, pid {pid}) is open since {age:.0f} s{idle}:"
            " it holds the queue back, which grows meanwhile",
            f"End it there, or: SELECT pg_terminate_backend({pid}). idle_in_transaction_session_timeout ends"
            " such sessions by itself.",
        )
    if held:
        return
    row = session.execute(_SEES_ALL).fetchone()
    if row is not None and row[0]:
        yield Finding("long transaction", State.OK, "No transaction is open for long")
    else:
        yield Finding(
            "long transaction",
            State.OK,
            "No transaction of this role is open for long; those of others it may not see",
            "Run as a superuser: GRANT pg_read_all_stats TO the role",
        )


def _prepared(session: Session, limits: Limits) -> Iterator[Finding]:
    """Transactions that were prepared and neither committed nor rolled back: they outlive their session."""
    for name, owner, age in session.execute(_PREPARED, (limits.held_seconds,)).fetchall():
        yield Finding(
            "prepared transaction",
            State.WARN,
            f"The prepared transaction {name!r} of {owner} waits since {age:.0f} s: it holds the queue back,"
            " and an event in it has no leaf",
            "COMMIT PREPARED or ROLLBACK PREPARED, whichever its coordinator meant",
        )


def _slots(session: Session, limits: Limits) -> Iterator[Finding]:
    """Slots of standbys that say they still need old rows."""
    for name, active, age in session.execute(_SLOTS, (limits.held_transactions,)).fetchall():
        whose = "whose standby has an old transaction" if active else "that no standby uses"
        yield Finding(
            "replication slot",
            State.WARN,
            f"The replication slot {name}, {whose}, holds the queue back: {age:,} transactions",
            "End the query on the standby." if active else f"SELECT pg_drop_replication_slot('{name}')",
        )


HOLDERS: tuple[Callable[[Session, Limits], Iterator[Finding]], ...] = (_transactions, _prepared, _slots)
"""In the order in which their findings are shown."""
