"""What PostgreSQL knows of a table that triggers capture; asked through whatever connection there is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from affidavit.core.statement import Statement, written
from affidavit.errors import ConfigError

__all__ = ["MARK", "Column", "Shape", "Standing", "ask", "shape_of", "standing"]

MARK = "Affidavit: "
"""What the comment of a trigger's function begins with; what it was made from follows as JSON."""


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: as it is, without quotes.
        generated: whether it follows from other columns.
    """

    name: str
    generated: bool


class Shape(NamedTuple):
    """A table as it stands.

    Attributes:
        oid: its number.
        schema: that holds it.
        name: of the table.
        partitioned: whether its rows are in partitions.
        columns: in their order.
        key: columns of the primary key, in its order.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    columns: tuple[Column, ...]
    key: tuple[str, ...]


class Standing(NamedTuple):
    """One of our triggers as it stands.

    Attributes:
        table: as SQL writes its name.
        oid: of the table.
        name: of the trigger.
        rows: whether it fires for each row, not for each statement.
        enabled: whether it fires in a session like any other.
        schema: of the function that it calls.
        function: its name.
        source: of the function.
        comment: of the function, without :data:`MARK`.
    """

    table: str
    oid: int
    name: str
    rows: bool
    enabled: bool
    schema: str
    function: str
    source: str
    comment: str


def ask(connection: Any, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query.

    Args:
        connection: of psycopg, of SQLAlchemy or of Django, to PostgreSQL.
        sql: with ``?`` for parameters.
        parameters: of the query.

    Raises:
        ConfigError: it is none of these, or leads to another database.
    """
    if hasattr(connection, "exec_driver_sql"):
        from affidavit.recorder.adapters.sqlalchemy import SqlalchemyDriver

        if connection.dialect.name != "postgresql":
            raise ConfigError(
                f"Triggers that capture changes need PostgreSQL, not {connection.dialect.name}."
            )
        answer = SqlalchemyDriver(connection, "public").run(Statement(sql, parameters, returns=True))
        return [tuple(row) for row in answer.rows]
    if getattr(connection, "vendor", "postgresql") != "postgresql" or not hasattr(connection, "cursor"):
        kind = getattr(connection, "vendor", type(connection).__name__)
        raise ConfigError(f"Triggers that capture changes need PostgreSQL, not {kind}.")
    with connection.cursor() as cursor:
        cursor.execute(written(sql, "%s", None), tuple(parameters))
        return [tuple(row) for row in cursor.fetchall()]


_TABLE = """
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relispartition
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = CAST(? AS bigint)::oid
"""
_NAME = re.compile(r'(?:("(?:[^"]|"")+"|[^".]+)\.)?("(?:[^"]|"")+"|[^".]+)\Z')
_NAMED = """
SELECT c.oid::bigint FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = CAST(? AS text) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (n.nspname = CAST(? AS text) OR CAST(? AS text) IS NULL AND pg_catalog.pg_table_is_visible(c.oid))
"""
_COLUMNS = """
SELECT a.attname::text, a.attgenerated <> '', k.place
FROM pg_catalog.pg_attribute a
LEFT JOIN (SELECT i.indrelid, u.number, u.place FROM pg_catalog.pg_index i,
                  unnest(i.indkey::int2[]) WITH ORDINALITY AS u(number, place)
           WHERE i.indisprimary) AS k ON k.indrelid = a.attrelid AND k.number = a.attnum
WHERE a.attrelid = CAST(? AS bigint)::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_OURS = """
SELECT t.tgrelid::regclass::text, t.tgrelid::bigint, t.tgname::text, t.tgtype & 1 = 1,
       t.tgenabled::text = 'O', n.nspname::text, p.proname::text, p.prosrc, substr(d.description, 12)
FROM pg_catalog.pg_trigger t
JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_catalog.pg_proc'::regclass
WHERE starts_with(d.description, 'Affidavit: {') AND t.tgparentid = 0
ORDER BY 1, 3
"""


def shape_of(connection: Any, table: str | int) -> Shape:
    """A table as it stands.

    Args:
        connection: see :func:`ask`.
        table: its name as SQL writes it, quoted where it needs to be; or its number.

    Raises:
        ConfigError: there is none, or triggers cannot capture what it is.
    """
    oid = table if isinstance(table, int) else _number(connection, table)
    found = ask(connection, _TABLE, (oid,))
    if not found:
        raise ConfigError(f"There is no table {table}.")
    number, schema, name, kind, partition = found[0]
    if partition:
        raise ConfigError(f"{table} is a partition; name the table that it belongs to.")
    if kind not in ("r", "p"):
        raise ConfigError(f"{table} is no table; triggers capture tables and partitioned tables.")
    if name.startswith("affidavit_"):
        raise ConfigError(f"{table} is one of Affidavit's own tables.")
    rows = ask(connection, _COLUMNS, (oid,))
    key = sorted((place, column) for column, _generated, place in rows if place is not None)
    columns = tuple(Column(column, bool(generated)) for column, generated, _place in rows)
    return Shape(number, schema, name, kind == "p", columns, tuple(column for _place, column in key))


def _number(connection: Any, table: str) -> int:
    parts = _NAME.match(table)
    if parts is None or "\0" in table:
        raise ConfigError(f'{table!r} is no name of a table: write table, schema.table or "Table".')
    schema, name = (None if part is None else _plain(part) for part in parts.groups())
    found = ask(connection, _NAMED, (name, schema, schema))
    if not found:
        raise ConfigError(f"There is no table {table}.")
    return int(found[0][0])


def _plain(part: str) -> str:
    """A name without its quotes, or in lower case as SQL takes one that has none."""
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.lower()


def standing(connection: Any, oid: int | None = None) -> list[Standing]:
    """Our triggers, of one table or of all, by table and name.

    Args:
        connection: see :func:`ask`.
        oid: of the table.
    """
    found = [Standing(*row) for row in ask(connection, _OURS)]
    return found if oid is None else [each for each in found if each.oid == oid]
