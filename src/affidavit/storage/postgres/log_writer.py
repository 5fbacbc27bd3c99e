"""The worker's side of the log: takes events off the queue and grows the trees, in one transaction.

:mod:`affidavit.storage.log` says what is promised. A batch locks the row of ``affidavit_position`` first:
of two sequencers the second one waits there, sees that the place is another one, and stores nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from struct import Struct

from psycopg import errors as pg

from affidavit import errors
from affidavit.core.merkle import Frontier
from affidavit.core.row import COLUMNS
from affidavit.storage.log import Claimed, Grown, QueueProgress, Tree
from affidavit.storage.postgres.connect import Address, Pool, Session, uid
from affidavit.storage.postgres.log_queue import PostgresQueue
from affidavit.storage.sql.log_tables import TREE_COLUMNS, pack_frontier, with_frontier
from affidavit.storage.sql.log_writer import SqlLogWriter

__all__ = ["PostgresLogWriter", "copy_leaves", "copy_tiles"]

_ORGANIZATION = COLUMNS.index("organization")

# Durable whatever the server or the role says about recording: once the commit record of the leaves is on the
# disk, everything that was written before it is, the events of others too. Who asked for more (remote_apply)
# keeps it. A process that is stopped in the middle must not keep its locks.
_SETTINGS = (
    "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
    " WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true),"
    " set_config('idle_in_transaction_session_timeout', '5s', true), set_config('lock_timeout', '3s', true)"
)
_HEADS = (
    f"SELECT DISTINCT ON (organization) {TREE_COLUMNS}, frontier FROM affidavit_trees"
    " WHERE organization = ANY(?::text[]) ORDER BY organization, incarnation DESC"
)
# COPY in binary form: a signature, then each row with its count of fields and each field with its length.
_BEGINNING = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_LEAF = Struct(">hiiiqiqi16si32s")
_TILE = Struct(">hiiiiiqi32s")
_END = b"\xff\xff"


class PostgresLogWriter(SqlLogWriter[Session]):
    """Queue, LogWriter, ManifestStore and AlarmStore of one PostgreSQL store.

    Args:
        address: of the database.
        fence: called in each writing transaction; raises where somebody else holds the worker's lease.
    """

    def __init__(self, address: Address, *, fence: Callable[[Session], None] | None = None) -> None:
        self._pool = Pool(address, 1)
        self._fence = fence
        self._queue = PostgresQueue(self._pool, self)

    # Queue

    def claim(self, limit: int) -> Sequence[Claimed]:
        """See :class:`affidavit.storage.log.Queue`; a row of a newer version stays in the queue."""
        return self._queue.claim(limit)

    def settle(self, claimed: Sequence[Claimed]) -> None:
        """Nothing is left to do: the commit of the leaves comes later in the same write-ahead log."""

    def progress(self) -> QueueProgress:
        """See :class:`affidavit.storage.log.Queue`."""
        return self._queue.progress()

    def forget(self) -> None:
        """Look again from the beginning of the queue: a new incarnation was begun."""
        self._queue.forget()

    # LogWriter

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A connection, to be read."""
        with self._pool.session() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A write transaction, durable when the block has ended, nothing when it raises."""
        with self._pool.transaction() as session:
            session.execute(_SETTINGS)
            if self._fence is not None:
                self._fence(session)
            yield session

    def heads(self, organizations: Iterable[str]) -> Mapping[str, tuple[Tree, Frontier]]:
        """See :class:`affidavit.storage.log.LogWriter`; one statement for all of them."""
        with self.reading() as log:
            rows = log.execute(_HEADS, (list(organizations),)).fetchall()
        heads = map(with_frontier, rows)
        return {tree.organization: (tree, frontier) for tree, frontier in heads}

    def append(self, claimed: Sequence[Claimed], grown: Sequence[Grown]) -> None:
        """See :class:`affidavit.storage.log.LogWriter`."""
        numbers = self._queue.numbers(claimed)
        try:
            with self.transaction() as log:
                _check_place(log, claimed[0].seq - 1)
                _take_off(log, numbers)
                _begin_trees(log, [each for each in grown if each.tree.size == 0])
                _grow_trees(log, [each for each in grown if each.tree.size > 0])
                _copy(log, claimed, grown)
                _move(log, claimed[-1], grown)
        except errors.StorageError as error:
            if isinstance(error.__cause__, pg.UniqueViolation):
                raise self._second_leaf(error.__cause__) from error
            raise
        self._queue.passed()

    def _second_leaf(self, violation: pg.UniqueViolation) -> errors.LogError:
        """What an index says that keeps each event, each index and each place from being given twice."""
        if violation.diag.constraint_name == "affidavit_leaves_id":
            self._queue.doubt()
            return errors.LogMoved("An event in the queue has its leaf already; it is left out from now on.")
        return errors.LogMismatch(
            f"A leaf stands where the next one belongs ({violation.diag.constraint_name}): the place of the"
            " queue or a tree was edited. See: affidavit fsck"
        )

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()


def _check_place(log: Session, before: int) -> None:
    row = log.execute("SELECT seq FROM affidavit_position FOR UPDATE").fetchone()
    if row is None or row[0] != before:
        raise errors.LogMoved(f"The queue no longer stands at {before}.")


def _take_off(log: Session, numbers: Sequence[int]) -> None:
    taken = log.execute("DELETE FROM affidavit_pending WHERE seq = ANY(?)", (list(numbers),)).rowcount
    if taken != len(numbers):
        raise errors.LogMoved(f"Of {len(numbers)} claimed events {len(numbers) - taken} left the queue.")


def _begin_trees(log: Session, grown: Sequence[Grown]) -> None:
    if not grown:
        return
    rows = [(*each.tree[:6], each.frontier.size, 0, pack_frontier(each.frontier)) for each in grown]
    made = log.execute(
        f"INSERT INTO affidavit_trees ({TREE_COLUMNS}, frontier) SELECT * FROM unnest(?::int[], ?::text[],"
        " ?::text[], ?::text[], ?::int[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bytea[])"
        " ON CONFLICT DO NOTHING",
        [list(column) for column in zip(*rows, strict=True)],
    ).rowcount
    if made != len(rows):
        raise errors.LogMoved(f"Of {len(rows)} new trees {len(rows) - made} were begun already.")


def _grow_trees(log: Session, grown: Sequence[Grown]) -> None:
    if not grown:
        return
    rows = [
        (each.tree.number, each.tree.size, each.frontier.size, pack_frontier(each.frontier)) for each in grown
    ]
    changed = log.execute(
        "UPDATE affidavit_trees t SET size = g.size, frontier = g.frontier"
        " FROM unnest(?::int[], ?::bigint[], ?::bigint[], ?::bytea[]) g (tree, before, size, frontier)"
        " WHERE t.tree = g.tree AND t.size = g.before",
        [list(column) for column in zip(*rows, strict=True)],
    ).rowcount
    if changed != len(rows):
        raise errors.LogMoved(f"Of {len(rows)} trees {len(rows) - changed} no longer have their size.")


def _copy(log: Session, claimed: Sequence[Claimed], grown: Sequence[Grown]) -> None:
    ids = {each.seq: each.values[0] for each in claimed}
    copy_leaves(
        log,
        [
            (each.tree.number, index, seq, ids[seq], digest)
            for each in grown
            for seq, index, digest in each.leaves
        ],
    )
    copy_tiles(log, [(each.tree.number, *tile) for each in grown for tile in each.tiles])


def copy_leaves(log: Session, leaves: Sequence[tuple[int, int, int, bytes, bytes]]) -> None:
    """Store leaves: tree, index, position, id of the event, hash."""
    body = [
        _LEAF.pack(5, 4, tree, 8, index, 8, seq, 16, event_id, 32, digest)
        for tree, index, seq, event_id, digest in leaves
    ]
    with log.copy("COPY affidavit_leaves (tree, idx, seq, id, hash) FROM STDIN (FORMAT binary)") as sink:
        sink.write(b"".join((_BEGINNING, *body, _END)))


def copy_tiles(log: Session, tiles: Sequence[tuple[int, int, int, bytes]]) -> None:
    """Store hashes of full tiles: tree, tile level, index, hash."""
    if not tiles:
        return
    body = [_TILE.pack(4, 4, tree, 4, level, 8, idx, 32, digest) for tree, level, idx, digest in tiles]
    with log.copy("COPY affidavit_tiles (tree, level, idx, hash) FROM STDIN (FORMAT binary)") as sink:
        sink.write(b"".join((_BEGINNING, *body, _END)))


def _move(log: Session, last: Claimed, grown: Sequence[Grown]) -> None:
    leaf = next(each.leaves[-1].hash for each in grown if each.leaves[-1].seq == last.seq)
    log.execute(
        "UPDATE affidavit_position SET seq = ?, organization = ?, id = ?, leaf = ?",
        (last.seq, last.values[_ORGANIZATION].decode(), uid(last.values[0]), leaf),
    )
