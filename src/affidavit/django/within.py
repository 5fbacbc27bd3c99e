"""A transaction of its own where there can be none: in a ``TestCase``, and in SQLite in memory.

All of such a test happens in one transaction, which no second connection can look into or wait for, and that
is rolled back in the end. A database in memory has one writer, and nobody else has it. There an event of its
own is written on the connection of the app, and once more whenever a block around it is rolled back: it
brings its id, so it stands there once.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction

from affidavit.core.row import Recorded
from affidavit.core.statement import Answer, Statement, Steps
from affidavit.recorder.adapters.django import DjangoDriver
from affidavit.recorder.adapters.driver import drive

__all__ = ["run_within", "runs_within"]

_KEPT = "_affidavit_kept"
_WRAPPED = ("savepoint_rollback", "rollback", "commit")


def runs_within(connection: Any) -> bool:
    """Whether what is recorded now can only be written on this connection of Django."""
    if not connection.in_atomic_block:
        return False
    return _of_tests(connection) > 0 or (connection.vendor == "sqlite" and connection.is_in_memory_db())


def run_within(connection: Any, schema: str, steps: Steps) -> list[Recorded]:
    """Run a recording so that it outlives the blocks of the app around it."""
    driver = _Remembering(connection, schema)
    with transaction.atomic(using=connection.alias):
        recorded = drive(driver, steps)
    if len(connection.atomic_blocks) > _of_tests(connection):
        kept = vars(connection).get(_KEPT)
        (_watch(connection, schema) if kept is None else kept).extend(driver.done)
    return recorded


class _Remembering(DjangoDriver):
    """Notes the statements that it ran."""

    def __init__(self, connection: Any, schema: str) -> None:
        super().__init__(connection, schema)
        self.done: list[Statement] = []

    def run(self, statement: Statement) -> Answer:
        """Run one statement."""
        answer = super().run(statement)
        self.done.append(statement)
        return answer


def _of_tests(connection: Any) -> int:
    """Blocks around tests: of the class, and of the test."""
    return sum(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _watch(connection: Any, schema: str) -> list[Statement]:
    """Write what is kept again after a rollback, until the test or the transaction is over."""
    kept: list[Statement] = []
    tests = _of_tests(connection)

    def forget() -> None:
        for name in (_KEPT, *_WRAPPED):
            vars(connection).pop(name, None)

    def repeat() -> None:
        driver = DjangoDriver(connection, schema)
        for statement in kept:
            driver.run(statement)

    def savepoint_rollback(sid: str) -> None:
        type(connection).savepoint_rollback(connection, sid)
        # Django has taken the block that ends from its list.
        if _of_tests(connection) < tests:
            forget()
        else:
            repeat()

    def rollback() -> None:
        forget()
        connection.rollback()
        if not tests:
            repeat()

    def commit() -> None:
        forget()
        connection.commit()

    for name, wrapped in zip(_WRAPPED, (savepoint_rollback, rollback, commit), strict=True):
        setattr(connection, name, wrapped)
    setattr(connection, _KEPT, kept)
    return kept
