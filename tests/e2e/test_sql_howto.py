"""What docs/howto/sql.md tells people who come with SQL does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from affidavit.testing.postgres import PostgresEngine
from tests.e2e.test_documents import QUICKSTART, blocks, reader, run
from tests.postgres import VERSIONS, Server

__all__ = ["reader"]

PAGE = QUICKSTART.parent / "howto" / "sql.md"

ARGUMENT = re.compile(r"(\w+) (timestamp with time zone|\w+)(?: DEFAULT [^,]+)?(?:, |$)")
"""Name and type of an argument, as PostgreSQL writes a signature."""
APPLICATION = """
DO $$ BEGIN CREATE ROLE shop; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE TABLE invoice (id bigint PRIMARY KEY, state text);
INSERT INTO invoice VALUES (4711, 'paid');
CREATE TABLE product (id bigint PRIMARY KEY, price integer);
INSERT INTO product VALUES (1, 10);
GRANT ALL ON invoice, product TO shop;
"""


@pytest.fixture(params=VERSIONS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database with our tables and those of an application."""
    server: Server = request.getfixturevalue(f"postgres{request.param}")
    engine = PostgresEngine(server, clock=None)
    made = engine.create()
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute(APPLICATION)
    yield made
    engine.close()


def test_the_statements_do_what_the_page_says(tmp_path: Path, reader: dict[str, str], url: str) -> None:
    """Typed into psql from top to bottom: each event is there, the repeat is not, the refusal is named."""
    (tmp_path / "page.sql").write_text("".join(blocks(PAGE, "sql")), encoding="utf-8")
    printed = run(f"psql --no-psqlrc -v ON_ERROR_STOP=1 -At -f page.sql '{url}' 2>&1", tmp_path, reader)
    assert "/action: must be 3 to 128 characters" in printed
    assert 'not "Invoice Refund"' in printed
    answers = re.findall(r"^[0-9a-f-]{36}\|([tf])$", printed, re.MULTILINE)
    assert answers == ["f", "f", "f", "t", "f", "f"]
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT action, actor_id, resource_id FROM audit_logs ORDER BY action, id"
        ).fetchall()
        assert found == [
            ("invoice.create", "billing", None),
            ("invoice.pay", "billing", None),
            ("invoice.pay", "billing", None),
            ("invoice.refund", "ana", "4711"),
            ("invoice.send", "billing", None),
            ("product.price.change", "ben", "1"),
            ("user.create", "7", None),
        ]
        assert connection.execute("SELECT state FROM invoice").fetchall() == [("refunded",)]
    listing = [line for line in printed.splitlines() if "product.price.change|ben|1" in line]
    assert len(listing) == 1


def test_the_page_names_every_argument(url: str) -> None:
    """The table of arguments is that of the function, in its order; so are the columns of the view."""
    text = PAGE.read_text(encoding="utf-8")
    with psycopg.connect(url) as connection:
        ((signature,),) = connection.execute(
            "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'affidavit_record_v1'"
        ).fetchall()
        columns = connection.execute("SELECT * FROM audit_logs").description or []
    short = {"timestamp with time zone": "timestamptz"}
    arguments = [(name, short.get(kind, kind)) for name, kind in ARGUMENT.findall(signature)]
    assert re.findall(r"^\| `(\w+)` \| (\w+) \|", text, re.MULTILINE) == arguments
    read = text[text.index("The view `audit_logs` has one row an event: ") : text.index(" as text. Members")]
    assert re.findall(r"`(\w+)`", read)[1:] == [column.name for column in columns]
