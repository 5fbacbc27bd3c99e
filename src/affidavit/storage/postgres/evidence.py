"""Everything that a database holds, raw, for ``affidavit fsck``; nothing is written, nothing is believed.

Texts are read as bytes, so that no edited value can stop a reader. Each call is one short transaction, whose
names lead to ``pg_catalog`` and our schema only and which refuses to have rows hidden from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from affidavit import errors
from affidavit.core.row import COLUMNS
from affidavit.storage.evidence import Fault, RawEvent, RawLeaf, Record
from affidavit.storage.postgres.connect import Address, uid
from affidavit.storage.postgres.index_evidence import PostgresIndexEvidence
from affidavit.storage.postgres.months import month_faults, single_faults, step_faults
from affidavit.storage.postgres.queue_check import queue_faults
from affidavit.storage.postgres.reading import PIECE, Reading
from affidavit.storage.postgres.schema import Described, describe, of_ours, schema_faults, wanted
from affidavit.storage.protocols import UNPLACED

__all__ = ["PostgresEvidence", "PostgresIndexEvidence", "PostgresLogEvidence"]

_LOOKED_FOR = 1_000
"""Events that are not where their leaf says, and are looked for in other organizations."""
_SETTINGS_EVENTS = "(action LIKE 'access.%' OR action LIKE 'audit.%')"
_LOG = ("affidavit_position", "affidavit_trees", "affidavit_manifests", "affidavit_alarms")
_NO_SETTINGS = frozenset(
    {
        *_LOG,
        *("affidavit_events", "affidavit_pending", "affidavit_leaves", "affidavit_tiles"),
        *("affidavit_checkpoints", "affidavit_leases", "affidavit_tasks"),
        *("affidavit_terms", "affidavit_hourly", "affidavit_emails", "affidavit_index"),
    }
)
"""Tables that are read in pieces, or by another role."""
_ONE_ROW = ("affidavit_partitioning", "affidavit_closing")
_VALUES = ", ".join(COLUMNS)
_LATER = (
    "SELECT FROM affidavit_trees n JOIN affidavit_leaves m ON m.tree = n.tree AND m.id = l.id"
    " WHERE n.organization = t.organization AND n.incarnation > t.incarnation"
)
"""A leaf of the same event in a later tree: the event was replaced, this leaf's own is gone."""


