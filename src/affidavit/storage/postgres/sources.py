"""Where ids come from, newest first: ordered scans of one index of the events or of the terms.

Each gives a statement with constant bounds and a limit, so that its work is bounded whatever the table holds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from affidavit.storage.postgres.snapshot import Part, Snapshot, within
from affidavit.storage.sql.conditions import Expression

__all__ = ["Actions", "Arms", "Flagged", "Looked", "Source", "Union"]

ARMS = 8
"""Scans of one union; with more of them one scan is repeated for each value, which is planned once."""
MOST_ACTIONS = 256
"""Actions under a prefix; where there are more, the walk looks at the rows instead."""


class Source(ABC):
    """Ids of one organization.

    Attributes:
        indexed: whether it reads what the follower wrote, so that the tail has to be looked at, too.
        arms: how many scans it is made of, where each is as long as the whole.
    """

    indexed = False
    arms = 1

    def open(self, snapshot: Snapshot, part: Part) -> bool:
        """Look at a part before it is read; false where there is too much of it to be read in order."""
        del snapshot, part
        return True

    @abstractmethod
    def keys(self, part: Part, count: int) -> Expression:
        """A statement for the greatest ``count`` ids of a part, descending, each once."""

    def test(self, part: Part) -> Expression | None:
        """Whether an id ``k.id`` is among them; ``None`` where the row itself says it more cheaply."""
        del part
        return None


def _repeated(
    table: str, column: str, values: Sequence[object], cast: str, of: str, part: Part, count: int
) -> Expression:
    """Ordered scans of one index, one for each value; ``of`` is a condition that all of them share."""
    shared = f"{of}{within(part)} ORDER BY id DESC LIMIT {count}"
    if len(values) <= ARMS:
        arm = f"(SELECT id FROM {table} WHERE {column} = ?{cast} AND {shared})"
        return Expression(" UNION ALL ".join([arm] * len(values)), tuple(values))
    return Expression(
        f"SELECT x.id FROM unnest(?{cast}[]) v(value), LATERAL (SELECT id FROM {table}"
        f" WHERE {column} = v.value AND {shared}) x ORDER BY x.id DESC LIMIT {count}",
        (list(values),),
    )


_NOTHING = Expression("SELECT NULL::uuid AS id WHERE false")


def _distinct(keys: Expression, count: int) -> Expression:
    return Expression(
        f"SELECT DISTINCT id FROM ({keys.sql}) u ORDER BY id DESC LIMIT {count}", keys.parameters
    )


class Arms(Source):
    """The events with one of several values in a column that leads an index of the organization."""

    def __init__(self, organization: str, column: str, values: Sequence[str]) -> None:
        self._organization = organization
        self._column = column
        self._values = values
        self.arms = 1 if len(values) <= ARMS else len(values)

    def keys(self, part: Part, count: int) -> Expression:
        """See :meth:`Source.keys`."""
        if not self._values:
            return _NOTHING
        organization = "organization = ? AND "
        found = _repeated("affidavit_events", self._column, self._values, "::text", organization, part, count)
        if len(self._values) > ARMS:
            return Expression(found.sql, (*found.parameters, self._organization))
        spread = tuple(p for value in found.parameters for p in (value, self._organization))
        return (
            Expression(found.sql, spread)
            if len(self._values) == 1
            else _distinct(Expression(found.sql, spread), count)
        )


class Actions(Source):
    """The events with one of several actions; of a prefix, those that occur in a part."""

    def __init__(self, organization: str, values: Sequence[str]) -> None:
        self._organization = organization
        self._values = values
        self._found: Arms = Arms(organization, "action", ())

    def open(self, snapshot: Snapshot, part: Part) -> bool:
        """Find the actions under the prefixes, by a loose scan of the index."""
        found = {value for value in self._values if not value.endswith(".*")}
        for value in self._values:
            if value.endswith(".*"):
                found.update(self._under(snapshot, part, value[:-1]))
        self._found = Arms(self._organization, "action", sorted(found))
        self.arms = self._found.arms
        return len(found) <= MOST_ACTIONS

    def _under(self, snapshot: Snapshot, part: Part, prefix: str) -> list[str]:
        # Over whole partitions, so that the bounds on ids leave out none of an action's.
        low, below = snapshot.whole(part)
        first = (
            "SELECT action FROM affidavit_events WHERE organization = ? AND action {} AND action < ?"
            f" AND {within((low, below))} ORDER BY action LIMIT 1"
        )
        end = prefix[:-1] + "/"
        rows = snapshot.execute(
            f"WITH RECURSIVE a(action) AS (({first.format('>= ?')}) UNION ALL"
            f" SELECT ({first.format('> a.action')}) FROM a WHERE a.action IS NOT NULL)"
            f" SELECT action FROM a WHERE action IS NOT NULL LIMIT {MOST_ACTIONS + 1}",
            (self._organization, prefix, end, self._organization, end),
        )
        return [action for (action,) in rows]

    def keys(self, part: Part, count: int) -> Expression:
        """See :meth:`Source.keys`."""
        return self._found.keys(part, count)


class Flagged(Source):
    """The events of partial indexes; their conditions are literals, else these are not usable."""

    def __init__(self, organization: str, tests: Sequence[str]) -> None:
        self._organization = organization
        self._tests = tests

    def keys(self, part: Part, count: int) -> Expression:
        """See :meth:`Source.keys`."""
        if not self._tests:
            return _NOTHING
        arms = [
            f"(SELECT id FROM affidavit_events WHERE organization = ? AND {test} AND {within(part)}"
            f" ORDER BY id DESC LIMIT {count})"
            for test in self._tests
        ]
        found = Expression(" UNION ALL ".join(arms), (self._organization,) * len(arms))
        return found if len(arms) == 1 else _distinct(found, count)


class Looked(Source):
    """The events under terms."""

    indexed = True

    def __init__(self, hashes: Sequence[int]) -> None:
        self._hashes = hashes
        self.arms = 1 if len(hashes) <= ARMS else len(hashes)

    def keys(self, part: Part, count: int) -> Expression:
        """See :meth:`Source.keys`."""
        if not self._hashes:
            return _NOTHING
        found = _repeated("affidavit_terms", "hash", self._hashes, "::bigint", "", part, count)
        return found if len(self._hashes) == 1 else _distinct(found, count)

    def test(self, part: Part) -> Expression | None:
        """See :meth:`Source.test`."""
        if len(self._hashes) > ARMS:
            return None
        # A scalar, which the planner leaves where it is: an EXISTS it may turn into a join of all of them.
        return Expression(
            "(SELECT true FROM affidavit_terms WHERE hash = ANY(?::bigint[]) AND id = k.id"
            f" AND {within(part)} LIMIT 1)",
            (list(self._hashes),),
        )


class Union(Source):
    """Several sources as one; an id in two of them comes once."""

    indexed = True

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.arms = max(source.arms for source in sources)

    def keys(self, part: Part, count: int) -> Expression:
        """See :meth:`Source.keys`."""
        found = [source.keys(part, count) for source in self._sources]
        arms = [f"SELECT id FROM ({each.sql}) s" for each in found if each is not _NOTHING]
        return _distinct(
            Expression(" UNION ALL ".join(arms), tuple(p for each in found for p in each.parameters)), count
        )
