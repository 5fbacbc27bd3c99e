"""What must hold before anything is written to a database: the server, the names, the rights of the role."""

from __future__ import annotations

from typing import Any

from affidavit import errors
from affidavit.storage.postgres.connect import Session

__all__ = ["OLDEST", "granted", "permitted", "suited", "unclaimed", "writable"]

OLDEST = 15
"""The oldest major version that is supported."""

_NAMED = (
    # All of ours begin so; the second kind are functions.
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = ? AND c.relname LIKE 'affidavit\\_%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
    " UNION ALL SELECT p.proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
    " WHERE n.nspname = ? AND p.proname LIKE 'affidavit\\_%' ORDER BY 1"
)
_COLUMNS = (
    "SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a"
    " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = ? AND c.relname = 'affidavit_migrations' AND a.attnum > 0 AND NOT a.attisdropped"
)
_OURS = ["number", "name", "checksum", "applied_at"]

_NEEDED = (("affidavit_migrations", "SELECT"), ("affidavit_events", "SELECT"), ("affidavit_meta", "SELECT"))
_TO_WRITE = (("affidavit_events", "INSERT"), ("affidavit_pending", "INSERT"), ("affidavit_pending", "DELETE"))
"""What tells a role that the server can run as from one that only records or reads."""


def suited(session: Session) -> None:
    """Check version and encoding.

    Raises:
        StorageError: the version is too old, or the database is not in UTF-8.
    """
    version, encoding = session.execute(
        "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')"
    ).fetchone() or (0, "")
    check_version(version, session.address.shown)
    if encoding != "UTF8":
        raise errors.StorageError(
            f"{session.address.shown} is encoded in {encoding}, and events may hold any text; make another"
            " database: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def check_version(number: int, shown: str) -> None:
    """Refuse a server that is too old; ``number`` is its ``server_version_num``."""
    if number // 10_000 < OLDEST:
        raise errors.StorageError(
            f"{shown} runs PostgreSQL {number // 10_000}; Affidavit needs {OLDEST} or newer."
        )


def writable(session: Session) -> None:
    """Check that the server takes writes.

    Raises:
        StorageReadOnly: a standby, a server in recovery, or transactions that are read-only by default.
    """
    recovery, read_only = session.execute(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
    ).fetchone() or (0, 0)
    if recovery:
        raise errors.StorageReadOnly(
            f"{session.address.shown} is a standby or in recovery and takes no writes; connect to the primary"
            " (several hosts in the URL and target_session_attrs=read-write find it)."
        )
    if read_only:
        raise errors.StorageReadOnly(
            f"{session.address.shown} has default_transaction_read_only on for this role or database;"
            " turn it off for the role that Affidavit connects as."
        )


def unclaimed(session: Session) -> bool:
    """Whether nothing of ours is in the schema yet.

    Raises:
        NotOurs: something has our names, and it is not what our migrations make.
    """
    schema = session.address.schema
    columns = _notes(session)
    if columns is None:
        names = [row[0] for row in session.execute(_NAMED, (schema, schema)).fetchall()]
        if not names:
            return True
        columns = _notes(session)  # another process may have made both between the two questions
        if columns is None:
            raise _not_ours(session, names)
    if columns != _OURS:
        raise _not_ours(session, ["affidavit_migrations"])
    return False


def _notes(session: Session) -> Any:
    """The columns of the table with the notes of what was applied; ``None`` where there is none."""
    return (session.execute(_COLUMNS, (session.address.schema,)).fetchone() or (None,))[0]


def _not_ours(session: Session, names: list[str]) -> errors.NotOurs:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return errors.NotOurs(
        f"{session.address.shown}: schema {session.address.schema!r} holds {', '.join(names[:3])}{more},"
        " which affidavit migrate did not make; give Affidavit a schema of its own (setting schema) or a"
        " database."
    )


def permitted(session: Session) -> None:
    """Check that the role may change the schema.

    Raises:
        StorageReadOnly: it may not; says what to grant.
    """
    schema, shown = session.address.schema, session.address.shown
    role, database, stands, creates, makes = session.execute(
        "SELECT current_user::text, current_database()::text, to_regnamespace(quote_ident(?)) IS NOT NULL,"
        " coalesce(has_schema_privilege(to_regnamespace(quote_ident(?)), 'CREATE'), false),"
        " has_database_privilege(current_database(), 'CREATE')",
        (schema, schema),
    ).fetchone() or ("", "", 0, 0, 0)
    owner = table_owner(session)
    if owner is not None:
        if not may_become(session, owner):
            raise errors.StorageReadOnly(
                f"{shown}: the tables of schema {schema!r} belong to {owner}, and {role} is no member of it;"
                f' migrate as {owner}, or run as a superuser: GRANT "{owner}" TO "{role}"'
            )
    elif stands and not creates:
        raise errors.StorageReadOnly(
            f"{shown}: the role {role} may not create tables in schema {schema!r}; run as its owner:"
            f' GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{role}"'
        )
    elif not stands and not makes:
        raise errors.StorageReadOnly(
            f"{shown}: there is no schema {schema!r}, and the role {role} may not make one; run as the owner"
            f' of the database {database}: CREATE SCHEMA "{schema}" AUTHORIZATION "{role}"'
        )


def table_owner(session: Session) -> str | None:
    """Whom our tables belong to; None where there are none."""
    row = session.execute(
        "SELECT pg_get_userbyid(c.relowner)::text FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ? AND c.relname = 'affidavit_migrations'",
        (session.address.schema,),
    ).fetchone()
    return None if row is None else str(row[0])


def may_become(session: Session, role: str) -> bool:
    """Whether ``SET ROLE`` to an existing role is allowed, which PostgreSQL 16 tells from membership."""
    (allowed,) = session.execute(
        "SELECT pg_has_role(?, CASE WHEN current_setting('server_version_num')::integer >= 160000"
        " THEN 'SET' ELSE 'MEMBER' END)",
        (role,),
    ).fetchone() or (0,)
    return bool(allowed)


def granted(session: Session, *, writes: bool) -> None:
    """Check that the role has what the server needs of a schema that stands.

    Raises:
        StorageReadOnly: it has not; says what to grant.
    """
    schema = session.address.schema
    (role, usage) = session.execute(
        "SELECT current_user::text, has_schema_privilege(?, 'USAGE')", (schema,)
    ).fetchone() or ("", 0)
    lacking = [] if usage else [f"USAGE on schema {schema!r}"]
    for table, right in (*_NEEDED, *(_TO_WRITE if writes else ())) if usage else ():
        row = session.execute(
            "SELECT has_table_privilege(format('%I.%I', ?::text, ?::text), ?)", (schema, table, right)
        ).fetchone()
        if row is None or row[0] == 0:
            lacking.append(f"{right} on {table}")
    if lacking:
        raise errors.StorageReadOnly(
            f"{session.address.shown}: the role {role} lacks {', '.join(lacking)}; run as a superuser:"
            f' GRANT affidavit_server TO "{role}"'
        )
