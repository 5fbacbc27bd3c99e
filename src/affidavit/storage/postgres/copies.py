"""Copies of personal data in the search index on PostgreSQL: keyed hashes of values that an event lost.

A hash under a key that stands in the same database is a copy: who has the database can try every name. What a
value was can no longer be asked once it is gone, so the index is walked and compared with the events as they
are now, the months of the erased events only. That can be repeated at any time, after a crash too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from affidavit import errors
from affidavit.core.filter import Condition
from affidavit.core.ids import microseconds_of
from affidavit.storage.copies import MOST_NAMED, Erasure, Pieces, Places
from affidavit.storage.postgres.connect import Address, Session, translated, uid
from affidavit.storage.postgres.freeing import Freeing
from affidavit.storage.postgres.own import OwnSession
from affidavit.storage.postgres.snapshot import INDEX_VERSION
from affidavit.storage.postgres.terms import asked_hashes, email_hash, hashes_of
from affidavit.storage.sql.terms import values_of

__all__ = ["PostgresIndexCopies"]

TERMS = 20_000
"""Terms looked at in one piece."""
ADDRESSES = 200
"""E-mail addresses looked at in one piece."""
EVENTS = 1_000
"""Events of one person read at once."""

_LEAST = -(1 << 63)
_PIECE = (
    "WITH piece AS MATERIALIZED (SELECT hash, id FROM affidavit_terms"
    " WHERE (hash, id) > (?, ?) AND id >= '{low}' AND id <= '{high}' ORDER BY hash, id LIMIT ?)"
    " (SELECT hash, id, false FROM piece WHERE id = ANY(?::uuid[]))"
    " UNION ALL (SELECT hash, id, true FROM piece ORDER BY hash DESC, id DESC LIMIT 1)"
)
_VALUES = (
    "SELECT organization, id, parent_id, actor, resources, context FROM affidavit_events"
    " WHERE organization = ANY(?) AND id = ANY(?::uuid[]) AND id >= '{low}' AND id <= '{high}'"
)
_DELETE = (
    "DELETE FROM affidavit_terms t USING unnest(?::bigint[], ?::uuid[]) AS going(hash, id)"
    " WHERE t.hash = going.hash AND t.id = going.id RETURNING t.tableoid::regclass::text"
)
_UNFREED = (
    "INSERT INTO affidavit_unfreed VALUES (?)"
    " ON CONFLICT (part) DO UPDATE SET marks = affidavit_unfreed.marks + 1"
)

Bounds = tuple[bytes, bytes]
"""Least and greatest id."""


class _Term(NamedTuple):
    hash: int
    id: bytes


class _Person(NamedTuple):
    """An address as the index has it: its hash, and the actor it leads to."""

    hash: bytes
    actor_id: str


class PostgresIndexCopies:
    """The tables of the index; used by the holder of the worker's lease, between two steps of the follower.

    Args:
        address: of the database.
        fence: raises within a transaction where another worker has taken over.
    """

    name = "search index"

    def __init__(self, address: Address, fence: Callable[[Session], None] | None = None) -> None:
        self._address = address
        self._fence = fence
        self._own = OwnSession(address, "affidavit index copies")
        self._freeing = Freeing(address, ("affidavit_emails",))

    def erase(self, erasure: Erasure) -> Pieces:
        """Take away every term of the erased events, and every address, that no event supports."""
        for terms in self._strays(erasure):
            self._delete(terms)
            yield
        yield from self.forget_addresses(erasure.organization)

    def forget_addresses(self, organization: str) -> Pieces:
        """Take away every address of an organization that no event supports."""
        for people in self._unsupported(organization):
            if people:
                with self._changing() as session:
                    session.executemany(
                        "DELETE FROM affidavit_emails WHERE organization = ? AND hash = ? AND actor_id = ?",
                        [(organization, *person) for person in people],
                    )
                self._freeing.touched()
            yield

    def search(self, erasure: Erasure) -> Places:
        """How many are left."""
        terms = addresses = 0
        for found in self._strays(erasure):
            terms += len(found)
            yield
        for people in self._unsupported(erasure.organization):
            addresses += len(people)
            yield
        counted = ((terms, "terms"), (addresses, "e-mail addresses"))
        return [f"{count} {what}" for count, what in counted if count][:MOST_NAMED]

    def forget(self, organization: str, ids: Sequence[bytes]) -> None:
        """Take away every term of these events while their values still stand; a few hundred at once.

        For expiry, which knows what is about to go; then :meth:`forget_addresses`.
        """
        with translated(self._address):
            key = self._key()
            if key is None:
                return
            terms: list[_Term] = []
            for each, bounds in _by_month(ids).items():
                for event_id, hashes in self._supported(key, [organization], bounds, each).items():
                    terms.extend(_Term(number, event_id) for number in sorted(hashes))
        self._delete(terms)

    def scrub(self) -> bool:
        """Free what was taken away; false where it must be called again."""
        return self._freeing.step()

    def close(self) -> None:
        """Let go of the connections; they are opened again when they are needed."""
        self._freeing.close()
        self._own.close()

    @property
    def _session(self) -> Session:
        return self._own.get()

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        """A transaction that waits for no disk: what it did is durable after the next scrub."""
        with translated(self._address), self._session.transaction():
            session = self._session
            session.connection.execute(
                "SET LOCAL synchronous_commit = off; SET LOCAL enable_seqscan = off;"
                " SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
            )
            if self._fence is not None:
                self._fence(session)
            yield session

    def _key(self) -> bytes | None:
        """Under which the values are hashed; ``None``: there is no index, or one that is made anew."""
        row = self._session.execute(
            "SELECT key FROM affidavit_index WHERE version = ?", (INDEX_VERSION,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def _same(self, key: bytes) -> None:
        if self._key() != key:
            raise errors.StorageBusy("The search index was made anew meanwhile; try again.")

    def _delete(self, terms: Sequence[_Term]) -> None:
        if not terms:
            return
        with self._changing() as session:
            parts = session.execute(
                _DELETE, ([term.hash for term in terms], [uid(term.id) for term in terms])
            ).fetchall()
            session.executemany(_UNFREED, [(_bare(part),) for part in sorted({part for (part,) in parts})])
        self._freeing.touched()

    # -- terms --------------------------------------------------------------------------------------------

    def _strays(self, erasure: Erasure) -> Generator[list[_Term], None, None]:
        """Terms of erased events that these no longer have, in pieces."""
        with translated(self._address):
            key = self._key()
            organizations = [] if key is None else self._organizations()
        if key is None:
            return
        for ids, bounds in _by_month(list(erasure.events)).items():
            with translated(self._address):
                supported = self._supported(key, organizations, bounds, ids)
            last: tuple[int, bytes] | None = (_LEAST, bytes(16))
            while last is not None:
                with translated(self._address):
                    self._same(key)
                    terms, last = self._piece(last, ids, bounds)
                yield [term for term in terms if term.hash not in supported.get(term.id, ())]

    def _piece(
        self, after: tuple[int, bytes], ids: Sequence[bytes], bounds: Bounds
    ) -> tuple[list[_Term], tuple[int, bytes] | None]:
        statement = _PIECE.format(low=bounds[0].hex(), high=bounds[1].hex())
        wanted = [uid(each) for each in ids]
        rows = self._session.execute(statement, (after[0], uid(after[1]), TERMS, wanted)).fetchall()
        last = next(((number, event_id) for number, event_id, is_last in rows if is_last), None)
        return [_Term(number, each) for number, each, is_last in rows if not is_last], last

    def _organizations(self) -> list[str]:
        found: list[str] = []
        last = ""
        while row := self._session.execute(
            "SELECT organization FROM affidavit_events WHERE organization > ? ORDER BY organization LIMIT 1",
            (last,),
        ).fetchone():
            last = row[0]
            found.append(last)
        return found

    def _supported(
        self, key: bytes, organizations: Sequence[str], bounds: Bounds, ids: Sequence[bytes]
    ) -> dict[bytes, set[int]]:
        """The terms that the events of these ids have; an id may stand in several organizations."""
        statement = _VALUES.format(low=bounds[0].hex(), high=bounds[1].hex())
        found: dict[bytes, set[int]] = defaultdict(set)
        for start in range(0, len(ids), EVENTS):
            wanted = [uid(each) for each in ids[start : start + EVENTS]]
            for organization, event_id, *values in self._session.execute(
                statement, (list(organizations), wanted)
            ):
                found[event_id] |= hashes_of(key, organization, *values)[0]
        return found

    # -- addresses ----------------------------------------------------------------------------------------

    def _unsupported(self, organization: str) -> Generator[list[_Person], None, None]:
        """Addresses of the organization that lead to an actor none of whose events has them."""
        with translated(self._address):
            key = self._key()
        last = _Person(b"", "")
        while key is not None:
            with translated(self._address):
                self._same(key)
                rows = self._session.execute(
                    "SELECT hash, actor_id FROM affidavit_emails WHERE organization = ?"
                    " AND (hash, actor_id) > (?, ?) ORDER BY hash, actor_id LIMIT ?",
                    (organization, *last, ADDRESSES),
                ).fetchall()
            if not rows:
                return
            people = [_Person(bytes(hashed), actor_id) for hashed, actor_id in rows]
            last = people[-1]
            unsupported = []
            for person in people:
                stands = yield from self._has(key, organization, person)
                if not stands:
                    unsupported.append(person)
            yield unsupported

    def _has(self, key: bytes, organization: str, person: _Person) -> Generator[list[_Person], None, bool]:
        """Whether an event by, or on behalf of, this person has the address; yields between pieces."""
        asked = asked_hashes(key, organization, Condition("on_behalf_of", (person.actor_id,))) or []
        by_actor = "SELECT id FROM affidavit_events WHERE organization = ? AND actor_id = ?"
        walks: list[tuple[str, tuple[object, ...]]] = [(by_actor, (organization, person.actor_id))]
        walks += [("SELECT id FROM affidavit_terms WHERE hash = ?", (number,)) for number in asked]
        for statement, values in walks:
            last, limit = bytes(16), 1
            while True:
                with translated(self._address):
                    rows = self._session.execute(
                        f"{statement} AND id > ? ORDER BY id LIMIT ?", (*values, uid(last), limit)
                    ).fetchall()
                    if rows and self._any_has(key, organization, person, [each for (each,) in rows]):
                        return True
                if len(rows) < limit:
                    break
                last, limit = rows[-1][0], EVENTS
                yield []
        return False

    def _any_has(self, key: bytes, organization: str, person: _Person, ids: Sequence[bytes]) -> bool:
        rows = self._session.execute(
            "SELECT actor FROM affidavit_events WHERE organization = ? AND id = ANY(?::uuid[])",
            (organization, [uid(each) for each in ids]),
        )
        return any(
            who == person.actor_id and email_hash(key, mail) == person.hash
            for (actor,) in rows
            for mail, who in values_of(None, actor, None, None).emails
        )


def _bare(part: str) -> str:
    """The name of a partition without its schema."""
    return part.rpartition(".")[2].strip('"')


def _by_month(ids: Sequence[bytes]) -> dict[tuple[bytes, ...], Bounds]:
    """Ids with the bounds between which they lie, one month at a time: what is asked of it reads no other."""
    months: dict[str, list[bytes]] = defaultdict(list)
    for each in sorted(ids):
        try:
            moment = datetime.fromtimestamp(microseconds_of(each) / 1_000_000, UTC)
            months[moment.strftime("%Y%m")].append(each)
        except ValueError:  # written by SQL: of a year that has five digits
            months[""].append(each)
    return {tuple(each): (each[0], each[-1]) for each in months.values()}
