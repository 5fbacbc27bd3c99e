"""How SQLite says a filter's conditions on one row of the event table. Pure."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from affidavit.core.match import needle
from affidavit.core.row import encode_group
from affidavit.storage.sql.conditions import Dialect, Expression, any_of, needles

__all__ = ["SQLITE"]

_NON_ASCII = "{column} GLOB '*[^ -~]*'"


def _like(value: str) -> str:
    escaped = needle(value).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


class _SqliteDialect(Dialect):
    FALSE: ClassVar = "0"
    LATE: ClassVar = "affidavit_late(id, recorded_at)"

    def parent(self, value: str) -> object:
        return UUID(value).bytes

    def search(self, value: str) -> Expression:
        columns = ("action", "actor", "resources", "context", "changes", "details")
        sql = " OR ".join(f"coalesce({column} LIKE ? ESCAPE '\\', 0)" for column in columns)
        return Expression(f"({sql})", (_like(value),) * len(columns))

    def folded(self, column: str, value: str) -> Expression:
        fancy = _NON_ASCII.format(column=column)
        texts = needles(value)
        tests = [f"instr(lower({column}), ?)"] * len(texts)
        return Expression("(" + " OR ".join([*tests, fancy]) + ")", tuple(texts))

    def holds(self, column: str, name: str, value: str) -> Expression:
        return Expression(f"instr({column}, ?)", (f'"{name}":{encode_group(value).decode()}',))

    def holds_lower(self, column: str, name: str, value: str) -> Expression:
        return Expression(f"instr(lower({column}), ?)", (f'"{name}":"{needle(value)}"',))

    def holds_key(self, column: str, name: str) -> Expression:
        return Expression(f"instr({column}, '\"{name}\":')")

    def within(self, network: str) -> Expression:
        return Expression("affidavit_within(json_extract(context, '$.ip'), ?)", (network,))

    def surely_from(self, values: tuple[str, ...]) -> Expression | None:
        return any_of(
            self.within(value) if "/" in value else Expression("json_extract(context, '$.ip') = ?", (value,))
            for value in values
        )


SQLITE: Dialect = _SqliteDialect()
