"""The guard: what it remembers, compared with the trees. It remembers what a rolled-back file forgot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from affidavit.core.merkle import HASH_SIZE
from affidavit.log.fsck.findings import Findings, shown
from affidavit.log.fsck.state import LogState, StoredTree
from affidavit.storage.evidence import Fault, GuardEvidence, Record

__all__ = ["GuardCheck"]


class GuardCheck:
    """Compares heads and manifests of the guard with the log.

    Args:
        evidence: the guard's file.
        tables: of it.
        findings: where faults go.
    """

    def __init__(
        self, evidence: GuardEvidence, tables: Mapping[str, list[Record]], findings: Findings
    ) -> None:
        self._evidence = evidence
        self._tables = tables
        self._findings = findings
        self._heads: dict[str, Record] = {
            row["origin"]: row for row in tables.get("affidavit_guard_heads", ())
        }

    @property
    def database_id(self) -> str | None:
        """The database that it guards."""
        rows = self._tables.get("affidavit_guard", ())
        return rows[0]["database_id"] if rows else None

    def sizes(self, origin: str) -> list[int]:
        """The size of a tree whose root the guard knows now."""
        row = self._evidence.head(origin)
        if row is not None:
            self._heads[origin] = row
        return [row["size"]] if row is not None and type(row["size"]) is int else []

    def tree(self, tree: StoredTree, roots: Mapping[int, bytes], now: int) -> None:
        """Compare one tree with its head.

        Args:
            tree: as its row says.
            roots: size to the root that the leaves have.
            now: leaves that the tree has by now, where it grew meanwhile.
        """
        row = self._heads.pop(tree.origin, None)
        if row is None:
            if tree.published:
                rule = "the guard does not know a log of which checkpoints were signed"
                self._fault("", tree.origin, rule, str(tree.published), "", tree)
            return
        for column, expected in (("organization", tree.organization), ("incarnation", tree.incarnation)):
            if row[column] != expected:
                self._fault(
                    column, tree.origin, "is not that of the log", shown(expected), shown(row[column]), tree
                )
        size, root = row["size"], row["root"]
        if type(size) is not int or type(root) is not bytes or len(root) != HASH_SIZE:
            self._fault("size", tree.origin, "must be a number and 32 bytes", "", shown(size), tree)
        elif size < tree.published:
            rule = "the guard is behind what was signed: it was restored from before"
            self._fault("size", tree.origin, rule, str(tree.published), str(size), tree)
        elif size > max(tree.size, now) and tree.newest:
            rule = "more was signed than the log has: its tail was cut or it was restored from before"
            self._fault("size", tree.origin, rule, str(size), str(tree.size), tree)
        elif size > tree.size and not tree.newest:
            self._lost(tree, size - tree.size)
        elif size in roots and roots[size] != root:
            rule = "the leaves have another root than the one that was signed"
            self._fault("root", tree.origin, rule, root.hex(), roots[size].hex(), tree)

    def _lost(self, tree: StoredTree, entries: int) -> None:
        lost = self._findings.lost
        lost[tree.number] = lost.get(tree.number, 0) + entries

    def finish(self, database_id: str | None, before: LogState, state: LogState) -> None:
        """Compare what concerns no single tree: unknown heads, the database, manifests.

        Args:
            database_id: of the app's file.
            before: of the log as it was before the guard was read.
            state: of the log as it is now.
        """
        for origin, row in self._heads.items():
            closed = state.newest(row["organization"])
            if closed is not None and closed.origin == origin:
                continue  # begun while this runs
            if closed is None or not _is_later(closed, origin):
                rule = "the guard knows a log that is not in the log file: it was lost, replaced or restored"
                self._fault("", origin, rule, shown(row["size"]), "")
        rows = self._tables.get("affidavit_guard", ())
        if len(rows) != 1 or rows[0]["database_id"] != database_id or rows[0]["version"] != 1:
            computed = shown(rows[0]["database_id"]) if rows else ""
            rule = "is not the guard of this database"
            self._findings.fault(
                Fault("affidavit_guard", "database_id", "1", rule, shown(database_id), computed)
            )
        self._manifests(before, state)

    def _manifests(self, before: LogState, state: LogState) -> None:
        """Guard and log keep the same manifests, byte for byte."""
        stored = {row["hash"]: row for row in state.tables.get("affidavit_manifests", ())}
        for row in self._tables.get("affidavit_guard_manifests", ()):
            key, other = shown(row["hash"]), stored.get(row["hash"])
            if other is None:
                rule = "the log lost a manifest that the guard keeps: it was restored from before"
                self._findings.fault(Fault("affidavit_manifests", "", key, rule))
                continue
            for column in row:
                if row[column] != other[column]:
                    rule = "differs from the same manifest in the log"
                    self._findings.fault(
                        Fault(
                            "affidavit_guard_manifests",
                            column,
                            key,
                            rule,
                            shown(other[column]),
                            shown(row[column]),
                        )
                    )
        kept = {row["hash"] for row in (self._evidence.tables() or {}).get("affidavit_guard_manifests", ())}
        for row in before.tables.get("affidavit_manifests", ()):
            digest = row["hash"]
            if digest in kept:
                continue
            rule = "the guard does not keep this manifest: it was restored from before"
            self._findings.fault(Fault("affidavit_guard_manifests", "", shown(digest), rule))

    def _fault(
        self,
        column: str,
        origin: str,
        rule: str,
        expected: str,
        computed: str,
        tree: StoredTree | None = None,
    ) -> None:
        fault = Fault("affidavit_guard_heads", column, origin, rule, expected, computed)
        self._findings.fault(fault, tree.number if tree is not None else None, entries=0)


def _is_later(tree: StoredTree, origin: Any) -> bool:
    """Whether a tree is a later incarnation than that of an origin."""
    incarnation = str(origin).rpartition("/")[2]
    return incarnation.isdigit() and tree.incarnation > int(incarnation)
