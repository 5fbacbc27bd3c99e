"""The tables of the log, as every SQL engine has them: trees, checkpoints, manifests, alarms."""

from __future__ import annotations

from collections.abc import Iterable

from affidavit.core.merkle import HASH_SIZE, Frontier
from affidavit.core.times import HOUR
from affidavit.core.unsound import Malformed
from affidavit.errors import LogMismatch
from affidavit.storage.log import Alarm, Manifest, Published, Tree
from affidavit.storage.sql.database import Connection

__all__ = [
    "TREE_COLUMNS",
    "clear_alarm",
    "head_of",
    "pack_frontier",
    "publish",
    "read_alarms",
    "read_manifests",
    "sound_alarm",
    "store_manifest",
    "tree_of",
    "unpack_frontier",
    "unpublished",
    "with_frontier",
]

TREE_COLUMNS = "tree, organization, host, hex, incarnation, first_seq, size, published"


def tree_of(row: Iterable[object]) -> Tree:
    """A tree from a row of :data:`TREE_COLUMNS`."""
    return Tree(*row)  # type: ignore[arg-type]


def pack_frontier(frontier: Frontier) -> bytes:
    """The column ``frontier``: 32 bytes a hash, the greatest subtree first."""
    return b"".join(frontier.hashes)


def unpack_frontier(size: int, packed: bytes) -> Frontier:
    """The inverse of :func:`pack_frontier`."""
    return Frontier(size, [packed[at : at + HASH_SIZE] for at in range(0, len(packed), HASH_SIZE)])


def head_of(log: Connection, organization: str) -> tuple[Tree, Frontier] | None:
    """The newest incarnation of an organization with its frontier; ``None`` where it has no tree."""
    row = log.execute(
        f"SELECT {TREE_COLUMNS}, frontier FROM affidavit_trees WHERE organization = ?"
        " ORDER BY incarnation DESC LIMIT 1",
        (organization,),
    ).fetchone()
    return None if row is None else with_frontier(row)


def unpublished(log: Connection, after: int, limit: int) -> list[tuple[Tree, Frontier]]:
    """The trees that have grown since their newest checkpoint, with numbers above ``after``, in order."""
    rows = log.execute(
        f"SELECT {TREE_COLUMNS}, frontier FROM affidavit_trees"
        " WHERE published <> size AND tree > ? ORDER BY tree LIMIT ?",
        (after, limit),
    ).fetchall()
    return [with_frontier(row) for row in rows]


def with_frontier(row: tuple[object, ...]) -> tuple[Tree, Frontier]:
    """A tree and its frontier from a row of :data:`TREE_COLUMNS` and ``frontier``.

    Raises:
        LogMismatch: the two do not fit each other.
    """
    *columns, packed = row
    tree = tree_of(columns)
    try:
        return tree, unpack_frontier(tree.size, packed)  # type: ignore[arg-type]
    except Malformed as error:
        raise LogMismatch(
            f"The size of {tree.origin} or its frontier was edited ({error}). See: affidavit fsck"
        ) from error


def publish(log: Connection, checkpoint: Published) -> None:
    """Store a checkpoint; the one before it goes, unless that was cosigned or is the first of its hour."""
    earlier = log.execute(
        "SELECT size, signed_at, cosigned FROM affidavit_checkpoints WHERE tree = ? AND size < ?"
        " ORDER BY size DESC LIMIT 2",
        (checkpoint.tree, checkpoint.size),
    ).fetchall()
    replaced = 0
    if len(earlier) == 2 and not earlier[0][2] and earlier[0][1] // HOUR == earlier[1][1] // HOUR:
        replaced = _take_away(log, checkpoint.tree, earlier[0][0])
    stood = _take_away(log, checkpoint.tree, checkpoint.size)
    log.execute("INSERT INTO affidavit_checkpoints VALUES (?, ?, ?, ?, ?)", checkpoint)
    log.execute(
        "UPDATE affidavit_trees SET kept = kept + ?,"
        " published = CASE WHEN published < ? THEN ? ELSE published END WHERE tree = ?",
        (1 - stood - replaced, checkpoint.size, checkpoint.size, checkpoint.tree),
    )


def _take_away(log: Connection, tree: int, size: int) -> int:
    return log.execute("DELETE FROM affidavit_checkpoints WHERE tree = ? AND size = ?", (tree, size)).rowcount


def store_manifest(log: Connection, manifest: Manifest) -> None:
    """Store a manifest; the same one again changes nothing."""
    log.execute(
        "INSERT INTO affidavit_manifests (hash, organization, kind, body, note, made_at)"
        " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        manifest,
    )


def read_manifests(log: Connection, organization: str | None) -> list[Manifest]:
    """Those of an organization, or all, oldest first."""
    rows = log.execute(
        "SELECT hash, organization, kind, body, note, made_at FROM affidavit_manifests"
        " WHERE organization = coalesce(?, organization) ORDER BY made_at, hash",
        (organization,),
    ).fetchall()
    return [Manifest(*row) for row in rows]


def sound_alarm(log: Connection, alarm: Alarm) -> None:
    """Store an alarm where none of its kind and subject stands."""
    log.execute(
        "INSERT INTO affidavit_alarms (kind, subject, raised_at, text) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        alarm,
    )


def clear_alarm(log: Connection, kind: str, subject: str | None) -> None:
    """Take away the alarms of a kind, or one of them."""
    log.execute(
        "DELETE FROM affidavit_alarms WHERE kind = ? AND subject = coalesce(?, subject)", (kind, subject)
    )


def read_alarms(log: Connection) -> list[Alarm]:
    """All alarms, oldest first."""
    rows = log.execute(
        "SELECT kind, subject, raised_at, text FROM affidavit_alarms ORDER BY raised_at, kind, subject"
    ).fetchall()
    return [Alarm(*row) for row in rows]
