"""The guard as a file of its own, best on another volume: one transaction for all heads of a tick."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from affidavit import errors
from affidavit.storage.guard import Answer, Head, Proposal, objection
from affidavit.storage.log import Manifest
from affidavit.storage.sqlite.connect import connect, inode, translated
from affidavit.storage.sqlite.migrate import statements

__all__ = ["GUARD_VERSION", "SqliteGuard", "open_guard"]

GUARD_VERSION = 1

_HEAD = "SELECT origin, organization, size, root FROM affidavit_guard_heads"
_PIECE = 500
"""Origins in one question; SQLite takes at least 999 values."""


class SqliteGuard:
    """See :class:`affidavit.storage.guard.Guard`; made by :func:`open_guard`.

    Args:
        path: of the file, which exists.
        connection: to it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection
        self._inode = inode(path)

    def _read(self) -> sqlite3.Connection:
        """The connection; refused where another file stands under the path now."""
        if inode(self._path) != self._inode:
            raise errors.GuardRefused(
                f"The guard {self._path} was deleted or replaced. Put it back; nothing is signed without it."
            )
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._read()
        with translated(self._path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @property
    def database_id(self) -> str:
        """The database whose log it guards."""
        with translated(self._path):
            (found,) = self._read().execute("SELECT database_id FROM affidavit_guard").fetchone()
        return str(found)

    def adopt(self, database_id: str) -> None:
        """Guard the log of this database from now on. Only on the word of a person."""
        with self._transaction() as connection:
            connection.execute("UPDATE affidavit_guard SET database_id = ?", (database_id,))

    def heads(self, origins: Sequence[str]) -> Mapping[str, Head]:
        """See :class:`affidavit.storage.guard.Guard`."""
        with translated(self._path):
            return _heads(self._read(), origins)

    def of(self, organization: str) -> list[Head]:
        """See :class:`affidavit.storage.guard.Guard`."""
        with translated(self._path):
            return _known(self._read(), organization)

    def walk(self, after: str, limit: int) -> list[Head]:
        """See :class:`affidavit.storage.guard.Guard`."""
        with translated(self._path):
            rows = self._read().execute(f"{_HEAD} WHERE origin > ? ORDER BY origin LIMIT ?", (after, limit))
            return [Head(*row) for row in rows]

    def accept(self, proposals: Sequence[Proposal]) -> list[Answer]:
        """See :class:`affidavit.storage.guard.Guard`."""
        with self._transaction() as connection:
            remembered = _heads(connection, [each.checkpoint.origin for each in proposals])
            answers = [
                Answer(
                    objection(
                        each,
                        remembered.get(each.checkpoint.origin),
                        _known(connection, each.organization),
                    )
                )
                for each in proposals
            ]
            _store(
                connection,
                (
                    Head(
                        each.checkpoint.origin, each.organization, each.checkpoint.size, each.checkpoint.root
                    )
                    for each, answer in zip(proposals, answers, strict=True)
                    if answer.refused is None
                ),
            )
        return answers

    def begin(self, heads: Iterable[Head]) -> None:
        """See :class:`affidavit.storage.guard.Guard`."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO affidavit_guard_heads (origin, organization, size, root, incarnation)"
                " VALUES (?, ?, ?, ?, ?)",
                [(*head, head.incarnation) for head in heads],
            )

    def replace(self, heads: Iterable[Head]) -> None:
        """See :class:`affidavit.storage.guard.Guard`."""
        with self._transaction() as connection:
            _store(connection, heads)

    def add(self, manifest: Manifest) -> None:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO affidavit_guard_manifests VALUES (?, ?, ?, ?, ?, ?)", manifest
            )

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        with translated(self._path):
            rows = self._read().execute(
                "SELECT hash, organization, kind, body, note, made_at FROM affidavit_guard_manifests"
                " WHERE organization = coalesce(?, organization) ORDER BY made_at, hash",
                (organization,),
            )
            return [Manifest(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def open_guard(path: Path, database_id: str, *, make: bool, adopt: bool = False) -> SqliteGuard:
    """Open the guard.

    Args:
        path: of its file.
        database_id: of the database whose log it guards.
        make: whether a missing file is made. Only while no checkpoint exists, or on the word of a person.
        adopt: whether a guard of another database may guard this one from now on. On the word of a person.

    Raises:
        GuardRefused: the file is missing and may not be made, or guards another database.
        StorageError: it cannot be used.
    """
    if inode(path) is None:
        if not make:
            raise errors.GuardRefused(
                f"The guard {path} is missing although checkpoints were signed: nothing is signed, recording"
                " goes on. Put it back; if it is lost: affidavit log guard accept"
            )
        _make(path, database_id)
    connection = connect(path, writer=True)
    try:
        _check(connection, path)
        guard = SqliteGuard(path, connection)
        owner = guard.database_id
        if owner != database_id and adopt:
            guard.adopt(database_id)
        elif owner != database_id:
            raise errors.GuardRefused(
                f"The guard {path} guards another database ({owner[:8]}, not {database_id[:8]}): nothing is"
                " signed, recording goes on. Name the right one with --guard, or see: affidavit log reopen"
            )
    except BaseException:
        connection.close()
        raise
    return guard


def _make(path: Path, database_id: str) -> None:
    """Make the file whole under another name first: half a guard would stop signing for good."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise errors.StorageReadOnly(f"The guard {path} cannot be made: {error.strerror}.") from error
    try:
        connection = connect(draft, writer=True)
        try:
            with translated(draft):
                connection.execute("BEGIN IMMEDIATE")
                script = files("affidavit.storage.sqlite").joinpath("guard.sql").read_text(encoding="utf-8")
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO affidavit_guard VALUES (1, ?, ?)", (GUARD_VERSION, database_id)
                )
                connection.execute("COMMIT")
        finally:
            connection.close()  # the last one to close folds the write-ahead log into the file
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process made it first
    finally:
        draft.unlink(missing_ok=True)


def _check(connection: sqlite3.Connection, path: Path) -> None:
    with translated(path):
        try:
            row = connection.execute("SELECT version FROM affidavit_guard").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            row = None
    if row is None or row[0] != GUARD_VERSION:
        raise errors.GuardRefused(f"{path} is no guard of this version. Put the right file back.")


def _heads(connection: sqlite3.Connection, origins: Sequence[str]) -> dict[str, Head]:
    found = {}
    for at in range(0, len(origins), _PIECE):
        piece = origins[at : at + _PIECE]
        rows = connection.execute(f"{_HEAD} WHERE origin IN ({', '.join('?' * len(piece))})", piece)
        found.update({row[0]: Head(*row) for row in rows})
    return found


def _known(connection: sqlite3.Connection, organization: str) -> list[Head]:
    rows = connection.execute(f"{_HEAD} WHERE organization = ? ORDER BY incarnation", (organization,))
    return [Head(*row) for row in rows]


def _store(connection: sqlite3.Connection, heads: Iterable[Head]) -> None:
    connection.executemany(
        "INSERT INTO affidavit_guard_heads (origin, organization, size, root, incarnation)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET"
        " organization = excluded.organization, size = excluded.size, root = excluded.root",
        [(*head, head.incarnation) for head in heads],
    )
