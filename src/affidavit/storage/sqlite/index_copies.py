"""Copies of personal data in the search index: keyed hashes of values that an event no longer has.

A hash under a key that stands in the same file is a copy: who has the file can try every name. What a value
was can no longer be asked once it is gone, so both methods walk over the index and compare it with the events
as they are now. That can be repeated at any time, after a crash too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from affidavit import errors
from affidavit.core.filter import Condition
from affidavit.storage.copies import MOST_NAMED, Erasure, Pieces, Places
from affidavit.storage.sqlite import index_file
from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.redaction import empty_wal
from affidavit.storage.sqlite.slack import SlackWiper
from affidavit.storage.sqlite.terms import email_hash, prefixes, terms_of

__all__ = ["SqliteIndexCopies"]

KEYS = 5_000
"""Keys looked at in one piece."""
ACTORS = 500
"""E-mail addresses looked at in one piece."""
EVENTS = 2_000
"""Events of one actor read at once."""
KEYS_OF_ONE = 500
"""Terms of one person looked at at once."""
_ID = 16

Stray = tuple[int, bytes]
"""Run and key of a term that no event supports."""
Address = tuple[bytes, str]
"""Hash of an e-mail address and the actor's id."""


class SqliteIndexCopies:
    """The index file; used by the holder of the worker's lease, between two steps of the follower.

    Args:
        database: the app's file.
        index: the index file; while there is none, there are no copies in it.
    """

    name = "search index"

    def __init__(self, database: Path, index: Path) -> None:
        self._database = database
        self._index = index
        self._slack = SlackWiper(index)

    def erase(self, erasure: Erasure) -> Pieces:
        """Take away every term of the erased events, and every address, that no event supports."""
        with self._open() as opened:
            if opened is None:
                return
            for terms in self._terms(opened, erasure):
                self._delete_terms(opened, terms)
                yield
        yield from self.forget_addresses(erasure.organization)

    def forget_addresses(self, organization: str) -> Pieces:
        """Take away every address of an organization that no event supports."""
        with self._open() as opened:
            if opened is None:
                return
            for addresses in self._addresses(opened, organization):
                with self._change(opened) as file:
                    file.executemany(
                        "DELETE FROM affidavit_emails WHERE organization = ? AND hash = ? AND actor_id = ?",
                        [(organization, *address) for address in addresses],
                    )
                yield

    def search(self, erasure: Erasure) -> Places:
        """How many are left."""
        terms = addresses = 0
        with self._open() as opened:
            if opened is not None:
                for found in self._terms(opened, erasure):
                    terms += len(found)
                    yield
                for left in self._addresses(opened, erasure.organization):
                    addresses += len(left)
                    yield
        counted = ((terms, "terms"), (addresses, "e-mail addresses"))
        return [f"{count} {what}" for count, what in counted if count][:MOST_NAMED]

    def forget(self, organization: str, ids: Sequence[bytes]) -> None:
        """Take away every term of these events while their values still stand; a few hundred at once.

        For expiry, which knows what is about to go; then :meth:`forget_addresses`.
        """
        with self._open() as opened:
            if opened is None:
                return
            runs = [run for (run,) in opened.file.execute("SELECT DISTINCT run FROM affidavit_runs")]
            keys = [
                (run, prefix + event_id)
                for event_id in ids
                for prefix in opened.supported([organization], event_id)
                for run in runs
            ]
            self._delete_terms(opened, keys)

    def scrub(self) -> bool:
        """Leave nothing in free pages and the write-ahead log; false where it must be called again."""
        with self._open() as opened:
            if opened is None:
                return True
            return empty_wal(self._index, opened.file) and self._slack.step(opened.file)

    def close(self) -> None:
        """Let go of what :meth:`scrub` holds between two calls."""
        self._slack.close()

    @contextmanager
    def _open(self) -> Iterator[_Opened | None]:
        if inode(self._index) is None:
            yield None
            return
        with translated(self._index):
            file = connect(self._index, writer=True, synchronous="NORMAL")
        try:
            with translated(self._index):
                state = index_file.read_state(file)
            if state is None:
                yield None  # of another layout; its follower makes it anew
                return
            events = connect(self._database, writer=False)
            try:
                with translated(self._index):
                    yield _Opened(file, events, state.key, inode(self._index))
            finally:
                events.close()
        finally:
            file.close()

    def _delete_terms(self, opened: _Opened, terms: Sequence[Stray]) -> None:
        if not terms:
            return
        with self._change(opened) as file:
            for run, keys in groupby(sorted(terms), key=lambda term: term[0]):
                before = file.total_changes
                file.executemany("DELETE FROM affidavit_terms WHERE run = ? AND k = ?", keys)
                # A run that no list names yet is the target of a merge, and gets its number at the end.
                file.execute(
                    "UPDATE affidavit_runs SET keys = keys - ? WHERE run = ?",
                    (file.total_changes - before, run),
                )

    @contextmanager
    def _change(self, opened: _Opened) -> Iterator[sqlite3.Connection]:
        opened.file.execute("BEGIN IMMEDIATE")
        try:
            yield opened.file
            opened.file.execute("COMMIT")
        except BaseException:
            if opened.file.in_transaction:
                opened.file.execute("ROLLBACK")
            raise

    def _same_file(self, opened: _Opened) -> None:
        if inode(self._index) != opened.inode:
            raise errors.StorageBusy(f"{self._index} was made anew meanwhile.")

    def _terms(self, opened: _Opened, erasure: Erasure) -> Generator[list[Stray], None, None]:
        """Terms of erased events that these no longer have, in pieces."""
        run, key = 0, b""
        support: dict[bytes, set[bytes]] = {}
        organizations = opened.organizations()
        while True:
            self._same_file(opened)
            rows = opened.file.execute(
                "SELECT run, k FROM affidavit_terms WHERE (run, k) > (?, ?) ORDER BY run, k LIMIT ?",
                (run, key, KEYS),
            ).fetchall()
            if not rows:
                return
            stray = []
            for run, key in rows:
                event_id = key[-_ID:]
                if event_id in erasure.events:
                    if event_id not in support:
                        support[event_id] = opened.supported(organizations, event_id)
                    if key[:-_ID] not in support[event_id]:
                        stray.append((run, key))
            yield stray

    def _addresses(self, opened: _Opened, organization: str) -> Generator[list[Address], None, None]:
        """Addresses of the organization that lead to an actor none of whose events has them."""
        last: Address = (b"", "")
        while True:
            self._same_file(opened)
            rows = opened.file.execute(
                "SELECT hash, actor_id FROM affidavit_emails WHERE organization = ?"
                " AND (hash, actor_id) > (?, ?) ORDER BY hash, actor_id LIMIT ?",
                (organization, *last, ACTORS),
            ).fetchall()
            if not rows:
                return
            last = rows[-1]
            unsupported = []
            for address in rows:
                supported = yield from opened.has_address(organization, address)
                if not supported:
                    unsupported.append(address)
            yield unsupported


