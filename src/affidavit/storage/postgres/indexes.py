"""Indexes that are built while recording goes on, on tables and on partitioned ones.

A build that was killed leaves an invalid index behind; the next run drops it and begins again.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from psycopg import sql

from affidavit import errors
from affidavit.storage.postgres.connect import Address, Session, connect

__all__ = ["build"]

_STATEMENT = re.compile(
    r"CREATE (?P<unique>UNIQUE )?INDEX CONCURRENTLY (?P<name>\w+)\s+ON (?P<table>\w+)\s+(?P<rest>.*)",
    re.DOTALL,
)
_COMMENT = re.compile(r"--.*")


class _Index(NamedTuple):
    unique: bool
    name: str
    table: str
    rest: str

    def on(self, name: str, table: str, schema: str, *, concurrently: bool, only: bool = False) -> bytes:
        """The statement for one table."""
        return (
            sql.SQL("CREATE {}INDEX {}{} ON {}{} ")
            .format(
                sql.SQL("UNIQUE " if self.unique else ""),
                sql.SQL("CONCURRENTLY " if concurrently else ""),
                sql.Identifier(name),
                sql.SQL("ONLY " if only else ""),
                sql.Identifier(schema, table),
            )
            .as_bytes()
            + self.rest.encode()
        )


def parse(text: str) -> list[_Index]:
    """The indexes of a migration file; nothing else may stand in it.

    Raises:
        ValueError: something else does.
    """
    found = []
    for statement in _COMMENT.sub("", text).split(";"):
        if not statement.strip():
            continue
        match = _STATEMENT.fullmatch(statement.strip())
        if match is None:
            raise ValueError(f"not CREATE INDEX CONCURRENTLY name ON table ...: {statement.strip()[:80]}")
        found.append(_Index(match["unique"] is not None, match["name"], match["table"], match["rest"]))
    return found


def build(address: Address, text: str) -> None:
    """Build every index of a file that is not there yet.

    Args:
        address: of the database; a connection of its own is opened, as no transaction may be around a build.
        text: of the migration.
    """
    session = connect(address, name="affidavit migrate, building", patient=True)
    try:
        for index in parse(text):
            kind = _kind(session, index.table)
            if kind == "p":
                _build_on_partitions(session, index)
            else:
                _build(session, index, index.name, index.table)
    finally:
        session.close()


def _kind(session: Session, table: str) -> str:
    row = session.execute(
        "SELECT c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ? AND c.relname = ?",
        (session.address.schema, table),
    ).fetchone()
    if row is None:
        raise ValueError(f"there is no table {table}")
    return str(row[0])


def _valid(session: Session, name: str) -> bool | None:
    """Whether an index is complete; None where there is none."""
    row = session.execute(
        "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ? AND c.relname = ?",
        (session.address.schema, name),
    ).fetchone()
    return None if row is None else bool(row[0])


def _build(session: Session, index: _Index, name: str, table: str) -> None:
    valid = _valid(session, name)
    if valid is False:
        session.connection.execute(
            sql.SQL("DROP INDEX CONCURRENTLY {}").format(sql.Identifier(session.address.schema, name))
        )
    if not valid:
        session.connection.execute(index.on(name, table, session.address.schema, concurrently=True))


def _build_on_partitions(session: Session, index: _Index) -> None:
    """A partitioned table takes no concurrent build: its partitions do, one by one, and then are attached.

    The empty index of the parent is made last and in an instant; a month that came meanwhile is seen then,
    those that come later get the index with their attachment.
    """
    schema = session.address.schema
    for partition in _partitions(session, index.table):
        _build(session, index, _part_name(index, partition), partition)
    if _valid(session, index.name) is None:
        _briefly(session, index.on(index.name, index.table, schema, concurrently=False, only=True))
    while not _valid(session, index.name):
        missing = [
            name for name in _partitions(session, index.table) if not _attached(session, index.name, name)
        ]
        if not missing:
            raise errors.StorageError(f"The index {index.name} stays invalid though all its parts are there.")
        for partition in missing:
            name = _part_name(index, partition)
            _build(session, index, name, partition)
            _briefly(
                session,
                sql.SQL("ALTER INDEX {} ATTACH PARTITION {}")
                .format(sql.Identifier(schema, index.name), sql.Identifier(schema, name))
                .as_bytes(),
            )


def _briefly(session: Session, statement: bytes) -> None:
    """Run what locks a table for an instant, and give way where it cannot."""
    with session.transaction():
        session.execute("SET LOCAL lock_timeout = 200")
        session.connection.execute(statement)


def _partitions(session: Session, table: str) -> list[str]:
    rows = session.execute(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        " JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace"
        " WHERE n.nspname = ? AND p.relname = ? ORDER BY 1",
        (session.address.schema, table),
    )
    return [row[0] for row in rows.fetchall()]


def _attached(session: Session, parent: str, partition: str) -> bool:
    row = session.execute(
        "SELECT 1 FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent"
        " JOIN pg_namespace n ON n.oid = p.relnamespace JOIN pg_index i ON i.indexrelid = h.inhrelid"
        " JOIN pg_class t ON t.oid = i.indrelid WHERE n.nspname = ? AND p.relname = ? AND t.relname = ?",
        (session.address.schema, parent, partition),
    ).fetchone()
    return row is not None


def _part_name(index: _Index, partition: str) -> str:
    """``affidavit_events_2026_01_actor`` for ``affidavit_events_actor`` on ``affidavit_events_2026_01``."""
    return f"{partition}_{index.name.removeprefix(index.table).lstrip('_')}"
