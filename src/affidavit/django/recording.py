"""``audit``: the recorder of a Django project, made from its settings at the first use."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Unpack

from django.db import connections, router, transaction
from django.utils.functional import SimpleLazyObject

from affidavit.core.catalog import EventType
from affidavit.core.event import Draft
from affidavit.core.row import Recorded
from affidavit.django.addresses import url_of
from affidavit.django.aio import DjangoAio
from affidavit.django.capture.install import capture
from affidavit.django.capture.models import spelled
from affidavit.django.carried import carry_always
from affidavit.django.own import OwnSource
from affidavit.django.settings import audit_options, database_url
from affidavit.django.watching import drain_when_ended
from affidavit.embed import Audit
from affidavit.embedded import address_of
from affidavit.errors import ConfigError
from affidavit.recorder.adapters.django import DjangoAdapter, model_resource, peek
from affidavit.recorder.attempts import Attempt, no_running_loop, watched
from affidavit.recorder.fields import Fields, Said
from affidavit.recorder.now import Now
from affidavit.recorder.own import OwnConnections
from affidavit.recorder.registered import Attribute
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
        self.recorder.registered.read_by(peek)

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

    def record_many(  # type: ignore[override]
        self,
        action: str | EventType,
        events: Iterable[Fields],
        /,
        *,
        using: str | None = None,
        **common: Unpack[Fields],
    ) -> list[Recorded]:
        """Record several events of one action in the current atomic block, in one statement: all or none.

        Args:
            action: of all of them.
            events: the fields of each, at most 1,000.
            using: alias of the database whose block it is; by default that of the first one's resource.
            **common: fields of all of them; those of an event win.

        Raises:
            InvalidEvent: one of them breaks a rule; none was written.
            WrongTransaction: see :meth:`record`.
        """
        said = [self.recorder.said(action, {**common, **fields}) for fields in events]
        first = said[0].fields.get("resource") if said else None
        target = connections[using or self._alias(first)]
        return self._adapter.record(self.recorder, target, said, self._schema)

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

    def register(
        self,
        cls: type,
        *,
        type: str,  # noqa: A002 - keywords are named as the fields of an event
        id: Attribute = "pk",  # noqa: A002
        name: Attribute | None = None,
        exclude: Collection[str] = (),
        mask: Collection[str] = (),
    ) -> None:
        """Say what resource the objects of a class are; see :meth:`affidavit.Audit.register`.

        Args:
            cls: of the app.
            type: of the resource, such as ``team``.
            id: attribute, or a function of the object.
            name: the same; a field that was not loaded is not loaded for it, and left out.
            exclude: fields that no captured change shows.
            mask: fields whose values none shows.
        """
        fields = {"exclude": spelled(cls, exclude), "mask": spelled(cls, mask)}
        super().register(cls, type=type, id=id, name=name, **fields)

    def capture(
        self,
        model: type,
        *,
        actions: Mapping[Literal["create", "update", "delete"], str | EventType] | None = None,
        exclude: Collection[str] = (),
        mask: Collection[str] = (),
    ) -> None:
        """Record each insert, update and delete of a model's objects, in the transaction that makes it.

        Call it in ``ready()`` of an app, or below the model.

        Args:
            model: of Django; proxies of it and what inherits from it are captured, too.
            actions: of the kinds that are captured; by default all: ``<table>.create``, ``<table>.update``
                and ``<table>.delete``.
            exclude: fields that no event shows; an update of nothing else makes none.
            mask: fields whose values no event shows.

        Raises:
            ConfigError: ``affidavit.django`` is not installed.
            TypeError: it is no model with a table, it has no such field, or ``actions`` names another kind.
        """
        capture(self.recorder, self._schema, model, actions=actions, exclude=exclude, mask=mask)

    def carry(self, target: Any = None) -> Awaitable[None] | None:  # type: ignore[override]
        """Let the triggers of PostgreSQL know who acts; see :meth:`affidavit.Audit.carry`.

        Args:
            target: alias of a database, by default that of our tables: once, in ``ready()`` of an app, and
                each transaction is told before its first statement that may change something. Anything else
                is told now.
        """
        if target is None or isinstance(target, str):
            carry_always(self.recorder, target or self._using)
            return None
        told: Awaitable[None] | None = super().carry(target)
        return told

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
        back: tuple[str, str] | None = None,
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
            back: text of a link to the project, and its address or the name of a URL.
            namespace: of the URLs; ``reverse("affidavit:page")`` is the page.
            **settings: see :meth:`settings`.

        Raises:
            ConfigError: an argument breaks its rule, or a package is missing: ``affidavit[web]``.
        """
        address = None if login_url is None else partial(url_of, login_url)
        way_back = None if back is None else (back[0], partial(url_of, back[1]))
        page = self._page(authorize, address, way_back, settings)
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
