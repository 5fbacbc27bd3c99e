"""What writers of the log share, whatever engine keeps it: all but the queue and the growing of trees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from affidavit.core.merkle import Frontier
from affidavit.storage.log import Alarm, Manifest, Published, Tree
from affidavit.storage.sql import log_tables

__all__ = ["SqlLogWriter"]

C = TypeVar("C", bound=Any)


class SqlLogWriter(ABC, Generic[C]):
    """ManifestStore, AlarmStore, and LogWriter without ``append``; see :mod:`affidavit.storage.log`."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[C]:
        """A connection to read from; its errors are ours when the block ends."""
        ...

    @abstractmethod
    def transaction(self) -> AbstractContextManager[C]:
        """A write transaction, durable when the block has ended, nothing when it raises."""
        ...

    # LogWriter

    def heads(self, organizations: Iterable[str]) -> Mapping[str, tuple[Tree, Frontier]]:
        """See :class:`affidavit.storage.log.LogWriter`."""
        with self.reading() as log:
            found = {name: log_tables.head_of(log, name) for name in organizations}
        return {name: head for name, head in found.items() if head is not None}

    def next_number(self) -> int:
        """See :class:`affidavit.storage.log.LogWriter`."""
        with self.reading() as log:
            (number,) = log.execute("SELECT coalesce(max(tree), 0) + 1 FROM affidavit_trees").fetchone()
        return int(number)

    def unpublished(self, after: int = 0, limit: int = 1_000) -> list[tuple[Tree, Frontier]]:
        """See :class:`affidavit.storage.log.LogWriter`."""
        with self.reading() as log:
            return log_tables.unpublished(log, after, limit)

    def signed(self) -> bool:
        """See :class:`affidavit.storage.log.LogWriter`."""
        with self.reading() as log:
            found = log.execute("SELECT EXISTS (SELECT 1 FROM affidavit_checkpoints)").fetchone()
        return bool(found[0])

    def publish(self, checkpoints: Sequence[Published]) -> None:
        """See :class:`affidavit.storage.log.LogWriter`."""
        with self.transaction() as log:
            for each in checkpoints:
                log_tables.publish(log, each)

    # ManifestStore

    def add(self, manifest: Manifest) -> None:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        with self.transaction() as log:
            log_tables.store_manifest(log, manifest)

    def manifests(self, organization: str | None = None) -> list[Manifest]:
        """See :class:`affidavit.storage.log.ManifestStore`."""
        with self.reading() as log:
            return log_tables.read_manifests(log, organization)

    # AlarmStore

    def sound(self, alarm: Alarm) -> None:
        """See :class:`affidavit.storage.log.AlarmStore`."""
        with self.transaction() as log:
            log_tables.sound_alarm(log, alarm)

    def clear(self, kind: str, subject: str | None = None) -> None:
        """See :class:`affidavit.storage.log.AlarmStore`."""
        with self.transaction() as log:
            log_tables.clear_alarm(log, kind, subject)

    def alarms(self) -> list[Alarm]:
        """See :class:`affidavit.storage.log.AlarmStore`."""
        with self.reading() as log:
            return log_tables.read_alarms(log)
