"""New incarnations after a restore, and where the leaves go that no checkpoint of the tree before covers.

Events and leaves stand in one database, so after a restore to an earlier moment they fit each other; what is
ahead of them is the guard. Tables of which only some were put back are found here by comparing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from affidavit.core.credentials import INSTANCE
from affidavit.core.merkle import Frontier, leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, home_of, leaf_of
from affidavit.storage.postgres.connect import Session, uid
from affidavit.storage.postgres.log_place import EVENT
from affidavit.storage.postgres.log_writer import PostgresLogWriter, copy_leaves, copy_tiles
from affidavit.storage.repair import Opening
from affidavit.storage.sql.log_cutting import NEWEST_TREES, begin, cut, grown
from affidavit.storage.sql.log_tables import pack_frontier

__all__ = ["PostgresLogRepair"]

PIECE = 1_000
"""Leaves that are compared at once."""
_ID, _ORGANIZATION = COLUMNS.index("id"), COLUMNS.index("organization")
_LEAF = "uuid_send(l.id), l.hash, n.hex, n.organization FROM affidavit_leaves l"
_EVENTS = (
    f"SELECT {EVENT} FROM unnest(?::text[], ?::uuid[]) p (organization, id), LATERAL (SELECT * FROM"
    " affidavit_events e WHERE e.organization = p.organization AND e.id = p.id LIMIT 1) e"
)


class _Leaf(NamedTuple):
    """A leaf, with what its event must be like."""

    event_id: bytes
    hash: bytes
    hex_digits: str
    organization: str


class PostgresLogRepair:
    """See :class:`affidavit.storage.repair.LogRepair`.

    Args:
        writer: of the log.
    """

    def __init__(self, writer: PostgresLogWriter) -> None:
        self._writer = writer

    def last_match(self) -> int:
        """See the role."""
        with self._writer.reading() as log:
            (end,) = log.execute("SELECT coalesce(max(seq), 0) FROM affidavit_leaves").fetchone() or (0,)
            for place, leaf, values in _backwards(log, end):
                if values is not None and _matches(leaf, values):
                    return place
        return 0

    def beyond(self, seq: int) -> list[str]:
        """See the role."""
        with self._writer.reading() as log:
            rows = log.execute(
                f"SELECT DISTINCT n.organization FROM ({NEWEST_TREES}) n"
                " JOIN affidavit_leaves l ON l.tree = n.tree WHERE l.seq > ? ORDER BY 1",
                (seq,),
            )
            return [organization for (organization,) in rows]

    def reopen(self, openings: Sequence[Opening], matched: int) -> None:
        """See the role.

        An event whose leaf no checkpoint covers gets one in the new tree at once, and keeps its place. One
        that came back with another content is queued.
        """
        with self._writer.transaction() as log:
            log.execute("SELECT FROM affidavit_position FOR UPDATE")
            (place,) = log.execute(
                "SELECT coalesce(greatest((SELECT seq FROM affidavit_position),"
                " (SELECT max(seq) FROM affidavit_leaves)), 0)"
            ).fetchone() or (0,)
            _queue(log, _replaced(log, [opening.organization for opening in openings], matched))
            for number, opening in enumerate(openings, place + 1):
                _begin(log, opening, number)
        self._writer.forget()


def _backwards(log: Session, end: int) -> Iterator[tuple[int, _Leaf, Sequence[Any] | None]]:
    """Place, leaf and event of the leaves of the newest trees, the last place first."""
    while end > 0:
        rows = log.execute(
            f"SELECT l.seq, {_LEAF} JOIN ({NEWEST_TREES}) n ON n.tree = l.tree"
            " WHERE l.seq > ? AND l.seq <= ? ORDER BY l.seq DESC",
            (end - PIECE, end),
        ).fetchall()
        leaves = [_Leaf(*row[1:]) for row in rows]
        events = _events(log, leaves)
        for row, leaf in zip(rows, leaves, strict=True):
            yield row[0], leaf, events.get((leaf.organization, leaf.event_id))
        end -= PIECE


def _events(log: Session, leaves: Sequence[_Leaf]) -> dict[tuple[str, bytes], Sequence[Any]]:
    """The rows of leaves, by the organization of their tree and their id."""
    parameters = [leaf.organization for leaf in leaves], [uid(leaf.event_id) for leaf in leaves]
    rows = log.execute(_EVENTS, parameters).fetchall()
    found: dict[tuple[str, bytes], Sequence[Any]] = {
        (home_of(values[_ORGANIZATION]), values[_ID]): values for values in rows
    }
    lost = [
        uid(leaf.event_id)
        for leaf in leaves
        if leaf.organization == INSTANCE and (INSTANCE, leaf.event_id) not in found
    ]
    if lost:  # the instance's tree has the events whose organization is no name; no index leads to them
        rows = log.execute(f"SELECT {EVENT} FROM affidavit_events e WHERE e.id = ANY(?)", (lost,)).fetchall()
        found.update({(home_of(values[_ORGANIZATION]), values[_ID]): values for values in rows})
    return found


def _matches(leaf: _Leaf, values: Sequence[Any]) -> bool:
    try:
        return leaf_hash(leaf_of(values, leaf.hex_digits).entry) == leaf.hash
    except RowVersionError:
        return False


def _replaced(log: Session, organizations: Sequence[str], matched: int) -> list[Sequence[Any]]:
    """The events beyond a place under whose id another one was sequenced."""
    (end,) = log.execute("SELECT coalesce(max(seq), 0) FROM affidavit_leaves").fetchone() or (0,)
    return [
        values
        for place, leaf, values in _backwards(log, end if end > matched else 0)
        if place > matched
        and leaf.organization in organizations
        and values is not None
        and not _matches(leaf, values)
    ]


def _queue(log: Session, events: Sequence[Sequence[Any]]) -> None:
    """Put events into the queue that are not there."""
    log.execute(
        "INSERT INTO affidavit_pending (organization, id) SELECT DISTINCT n.organization, n.id"
        " FROM unnest(?::text[], ?::uuid[]) n (organization, id) WHERE NOT EXISTS (SELECT FROM"
        " affidavit_pending p WHERE p.organization = n.organization AND p.id = n.id) ORDER BY n.id",
        (
            [values[_ORGANIZATION].decode() for values in events],
            [uid(values[_ID]) for values in events],
        ),
    )


def _begin(log: Session, opening: Opening, place: int) -> None:
    """Begin a tree with its leaf 0, which leaves the queue, and the leaves that were not signed before."""
    organization, host, hex_digits, incarnation, _, leaf, event_id = opening
    before = grown(log, organization)
    number = begin(log, organization, host, hex_digits, incarnation, place, leaf)
    copy_leaves(log, [(number, 0, place, event_id, leaf)])
    frontier = Frontier(1, [leaf])
    for tree, published in before:
        _move_leaves(log, tree, published, _Tree(number, hex_digits, frontier))
        cut(log, tree, published)
    log.execute(
        "UPDATE affidavit_trees SET size = ?, frontier = ? WHERE tree = ?",
        (frontier.size, pack_frontier(frontier), number),
    )
    log.execute(
        "DELETE FROM affidavit_pending WHERE organization = ? AND id = ?", (organization, uid(event_id))
    )
    log.execute(
        "INSERT INTO affidavit_position (one, seq, organization, id, leaf) VALUES (1, ?, ?, ?, ?)"
        " ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, organization = excluded.organization,"
        " id = excluded.id, leaf = excluded.leaf",
        (place, organization, uid(event_id), leaf),
    )


class _Tree(NamedTuple):
    """The tree that is begun."""

    number: int
    hex_digits: str
    frontier: Frontier


def _move_leaves(log: Session, tree: int, start: int, target: _Tree) -> None:
    """Give the events of the leaves from an index on the next leaves of the new tree."""
    tiles: list[tuple[int, int, int, bytes]] = []
    while rows := log.execute(
        f"SELECT l.idx, l.seq, {_LEAF} JOIN affidavit_trees n ON n.tree = l.tree"
        " WHERE l.tree = ? AND l.idx >= ? ORDER BY l.idx LIMIT ?",
        (tree, start, PIECE),
    ).fetchall():
        leaves = [(row[1], _Leaf(*row[2:])) for row in rows]
        events = _events(log, [leaf for _, leaf in leaves])
        moved = []
        for place, leaf in leaves:
            values = events.get((leaf.organization, leaf.event_id))
            if values is None:
                continue  # it was deleted; nobody ever signed that it was there
            digest = leaf_hash(leaf_of(values, target.hex_digits).entry)
            moved.append((target.number, target.frontier.size, place, leaf.event_id, digest))
            target.frontier.append(digest, lambda *tile: tiles.append((target.number, *tile)))
        start = rows[-1][0] + 1
        log.execute(
            "DELETE FROM affidavit_leaves WHERE tree = ? AND idx >= ? AND idx < ?", (tree, rows[0][0], start)
        )
        copy_leaves(log, moved)
    copy_tiles(log, tiles)
