"""Affidavit's tables in a database whose schema Alembic keeps.

In ``env.py``: ``context.configure(..., include_object=affidavit.alembic.include_object)``, so that ``alembic
check`` and ``--autogenerate`` leave our tables alone. In a revision: ``affidavit.alembic.upgrade(op)``, and
on PostgreSQL ``affidavit.alembic.create_triggers(op, "teams")``. For queries of the app: :data:`metadata`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.types import TypeEngine

from affidavit.core.row import COLUMNS
from affidavit.errors import WrongTransaction

__all__ = ["create_triggers", "drop_triggers", "include_object", "metadata", "upgrade"]

_OURS = "affidavit_"
_VIEW = "audit_logs"
_ID: TypeEngine[Any] = Uuid(as_uuid=True).with_variant(LargeBinary(16), "sqlite")
_TYPES: dict[str, TypeEngine[Any]] = {
    "id": _ID,
    "parent_id": _ID,
    "version": Integer(),
    "imported": Boolean(),
    "secret": LargeBinary(),
    "recorded_at": BigInteger(),
}
_ABSENT = (
    *("project", "parent_id", "facts", "actor_id", "actor", "resources", "context", "changes", "details"),
    *("secret", "remains"),
)
_SHOWN = (
    *("id", "timestamp", "organization", "project", "action", "outcome", "severity", "source"),
    *("actor_type", "actor_id", "actor_name", "actor_email", "resource_type", "resource_id", "ip", "details"),
)

_OF_VIEW: dict[str, TypeEngine[Any]] = {
    "id": Uuid(as_uuid=True).with_variant(Text(), "sqlite"),
    "timestamp": DateTime(timezone=True).with_variant(Text(), "sqlite"),
}

metadata = MetaData()
"""What SQL may rely on, for the app's own queries: the table of events and the view ``audit_logs``.

It may stand in ``target_metadata`` beside the app's: :func:`include_object` leaves both out. The rest of the
schema is made by :func:`upgrade` only.
"""
Table(
    "affidavit_events",
    metadata,
    *(
        Column(
            name,
            _TYPES.get(name, Text()),
            primary_key=name in ("organization", "id"),
            nullable=name in _ABSENT,
        )
        for name in COLUMNS
    ),
)
Table(
    _VIEW,
    metadata,
    *(
        Column(
            name,
            _OF_VIEW.get(name, Text()),
            primary_key=name == "id",
        )
        for name in _SHOWN
    ),
)


def include_object(
    object: Any,  # noqa: A002 - Alembic names them
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: Any,  # noqa: ARG001
) -> bool:
    """Whether Alembic compares an object of the database: everything that is not ours.

    Args:
        object: of the schema.
        name: of the object.
        type_: ``table``, ``column``, ``index`` or a kind of constraint.
        reflected: whether it stands in the database; a model of the app by one of our names is compared.
        compare_to: what it is compared with.
    """
    if getattr(getattr(object, "table", object), "metadata", None) is metadata:
        return False
    if not reflected:
        return True
    table = name if type_ == "table" else getattr(getattr(object, "table", None), "name", None)
    return table is None or not (str(table).startswith(_OURS) or table == _VIEW)


def upgrade(op: Any, *, schema: str = "public") -> Sequence[int]:
    """Bring our tables to this version's schema: the same numbered SQL, and the same notes, as ``migrate``.

    The steps go in by the product's own way, each in a transaction of its own that holds nobody up; what the
    revision did before is committed first. A database that has them already is left alone, and there is no
    way back: a log cannot be unmade.

    Args:
        op: ``alembic.op`` of the revision.
        schema: for our tables on PostgreSQL.

    Returns:
        The numbers of the steps that were applied.

    Raises:
        WrongTransaction: in offline mode, or on a database that is neither SQLite nor PostgreSQL.
        StorageError: in one of its kinds; steps that were applied before stay.
    """
    context = op.get_context()
    if context.as_sql:
        raise WrongTransaction("The tables of Affidavit are not made by a script; run: affidavit migrate")
    apply = {"sqlite": _sqlite, "postgresql": _postgresql}.get(context.dialect.name)
    if apply is None:
        raise WrongTransaction(f"There are no tables of Affidavit for {context.dialect.name}.")
    with context.autocommit_block():
        return apply(op.get_bind(), schema)


def create_triggers(op: Any, table: str, **wanted: Any) -> None:
    """Let triggers of PostgreSQL record every change of a table, within the revision's transaction.

    Call it again in each later revision that changes the table's columns, after the change.

    Args:
        op: ``alembic.op`` of the revision.
        table: its name as SQL writes it.
        **wanted: of :func:`affidavit.recorder.capture.triggers.trigger_sql`.

    Raises:
        WrongTransaction: in offline mode: the table is looked at.
        ConfigError: no PostgreSQL, no such table, or a rule of what is wanted is broken.
    """
    from affidavit.recorder.capture.triggers import trigger_sql

    connection = _online(op)
    _run(connection, trigger_sql(connection, table, **wanted))


def drop_triggers(op: Any, table: str) -> None:
    """Take the triggers of :func:`create_triggers` off a table.

    Args:
        op: ``alembic.op`` of the revision.
        table: its name as SQL writes it.

    Raises:
        WrongTransaction: in offline mode.
        ConfigError: no PostgreSQL, or no such table.
    """
    from affidavit.recorder.capture.triggers import drop_sql

    connection = _online(op)
    _run(connection, drop_sql(connection, table))


def _online(op: Any) -> Any:
    if op.get_context().as_sql:
        raise WrongTransaction("Triggers are made for the table as it stands; print them: affidavit triggers")
    return op.get_bind()


def _run(connection: Any, sql: str) -> None:
    if sql:  # names may hold percent signs, which are no parameters
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def _sqlite(bind: Any, _schema: str) -> list[int]:
    from affidavit.storage.sqlite.migrate import migrate

    driver = bind.connection.dbapi_connection
    path = Path(bind.engine.url.database or ":memory:")
    return [step.number for step in migrate(driver, path)]


def _postgresql(bind: Any, schema: str) -> list[int]:
    from affidavit.storage.postgres.connect import Address
    from affidavit.storage.postgres.migrate import migrate

    url = bind.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return [step.number for step in migrate(Address(url, schema))]
