"""The instance of :mod:`tests.sealed` on PostgreSQL, and servers that are put back to an earlier moment."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg

from affidavit.config import Settings
from affidavit.storage.postgres.connect import Address
from affidavit.testing.postgres import PostgresStores
from affidavit.wiring.postgres import PostgresEngine
from tests.faults.load import eventually
from tests.postgres import FAST, Server, server_on
from tests.sealed import Note, World, read_note

__all__ = ["PostgresWorld", "archiving", "put_back"]

POINT = "then"


class PostgresWorld(World):
    """One instance on a PostgreSQL database; guard and key are files as ever.

    Args:
        folder: of guard and key.
        url: of a migrated database.
    """

    def __init__(self, folder: Path, url: str, *, seed: int = 0) -> None:
        self.url = url
        super().__init__(folder, seed=seed)

    def set(self, **options: str) -> Settings:
        """The settings of the program."""
        return super().set(database=self.url, **options)

    def prepare(self) -> None:
        """The database is there."""

    def open_database(self) -> None:
        """Open what records and reads; no worker runs."""
        self.engine = PostgresEngine(self.settings)
        self.database = PostgresStores(Address(self.url), self.clock)
        self.writer = None

    def notes(self) -> list[Note]:
        """Every checkpoint that the log keeps."""
        rows = self.stored("SELECT note FROM affidavit_checkpoints ORDER BY tree, size")
        return [read_note(note) for (note,) in rows]

    def stored(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database in SQL, past the product."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def waiting(self) -> int:
        """Events that are committed and have no leaf."""
        (found,) = self.stored("SELECT count(*) FROM affidavit_pending")
        return int(found[0])


@contextmanager
def archiving() -> Iterator[Server]:
    """A server that keeps its write-ahead log, so that it can be put back."""
    with server_on(
        "18",
        **FAST,
        wal_level="replica",
        archive_mode="on",
        archive_command="test ! -f ../archive/%f && cp %p ../archive/%f",
    ) as server:
        archive = server.folder / "archive"
        archive.mkdir()
        if server.user is not None:
            shutil.chown(archive, server.user)
        server.run("pg_basebackup", "--pgdata=base", "--checkpoint=fast", f"--port={server.port}", *WHO)
        yield server


WHO = ("--host=127.0.0.1", "--username=postgres")


def remember(server: Server) -> None:
    """Name the present moment in the write-ahead log."""
    with server.connect() as connection:
        connection.execute("SELECT pg_create_restore_point(%s)", (POINT,))


def archived(server: Server) -> None:
    """Everything that was written so far can be restored."""
    with server.connect() as connection:
        (name,) = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
    eventually((server.folder / "archive" / name).exists, "nothing was archived")


@contextmanager
def put_back(server: Server) -> Iterator[Server]:
    """Another server, with what stood in this one at the moment that was named."""
    folder = Path(mkdtemp(prefix="affidavit-restored-", dir=server.folder.parent))
    settings = {
        **FAST,
        "restore_command": f"cp {server.folder}/archive/%f %p",
        "recovery_target_name": POINT,
        "recovery_target_action": "promote",
    }
    made = Server(server.version, folder, settings)
    try:
        shutil.copytree(server.folder / "base", made.data_dir)
        (made.data_dir / "recovery.signal").touch()
        for path in (made.data_dir, *made.data_dir.rglob("*")):
            if made.user is not None:
                shutil.chown(path, made.user)
        made.start()
        eventually(lambda: not in_recovery(made), "the restore did not end")
        yield made
    finally:
        made.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def in_recovery(server: Server) -> bool:
    """Whether it still reads its archive."""
    with server.connect() as connection:
        (found,) = connection.execute("SELECT pg_is_in_recovery()").fetchone() or (True,)
    return bool(found)
