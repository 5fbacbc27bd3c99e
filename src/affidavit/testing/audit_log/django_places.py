"""Where Django's connections write: its own question for each, in the thread that Django has for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from affidavit.recorder.adapters.django import DjangoDriver
from affidavit.recorder.adapters.driver import drive
from affidavit.testing.audit_log.forget import forgetting
from affidavit.testing.audit_log.place import NotAwaited, Place, found, is_awaited

__all__ = ["DjangoPlace", "in_memory"]


class DjangoPlace:
    """A database of ``DATABASES``.

    Args:
        alias: of it.
        schema: of our tables on PostgreSQL.
    """

    sure = True

    def __init__(self, alias: str, schema: str) -> None:
        self._alias = alias
        self._schema = schema

    def _driver(self) -> Any:
        return DjangoDriver(connections[self._alias], self._schema)

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """On the connection of this thread."""
        if is_awaited():
            raise NotAwaited
        return found(self._driver(), ids)

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """In the thread that Django has for this."""
        seen: set[bytes] = await sync_to_async(lambda: found(self._driver(), ids))()
        return seen

    def forget(self, ids: Sequence[bytes]) -> None:
        """Unless the connection is in the transaction of a ``TestCase``, which takes everything back."""
        if not connections[self._alias].in_atomic_block:
            driver = self._driver()
            with transaction.atomic(using=self._alias):
                drive(driver, forgetting(ids, driver.dialect, self._schema))


class _Several:
    """Databases of Django in memory, one of which it was: the connection that wrote is closed by now.

    Args:
        places: of each.
    """

    sure = True

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places

    def look(self, ids: Sequence[bytes]) -> set[bytes]:
        """In any of them."""
        return {each for place in self._places for each in place.look(ids)}

    async def look_awaited(self, ids: Sequence[bytes]) -> set[bytes]:
        """In any of them."""
        return {each for place in self._places for each in await place.look_awaited(ids)}

    def forget(self, ids: Sequence[bytes]) -> None:
        """In all of them."""
        for place in self._places:
            place.forget(ids)


def in_memory() -> Place | None:
    """Where a connection beside those of Django wrote that has no file."""
    places = [
        DjangoPlace(alias, "public")
        for alias in connections
        if connections[alias].vendor == "sqlite" and connections[alias].is_in_memory_db()
    ]
    return _Several(places) if places else None
