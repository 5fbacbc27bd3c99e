"""The way back of a backup: checked whole, then put in its place.

Runs in a process of its own, like :mod:`.backup`. The caller holds the worker's lease.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

from affidavit import errors
from affidavit.core.strict import hex_of, json_of
from affidavit.core.unsound import Malformed
from affidavit.storage.sqlite import migrate
from affidavit.storage.sqlite.backup import EVENTS, FORMAT, LIST, LOG, Places, measured, sync_folder
from affidavit.storage.sqlite.connect import inode, translated
from affidavit.storage.sqlite.index_file import remove

__all__ = ["Member", "read_backup", "restore_files"]

_PIECE = 1 << 20
_FOLDERS = {EVENTS: migrate.EVENTS, LOG: migrate.LOG}


class Member(NamedTuple):
    """One file of a backup, as its list describes it."""

    name: str
    size: int
    sha256: str
    schema: int


def read_backup(folder: Path) -> tuple[dict[str, Any], list[Member]]:
    """Check a backup: its list, and size and SHA-256 of every file in it.

    Returns:
        The list, and the files in the order in which they are restored: the log first.

    Raises:
        Refused: it is none, of another format, not whole, or its files are not those of its list.
        SchemaTooNew: a newer version made it.
    """
    try:
        content = json_of((folder / LIST).read_bytes(), LIST)
        members = _members(content)
    except OSError as error:
        raise errors.Refused(f"{folder} is no backup: {LIST} cannot be read ({error.strerror}).") from error
    except Malformed as error:
        raise errors.Refused(f"{folder} is no backup: {error.message}.") from error
    for member in members:
        _check(folder / member.name, member)
        known = len(migrate.available(_FOLDERS[member.name]))
        if member.schema > known:
            raise errors.SchemaTooNew(
                f"{member.name} is at schema {member.schema}, this version knows {known}; upgrade Affidavit."
            )
    return content, members


def _members(content: Any) -> list[Member]:
    """The files that a list names.

    Raises:
        Malformed: another format, or something is missing.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Malformed(LIST, f"must be an object of the format {FORMAT}")
    files, schema = content.get("files"), content.get("schema")
    if (
        not isinstance(files, dict)
        or not isinstance(schema, dict)
        or not {EVENTS} <= set(files) <= {EVENTS, LOG}
    ):
        raise Malformed(LIST, f"must name {EVENTS}, may name {LOG}, with the schema of each")
    members = []
    for name in (LOG, EVENTS):
        if name in files:
            file = files[name] if isinstance(files[name], dict) else {}
            size, digest, number = file.get("bytes"), file.get("sha256"), schema.get(name)
            if type(size) is not int or type(digest) is not str or type(number) is not int:
                raise Malformed(LIST, f"must have bytes, sha256 and schema of {name}")
            hex_of(digest, f"the SHA-256 of {name}", 32)
            members.append(Member(name, size, digest, number))
    return members


def _check(path: Path, member: Member) -> None:
    if path.is_symlink() or not path.is_file():
        raise errors.Refused(f"{path} is missing from the backup.")
    found = measured(path)
    if (found["bytes"], found["sha256"]) != (member.size, member.sha256):
        raise errors.Refused(
            f"{path} is not the file that was backed up: expected {member.size} bytes with SHA-256"
            f" {member.sha256}, found {found['bytes']} with {found['sha256']}. Nothing was restored."
        )


def restore_files(folder: Path, places: Places, replace: bool) -> dict[str, Any]:
    """Put the files of a backup in their places; what stood there goes for good, or the restore is refused.

    Nothing is touched before the copies beside their places are whole and checked.

    Args:
        folder: of the backup.
        places: of the files; the index is taken away, the worker makes it anew.
        replace: whether a database that stands there may go.

    Returns:
        The list of the backup.

    Raises:
        Refused: the backup is not whole, or there is a database that may not go.
        StorageBusy: somebody has the database open.
    """
    content, members = read_backup(folder)
    standing = [path for path in (places.events, places.log) if _is_used(path)]
    if standing and not replace:
        raise errors.Refused(f"There is a database at {standing[0]}; with --replace it goes for good.")
    for path in standing:
        _shut(path)
    homes = {LOG: places.log, EVENTS: places.events}
    drafts: dict[Path, Path] = {}
    try:
        for member in members:
            home = homes[member.name]
            home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = drafts[home] = home.with_name(f"{home.name}.{os.urandom(4).hex()}.restoring")
            _bring(folder / member.name, draft)
            _check(draft, member)
        for path in (places.search, places.log, places.events):
            remove(path)
        for home, draft in drafts.items():
            draft.rename(home)
            sync_folder(home.parent)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return content


def _is_used(path: Path) -> bool:
    return inode(path) is not None and path.stat().st_size > 0


def _bring(source: Path, target: Path) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with source.open("rb") as member:
            shutil.copyfileobj(member, file, _PIECE)
        file.flush()
        os.fsync(file.fileno())


def _shut(path: Path) -> None:
    """Make sure that nobody has a database open: it can leave write-ahead logging only then.

    Raises:
        StorageBusy: somebody has.
    """
    mode = ""
    with (
        suppress(errors.NotADatabase),  # a damaged one may go
        translated(path),
        closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as connection,
    ):
        mode = connection.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
    if mode == "wal":
        raise errors.StorageBusy(f"Somebody has {path} open; stop every program that uses it first.")