class PostgresEvidence:
    """:class:`affidavit.storage.evidence.Evidence` of one PostgreSQL store.

    The place of an event is the position that it got with its leaf: rows are found through leaves.

    Args:
        address: of the database.
    """

    def __init__(self, address: Address) -> None:
        self._reading = Reading(address)
        self._waiting: list[RawEvent] = []
        self._newest_waiting = 0
        self._described: Described | None = None
        self._elsewhere: dict[bytes, list[bytes]] = {}

    def faults(self) -> Iterator[Fault]:
        """See the role. Reads the keys of all events and leaves once, in short transactions."""
        try:
            with self._reading.moment() as session:
                described = self._described = describe(session)
                months = self._reading.records("affidavit_months")
                ranges = self._reading.records("affidavit_pruned")
                steps = self._reading.records("affidavit_migrations")
                singles = {table: len(self._reading.records(table)) for table in _ONE_ROW}
            yield from schema_faults(described)
            yield from month_faults(described, months, ranges)
            yield from single_faults(singles)
            yield from step_faults(steps)
            yield from queue_faults(self._reading.all)
        except errors.StorageError as error:
            yield Fault("", "", "", f"the schema could not be read to its end: {error.message[:300]}")

    def warnings(self) -> Iterator[str]:
        """See the role; of the schema what :meth:`faults` saw."""
        ((rows,),) = self._reading.all(
            "SELECT count(*) FROM (SELECT FROM affidavit_events_default LIMIT 1001) d"
        )
        if rows:
            count = "more than 1,000" if rows > 1_000 else f"{rows}"
            yield f"the default partition holds {count} events: the worker makes their months and moves them"
        if self._described is not None and not of_ours(self._described):
            yield "audit_logs does not show our events: the name was taken, or the view was replaced"

    def settings(self) -> tuple[Mapping[str, list[Record]], int]:
        """See the role."""
        with self._reading.moment() as session:
            tables = {
                table: self._reading.records(table)
                for table, facts in wanted().items()
                if facts.get("table") == "table" and table not in _NO_SETTINGS
            }
            ((last,),) = session.execute("SELECT coalesce(max(seq), 0) FROM affidavit_leaves").fetchall()
            ((self._newest_waiting,),) = session.execute(
                "SELECT coalesce(max(seq), 0) FROM affidavit_pending"
            ).fetchall()
            self._waiting = [row for piece in self._queued(_SETTINGS_EVENTS) for row in piece]
        return tables, last

    def waiting(self) -> Iterator[Sequence[RawEvent]]:
        """See the role. What got its place since :meth:`settings` is left for the next check."""
        yield self._waiting
        yield from self._queued(f"NOT {_SETTINGS_EVENTS}")

    def _queued(self, condition: str) -> Iterator[Sequence[RawEvent]]:
        """The events in the queue up to a number that meet a condition, in the order of their numbers."""
        after = -(2**63)
        while rows := self._reading.all(
            "SELECT p.number, e.* FROM (SELECT seq AS number, organization AS home, id AS event"
            " FROM affidavit_pending WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?) p"
            f" LEFT JOIN LATERAL (SELECT {_VALUES} FROM affidavit_events"
            f" WHERE organization = p.home AND id = p.event AND {condition} LIMIT 1) e ON true"
            " ORDER BY p.number",
            (after, self._newest_waiting, PIECE),
        ):
            yield [RawEvent(UNPLACED, row[1:]) for row in rows if row[1] is not None]
            after = rows[-1][0]

    def events(self, after: int, limit: int) -> Sequence[RawEvent]:
        """See the role."""
        found: list[RawEvent] = []
        while len(found) < limit:
            wanted_leaves = limit - len(found)
            places, rows = self._read("l.seq > ? ORDER BY l.seq LIMIT ?", (after, wanted_leaves))
            found += rows
            if places:
                after = places[-1]
            if len(places) < wanted_leaves:
                break
        return found

    def events_at(self, places: Sequence[int]) -> Mapping[int, RawEvent]:
        """See the role."""
        asked = [seq for seq in places if -(2**63) <= seq < 2**63]
        _, rows = self._read("l.seq = ANY(?::bigint[]) ORDER BY l.seq", (asked,))
        return {row.seq: row for row in rows}

    def explaining(self, organization: str) -> Sequence[RawEvent]:
        """See the role. The index is not believed: it only says where to look."""
        rows = self._reading.all(
            "SELECT l.seq FROM affidavit_events e JOIN affidavit_leaves l ON l.id = e.id"
            " JOIN affidavit_trees t ON t.tree = l.tree AND t.organization = e.organization"
            " WHERE e.organization = ? AND ((e.action >= 'audit.' AND e.action < 'audit/')"
            " OR (e.action >= 'log.' AND e.action < 'log/'))",
            (organization,),
        )
        places = sorted(seq for (seq,) in rows)
        found: list[RawEvent] = []
        for at in range(0, len(places), 1_000):
            pieces = self.events_at(places[at : at + 1_000])
            found += [pieces[seq] for seq in sorted(pieces)]
        return found

    def _read(self, where: str, parameters: Sequence[Any]) -> tuple[list[int], list[RawEvent]]:
        """Places of leaves, and the rows of those whose event is there."""
        rows = self._reading.all(
            f"SELECT l.seq, l.id, t.organization, e.* FROM (SELECT * FROM affidavit_leaves l WHERE {where}) l"
            " LEFT JOIN affidavit_trees t ON t.tree = l.tree"
            f" LEFT JOIN LATERAL (SELECT {_VALUES} FROM affidavit_events"
            " WHERE organization = t.organization AND id = l.id LIMIT 1) e"
            f" ON NOT EXISTS ({_LATER}) ORDER BY l.seq",
            parameters,
        )
        found = [RawEvent(row[0], row[3:]) for row in rows if row[3] is not None]
        missing = [(row[0], row[1], row[2]) for row in rows if row[3] is None]
        if missing:
            found = sorted([*found, *self._astray(missing)], key=lambda row: row.seq)
        return [row[0] for row in rows], found

    def _astray(self, missing: Sequence[tuple[int, bytes, bytes | None]]) -> Iterator[RawEvent]:
        """The rows of leaves that stand under another organization than that of the tree.

        Rows whose organization is no name have their leaf in the tree of the instance; others were edited.
        """
        pruned = {
            event_id
            for (event_id,) in self._reading.all(
                "SELECT m.id FROM unnest(?::text[], ?::uuid[]) m(organization, id) WHERE EXISTS"
                " (SELECT FROM affidavit_pruned p WHERE p.organization = m.organization"
                " AND m.id BETWEEN p.from_id AND p.to_id)",
                (
                    [None if home is None else home.decode() for _, _, home in missing],
                    [uid(event_id) for _, event_id, _ in missing],
                ),
            )
        }
        asked = [event_id for _, event_id, _ in missing if event_id not in pruned]
        self._look_for(asked)
        for seq, event_id, _ in missing:
            for organization in self._elsewhere.get(event_id, ()):
                rows = self._reading.all(
                    f"SELECT {_VALUES} FROM affidavit_events WHERE organization = ? AND id = ?",
                    (organization.decode(), uid(event_id)),
                )
                yield from (RawEvent(seq, row) for row in rows[:1])

    def _look_for(self, event_ids: Sequence[bytes]) -> None:
        """Note where else these ids stand. Reads whole months, so only so often."""
        new = [each for each in event_ids if each not in self._elsewhere][
            : _LOOKED_FOR - len(self._elsewhere)
        ]
        if not new:
            return
        self._elsewhere.update((each, []) for each in new)
        for event_id, organization in self._reading.all(
            "SELECT e.id, e.organization FROM affidavit_events e WHERE e.id = ANY(?::uuid[]) AND NOT EXISTS"
            " (SELECT FROM affidavit_leaves l JOIN affidavit_trees t ON t.tree = l.tree"
            " WHERE l.id = e.id AND t.organization = e.organization)",
            ([uid(each) for each in new],),
        ):
            self._elsewhere[event_id] = [organization]

    def close(self) -> None:
        """Close the connection."""
        self._reading.close()


