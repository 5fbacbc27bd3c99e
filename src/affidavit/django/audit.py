"""``audit``: the recorder of a Django project, made from its settings at the first use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from django.conf import settings
from django.db import connections, router
from django.utils.functional import SimpleLazyObject
from django.utils.module_loading import import_string

from affidavit.core.catalog import EventType
from affidavit.core.row import Recorded
from affidavit.embed import Audit
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.django import DjangoAdapter, model_resource
from affidavit.recorder.attempts import failure, watched
from affidavit.recorder.fields import Fields

__all__ = ["DjangoAudit", "audit"]

_NAMES = frozenset({"organization", "source", "catalogs", "schema", "spool", "allow_import", "using"})


class DjangoAudit(Audit):
    """:class:`affidavit.Audit` on the connections of Django: no session is passed.

    Args:
        using: alias of the database that holds our tables.
        **options: of :class:`affidavit.Audit`.
    """

    def __init__(self, *, using: str = "default", **options: Any) -> None:
        super().__init__(self._fresh, **options)
        self._using = using
        self._adapter = DjangoAdapter()
        self.recorder.registered.find_by(model_resource)

    def _fresh(self) -> Any:
        """A connection of the driver's own, beside those of Django's threads."""
        wrapper = connections[self._using]
        made = wrapper.__class__({**wrapper.settings_dict}, alias=self._using)
        return made.get_new_connection(made.get_connection_params())

    def record(  # type: ignore[override]
        self, action: str | EventType, /, *, using: str | None = None, **fields: Unpack[Fields]
    ) -> Recorded:
        """Record an event in the current atomic block: both or neither.

        Args:
            action: dotted name, or an event type of a catalog.
            using: alias of the database whose block it is; by default that of the resource.
            **fields: see :meth:`affidavit.Audit.record`.

        Raises:
            WrongTransaction: there is no atomic block.
        """
        alias = using or self._alias(fields.get("resource"))
        said = self.recorder.said(action, fields)
        return self._adapter.record(self.recorder, connections[alias], [said], self._schema)[0]

    def _alias(self, resource: object) -> str:
        state = getattr(resource, "_state", None)
        if state is not None and getattr(state, "db", None):
            return str(state.db)
        if state is not None:
            return str(router.db_for_write(type(resource)))
        return self._using

    @contextmanager
    def attempt(  # type: ignore[override]
        self, action: str | EventType, /, *, using: str | None = None, **fields: Unpack[Fields]
    ) -> Iterator[None]:
        """See :meth:`affidavit.Audit.attempt`."""

        def failed(error: BaseException) -> None:
            self._record_now(self.recorder.said(action, failure(fields, error)))

        with watched(lambda: self.record(action, using=using, **fields), failed):
            yield


def _made() -> DjangoAudit:
    given = dict(getattr(settings, "AFFIDAVIT", {}))
    for name in given:
        if name not in _NAMES:
            raise ConfigError(f"AFFIDAVIT[{name!r}] is no setting; there are: {', '.join(sorted(_NAMES))}")
    catalogs: Iterable[Any] = given.get("catalogs", ())
    given["catalogs"] = [import_string(each) if isinstance(each, str) else each for each in catalogs]
    return DjangoAudit(**given)


audit: DjangoAudit = SimpleLazyObject(_made)
