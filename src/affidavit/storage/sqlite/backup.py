"""Copies of the two files that cannot be made again.

Runs in a process of its own, which holds no other connection: closing a descriptor of a database file would
drop the locks of whoever has it open. The log is copied first: an event without its leaf gets the same one
again, a leaf without its event can only be named. The index is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from affidavit import errors
from affidavit.core.ids import format_id
from affidavit.core.manifest import CITED_BY
from affidavit.core.strict import json_of
from affidavit.core.unsound import Malformed
from affidavit.storage.sql.log_tables import TREE_COLUMNS, tree_of, unpack_frontier
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.connect import connect, inode, translated

__all__ = ["EVENTS", "FORMAT", "LIST", "LOG", "Places", "measured", "sync_folder", "write_backup"]

EVENTS, LOG, LIST = "events.db", "log.db", "backup.json"
"""The members of a backup: the app's file, the log, and what both are."""

FORMAT = "affidavit-backup/v1"
ATTEMPTS = 5
"""How often the two files are copied where something was erased or pruned between the two copies."""
_PIECE = 1 << 20


class Places(NamedTuple):
    """Where the three files of a database stand."""

    events: Path
    log: Path
    search: Path


def write_backup(places: Places, folder: Path, made_at: str, program: str) -> dict[str, Any]:
    """Copy log and events into a folder that does not exist yet, or is empty.

    Args:
        places: of the files; recording, sequencing and reading go on meanwhile.
        folder: of the backup; it is there whole or not at all.
        made_at: RFC 3339.
        program: its version.

    Returns:
        The list of the backup, as :data:`LIST` holds it.

    Raises:
        Refused: the folder holds something.
        StorageError: a file cannot be read, or the copy not be written.
    """
    _refuse_used(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f"{folder.name}.{os.urandom(4).hex()}.partial")
    draft.mkdir(mode=0o700)
    try:
        described = _copied(places, draft)
        content = {
            "format": FORMAT,
            "program": program,
            "made_at": made_at,
            **described,
            "files": {name: measured(draft / name) for name in (EVENTS, LOG) if (draft / name).exists()},
        }
        _write(draft / LIST, json.dumps(content, indent=1, sort_keys=True).encode() + b"\n")
        sync_folder(draft)
        with suppress(FileNotFoundError):
            folder.rmdir()
        draft.rename(folder)
        sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return content


def _copied(places: Places, draft: Path) -> dict[str, Any]:
    """Copy both files until nothing was erased or pruned between the two copies; what they are."""
    lacks = ""
    for _ in range(ATTEMPTS):
        _copy_both(places, draft)
        described = _describe(draft, places)
        lacks = described.pop("lacks")
        if not lacks:
            return described
    raise errors.StorageBusy(
        f"Something was erased or pruned during each of {ATTEMPTS} copies ({lacks});"
        " make the backup when that is done."
    )


def _refuse_used(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise errors.Refused(f"{folder} is there already; a backup goes into a folder of its own.")


def _copy_both(places: Places, folder: Path) -> None:
    for name in (LOG, EVENTS):
        with suppress(FileNotFoundError):
            (folder / name).unlink()
    if inode(places.log) is not None:
        _copy(places.log, folder / LOG)
    _copy(places.events, folder / EVENTS)


def _copy(source: Path, target: Path) -> None:
    """Copy a database as of one moment; one step, because a copy in pieces begins anew at each commit."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with (
        closing(connect(source, writer=False)) as live,
        translated(source),
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy, pages=-1)
        # A file without a companion: nothing of it stands in a write-ahead log.
        copy.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _describe(folder: Path, places: Places) -> dict[str, Any]:
    """What the two copies are; ``lacks`` says why they do not belong together, empty where they do."""
    with closing(connect(folder / EVENTS, writer=False)) as events, translated(places.events):
        database = _one(events, "SELECT value FROM affidavit_meta WHERE key = 'database_id'")
        described: dict[str, Any] = {
            "database_id": database,
            "events": _one(events, "SELECT count(*) FROM affidavit_events"),
            "schema": {EVENTS: max(migrate.applied(events, places.events), default=0)},
            "lacks": "",
            "logs": [],
        }
        if not (folder / LOG).exists():
            return described
        with closing(connect(folder / LOG, writer=False)) as log, translated(places.log):
            owner = _one(log, "SELECT database_id FROM affidavit_log")
            if owner != database:
                raise errors.LogMismatch(
                    f"The log file {places.log} belongs to another database ({str(owner)[:8]},"
                    f" not {str(database)[:8]}); a backup of the two would be of no use."
                )
            described["schema"][LOG] = max(migrate.applied(log, places.log), default=0)
            described["lacks"] = _lacks(events, log)
            described["logs"] = _heads(log)
    return described


def _heads(log: sqlite3.Connection) -> list[dict[str, Any]]:
    found = []
    for row in log.execute(f"SELECT {TREE_COLUMNS}, frontier FROM affidavit_trees ORDER BY tree"):
        tree = tree_of(row[:-1])
        root = unpack_frontier(tree.size, row[-1]).root().hex()
        found.append(
            {
                "organization": tree.organization,
                "origin": tree.origin,
                "size": tree.size,
                "root": root,
                "published": tree.published,
            }
        )
    return found


def _lacks(events: sqlite3.Connection, log: sqlite3.Connection) -> str:
    """What happened between the two copies that only the second one knows."""
    seq, event_id = log.execute("SELECT seq, id FROM affidavit_position").fetchone()
    stands = events.execute("SELECT id FROM affidavit_events WHERE seq = ?", (seq,)).fetchone()
    if seq and (stands is None or stands[0] != event_id):
        return f"the event at place {seq} is not the one of the log"
    kept = {digest.hex() for (digest,) in log.execute("SELECT hash FROM affidavit_manifests")}
    actions = tuple(CITED_BY.values())
    after = ""
    while True:
        after = _one(events, "SELECT min(organization) FROM affidavit_events WHERE organization > ?", after)
        if after is None:
            return ""
        for event, facts in events.execute(
            "SELECT id, facts FROM affidavit_events WHERE organization = ? AND action IN (?, ?)",
            (after, *actions),
        ):
            for name, value in _facts(facts).items():
                if name.startswith("manifest") and value not in kept:
                    return f"the manifest of event {format_id(event)}"


def _facts(text: str | None) -> Mapping[str, Any]:
    try:
        facts = json_of(text or "{}", "facts")
    except Malformed:
        return {}  # edited by somebody; that is for fsck to name
    return facts if isinstance(facts, dict) else {}


def _one(connection: sqlite3.Connection, statement: str, *values: Any) -> Any:
    row = connection.execute(statement, values).fetchone()
    return None if row is None else row[0]


def measured(path: Path) -> dict[str, Any]:
    """Bytes and SHA-256 of a file that nobody has open."""
    digest = sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