class PostgresLogEvidence:
    """:class:`affidavit.storage.evidence.LogEvidence` of one PostgreSQL store.

    Args:
        address: of the database.
    """

    def __init__(self, address: Address) -> None:
        self._reading = Reading(address)

    def tables(self) -> Mapping[str, list[Record]] | None:
        """See the role. There is no log while nothing was ever sequenced."""
        with self._reading.moment() as session:
            if (
                not session.execute("SELECT FROM affidavit_trees LIMIT 1").fetchall()
                and not session.execute("SELECT FROM affidavit_leaves LIMIT 1").fetchall()
            ):
                return None
            return {table: self._reading.records(table) for table in _LOG}

    def head(self, tree: int) -> tuple[Record | None, Sequence[Record]]:
        """See the role."""
        with self._reading.moment():
            rows = self._reading.records("affidavit_trees", "WHERE tree = ?", (tree,))
            checkpoints = self._reading.records("affidavit_checkpoints", "WHERE tree = ?", (tree,))
        return (rows[0] if rows else None), checkpoints

    def size(self, tree: int) -> int:
        """See the role."""
        rows = self._reading.all("SELECT size FROM affidavit_trees WHERE tree = ?", (tree,))
        return int(rows[0][0]) if rows else 0

    def leaves(self, tree: int, start: int, limit: int) -> Sequence[RawLeaf]:
        """See the role."""
        return self._leaves("tree = ? AND idx >= ? ORDER BY idx LIMIT ?", (tree, start, limit))

    def leaves_after(self, seq: int, limit: int) -> Sequence[RawLeaf]:
        """See the role."""
        return self._leaves("seq > ? ORDER BY seq, tree LIMIT ?", (seq, limit))

    def leaves_at(self, places: Sequence[int]) -> Sequence[RawLeaf]:
        """See the role."""
        return self._leaves("seq = ANY(?::bigint[]) ORDER BY seq, tree", (list(places),))

    def _leaves(self, where: str, parameters: Sequence[Any]) -> Sequence[RawLeaf]:
        rows = self._reading.all(
            f"SELECT tree, idx, seq, hash FROM affidavit_leaves WHERE {where}", parameters
        )
        return [RawLeaf(*row) for row in rows]

    def tiles(self, tree: int, level: int) -> Iterator[tuple[Any, Any]]:
        """See the role."""
        after = -(2**63)
        while rows := self._reading.all(
            "SELECT idx, hash FROM affidavit_tiles WHERE tree = ? AND level = ? AND idx > ?"
            " ORDER BY idx LIMIT ?",
            (tree, level, after, PIECE),
        ):
            yield from rows
            after = rows[-1][0]

    def tile_levels(self, tree: int) -> Sequence[int]:
        """See the role."""
        rows = self._reading.all("SELECT DISTINCT level FROM affidavit_tiles WHERE tree = ?", (tree,))
        return sorted(level for (level,) in rows)

    def strays(self) -> Sequence[tuple[str, int]]:
        """See the role. Looks up the next tree instead of scanning."""
        found = []
        for table in ("affidavit_leaves", "affidavit_tiles", "affidavit_checkpoints"):
            after = -(2**31)
            while rows := self._reading.all(
                f"SELECT tree FROM {table} WHERE tree > ? ORDER BY tree LIMIT 1", (after,)
            ):
                after = rows[0][0]
                found.append((table, after))
        known = {tree for (tree,) in self._reading.all("SELECT tree FROM affidavit_trees")}
        return [each for each in found if each[1] not in known]

    def close(self) -> None:
        """Close the connection."""
        self._reading.close()
