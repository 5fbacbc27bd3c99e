"""What all checks share: the trees as they are stored, and where the log says that it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from affidavit.storage.evidence import Fault, Record

__all__ = ["LogState", "StoredTree"]

HASH_SIZE = 32


class StoredTree:
    """One row of the table of trees, its values checked for their types only.

    Attributes:
        newest: whether no later incarnation of its organization is stored.
    """

    __slots__ = (
        "first_seq", "frontier", "hex_digits", "host", "incarnation", "kept", "newest", "number",
        "organization", "published", "size",
    )  # fmt: skip

    def __init__(self, row: Record) -> None:
        self.number: int = row["tree"]
        self.organization: str = row["organization"]
        self.host: str = row["host"]
        self.hex_digits: str = row["hex"]
        self.incarnation: int = row["incarnation"]
        self.first_seq: int | None = row["first_seq"]
        self.size: int = row["size"]
        self.frontier: bytes = row["frontier"]
        self.published: int = row["published"]
        self.kept: int = row["kept"]
        self.newest = True

    @property
    def origin(self) -> str:
        """Of its checkpoints."""
        return f"{self.host}/{self.hex_digits}/{self.incarnation}"


_TYPES: Mapping[str, tuple[type, ...]] = {
    "tree": (int,),
    "organization": (str,),
    "host": (str,),
    "hex": (str,),
    "incarnation": (int,),
    "first_seq": (int, type(None)),
    "size": (int,),
    "frontier": (bytes,),
    "published": (int,),
    "kept": (int,),
}


class LogState:
    """The head of the log file, as of one moment.

    Args:
        tables: of the log file.

    Attributes:
        trees: number to tree, of those rows that have the right types.
        faults: the rows that have not; there is nothing more to check about those.
    """

    def __init__(self, tables: Mapping[str, list[Record]]) -> None:
        self.tables = tables
        self.faults: list[Fault] = []
        self.trees: dict[int, StoredTree] = {}
        self._newest: dict[str, StoredTree] = {}
        for row in tables.get("affidavit_trees", ()):
            if all(type(row[name]) in types for name, types in _TYPES.items()):
                self.trees[row["tree"]] = StoredTree(row)
            else:
                self.faults.append(
                    Fault("affidavit_trees", "", str(row["tree"]), "is not a row that can be checked")
                )
        for tree in sorted(self.trees.values(), key=lambda each: each.incarnation):
            earlier = self._newest.get(tree.organization)
            if earlier is not None:
                earlier.newest = False
            self._newest[tree.organization] = tree

    def renew(self, row: Record | None, tree: StoredTree) -> StoredTree:
        """Take in what a tree's row says now; its name stays what it was."""
        if row is not None and all(type(row[name]) in types for name, types in _TYPES.items()):
            tree.size, tree.frontier = row["size"], row["frontier"]
            tree.published, tree.kept = row["published"], row["kept"]
        return tree

    def one(self, table: str) -> Record | None:
        """The row of a table that has exactly one; ``None`` and a fault where it has not."""
        rows = self.tables.get(table, ())
        if len(rows) != 1:
            self.faults.append(Fault(table, "", "", "must have exactly one row", "1", str(len(rows))))
            return None
        return rows[0]

    def newest(self, organization: str) -> StoredTree | None:
        """The tree that an organization's events are sequenced into."""
        return self._newest.get(organization)

    def of_hex(self, hex_digits: str) -> Iterable[StoredTree]:
        """Every incarnation of one log."""
        return [tree for tree in self.trees.values() if tree.hex_digits == hex_digits]

    def position(self) -> int:
        """The place up to which every event has its leaf; 0 where that cannot be read."""
        rows = self.tables.get("affidavit_position", ())
        seq: Any = rows[0]["seq"] if rows else 0
        return seq if type(seq) is int else 0
