"""``audit``: the recorder of a Django project, made from its settings at the first use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Unpack

from django.db import connections, router, transaction
from django.shortcuts import resolve_url
from django.utils.functional import SimpleLazyObject

from affidavit.core.catalog import EventType
from affidavit.core.event import Draft
from affidavit.core.row import Recorded
from affidavit.django.aio import DjangoAio
from affidavit.django.own import OwnSource
from affidavit.django.settings import audit_options, database_url
from affidavit.django.watching import drain_when_ended
from affidavit.embed import Audit
from affidavit.embedded import address_of
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.django import DjangoAdapter, model_resource
from affidavit.recorder.attempts import Attempt, no_running_loop, watched
from affidavit.recorder.fields import Fields, Said
from affidavit.recorder.now import Now
from affidavit.recorder.own import OwnConnections
from affidavit.recorder.spool import Spool

if TYPE_CHECKING:
    from affidavit.mount.asking import Authorize

__all__ = ["DjangoAudit", "audit"]


class DjangoAudit(Audit):
    """:class:`affidavit.Audit` on the connections of Django: no session is passed.

    Args:
        using: alias of the database that holds our tables, where no other is named.
        **options: of :class:`affidavit.Audit`.
    """

    def __init__(self, *, using: str = "default", **options: Any) -> None:
        super().__init__(None, **options)
        self._using = using
        self._adapter = DjangoAdapter()
        self.recorder.registered.find_by(model_resource)

    def record(  # type: ignore[override]
        self, action: str | EventType, /, *, using: str | None = None, **fields: Unpack[Fields]
    ) -> Recorded:
        """Record an event in the current atomic block: both or neither.

        Args:
            action: dotted name, or an event type of a catalog.
            using: alias of the database whose block it is; by default that of the resource.
            **fields: see :meth:`affidavit.Audit.record`.

        Raises:
            InvalidEvent: the actor is missing, or a rule is broken; nothing was written.
            WrongTransaction: there is no atomic block, or the database is neither SQLite nor PostgreSQL.
        """
        said = self.recorder.said(action, fields)
        target = connections[using or self._alias(fields.get("resource"))]
        return self._adapter.record(self.recorder, target, [said], self._schema)[0]

    @contextmanager
    def attempt(  # type: ignore[override]
        self, action: str | EventType, /, *, using: str | None = None, **fields: Unpack[Fields]
    ) -> Iterator[None]:
        """Record an attempt, in an atomic block of its own: with it, or after its rollback.

        Args:
            action: see :meth:`record`.
            using: see :meth:`record`.
            **fields: see :meth:`record`. ``reason`` is what was raised, where none is given.
        """
        no_running_loop("attempt")
        attempt = Attempt(self.recorder, action, fields)
        alias = using or self._alias(fields.get("resource"))

        def failed(error: BaseException) -> None:
            self._record_now(attempt.failed(error))

        with watched(lambda: None, failed), transaction.atomic(using=alias):
            yield
            self.record(action, using=alias, **fields)

    @property
    def aio(self) -> DjangoAio:
        """``record_now``, ``denied``, ``attempt`` and ``audited`` for code that is awaited."""
        return DjangoAio(self.recorder, lambda: self.now, self.record)

    @property
    def now(self) -> Now:
        """What records in transactions of its own, on connections beside those of Django's threads."""
        with self._making:
            if self._now is None:
                # Not before: a test runner gives the database another name once the apps are loaded.
                source = OwnSource(connections[self._using], self._schema)
                path = self._spool or source.spool
                self._now = Now(
                    self.recorder, OwnConnections(source), Spool(path) if path is not None else None
                )
            return self._now

    def urls(
        self,
        *,
        authorize: Authorize,
        login_url: str | None = None,
        namespace: str = "affidavit",
        **settings: Any,
    ) -> tuple[list[Any], str, str]:
        """The page and the API, for ``path("audit/", audit.urls(...))``; under WSGI and ASGI alike.

        Nothing is opened before the first request, in each process by itself; :meth:`close` closes it.

        Args:
            authorize: gets a request of Django and answers a :class:`~affidavit.Viewer`, or ``None`` where
                nobody is signed in. It may be async, and may raise ``PermissionDenied`` and ``Http404``.
            login_url: where the project signs people in: an address, or the name of a URL. ``None``: the page
                says that they have to sign in, with status 401.
            namespace: of the URLs; ``reverse("affidavit:page")`` is the page.
            **settings: see :meth:`settings`.

        Raises:
            ConfigError: an argument breaks its rule, or a package is missing: ``affidavit[web]``.
        """
        address = None if login_url is None else lambda: resolve_url(login_url)
        page = self._page(authorize, address, settings)
        from affidavit.django.page import urls_of

        return urls_of(page, authorize, namespace)

    def _address(self) -> str | None:
        url = database_url(connections[self._using])
        if url is None:
            raise ConfigError("A database in memory has no log, and no worker; use a file.")
        return address_of(url, self._schema)

    def _record_now(self, what: Said | Draft) -> Recorded:
        recorded = super()._record_now(what)
        spool = self.now.spool
        if spool is not None and spool.has_entries():
            drain_when_ended(connections.all(initialized_only=True))
        return recorded

    def _alias(self, resource: object) -> str:
        state = getattr(resource, "_state", None)
        if state is None:
            return self._using
        return str(state.db or router.db_for_write(type(resource), instance=resource))


audit: DjangoAudit = SimpleLazyObject(lambda: DjangoAudit(**audit_options()))
