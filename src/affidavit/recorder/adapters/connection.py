"""Connections of drivers: the event is written at once, in the transaction that the connection is in."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from affidavit.core.row import Recorded
from affidavit.core.statement import Steps
from affidavit.recorder.adapters.driver import drive, drive_async
from affidavit.recorder.fields import Said
from affidavit.recorder.recorder import Recorder

__all__ = ["AiosqliteAdapter", "AsyncPsycopgAdapter", "PsycopgAdapter", "Sqlite3Adapter"]


class Sqlite3Adapter:
    """``sqlite3.Connection``."""

    def record(self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str) -> list[Recorded]:  # noqa: ARG002
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        from affidavit.recorder.adapters.sqlite import Sqlite3Driver, check_transaction

        check_transaction(target)
        return drive(Sqlite3Driver(target), _steps(recorder, said, "sqlite"))


class AiosqliteAdapter:
    """``aiosqlite.Connection``."""

    def record(
        self,
        recorder: Recorder,
        target: Any,
        said: Sequence[Said],
        schema: str,  # noqa: ARG002
    ) -> Awaitable[list[Recorded]]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        from affidavit.recorder.adapters.sqlite import AiosqliteDriver, check_transaction

        check_transaction(target)
        return drive_async(AiosqliteDriver(target), _steps(recorder, said, "sqlite"))


class PsycopgAdapter:
    """``psycopg.Connection``."""

    def record(self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str) -> list[Recorded]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        from affidavit.recorder.adapters.psycopg import PsycopgDriver, check_transaction

        check_transaction(target)
        return drive(
            PsycopgDriver(target, schema),
            _steps(recorder, said, "postgresql"),
        )


class AsyncPsycopgAdapter:
    """``psycopg.AsyncConnection``."""

    def record(
        self, recorder: Recorder, target: Any, said: Sequence[Said], schema: str
    ) -> Awaitable[list[Recorded]]:
        """See :class:`affidavit.recorder.adapters.dispatch.Adapter`."""
        from affidavit.recorder.adapters.psycopg import AsyncPsycopgDriver, check_transaction

        check_transaction(target)
        return drive_async(
            AsyncPsycopgDriver(target, schema),
            _steps(recorder, said, "postgresql"),
        )


def _steps(recorder: Recorder, said: Sequence[Said], dialect: str) -> Steps:
    return recorder.steps([recorder.draft(each) for each in said], dialect)
