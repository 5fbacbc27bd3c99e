"""Databases and dumps for the tests of migrations and grants."""

from __future__ import annotations

from itertools import count

from psycopg import sql

from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.migrate import Migration
from affidavit.testing.postgres import empty_database
from tests.postgres import Server

__all__ = ["RECORD", "address", "dump", "migrated", "step"]

_numbers = count(1)

RECORD = """
SELECT (affidavit_record_v1('acme', 'team.update', actor => '{"actor":{"id":"u1","type":"user"}}')).id
"""
"""One event, recorded by the one entry point."""


def address(server: Server, *, schema: str = "public", user: str = "postgres", words: str = "") -> Address:
    """A new database without our tables."""
    name = f"place_{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0 {}").format(
                sql.Identifier(name),
                sql.Identifier(user),
                sql.SQL(words),
            )
        )
    return Address(server.url(name, user=user), schema)


def migrated(server: Server) -> Address:
    """A new database with the current schema."""
    name = f"place_{next(_numbers)}"
    with server.connect() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {empty_database(server)} STRATEGY file_copy")
    return Address(server.url(name))


def dump(server: Server, place: Address) -> str:
    """Everything in a database as PostgreSQL's own program writes it, grants included."""
    text = server.run("pg_dump", f"--dbname={place.url}", "--inserts")
    return "\n".join(line for line in text.splitlines() if "restrict" not in line)


def step(number: int, text: str, name: str = "later") -> Migration:
    """A migration of a version to come."""
    return Migration.of(f"{number:04}_{name}.sql", text)