class _Opened:
    """The index file and the events that it must agree with."""

    def __init__(
        self,
        file: sqlite3.Connection,
        events: sqlite3.Connection,
        key: bytes,
        number: tuple[int, int] | None,
    ) -> None:
        self.file = file
        self.inode = number
        self._events = events
        self._key = key

    def organizations(self) -> list[str]:
        """Every organization that has an event."""
        found: list[str] = []
        last = ""
        while row := self._events.execute(
            "SELECT organization FROM affidavit_events WHERE organization > ? ORDER BY organization LIMIT 1",
            (last,),
        ).fetchone():
            last = row[0]
            found.append(last)
        return found

    def supported(self, organizations: Sequence[str], event_id: bytes) -> set[bytes]:
        """The terms, without the id, that the events of an id have; it may stand in several organizations."""
        prefixes: set[bytes] = set()
        for organization in organizations:
            row = self._events.execute(
                "SELECT parent_id, actor, resources, context FROM affidavit_events"
                " WHERE organization = ? AND id = ?",
                (organization, event_id),
            ).fetchone()
            if row is not None:
                prefixes |= terms_of(self._key, organization, *row).keys
        return prefixes

    def has_address(self, organization: str, address: Address) -> Generator[list[Address], None, bool]:
        """Whether an event by, or on behalf of, this person has the address; yields between pieces."""
        last = b""
        while rows := self._events.execute(
            "SELECT id, actor FROM affidavit_events WHERE organization = ? AND actor_id = ? AND id > ?"
            " ORDER BY id LIMIT ?",
            (organization, address[1], last, EVENTS if last else 1),
        ).fetchall():
            last = rows[-1][0]
            if self._any_has(organization, address, [actor for _, actor in rows]):
                return True
            yield []
        return (yield from self._has_address_behalf(organization, address))

    def _has_address_behalf(
        self, organization: str, address: Address
    ) -> Generator[list[Address], None, bool]:
        condition = Condition("on_behalf_of", (address[1],))
        (prefix,) = prefixes(self._key, organization, condition)
        for (run,) in self.file.execute("SELECT run FROM affidavit_runs").fetchall():
            last = prefix
            while keys := self.file.execute(
                "SELECT k FROM affidavit_terms WHERE run = ? AND k > ? AND k < ? ORDER BY k LIMIT ?",
                (run, last, prefix + b"\xff" * (_ID + 1), KEYS_OF_ONE),
            ).fetchall():
                last = keys[-1][0]
                ids = [key[-_ID:] for (key,) in keys]
                marks = ",".join("?" * len(ids))
                rows = self._events.execute(
                    f"SELECT actor FROM affidavit_events WHERE organization = ? AND id IN ({marks})",
                    (organization, *ids),
                )
                if self._any_has(organization, address, [actor for (actor,) in rows]):
                    return True
                yield []
        return False

    def _any_has(self, organization: str, address: Address, actors: Sequence[str | None]) -> bool:
        expected, whose = address
        return any(
            person == whose and email_hash(self._key, email) == expected
            for actor in actors
            for email, person in terms_of(self._key, organization, None, actor, None, None).emails
        )
