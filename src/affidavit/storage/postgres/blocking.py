"""Who waits for whom: a step of the schema gives way, and says who would not."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

import psycopg

from affidavit.storage.postgres.connect import Session, connect

__all__ = ["Watch"]

LOOK_SECONDS = 0.02
NAME_CHARACTERS = 60

_WAITS = (
    "SELECT pg_blocking_pids(?),"
    " EXISTS (SELECT FROM pg_locks WHERE NOT granted AND ? = ANY(pg_blocking_pids(pid)))"
)
_WHO = (
    "SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), coalesce(state, '')"
    " FROM pg_stat_activity WHERE pid = ANY(?) ORDER BY pid"
)


class Watch:
    """Looks after a transaction from a connection of its own, for the length of the block.

    The statement that runs is cancelled as soon as somebody has waited for the transaction for too long, with
    :class:`psycopg.errors.QueryCanceled`.

    Args:
        session: within a transaction, while the block runs.
        seconds: for which others may wait.
    """

    def __init__(self, session: Session, seconds: float) -> None:
        self._session = session
        # The cancellation takes its way too.
        self._seconds = seconds * 3 / 4
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._held_by: list[int] = []

    def __enter__(self) -> Self:
        self._over.clear()
        (pid,) = self._session.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        self._thread = threading.Thread(target=self._look, args=(pid,), name="affidavit-migrate", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, pid: int) -> None:
        other = connect(self._session.address, name="affidavit migrate, watching")
        try:
            since: float | None = None
            while not self._over.wait(LOOK_SECONDS):
                held_by, blocks = other.execute(_WAITS, (pid, pid)).fetchone() or ([], 0)
                self._held_by = held_by or self._held_by
                since = (since or time.monotonic()) if blocks else None
                if since is not None and time.monotonic() - since > self._seconds:
                    self._session.connection.cancel_safe(timeout=1)
                    since = None
        finally:
            other.close()

    def holders(self) -> str:
        """Who held what the transaction waited for last; nothing where nobody did."""
        if not self._held_by:
            return ""
        try:
            found = self._session.execute(_WHO, (self._held_by,)).fetchall()
        except psycopg.Error:
            found = []
        told = [_told(*row) for row in found]
        gone = [f"pid {pid}" for pid in self._held_by if pid and pid not in {row[0] for row in found}]
        prepared = ["a prepared transaction (see pg_prepared_xacts)"] if 0 in self._held_by else []
        return (
            f"Held by {'; '.join([*told, *gone, *prepared])}. Let it end, or end it with"
            " SELECT pg_terminate_backend(pid), and run affidavit migrate again."
        )


def _told(pid: int, role: str, application: str, state: str) -> str:
    # The name of an application is whatever its connection says.
    named = f"application {application[:NAME_CHARACTERS]!r}" if application else "no application name"
    return f"pid {pid} (role {role!r}, {named}{', ' + state if state else ''})"
