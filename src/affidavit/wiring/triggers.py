"""A plain connection to the database of the settings, for what asks about an app's own tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from affidavit.config import Settings
from affidavit.errors import ConfigError

__all__ = ["app_connection"]


@contextlib.contextmanager
def app_connection(settings: Settings) -> Iterator[Any]:
    """A connection of psycopg, in autocommit, for the length of the block.

    Raises:
        ConfigError: the database is no PostgreSQL, or its driver is not installed.
        StorageError: it cannot be asked.
    """
    if not settings.database.startswith("postgresql://"):
        raise ConfigError("Triggers that capture changes need PostgreSQL: --database postgresql://...")
    try:
        from affidavit.storage.postgres.connect import Address, connect, translated
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise ConfigError("PostgreSQL needs its driver; install: affidavit[postgres]") from error
    address = Address(settings.database, settings.schema)
    with contextlib.closing(connect(address)) as session, translated(address):
        yield session.connection
