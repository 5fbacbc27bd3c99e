"""How PostgreSQL says a filter's conditions on one row of the event table. Pure.

Texts of a group may have been handed in through SQL, in any spelling of JSON. A text with a backslash in it
may hold any value in escapes, so it passes wherever a value is looked for. ``lower`` under collation "C"
is blind to ASCII case and nothing else, whatever the database's own collation is.
"""

from __future__ import annotations

import ipaddress
from typing import ClassVar
from uuid import UUID

from affidavit.core.match import needle
from affidavit.core.row import LATE_AFTER, encode_group
from affidavit.storage.sql.conditions import Dialect, Expression, needles

__all__ = ["OCCURRED_AT", "POSTGRES"]

OCCURRED_AT = (
    "(('x' || left(id::text, 8) || substr(id::text, 10, 4))::bit(48)::bigint * 1000"
    " + (('x' || substr(id::text, 16, 3))::bit(12)::integer * 1000 + 4095) / 4096)"
)
"""Microseconds since 1970 UTC out of an id, rounded as :func:`affidavit.core.forms.microseconds_of` does."""

_ESCAPED = "strpos({column} COLLATE \"C\", E'\\\\') > 0"
_NON_ASCII = "octet_length({column}) <> char_length({column})"
_HOLDS = 'strpos({column} COLLATE "C", ?) > 0'
_HOLDS_LOWER = 'strpos(lower({column} COLLATE "C"), ?) > 0'


def _passes(column: str, *tests: str, parameters: tuple[object, ...] = ()) -> Expression:
    sql = " OR ".join([*tests, _ESCAPED.format(column=column)])
    return Expression(f"({sql})", parameters)


class _PostgresDialect(Dialect):
    FALSE: ClassVar = "false"
    LATE: ClassVar = f"(recorded_at - {OCCURRED_AT} > {LATE_AFTER})"

    def parent(self, value: str) -> object:
        return UUID(value)

    def search(self, value: str) -> Expression:
        columns = ("action", "actor", "resources", "context", "changes", "details")
        sql = " OR ".join(f"coalesce({_HOLDS_LOWER.format(column=column)}, false)" for column in columns)
        return Expression(f"({sql})", (needle(value),) * len(columns))

    def folded(self, column: str, value: str) -> Expression:
        texts = needles(value)
        tests = [_HOLDS_LOWER.format(column=column)] * len(texts)
        return _passes(column, *tests, _NON_ASCII.format(column=column), parameters=tuple(texts))

    def holds(self, column: str, name: str, value: str) -> Expression:
        del name  # There may be white space between the two.
        return _passes(column, _HOLDS.format(column=column), parameters=(encode_group(value).decode(),))

    def holds_lower(self, column: str, name: str, value: str) -> Expression:
        del name
        return _passes(column, _HOLDS_LOWER.format(column=column), parameters=(f'"{needle(value)}"',))

    def holds_key(self, column: str, name: str) -> Expression:
        return _passes(column, _HOLDS.format(column=column), parameters=(f'"{name}"',))

    def within(self, network: str) -> Expression:
        parsed = ipaddress.ip_network(network)
        whole = parsed.prefixlen // 8
        if parsed.version != 4 or not whole:
            # Their texts share no beginning: left to the check of the row.
            return self.holds_key("context", "ip")
        beginning = ".".join(str(parsed.network_address).split(".")[:whole])
        return _passes("context", _HOLDS.format(column="context"), parameters=(f'"{beginning}.',))

    def surely_from(self, values: tuple[str, ...]) -> Expression | None:
        del values  # No search in the text is sure that what it finds is the address.
        return None


POSTGRES: Dialect = _PostgresDialect()
