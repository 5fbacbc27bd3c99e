"""What only the engine can say about the health of its database."""

from __future__ import annotations

from collections.abc import Iterator

from affidavit.errors import StorageError
from affidavit.storage.health import Finding, State
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine
from affidavit.wiring.engines import Where, engine_of
from affidavit.wiring.sqlite import SqliteEngine

__all__ = ["Finding", "State", "causes", "engine_findings"]


def engine_findings(where: Where) -> Iterator[Finding]:
    """Look at the database of an instance that is open.

    Raises:
        StorageError: it does not answer.
    """
    engine = engine_of(where)
    if isinstance(engine, SqliteEngine):
        return _wal(engine)
    return _postgres(engine)


def causes(where: Where) -> list[Finding]:
    """What is wrong with a database that could not be opened, as far as that can be seen."""
    engine = engine_of(where)
    if isinstance(engine, SqliteEngine):
        return []  # a file that cannot be opened tells no more
    found: list[Finding] = []
    try:
        found.extend(finding for finding in _postgres(engine) if finding.state != State.OK)
    except StorageError:
        return found  # what stopped the opening stopped this too, and has been said
    return found


def _wal(engine: SqliteEngine) -> Iterator[Finding]:
    """While the database is open its write-ahead log stands beside it."""
    if engine.path.with_name(f"{engine.path.name}-wal").exists():
        yield Finding("WAL", State.OK, "Write-ahead logging is on")
    else:
        found = "There is no write-ahead log beside the open database"
        yield Finding("WAL", State.WARN, found, "affidavit serve")


def _postgres(engine: Engine) -> Iterator[Finding]:
    # Only where its driver is installed, which the engine has shown.
    from affidavit.storage.postgres.connect import Address
    from affidavit.storage.postgres.health import examine

    settings = engine.settings
    return examine(Address(settings.database, settings.schema), pool=settings.database_pool, clock=clock)
