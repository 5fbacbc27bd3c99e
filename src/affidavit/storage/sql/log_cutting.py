"""Shortens trees to what was signed, and begins the trees behind them; within the caller's transaction."""

from __future__ import annotations

from affidavit.core.merkle import Subtree, decompose, node_hash
from affidavit.storage.sql.database import Connection

__all__ = ["NEWEST_TREES", "begin", "cut", "grown"]

NEWEST_TREES = (
    "SELECT tree, organization, hex FROM affidavit_trees t WHERE incarnation ="
    " (SELECT max(incarnation) FROM affidavit_trees o WHERE o.organization = t.organization)"
)
"""The newest incarnation of each organization."""


def grown(log: Connection, organization: str) -> list[tuple[int, int]]:
    """The trees of an organization that grew since their newest checkpoint: number, published size."""
    rows = log.execute(
        "SELECT tree, published FROM affidavit_trees WHERE organization = ? AND size > published",
        (organization,),
    ).fetchall()
    return [(tree, published) for tree, published in rows]


def cut(log: Connection, tree: int, size: int) -> None:
    """Shorten a tree to its first leaves; one of none is taken away."""
    if size == 0:
        log.execute("DELETE FROM affidavit_trees WHERE tree = ?", (tree,))
    else:
        hashes = [_subtree(log, tree, each) for each in decompose(0, size)]
        log.execute(
            "UPDATE affidavit_trees SET size = ?, frontier = ? WHERE tree = ?", (size, b"".join(hashes), tree)
        )
    log.execute("DELETE FROM affidavit_leaves WHERE tree = ? AND idx >= ?", (tree, size))
    log.execute("DELETE FROM affidavit_tiles WHERE tree = ? AND ((idx + 1) << (8 * level)) > ?", (tree, size))


def _subtree(log: Connection, tree: int, subtree: Subtree) -> bytes:
    level = subtree.level // 8
    count = 1 << (subtree.level - 8 * level)
    start = subtree.index * count
    table, extra = ("affidavit_leaves", "") if level == 0 else ("affidavit_tiles", f" AND level = {level}")
    hashes = [
        digest
        for (digest,) in log.execute(
            f"SELECT hash FROM {table} WHERE tree = ? AND idx >= ? AND idx < ?{extra} ORDER BY idx",
            (tree, start, start + count),
        ).fetchall()
    ]
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return bytes(hashes[0])


def begin(
    log: Connection, organization: str, host: str, hex_digits: str, incarnation: int, seq: int, leaf: bytes
) -> int:
    """Begin a tree of one leaf, which the caller stores; its number."""
    (number,) = log.execute("SELECT coalesce(max(tree), 0) + 1 FROM affidavit_trees").fetchone()
    log.execute(
        "INSERT INTO affidavit_trees (tree, organization, host, hex, incarnation, first_seq, size, published,"
        " frontier) VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?)",
        (number, organization, host, hex_digits, incarnation, seq, leaf),
    )
    return int(number)
