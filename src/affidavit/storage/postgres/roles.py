"""The four roles: who owns our tables, and what everybody else may do with them.

Roles belong to the whole server: they may stand there already, or the migrating role may not make them.
Everything works without them, with the rights of whoever migrated; what is missing is said.
"""

from __future__ import annotations

import logging
from importlib.resources import files

from psycopg import sql

from affidavit.storage.postgres.connect import Session
from affidavit.storage.postgres.preflight import may_become, table_owner

__all__ = ["OWNER", "ROLES", "become_owner", "grant", "make_roles", "standing_objects", "take_from_others"]

OWNER, SERVER, WRITER, READER = ROLES = (
    "affidavit_owner",
    "affidavit_server",
    "affidavit_writer",
    "affidavit_reader",
)
"""Who migrates, who runs the server and its worker, who records in SQL, who reads in SQL."""

_SECTION = "-- role: "

log = logging.getLogger("affidavit.migrate")


def _standing(session: Session) -> set[str]:
    found = session.execute("SELECT rolname::text FROM pg_roles WHERE rolname = ANY(?)", (list(ROLES),))
    return {row[0] for row in found.fetchall()}


def make_roles(session: Session) -> None:
    """Make the roles that are missing, where that is allowed; several processes may try at once."""
    missing = [role for role in ROLES if role not in _standing(session)]
    if not missing:
        return
    me, super_, creates = session.execute(
        "SELECT current_user::text, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    ).fetchone() or ("", 0, 0)
    if not (super_ or creates):
        log.warning(
            "The role %s may not make roles, so that all rights on the log stay with it. To separate who"
            " migrates, serves, records and reads, run as a superuser: %s and then: affidavit migrate",
            me,
            " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in missing),
        )
        return
    for role in missing:
        session.connection.execute(
            sql.SQL(
                "DO $$ BEGIN CREATE ROLE {} NOLOGIN;"
                " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            ).format(sql.Identifier(role))
        )
    if not super_ and not may_become(session, OWNER):
        session.connection.execute(
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(me))
        )


def become_owner(session: Session) -> None:
    """Be, until the transaction ends, who owns our tables or shall own them; make the schema where it lacks.

    New tables belong to ``affidavit_owner`` where the connection's role may act as it, else to that role.
    """
    schema = session.address.schema
    name = sql.Identifier(schema)
    if session.execute("SELECT to_regnamespace(quote_ident(?)) IS NULL", (schema,)).fetchone() == (1,):
        session.connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
    owner = table_owner(session)
    if owner is None and _may_own(session):
        owner = OWNER
        session.connection.execute(
            sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(name, sql.Identifier(OWNER))
        )
    if owner is not None:
        session.connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))
    # pg_temp is named, and last: otherwise it would be searched first.
    session.connection.execute(sql.SQL("SET LOCAL search_path = {}, pg_temp").format(name))


def _may_own(session: Session) -> bool:
    """Whether the owner role can own the tables: it stands, we may act as it and let it create here."""
    if OWNER not in _standing(session) or not may_become(session, OWNER):
        return False
    (may_grant,) = session.execute(
        "SELECT has_schema_privilege(?, 'USAGE WITH GRANT OPTION')"
        " AND has_schema_privilege(?, 'CREATE WITH GRANT OPTION')",
        (session.address.schema,) * 2,
    ).fetchone() or (0,)
    return bool(may_grant)


def grant(session: Session) -> None:
    """Give each role that stands what ``grants.sql`` says; nothing, where we may not act as the owner."""
    owner = table_owner(session)
    if owner is None or not may_become(session, owner):
        return
    standing = _standing(session)
    _open_schema(session, standing)
    _warn_of_strangers(session)
    become_owner(session)
    text = files("affidavit.storage.postgres").joinpath("grants.sql").read_text(encoding="utf-8")
    for section in text.split(_SECTION)[1:]:
        role, _, statements = section.partition("\n")
        if role.strip() in standing:
            session.connection.execute(statements.encode())


def _open_schema(session: Session, standing: set[str]) -> None:
    """Let the roles look into the schema, as whoever the connection is: it need not belong to our owner."""
    schema = session.address.schema
    for role in sorted(standing & {SERVER, WRITER, READER}):
        looks, may_grant = session.execute(
            "SELECT has_schema_privilege(?, ?, 'USAGE'), has_schema_privilege(?, 'USAGE WITH GRANT OPTION')",
            (role, schema, schema),
        ).fetchone() or (0, 0)
        statement = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(
            sql.Identifier(schema), sql.Identifier(role)
        )
        if looks:
            continue
        if may_grant:
            session.connection.execute(statement)
        else:
            log.warning(
                "The role %s may not use the schema; run as its owner: %s", role, statement.as_string()
            )


def _warn_of_strangers(session: Session) -> None:
    """Say where everybody may create in the schema: a function made there could be taken for one we call."""
    schema = session.address.schema
    if session.execute("SELECT has_schema_privilege('public', ?, 'CREATE')", (schema,)).fetchone() == (1,):
        log.warning(
            "Every role may create functions in schema %s, and so change what those of Affidavit do; run as"
            ' its owner: REVOKE CREATE ON SCHEMA "%s" FROM PUBLIC',
            schema,
            schema,
        )


_RELATIONS = (
    "SELECT c.oid, c.relname::text, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, a.grantee"
    " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) a"
    " WHERE n.nspname = ? AND (c.relname LIKE 'affidavit\\_%' OR c.relname = 'audit_logs')"
    " AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND pg_get_userbyid(c.relowner) = current_user"
    " AND a.grantee <> c.relowner"
)
_FUNCTIONS = (
    "SELECT p.oid, p.oid::regprocedure::text, 'FUNCTION', a.grantee"
    " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,"
    " aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a"
    " WHERE n.nspname = ? AND p.proname LIKE 'affidavit\\_%' AND pg_get_userbyid(p.proowner) = current_user"
    " AND a.grantee <> p.proowner"
)


def standing_objects(session: Session) -> set[int]:
    """The numbers of all tables and functions there are, for :func:`take_from_others`."""
    rows = session.execute("SELECT oid::bigint FROM pg_class UNION ALL SELECT oid::bigint FROM pg_proc")
    return {row[0] for row in rows.fetchall()}


def take_from_others(session: Session, before: set[int]) -> None:
    """Take every right on what was made since ``before`` from everybody but its owner.

    Default privileges of the database may have given some to the app, and functions are everybody's by
    default. What an administrator grants later stays. Within a transaction.
    """
    schema = session.address.schema
    for oid, name, kind, grantee in [
        *session.execute(_RELATIONS, (schema,)).fetchall(),
        *session.execute(_FUNCTIONS, (schema,)).fetchall(),
    ]:
        if oid in before:
            continue
        (who,) = session.execute(
            "SELECT CASE WHEN ?::oid = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(?::oid)) END",
            (grantee, grantee),
        ).fetchone() or ("PUBLIC",)
        what = name if kind == "FUNCTION" else sql.Identifier(schema, name).as_string()
        session.connection.execute(f"REVOKE ALL ON {kind} {what} FROM {who}".encode())
