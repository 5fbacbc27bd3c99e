"""The ``Redactor`` of PostgreSQL.

Commits here wait for no disk: they are repeated after a crash, and scrubbing ends with one that does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from affidavit.storage.postgres.connect import Address, Session, translated, uid
from affidavit.storage.postgres.freeing import Freeing
from affidavit.storage.postgres.own import OwnSession
from affidavit.storage.redaction import HOLD_SECONDS, PermitKind, Redaction
from affidavit.storage.sql.redaction import READ, emptied

__all__ = ["PostgresRedactor"]

_READ = READ.replace("SELECT ", "SELECT tableoid::regclass::text, ", 1)
_WRITE = (
    "UPDATE affidavit_events SET secret = NULL, remains = ?{} WHERE organization = ? AND id = ?"
    " AND secret IS NOT DISTINCT FROM ? AND remains IS NOT DISTINCT FROM ?"
)


class PostgresRedactor:
    """:class:`~affidavit.storage.redaction.Redactor` on PostgreSQL, with a connection of its own.

    Args:
        address: of the database.
        fence: raises within a transaction where another worker has taken over.
        monotonic: seconds.
    """

    def __init__(
        self,
        address: Address,
        *,
        fence: Callable[[Session], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._fence = fence
        self._monotonic = monotonic
        # Digests are of the bytes that stand there, UTF-8 or not.
        self._own = OwnSession(address, "affidavit redactor", raw=True)
        self._freeing = Freeing(address)

    def redact(self, kind: PermitKind, reference: str, redactions: Sequence[Redaction]) -> int:
        """See the role."""
        waiting = iter(redactions)
        changed = done = 0
        while done < len(redactions):
            with translated(self._address):
                taken, lost = self._transaction(kind, reference, waiting)
            done += taken
            changed += lost
        self._freeing.touched()
        return changed

    def _transaction(self, kind: PermitKind, reference: str, waiting: Iterator[Redaction]) -> tuple[int, int]:
        """As many as the time of one transaction allows: how many were taken, how many lost something."""
        taken = lost = 0
        permitted: set[str] = set()
        touched: set[str] = set()
        session = self._own.get()
        with session.transaction():
            session.execute("SET LOCAL synchronous_commit = off")
            if self._fence is not None:
                self._fence(session)
            until = self._monotonic() + HOLD_SECONDS / 2
            for redaction in waiting:
                if redaction.organization not in permitted:
                    permitted.add(redaction.organization)
                    session.execute(
                        "INSERT INTO affidavit_permit (organization, kind, reference) VALUES (?, ?, ?)",
                        (redaction.organization, kind, reference),
                    )
                lost += _redact(session, redaction, touched)
                taken += 1
                if self._monotonic() >= until:
                    break
            session.execute(
                "DELETE FROM affidavit_permit WHERE kind = ? AND reference = ?", (kind, reference)
            )
            for part in sorted(touched):
                session.execute(
                    "INSERT INTO affidavit_unfreed VALUES (?)"
                    " ON CONFLICT (part) DO UPDATE SET marks = affidavit_unfreed.marks + 1",
                    (part,),
                )
        return taken, lost

    def scrub(self) -> bool:
        """See the role. The transaction that ends it waits for the disk, and with it all before it."""
        return self._freeing.step()

    def close(self) -> None:
        """Close the connections."""
        self._freeing.close()
        self._own.close()


def _redact(session: Session, redaction: Redaction, touched: set[str]) -> bool:
    key = (redaction.organization, uid(redaction.id))
    row = session.execute(_READ, key).fetchone()
    if row is None:
        return False
    # Also where nothing goes any more: a run that was interrupted may not have come to free it.
    touched.add(row[0].decode().rpartition(".")[2].strip('"'))
    change = emptied(row[1:], redaction.groups)
    if change is None:
        return False
    nulls = "".join(f", {column} = NULL" for column in change.columns)
    values = (change.remains, *key, *change.stood)
    return session.execute(_WRITE.format(nulls), values).rowcount == 1
