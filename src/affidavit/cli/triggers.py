"""``affidavit triggers``: the SQL that lets PostgreSQL record every change of an app's tables."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from affidavit.cli.exits import Failed, UsageError
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, print_json, print_table, wants_json
from affidavit.recorder.capture.triggers import drop_sql, stale, trigger_sql

__all__ = ["command"]


def command(
    *tables: Annotated[str, Parameter(help="Names as SQL writes them: teams, app.teams, 'app.\"Teams\"'.")],
    check: Annotated[bool, Parameter(negative=(), help="Name the triggers that no longer fit.")] = False,
    drop: Annotated[bool, Parameter(negative=(), help="The SQL that takes the triggers away.")] = False,
    organization_column: Annotated[
        str | None, Parameter(help="Column whose value is the organization of each row.")
    ] = None,
    type: Annotated[str | None, Parameter(help="Of the resource. Default: the table's name.")] = None,
    key: Annotated[
        list[str] | None, Parameter(negative=(), help="Columns of its id. Default: the primary key.")
    ] = None,
    name: Annotated[str | None, Parameter(help="Column with its name.")] = None,
    exclude: Annotated[
        list[str] | None,
        Parameter(negative=(), help="Columns that no event shows; their change alone makes none."),
    ] = None,
    mask: Annotated[
        list[str] | None,
        Parameter(negative=(), help="Columns whose values no event shows, beside those named like a secret."),
    ] = None,
    without_actor: Annotated[
        Literal["refuse", "database"],
        Parameter(help="What becomes of a change by nobody who is known: refuse it, or record the database."),
    ] = "refuse",
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Print the SQL of triggers that record every insert, update, delete and truncation of tables.

    Nothing is changed: read it, and run it as the owner of the tables. Make it again whenever columns
    change; `--check` names the tables for which that was forgotten, and fails where there are any.
    """
    from affidavit.wiring.triggers import app_connection

    if check == bool(tables):
        raise UsageError("name at least one table, or --check without one")
    settings = common.settings()
    with app_connection(settings) as connection:
        if check:
            found = stale(connection)
            _report([(each.table, reason) for each in found for reason in each.reasons], json)
            return
        for table in tables:
            sql = (
                drop_sql(connection, table)
                if drop
                else trigger_sql(
                    connection,
                    table,
                    organization=settings.organization,
                    organization_column=organization_column,
                    type=type,
                    key=tuple(key or ()),
                    name=name,
                    exclude=tuple(exclude or ()),
                    mask=tuple(mask or ()),
                    without_actor=without_actor,
                    schema=settings.schema,
                )
            )
            for text in sql.rstrip("\n").split("\n"):
                line(text)


def _report(rows: list[tuple[str, str]], json: bool | None) -> None:
    if wants_json(json):
        for table, reason in rows:
            print_json({"table": table, "reason": reason})
    else:
        print_table(("Table", "What is wrong"), rows, empty="Every trigger fits its table.")
    if rows:
        raise Failed
