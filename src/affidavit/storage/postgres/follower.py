"""The worker's side of the index: takes events in by their places, behind the watermark.

Terms, addresses and the watermark are one transaction, so a kill at any instruction leaves them complete up
to the old place or the new one. Hourly counts are kept back and written together for many events, with a
place of their own; what was kept back is counted again by the next follower. A commit need not be durable
here: the index can be made anew from the rest.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from psycopg import errors as pg

from affidavit.core.ids import microseconds_of
from affidavit.core.times import DAY, HOUR, SECOND
from affidavit.storage.postgres.connect import Address, Session, connect, translated, uid
from affidavit.storage.postgres.own import OwnSession
from affidavit.storage.postgres.places import oldest_beyond, places
from affidavit.storage.postgres.snapshot import INDEX_VERSION, IndexState, state_of
from affidavit.storage.postgres.terms import email_hash, hashes_of
from affidavit.storage.protocols import Progress

__all__ = ["BATCH", "PostgresFollower", "discard", "kinds_between"]

BATCH = 4_096
"""Events taken in at once."""
FLUSH_EVENTS = 32_768
"""Events whose hourly counts are kept back."""
FLUSH_SECONDS = 10.0
"""How long they are kept back."""
FIRST_MONTH = 946_684_800
"""2000-01-01T00:00:00Z, seconds since 1970."""
LOCK_SECONDS = 60.0
"""How long discarding waits for readers, 200 ms at a time."""

Kind = tuple[str, int, str, str, str]
"""Organization, hour, action, outcome, severity."""

_TERMS = "INSERT INTO affidavit_terms SELECT * FROM unnest(?::bigint[], ?::uuid[]) ON CONFLICT DO NOTHING"
_EMAILS = (
    "INSERT INTO affidavit_emails SELECT * FROM unnest(?::text[], ?::bytea[], ?::text[])"
    " ON CONFLICT DO NOTHING"
)
_HOURLY = (
    "INSERT INTO affidavit_hourly AS stands"
    " SELECT * FROM unnest(?::text[], ?::integer[], ?::text[], ?::text[], ?::text[], ?::bigint[])"
    " ON CONFLICT (organization, hour, action, outcome, severity) DO UPDATE SET n = stands.n + excluded.n"
)
_MADE = (
    "SELECT right(c.relname, 6) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = ? AND c.relkind = 'r'"
    " AND left(c.relname, 16) = 'affidavit_terms_' AND length(c.relname) = 22"
)
_HAS_EVENTS = (
    "SELECT EXISTS (SELECT FROM affidavit_months WHERE right(part, 6) = ?)"
    " OR EXISTS (SELECT FROM ONLY affidavit_events_default WHERE id >= ? AND id < ?)"
)

_STATE = (
    "SELECT i.version, i.key, i.seq, i.id, i.recorded_at, i.counted,"
    " EXISTS (SELECT FROM affidavit_leaves l WHERE l.seq = i.seq AND l.id = i.id) FROM affidavit_index i"
)
_COLUMNS = "id, action, outcome, severity, parent_id, actor, resources, context, recorded_at"
_EVENT = (
    "LATERAL (SELECT {} FROM affidavit_events WHERE organization = p.organization AND id = p.id LIMIT 1) e"
)
# A leaf whose event was pruned counts as taken in: only its place matters.
_READ = (
    "SELECT p.seq, p.id, p.organization, e.action, e.outcome, e.severity, e.parent_id, e.actor, e.resources,"
    f" e.context, e.recorded_at FROM {places('l.seq > ?', ' LIMIT ?')}"
    f" LEFT JOIN {_EVENT.format(_COLUMNS)} ON true ORDER BY p.seq"
)
_KINDS = (
    f"SELECT p.organization, p.id, e.action, e.outcome, e.severity"
    f" FROM {places('l.seq > ? AND l.seq <= ?')}, {_EVENT.format('action, outcome, severity')}"
)


def discard(address: Address) -> None:
    """Take the whole index away; the follower makes it anew, and pages are answered without it meanwhile.

    Raises:
        StorageBusy: readers held it all the time.
    """
    until = time.monotonic() + LOCK_SECONDS
    with translated(address):
        session = connect(address, name="affidavit index")
        try:
            while True:
                try:
                    session.execute("SELECT affidavit_index_discard()")
                except pg.LockNotAvailable:
                    if time.monotonic() >= until:
                        raise
                else:
                    return
        finally:
            session.close()


def kinds_between(session: Session, after: int, upto: int) -> Counter[Kind]:
    """The counts of the events with these places, as they stand in the table."""
    counted: Counter[Kind] = Counter()
    for organization, id_, *kind in session.execute(_KINDS, (after, upto)):
        counted[organization, microseconds_of(id_) // HOUR, *kind] += 1
    return counted


class PostgresFollower:
    """Keeps the index's tables of one database; only the holder of the worker's lease has one.

    Args:
        address: of the database.
        fence: called first in each write transaction; raises where the lease is somebody else's.
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
        self._own = OwnSession(address, "affidavit index")
        self._kept: Counter[Kind] = Counter()
        self._kept_of: tuple[bytes, int] | None = None
        self._since = 0.0
        self._months: set[str] | None = None
        self._version = 0

    # -- one batch --------------------------------------------------------------------------------------

    def step(self) -> int:
        """Take in up to :data:`BATCH` events; returns how many."""
        with self._changing() as session:
            state = self._current(session)
            rows = session.execute(_READ, (state.seq, BATCH)).fetchall()
            kinds = self._store(session, state, rows) if rows else Counter()
        if not rows:
            return 0
        if not self._kept:
            self._since = self._monotonic()
        self._kept.update(kinds)
        self._kept_of = (state.key, rows[-1][0])
        if self._kept.total() >= FLUSH_EVENTS:
            self._flush()
        return len(rows)

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        with translated(self._address), self._session.transaction():
            session = self._session
            if self._fence is not None:
                self._fence(session)
            session.connection.execute("SET LOCAL synchronous_commit = off; SET LOCAL jit = off")
            try:
                yield session
            except BaseException:
                # Months that were made in this transaction are not there.
                self._months = None
                raise

    @property
    def _session(self) -> Session:
        return self._own.get()

    def _current(self, session: Session) -> IndexState:
        """The state, locked; made anew where there is none or it is of another layout or history."""
        row = session.execute(_STATE + " FOR UPDATE").fetchone()
        state = None if row is None else state_of(row)
        if state is None:
            if row is not None:
                session.execute("SELECT affidavit_index_discard()")
            state = IndexState(secrets.token_bytes(16), 0, None, None, 0)
            session.execute(
                "INSERT INTO affidavit_index VALUES (1, ?, ?, 0, NULL, NULL, 0)", (INDEX_VERSION, state.key)
            )
        if self._kept_of != (state.key, state.seq):
            # Another follower's, or of a transaction of which nobody knows how it ended.
            self._kept = kinds_between(session, state.counted, state.seq)
            self._kept_of = (state.key, state.seq)
            self._since = self._monotonic()
        return state

    def _store(self, session: Session, state: IndexState, rows: Sequence[tuple[Any, ...]]) -> Counter[Kind]:
        terms: list[tuple[int, bytes]] = []
        emails: set[tuple[str, bytes, str]] = set()
        kinds: Counter[Kind] = Counter()
        recorded_at = state.recorded_at
        for _, id_, organization, action, outcome, severity, parent, actor, resources, context, at in rows:
            if at is None:
                continue
            hashes, found = hashes_of(state.key, organization, parent, actor, resources, context)
            terms.extend((hashed, id_) for hashed in hashes)
            emails.update((organization, email_hash(state.key, mail), who) for mail, who in found)
            kinds[organization, microseconds_of(id_) // HOUR, action, outcome, severity] += 1
            recorded_at = at
        self._make_months(session, (id_ for _, id_ in terms))
        # In the order of their index, which touches each of its pages once.
        terms.sort()
        try:
            with session.transaction(), session.copy("COPY affidavit_terms (hash, id) FROM STDIN") as copy:
                copy.write("".join(f"{hashed}\t{id_.hex()}\n" for hashed, id_ in terms))
        except pg.UniqueViolation:
            # An event that was replaced under its id has two leaves.
            _insert(session, _TERMS, [(hashed, uid(id_)) for hashed, id_ in terms])
        _insert(session, _EMAILS, sorted(emails))
        session.execute(
            "UPDATE affidavit_index SET seq = ?, id = ?, recorded_at = ?",
            (rows[-1][0], uid(rows[-1][1]), recorded_at),
        )
        return kinds

    def _make_months(self, session: Session, ids: Iterable[bytes]) -> None:
        """The months of the terms come before their first row, so that nothing has to be moved later."""
        wanted = {month for start in {id_[:4] for id_ in ids} for month in _months_of(start)}
        if self._months is None or not wanted <= self._months:
            self._months = self._made(session)
        for month in sorted(wanted - self._months):
            session.execute("SELECT affidavit_terms_make(to_date(?, 'YYYYMM'))", (month,))
            self._months.add(month)

    @staticmethod
    def _made(session: Session) -> set[str]:
        return {name for (name,) in session.execute(_MADE, (session.address.schema,))}

    # -- upkeep -----------------------------------------------------------------------------------------

    def tidy(self) -> bool:
        """Write the counts that were kept back long enough, drop a month of terms that lost its events."""
        if self._kept and self._monotonic() - self._since >= FLUSH_SECONDS:
            self._flush()
        with translated(self._address):
            row = self._session.execute("SELECT version FROM affidavit_partitioning").fetchone()
        version = 0 if row is None else row[0]
        if version == self._version:
            return False
        if self._drop_month():
            return True
        self._version = version
        return False

    def _flush(self) -> None:
        with self._changing() as session:
            state = self._current(session)
            if self._kept:
                _insert(session, _HOURLY, [(*kind, count) for kind, count in sorted(self._kept.items())])
            session.execute("UPDATE affidavit_index SET counted = ?", (state.seq,))
        self._kept = Counter()

    def _drop_month(self) -> bool:
        with self._changing() as session:
            for month in sorted(self._made(session)):
                low, high = _bounds(month)
                row = session.execute(_HAS_EVENTS, (month, uid(low), uid(high))).fetchone()
                if row == (0,):
                    session.execute("SELECT affidavit_terms_drop(to_date(?, 'YYYYMM'))", (month,))
                    self._months = None
                    return True
        return False

    def progress(self) -> Progress:
        """Where the index stands, read without a change to it."""
        with translated(self._address), self._session.transaction():
            session = self._session
            row = session.execute(_STATE).fetchone()
            (last,) = session.execute("SELECT seq FROM affidavit_position").fetchone() or (0,)
            state = None if row is None else state_of(row)
            seq, recorded_at = (0, None) if state is None else (state.seq, state.recorded_at)
            since = oldest_beyond(session, seq) if last > seq else None
        return Progress(seq, recorded_at, last - seq, since)

    def close(self) -> None:
        """Close the connection; counts that were kept back are counted again by the next follower."""
        self._own.close()


def _insert(session: Session, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        session.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def _months_of(start: bytes) -> Iterator[str]:
    """The months of an id that begins with these 4 bytes, a minute of ids: one, or two at its turn.

    Only months that can be made: from 2000 to eleven months ahead.
    """
    latest = time.time() + 334 * DAY / SECOND
    for milliseconds in (int.from_bytes(start, "big") << 16, (int.from_bytes(start, "big") + 1 << 16) - 1):
        if FIRST_MONTH <= milliseconds / 1000 <= latest:
            yield datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y%m")


def _bounds(month: str) -> tuple[bytes, bytes]:
    """The first id of a month, and that of the next one."""
    year, number = int(month[:4]), int(month[4:])
    ends = (
        datetime(year, number, 1, tzinfo=UTC),
        datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC),
    )
    low, high = (int(end.timestamp() * 1000).to_bytes(6, "big") + bytes(10) for end in ends)
    return low, high
