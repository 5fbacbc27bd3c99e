"""Numbered migrations: each once, in order, in one transaction with the note of its checksum."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from psycopg import sql

from affidavit.storage.postgres.connect import Address, Session, connect, translated

__all__ = ["Migration", "available", "migrate"]


class Migration(NamedTuple):
    """One step of the schema.

    Attributes:
        number: from 1, without a gap.
        name: of the file, without number and suffix.
        sql: its text.
        checksum: hex SHA-256 of the text.
    """

    number: int
    name: str
    sql: str
    checksum: str


def available() -> list[Migration]:
    """The migrations that this version brings, in order."""
    steps = []
    for file in sorted(files(__package__).joinpath("migrations").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            text = file.read_text(encoding="utf-8")
            steps.append(Migration(int(number), name, text, sha256(text.encode()).hexdigest()))
    return steps


def migrate(address: Address) -> list[Migration]:
    """Apply all migrations to a database without our tables (provisional)."""
    session = connect(address)
    try:
        with translated(address):
            for step in available():
                with session.transaction():
                    _apply(session, step)
    finally:
        session.close()
    return available()


def _apply(session: Session, step: Migration) -> None:
    schema = sql.Identifier(session.address.schema)
    session.connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    session.connection.execute(sql.SQL("SET LOCAL search_path = {}, pg_temp").format(schema))
    session.connection.execute(step.sql.encode())
