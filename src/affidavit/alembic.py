"""Affidavit's tables in a database whose schema Alembic keeps.

In ``env.py``: ``context.configure(..., include_object=affidavit.alembic.include_object)``, so that ``alembic
check`` and ``--autogenerate`` leave our tables alone. In a revision: ``affidavit.alembic.upgrade(op)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affidavit.errors import WrongTransaction

__all__ = ["include_object", "upgrade"]

_OURS = "affidavit_"
_VIEW = "audit_logs"


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
