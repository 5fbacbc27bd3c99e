"""The place that was given last, and whether what stands there is what got it.

Each event is looked up with its id as a parameter of its own: then only its month is planned, however many
there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from affidavit.core.merkle import leaf_hash
from affidavit.core.row import COLUMNS
from affidavit.core.sealing import RowVersionError, leaf_of
from affidavit.errors import LogMismatch
from affidavit.storage.postgres.connect import Session, uid

__all__ = ["EVENT", "Place", "check_place"]

_IDS = {"id", "parent_id"}
_AS_THEY_ARE = {"version", "imported", "secret", "recorded_at"}


def _sent(column: str) -> str:
    """A column as the server stores it: texts as their bytes, which the leaf hashes, ids as 16 bytes."""
    if column in _AS_THEY_ARE:
        return f"e.{column}"
    return f"{'uuid_send' if column in _IDS else 'textsend'}(e.{column})"


EVENT = ", ".join(map(_sent, COLUMNS))
"""The columns of an event ``e`` in the order of ``COLUMNS``, texts as UTF-8 bytes."""

_PLACE = (
    "SELECT p.seq, p.organization, uuid_send(p.id), p.leaf, l.hash, t.hex,"
    " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM affidavit_position p"
    " LEFT JOIN affidavit_leaves l ON l.seq = p.seq AND l.id = p.id"
    " LEFT JOIN affidavit_trees t ON t.tree = l.tree"
)
_ROW = f"SELECT {EVENT} FROM affidavit_events e WHERE e.organization = ? AND e.id = ?"


class Place(NamedTuple):
    """The position that was given last.

    Attributes:
        seq: 0 where none was given.
        organization, event_id: of the event that got it.
        leaf: the hash of its leaf, as it is remembered here.
        stored: the same, as it stands in the tree; ``None`` where it does not.
        hex_digits: of that tree.
        now: the database's time, microseconds since 1970 UTC.
    """

    seq: int
    organization: str
    event_id: bytes
    leaf: bytes
    stored: bytes | None
    hex_digits: str
    now: int


def check_place(session: Session) -> Place:
    """Read the place; outside of a transaction that sees one moment only.

    Raises:
        LogMismatch: somebody edited the database, or put back a part of it.
    """
    place = _read(session)
    while (fault := _fault(place, session)) is not None:
        again = _read(session)
        if again[:-1] == place[:-1]:
            raise LogMismatch(fault)
        place = again  # somebody sequenced on, and what stood there may be gone by right
    return place


def _read(session: Session) -> Place:
    row = session.execute(_PLACE).fetchone()
    if row is None:
        raise LogMismatch(
            "The place of the queue is missing in affidavit_position; somebody deleted it."
            " See: affidavit fsck"
        )
    return Place(*row)


def _fault(place: Place, session: Session) -> str | None:
    if place.seq == 0:
        return None
    row = session.execute(_ROW, (place.organization, uid(place.event_id))).fetchone()
    if row is None:
        return (
            f"The event at place {place.seq}, the last one with a leaf, is not in the database: events were"
            " restored without their log, or deleted. See: affidavit fsck and affidavit log reopen"
        )
    if place.leaf != place.stored or _hash(row, place.hex_digits) != place.leaf:
        return (
            f"The event at place {place.seq}, the last one with a leaf, is another one now: events were"
            " restored without their log, or one of both was edited. See: affidavit fsck and affidavit log"
            " reopen"
        )
    return None


def _hash(values: Sequence[Any], hex_digits: str) -> bytes | None:
    try:
        return leaf_hash(leaf_of(values, hex_digits).entry)
    except RowVersionError:
        return None
