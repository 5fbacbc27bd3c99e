"""VACUUM of what erasure and expiry touched: old versions of rows are freed, and their index entries.

A statement that began before the values went may still read them, so that PostgreSQL keeps the old versions
for it. Whether that is so is asked of a table of our own: a row is written and deleted there, and while its
page cannot be given back, somebody can still see what was deleted before it.

What this cannot do is said in docs/howto/erasure.md: the bytes of a freed version stay in free space of its
page until something else is written there, and in the write-ahead log until that is recycled.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from affidavit.errors import StorageReadOnly
from affidavit.storage.postgres.connect import Address, Session, connect, translated

__all__ = ["Freeing"]

log = logging.getLogger("affidavit.log")

PATIENCE = 0.03
"""Seconds that one step waits at most."""
PASSES = 3
"""VACUUM leaves a page that somebody is reading at that moment: how often it is run for these."""
SAY_EVERY = 60.0
"""Seconds between two lines of the log about the same wait."""

_SMALL = ("affidavit_tasks", "affidavit_tokens", "affidavit_sessions", "affidavit_logins", "affidavit_holds")
"""Tables in which a value may stand that was replaced; always vacuumed with the others."""
_OWNED = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = ? AND c.relname = ANY(?) AND NOT pg_has_role(c.relowner, 'USAGE')"
    " AND NOT (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database())"
)
_MAINTAINED = f"{_OWNED} AND NOT has_table_privilege(c.oid, 'MAINTAIN')"
_OLDEST = (
    "SELECT pid, application_name, extract(epoch FROM now() - xact_start)::bigint FROM pg_stat_activity"
    " WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid() ORDER BY age(backend_xmin) DESC LIMIT 1"
)


class Freeing:
    """Vacuums in a thread of its own, so that whoever asks never waits for it.

    Args:
        address: of the database.
        always: tables that are vacuumed each time.
    """

    def __init__(self, address: Address, always: Sequence[str] = _SMALL) -> None:
        self._address = address
        self._always = tuple(always)
        self._thread: threading.Thread | None = None
        self._session: Session | None = None
        self._probed = False
        self._freed = False
        self._error: BaseException | None = None
        self._said = -SAY_EVERY

    def touched(self) -> None:
        """Something more was taken away: what is asked of the open transactions must be asked anew."""
        self._probed = False

    def step(self) -> bool:
        """Do a piece; whether everything that was taken away before the first piece is freed.

        Raises:
            StorageReadOnly: the role may not vacuum.
            StorageError: the database failed.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="affidavit-vacuum", daemon=True)
            self._thread.start()
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            return False
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error
        freed, self._freed = self._freed, False
        return freed

    def close(self) -> None:
        """Stop what is running."""
        session, thread = self._session, self._thread
        if session is not None and thread is not None and thread.is_alive():
            with suppress(psycopg.Error):
                session.connection.cancel_safe(timeout=5.0)
        if thread is not None:
            thread.join()
        self._thread = None
        if self._session is not None:
            self._session.close()
            self._session = None

    def _run(self) -> None:
        try:
            if self._session is None or self._session.broken:
                self._session = connect(self._address, name="affidavit vacuum")
            with translated(self._address):
                self._freed = self._free(self._session)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asked
            self._error = error

    def _free(self, session: Session) -> bool:
        marked = session.execute("SELECT part, marks FROM affidavit_unfreed ORDER BY part").fetchall()
        tables = [*(part for part, _ in marked), *self._always, "affidavit_freed"]
        _may_vacuum(session, tables)
        if not self._probed:
            # Two transactions: the second one is what others must have begun after.
            session.execute("INSERT INTO affidavit_freed VALUES (1)")
            session.execute("DELETE FROM affidavit_freed")
            self._probed = True
        session.execute("VACUUM affidavit_freed")
        if _size(session, "affidavit_freed"):
            self._say(session)
            return False
        for table in tables[:-1]:
            for _ in range(PASSES):
                # Without TRUNCATE nobody who records is locked out; index entries hold values, too.
                session.execute(f"VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) {table}")
                if not _left(session, table):
                    break
        session.executemany("DELETE FROM affidavit_unfreed WHERE part = ? AND marks = ?", marked)
        self._probed = False
        return True

    def _say(self, session: Session) -> None:
        if time.monotonic() - self._said < SAY_EVERY:
            return
        self._said = time.monotonic()
        oldest = session.execute(_OLDEST).fetchone()
        who = "a transaction that this role may not see"
        if oldest is not None:
            who = f"process {oldest[0]} ({oldest[1] or 'unnamed'}), in a transaction for {oldest[2]} s"
        log.warning(
            "What was erased cannot be freed yet, an open transaction can still see it: %s. It goes on when"
            " that ends.",
            who,
        )


def _may_vacuum(session: Session, tables: Sequence[str]) -> None:
    """Raise where a table would silently be skipped."""
    statement = _MAINTAINED if session.connection.info.server_version >= 170_000 else _OWNED
    found = session.execute(statement, (session.address.schema, list(tables))).fetchone()
    if found is not None:
        raise StorageReadOnly(
            f"The role of the worker may not vacuum {found[0]}, so that what is erased would stay in freed"
            " space. Let the worker connect as the owner of the tables or of the database, or (PostgreSQL 17"
            " and newer) grant MAINTAIN to its role."
        )


def _size(session: Session, table: str) -> int:
    (size,) = session.execute(f"SELECT pg_relation_size({_regclass(session, table)})").fetchone() or (0,)
    return int(size)


def _left(session: Session, table: str) -> int:
    """Versions that VACUUM left: those still seen, and those on pages that somebody was reading."""
    statement = f"SELECT coalesce(pg_stat_get_dead_tuples({_regclass(session, table)}), 0)"
    (dead,) = session.execute(statement).fetchone() or (0,)
    return int(dead)


def _regclass(session: Session, table: str) -> str:
    quoted = session.address.schema.replace('"', '""').replace("'", "''")
    return f"""'"{quoted}".{table}'::regclass"""
