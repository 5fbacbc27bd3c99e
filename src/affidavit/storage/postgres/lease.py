"""Who does the worker's work: one process at a time, found out by the database and by its clock alone.

A lease is a row with a holder, an end and a number, the fence, that grows with each new holder. Whoever
writes looks at that number within the transaction (:func:`fenced`), so that a process which slept through the
end of its lease stores nothing more. While such a transaction is open the row is locked, nobody takes over.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from affidavit import errors
from affidavit.storage.postgres.connect import Address, Pool, Session

__all__ = ["TTL_SECONDS", "Lease", "fenced"]

log = logging.getLogger("affidavit.lease")

TTL_SECONDS = 4
"""How long a lease lasts that nobody renews."""
RENEW_SECONDS = 1.0
"""How often it is renewed. Whoever asks for it as often has it within five seconds of its holder's death."""

_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_UNTIL = f"{_NOW} + {TTL_SECONDS} * 1000000"
# An end further away than any lease lasts was written before the database's clock was set back.
_FREE = f"(l.until < {_NOW} OR l.until > {_UNTIL})"
_TAKE = (
    f"INSERT INTO affidavit_leases AS l (name, holder, fence, until) VALUES (?, ?, 1, {_UNTIL})"
    " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = l.fence + 1, until = excluded.until"
    f" WHERE {_FREE} RETURNING fence"
)
_TAKEN = f"SELECT NOT ({_FREE}) FROM affidavit_leases l WHERE name = ?"
_RENEW = f"UPDATE affidavit_leases SET until = {_UNTIL} WHERE name = ? AND holder = ? AND fence = ?"
_RELEASE = "UPDATE affidavit_leases SET until = 0 WHERE name = ? AND holder = ? AND fence = ?"
# Somebody else's transaction may hold the row: whoever waits longer than this asks again later. A fence is on
# the disk before it is used, else a crash of the server could give the same one twice.
_FAST = "SELECT set_config('lock_timeout', '1s', true), set_config('synchronous_commit', 'off', true)"
_DURABLE = _FAST.replace("'off'", "'on'")


class Lease:
    """One process's claim on a piece of the worker's work, renewed by a thread of its own while it is held.

    Args:
        address: of the database.
        name: of the work.
        holder: of this process; no other one may ever use the same. Found by chance where none is given.
        monotonic: seconds.
    """

    def __init__(
        self,
        address: Address,
        name: str = "worker",
        holder: str | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.holder = holder or f"{socket.gethostname()}:{os.getpid()}:{os.urandom(8).hex()}"
        self.fence = 0
        """The number under which it is held; 0 where it is not."""
        self._address = address
        self._pool = Pool(address, 1)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._renewed = float("-inf")
        self._keeper: threading.Thread | None = None
        self._let_go = threading.Event()

    def take(self) -> bool:
        """Take the lease where nobody else holds it, and keep it; whether it is held now.

        Raises:
            StorageError: it is unknown whether it is.
        """
        if self.renew():
            return True
        with self._lock:
            begun = self._monotonic()
            try:
                self.fence = self._taken()
            except errors.StorageBusy:
                return False
            self._renewed = begun
        if self.fence:
            self._keep()
        return self.fence > 0

    @property
    def held(self) -> bool:
        """Whether nobody else can have taken it yet. What is written is safe even where this is wrong."""
        return self.fence > 0 and self._monotonic() < self._renewed + TTL_SECONDS

    @property
    def taken(self) -> bool:
        """Whether it was taken and not given back; somebody else may hold it by now."""
        return self._keeper is not None

    def renew(self) -> bool:
        """Extend it; false where it is not held, or somebody else has taken it.

        Raises:
            StorageError: it is unknown whether it is still held.
        """
        with self._lock:
            if not self.fence:
                return False
            begun = self._monotonic()
            try:
                mine = self._written(_RENEW)
            except errors.StorageBusy:
                mine = True  # a write transaction that passed the fence holds the row; nobody can take it
            if mine:
                self._renewed = begun
            else:
                self.fence = 0
            return mine

    def check(self, session: Session) -> None:
        """See :func:`fenced`."""
        fenced(session, self.name, self.fence)

    def release(self) -> None:
        """Give it back, so that another process need not wait for its end. Never fails."""
        self._let_go.set()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        with self._lock:
            try:
                if self.fence:
                    self._written(_RELEASE)
            except errors.StorageError as error:
                log.info("The lease of %s ends by itself: %s", self.name, error.message)
            finally:
                self.fence = 0
                self._pool.close()
                self._pool = Pool(self._address, 1)

    def _keep(self) -> None:
        """Start the thread that renews."""
        if self._keeper is None or not self._keeper.is_alive():
            self._let_go.clear()
            self._keeper = threading.Thread(target=self._renew_on, name=f"lease {self.name}", daemon=True)
            self._keeper.start()

    def _renew_on(self) -> None:
        while not self._let_go.wait(RENEW_SECONDS):
            try:
                if not self.renew():
                    return
            except errors.StorageError as error:
                log.warning("The lease of %s could not be renewed: %s", self.name, error.message)

    def _taken(self) -> int:
        """The new fence; 0 where somebody else holds the lease."""
        with self._pool.transaction() as session:
            taken = session.execute(_TAKEN, (self.name,)).fetchone()
            if taken is not None and taken[0]:
                return 0
            session.execute(_DURABLE)
            row = session.execute(_TAKE, (self.name, self.holder)).fetchone()
        return 0 if row is None else int(row[0])

    def _written(self, statement: str) -> bool:
        with self._pool.transaction() as session:
            session.execute(_FAST)
            return session.execute(statement, (self.name, self.holder, self.fence)).rowcount == 1


def fenced(session: Session, name: str, fence: int) -> None:
    """Make sure, until the transaction ends, that a lease is still held under a number.

    Args:
        session: within a write transaction.
        name: of the lease.
        fence: :attr:`Lease.fence` of the process.

    Raises:
        LogMoved: somebody else has taken it; the transaction must be rolled back.
    """
    row = session.execute("SELECT fence FROM affidavit_leases WHERE name = ? FOR SHARE", (name,)).fetchone()
    if row is None or row[0] != fence:
        raise errors.LogMoved(f"Another process has taken over the work {name!r}; nothing was stored.")
