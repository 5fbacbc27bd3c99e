"""Whether every event either waits for its leaf or has one, and places are given out without a gap.

The table of events and the queue are written in one transaction, leaves and queue in another: at any moment
an event stands in exactly one of the two. Each statement here sees one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from affidavit.core.forms import format_id
from affidavit.core.sealing import home_of
from affidavit.storage.evidence import Fault
from affidavit.storage.postgres.connect import uid

__all__ = ["Ask", "queue_faults"]

Ask: TypeAlias = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with its parameters; texts come as UTF-8 bytes."""
_PIECE = 8_192
_NAMED = 100
"""Faults of one kind that are named."""

_NOWHERE = """
SELECT e.organization, e.id, e.waits FROM (
    SELECT e.organization, e.id, EXISTS (
        SELECT FROM affidavit_pending q WHERE q.organization = e.organization AND q.id = e.id) AS waits
    FROM (SELECT organization, id FROM affidavit_events
          WHERE (organization, id) > (?, ?) ORDER BY organization, id LIMIT ?) e
    WHERE NOT EXISTS (SELECT FROM affidavit_trees t JOIN affidavit_leaves l ON l.tree = t.tree AND l.id = e.id
                      WHERE t.organization = e.organization)) e
WHERE NOT e.waits
"""
_END = """
SELECT organization, id FROM (SELECT organization, id FROM affidavit_events WHERE (organization, id) > (?, ?)
                              ORDER BY organization, id LIMIT ?) e ORDER BY organization DESC, id DESC LIMIT 1
"""
_IN_TREE_OF = """
SELECT FROM affidavit_trees t JOIN affidavit_leaves l ON l.tree = t.tree
WHERE t.organization = ? AND l.id = ?
"""
_WITHOUT_EVENT = """
SELECT q.seq, q.organization, q.id FROM affidavit_pending q WHERE NOT EXISTS
    (SELECT FROM affidavit_events e WHERE e.organization = q.organization AND e.id = q.id) LIMIT ?
"""
_WITH_LEAF = """
SELECT q.seq, q.organization, q.id FROM affidavit_pending q WHERE EXISTS
    (SELECT FROM (SELECT tree FROM affidavit_trees t WHERE t.organization = q.organization
                  ORDER BY t.incarnation DESC LIMIT 1) t
     JOIN affidavit_leaves l ON l.tree = t.tree AND l.id = q.id) LIMIT ?
"""
_TWICE = """
SELECT max(q.seq), q.organization, q.id FROM affidavit_pending q
GROUP BY q.organization, q.id HAVING count(*) > 1 LIMIT ?
"""
_QUEUE: Sequence[tuple[str, str]] = (
    (_WITHOUT_EVENT, "waits for a leaf, and there is no such event"),
    (_WITH_LEAF, "waits for a leaf although it has one"),
    (_TWICE, "waits for its leaf twice"),
)
_GAPS = """
SELECT l.seq FROM affidavit_leaves l
WHERE l.seq - 1 > (SELECT coalesce(max(first_seq), 0) FROM affidavit_trees) AND NOT EXISTS
    (SELECT FROM affidavit_leaves b WHERE b.seq = l.seq - 1) ORDER BY l.seq LIMIT ?
"""
# What lies before a tree that was begun later may have lost leaves that nobody had signed.


def queue_faults(ask: Ask) -> Iterator[Fault]:
    """Events that are in neither queue nor log, rows of the queue that make no sense, places left out.

    Args:
        ask: of one database. Reads the keys of all events once.
    """
    yield from _nowhere(ask)
    for statement, rule in _QUEUE:
        for seq, organization, event_id in ask(statement, (_NAMED,)):
            yield Fault(
                "affidavit_pending", "id", str(seq), rule, id=_id(event_id), computed=_text(organization)
            )
    yield from _numbers(ask)
    yield from _places(ask)


def _nowhere(ask: Ask) -> Iterator[Fault]:
    """Every event must wait or have a leaf: whoever deletes its row of the queue hides it from the log."""
    named = 0
    after: tuple[Any, ...] = ("", uid(bytes(16)))
    while named < _NAMED:
        for organization, event_id, _ in ask(_NOWHERE, (*after, _PIECE)):
            home = home_of(organization)
            if home != _text(organization) and ask(_IN_TREE_OF, (home, uid(event_id))):
                continue  # its organization is no name: its leaf stands in the tree of the instance
            named += 1
            rule = "neither waits for its leaf nor has one: the log will never hold it"
            yield Fault("affidavit_events", "", f"event {_id(event_id)}", rule, id=_id(event_id))
        end = ask(_END, (*after, _PIECE))
        if not end:
            return
        after = (_text(end[0][0]), uid(end[0][1]))


def _numbers(ask: Ask) -> Iterator[Fault]:
    newest = "(SELECT coalesce(max(seq), 0) FROM affidavit_pending)"
    for last, highest in ask(f"SELECT last_value, {newest} FROM affidavit_pending_seq_seq"):
        if last < highest:
            rule = "is below a number of the queue, so numbers would be given out twice"
            yield Fault("affidavit_pending_seq_seq", "last_value", "", rule, f"at least {highest}", str(last))


def _places(ask: Ask) -> Iterator[Fault]:
    """Places count from 1 without a gap up to that of the queue."""
    ((count, highest, position),) = ask(
        "SELECT count(*), coalesce(max(seq), 0), (SELECT max(seq) FROM affidavit_position)"
        " FROM affidavit_leaves"
    )
    if position is not None and position != highest:
        rule = "is not the place of the newest leaf"
        yield Fault("affidavit_position", "seq", "1", rule, str(highest), str(position))
    if count != highest:
        for (seq,) in ask(_GAPS, (_NAMED,)):
            rule = "the place before it has no leaf"
            yield Fault("affidavit_leaves", "seq", str(seq), rule, str(seq - 1))


def _id(event_id: bytes) -> str:
    return format_id(event_id)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
