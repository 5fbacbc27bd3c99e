"""What docs/howto/postgresql.md tells an operator to run does what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.test_documents import QUICKSTART, blocks, reader, run
from tests.pgbouncer import bouncer_on
from tests.postgres import Server

__all__ = ["reader"]

PAGE = QUICKSTART.parent / "howto" / "postgresql.md"
DATABASE, ROLE = "howto_app", "audit"


@pytest.fixture
def addresses(postgres: Server) -> Iterator[dict[str, str]]:
    """The addresses of the page, and where they are here: an empty database, and PgBouncer before it."""
    with postgres.connect() as session, bouncer_on(postgres, users=("postgres", ROLE)) as port:
        session.execute(f"CREATE DATABASE {DATABASE}".encode())
        try:
            yield {
                "127.0.0.1:5432/app": f"127.0.0.1:{postgres.port}/{DATABASE}",
                "127.0.0.1:6432/app": f"127.0.0.1:{port}/{DATABASE}",
            }
        finally:
            session.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())
            session.execute(f"DROP ROLE IF EXISTS {ROLE}".encode())


def test_the_commands_do_what_the_page_says(
    tmp_path: Path, reader: dict[str, str], addresses: dict[str, str], postgres: Server
) -> None:
    """Tables in a schema of their own, a login for the server, events straight and through PgBouncer."""
    script = "".join(blocks(PAGE, "sh"))
    for written, real in addresses.items():
        assert written in script
        script = script.replace(written, real)
    printed = run(script.replace("affidavit doctor", "affidavit doctor --json || true"), tmp_path, reader)
    documents = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    reasons = [each["reason"] for each in documents if "reason" in each]
    assert reasons == ["double payment", "sent back", "double payment"]
    failing = {each["check"] for each in documents if each.get("state") == "fail"}
    assert failing == {"durability"}, "nothing is wrong but that the tests' server does not sync"
    with postgres.connect(DATABASE) as session:
        tables = session.execute(
            "SELECT DISTINCT schemaname, tableowner FROM pg_tables"
            " WHERE tablename LIKE 'affidavit%' OR schemaname = 'audit'"
        ).fetchall()
        assert tables == [("audit", "affidavit_owner")]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(f"SET ROLE {ROLE}; TRUNCATE audit.affidavit_events".encode())
