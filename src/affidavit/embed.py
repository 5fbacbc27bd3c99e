"""``Audit``: the audit log inside an app, in the app's own transactions. The composition root for apps.

Recording needs ``msgspec`` and the app's own driver, nothing else: what the server needs is imported only by
the methods that use it. It is long because the whole face of the library stands here with its overloads and
what people read about each call; the work is done by the parts that it puts together.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack, overload
from uuid import UUID

from affidavit.catalogs import ready_made
from affidavit.core.catalog import Catalog, CatalogSet, EventType
from affidavit.core.event import Actor, Draft
from affidavit.core.row import Recorded
from affidavit.errors import ConfigError
from affidavit.recorder import context as contexts
from affidavit.recorder import threads
from affidavit.recorder.adapters.dispatch import adapter_of
from affidavit.recorder.adapters.own import file_of, find_mapped, source_of
from affidavit.recorder.aio import Aio
from affidavit.recorder.attempts import Attempt, CallFields, by_names, no_running_loop, watched
from affidavit.recorder.fields import ContextFields, Fields, Said, anonymous, system
from affidavit.recorder.now import Now
from affidavit.recorder.own import OwnConnections
from affidavit.recorder.recorder import Recorder
from affidavit.recorder.registered import Attribute
from affidavit.recorder.spool import Spool
from affidavit.recorder.targets import AwaitedConnection, BlockingConnection, Unit
from affidavit.tables import make_tables

if TYPE_CHECKING:
    from affidavit.companion import Companion
    from affidavit.config import Settings
    from affidavit.mount.asgi import Mounted
    from affidavit.mount.asking import Authorize

__all__ = ["Audit", "anonymous", "system"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def _clock() -> int:
    return time.time_ns() // 1_000


class Audit:
    """Records what an app does, with the change or not at all.

    Args:
        database: where :meth:`record_now` and what serves the page connect: ``sqlite:///file.db``,
            ``postgresql://...``, an SQLAlchemy engine, or a function that opens a connection.
        organization: of events that name none and whose context names none; ``None``: each must.
        source: channel of events that name none.
        catalogs: of the app's own event types, beside the ready-made ones.
        schema: of our tables on PostgreSQL.
        spool: file in which events of :meth:`record_now` wait while the database is busy or away. Default:
            beside an SQLite file, ``NAME-spool.db``; on PostgreSQL none, then the error is the caller's.
        data_dir: folder of the log key, the guard and the other files of :meth:`start` and the page. Default:
            ``AFFIDAVIT_DATA_DIR``, else ``affidavit-data`` beside an SQLite file; on PostgreSQL it must be
            named.
        allow_import: whether events older than 30 days are taken.
        carry_into_threads: whether threads and executors of this process begin in the context of whoever
            started them; it patches ``threading.Thread`` and ``ThreadPoolExecutor``, once and for good.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self,
        database: Any,
        *,
        organization: str | None = None,
        source: str = "app",
        catalogs: Iterable[type[Catalog]] = (),
        schema: str = "public",
        spool: Path | str | None = None,
        data_dir: Path | str | None = None,
        allow_import: bool = False,
        carry_into_threads: bool = True,
        clock: Callable[[], int] = _clock,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if carry_into_threads:
            threads.carry_into_threads()
        self._database = database
        self._schema = schema
        self._spool = Path(spool) if spool is not None else None
        self._data_dir = Path(data_dir) if data_dir is not None else None
        self._companion: Companion | None = None
        self._now: Now | None = None
        self._pages: list[Mounted] = []
        self._making = threading.Lock()
        known: CatalogSet = ready_made()
        own = tuple(catalogs)
        if own:
            known = known.merge(CatalogSet.of(*own))
        self.recorder = Recorder(
            organization=organization,
            source=source,
            catalogs=lambda: known,
            clock=clock,
            entropy=entropy,
            allow_import=allow_import,
        )

    @overload
    def record(self, target: Unit, action: str | EventType, /, **fields: Unpack[Fields]) -> None: ...

    @overload
    def record(
        self, target: AwaitedConnection, action: str | EventType, /, **fields: Unpack[Fields]
    ) -> Awaitable[list[Recorded]]: ...

    @overload
    def record(
        self, target: BlockingConnection, action: str | EventType, /, **fields: Unpack[Fields]
    ) -> list[Recorded]: ...

    def record(
        self, target: Any, action: str | EventType | None = None, /, **fields: Unpack[Fields]
    ) -> list[Recorded] | Awaitable[list[Recorded]] | None:
        """Record an event in the transaction of a connection or session: both or neither.

        Args:
            target: an SQLAlchemy session or connection, a connection of psycopg, sqlite3 or aiosqlite.
            action: dotted name, or an event type of a catalog.
            **fields: of the event (docs/reference/event.md); what they leave out the context fills in.

        Returns:
            On a connection what became of it, awaitable where the connection is; ``None`` on a session, which
            writes it at its next flush or commit.

        Raises:
            InvalidEvent: the actor is missing, or a rule is broken; nothing was written.
            TypeError: the action came first, or a keyword is no field.
            WrongTransaction: the target cannot be recorded with: it is closed, has no transaction that the
                event could belong to, or ends it in two phases.
        """
        adapter = adapter_of(target)
        if action is None:
            raise TypeError("record(session, ...): the action is missing")
        return adapter.record(self.recorder, target, [self.recorder.said(action, fields)], self._schema)

    @overload
    def record_many(
        self, target: Unit, action: str | EventType, events: Iterable[Fields], /, **common: Unpack[Fields]
    ) -> None: ...

    @overload
    def record_many(
        self,
        target: AwaitedConnection,
        action: str | EventType,
        events: Iterable[Fields],
        /,
        **common: Unpack[Fields],
    ) -> Awaitable[list[Recorded]]: ...

    @overload
    def record_many(
        self,
        target: BlockingConnection,
        action: str | EventType,
        events: Iterable[Fields],
        /,
        **common: Unpack[Fields],
    ) -> list[Recorded]: ...

    def record_many(
        self, target: Any, action: str | EventType, events: Iterable[Fields], /, **common: Unpack[Fields]
    ) -> list[Recorded] | Awaitable[list[Recorded]] | None:
        """Record several events of one action in one statement: all of them, or none.

        Sessions do so by themselves with what :meth:`record` collected; for connections a hundred events
        cost a fraction of a hundred calls.

        Args:
            target: see :meth:`record`.
            action: of all of them.
            events: the fields of each, such as ``{"resource": team, "changes": {...}}``; on a connection at
                most 1,000.
            **common: fields of all of them; those of an event win.

        Returns:
            See :meth:`record`, in the order of the events.

        Raises:
            InvalidEvent: one of them breaks a rule; none was written.
            TooLarge: they are too many for one call; none was written.
            TypeError: see :meth:`record`.
            WrongTransaction: see :meth:`record`.
        """
        adapter = adapter_of(target)
        said = [self.recorder.said(action, {**common, **fields}) for fields in events]
        return adapter.record(self.recorder, target, said, self._schema)

    def record_now(self, action: str | EventType, /, **fields: Unpack[Fields]) -> Recorded:
        """Record an event in a transaction of its own, durable on return.

        Where another writer holds an SQLite database, or the database is away and there is a spool, the event
        is on the disk there and is stored as soon as that is possible.

        Raises:
            InvalidEvent: a rule is broken; nothing was stored.
            WrongTransaction: an event loop runs in this thread; use ``await audit.aio.record_now(...)``.
        """
        no_running_loop("record_now")
        return self._record_now(self.recorder.draft(self._own_said(action, fields)))

    def denied(self, action: str | EventType, /, **fields: Unpack[Fields]) -> Recorded:
        """Record that somebody may not: :meth:`record_now` with the outcome ``failure``, and ``critical``.

        Another severity is given as a field, or by the catalog with ``classified=False``.
        """
        no_running_loop("denied")
        find_mapped(self.recorder)
        return self._record_now(self.recorder.draft(self.recorder.refused(action, fields)))

    @contextmanager
    def attempt(self, target: Any, action: str | EventType, /, **fields: Unpack[Fields]) -> Iterator[None]:
        """Record an attempt: with the block's transaction where it succeeds, else in one of its own.

        A failure that cannot be recorded is noted on what the block raised, and logged.

        Args:
            target: see :meth:`record`; a connection that is awaited has ``audit.aio.attempt``.
            action: see :meth:`record`.
            **fields: see :meth:`record`. ``reason`` is what was raised, where none is given.

        Raises:
            WrongTransaction: an event loop runs in this thread; use ``async with audit.aio.attempt(...)``.
        """
        no_running_loop("attempt")
        find_mapped(self.recorder)
        attempt = Attempt(self.recorder, action, fields)
        with watched(
            lambda: self.record(target, action, **fields),
            lambda error: self._record_now(attempt.failed(error)),
        ):
            yield

    def audited(
        self,
        action: str | EventType,
        /,
        *,
        resource: Callable[..., Any] | None = None,
        **fields: Unpack[CallFields],
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """Record each call of a function in a transaction of its own: it returned, or it failed.

        Args:
            action: see :meth:`record`.
            resource: gives the resource of a call; its parameters are named as those of the function that it
                needs.
            **fields: see :meth:`record`.

        Raises:
            TypeError: the function is a generator, or ``resource`` names a parameter that it does not have.
            WrongTransaction: when a function that is not awaited is called while an event loop runs.
        """

        def around(function: Callable[_P, _R]) -> Callable[_P, _R]:
            if inspect.iscoroutinefunction(function):
                awaited: Any = self.aio.audited(action, resource=resource, **fields)
                return awaited(function)  # type: ignore[no-any-return]
            of_call = by_names(function, resource)

            @wraps(function)
            def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                no_running_loop("audited")
                find_mapped(self.recorder)
                attempt = Attempt(self.recorder, action, {**fields, **of_call(*args, **kwargs)})
                with watched(
                    lambda: self._record_now(attempt.succeeded()),
                    lambda error: self._record_now(attempt.failed(error)),
                ):
                    return function(*args, **kwargs)

            return called

        return around

    @property
    def aio(self) -> Aio:
        """``record_now``, ``denied``, ``attempt`` and ``audited`` for code that is awaited."""
        find_mapped(self.recorder)
        return Aio(self.recorder, lambda: self.now, self.record)

    def _own_said(self, action: str | EventType, fields: Mapping[str, Any]) -> Said:
        find_mapped(self.recorder)
        return self.recorder.said(action, fields)

    def _record_now(self, what: Said | Draft) -> Recorded:
        return self.now.record([self.recorder.draft(what) if isinstance(what, Said) else what])[0]

    def migrate(self) -> list[tuple[int, str]]:
        """Make our tables in the database, or bring them up to date; see :mod:`affidavit.tables`."""
        return make_tables(self._database, self._schema)

    @property
    def now(self) -> Now:
        """What records in transactions of its own; its connections are opened at the first use."""
        with self._making:
            if self._now is None:
                source = source_of(self._database, self._schema)
                path = self._spool
                if path is None and (file := file_of(source)) is not None:
                    path = file.with_name(f"{file.with_suffix('').name}-spool.db")
                spool = Spool(path) if path is not None else None
                self._now = Now(self.recorder, OwnConnections(source), spool)
            return self._now

    def close(self) -> None:
        """Close the connections and the spool of :meth:`record_now`; the next use opens them again.

        The worker of :meth:`start` ends, and what the page of :meth:`ui` works with is closed.
        """
        self.stop()
        for page in self._pages:
            page.close()
        if self._now is not None:
            self._now.close()

    def settings(self, **given: Any) -> Settings:
        """The settings of what runs beside the app's own code: its worker and its page.

        Args:
            **given: settings by name (docs/reference/settings.md); they win over the environment and
                ``affidavit.toml``. The database is this object's own where none is given.

        Raises:
            ConfigError: a setting is unknown or breaks its rule; ``database`` or ``data_dir`` is missing.
        """
        from affidavit.embedded import settings_of

        own = {"data_dir": self._data_dir, "spools": None if self._spool is None else [self._spool]}
        address = None if given.get("database") else self._address()
        return settings_of(address, self._schema, own | given)

    def _address(self) -> str | None:
        from affidavit.embedded import address_of

        return address_of(self._database, self._schema)

    def start(self, **settings: Any) -> Companion:
        """Have a worker process run beside the app: it seals, signs, indexes, erases, expires.

        Call it in every process of the app, at import or later: one process of a machine has the worker, as a
        child, and another takes over when that one ends. It ends with the app. Nothing is started before a
        server that forks after it has loaded the app has forked. Calling it again changes nothing.

        Args:
            **settings: see :meth:`settings`.

        Returns:
            What runs; as a context manager it ends with its block.

        Raises:
            ConfigError: see :meth:`settings`; or the data directory cannot be written to, or a package is
                missing: ``affidavit[web]``.
        """
        with self._making:
            if self._companion is None:
                from affidavit.companion import Companion

                self._companion = Companion(self.settings(**settings))
        self._companion.start()
        return self._companion

    def stop(self) -> None:
        """End the worker of :meth:`start` where this process has it; harmless where it was not called."""
        with self._making:
            companion, self._companion = self._companion, None
        if companion is not None:
            companion.stop()

    def ui(
        self,
        *,
        authorize: Authorize,
        login_url: str | None = None,
        back: tuple[str, str] | None = None,
        **settings: Any,
    ) -> Mounted:
        """The page and the API as an ASGI application, to mount in FastAPI, Starlette or any other.

        Nothing is opened before the first request, in each process by itself; :meth:`close` closes it.

        Args:
            authorize: gets a request of the app (Starlette's) and answers a :class:`~affidavit.Viewer`, or
                ``None`` where nobody is signed in. It may be async; where it is not, it runs in a thread.
            login_url: where the app signs people in; it gets the address to come back to as ``next``.
                ``None``: the page says that they have to sign in, with status 401.
            back: text and address of a link to the app, such as ``("Settings", "/settings")``.
            **settings: see :meth:`settings`.

        Raises:
            ConfigError: an argument or a setting breaks its rule, the page cannot be served from the
                database, or a package is missing: ``affidavit[web]``.
        """
        if not callable(self._database):
            self.settings(**settings)  # what is wrong is said when the app starts
        return self._page(authorize, login_url, back, settings)

    def _page(
        self,
        authorize: Authorize,
        login_url: str | Callable[[], str] | None,
        back: tuple[str, str | Callable[[], str]] | None,
        settings: Mapping[str, Any],
    ) -> Mounted:
        try:
            from affidavit.mount.page import make_page
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("affidavit"):
                raise
            raise ConfigError(
                f"The page needs the package {error.name}; install: pip install 'affidavit[web]'"
            ) from error
        page = make_page(
            lambda: self.settings(**settings),
            catalogs=lambda: self.recorder.catalogs,
            authorize=authorize,
            login_url=login_url,
            organization=self.recorder.organization,
            back=back,
        )
        self._pages.append(page)
        return page

    def register(
        self,
        cls: type,
        *,
        type: str,
        id: Attribute = "id",
        name: Attribute | None = None,
        exclude: Collection[str] = (),
        mask: Collection[str] = (),
    ) -> None:
        """Say what resource the objects of a class are.

        Where SQLAlchemy has the class, an event about an object takes what the ORM changed of it since the
        transaction, or the savepoint, began: call this before the session writes.

        Args:
            cls: of the app.
            type: of the resource, such as ``team``.
            id: attribute, or a function of the object.
            name: the same; ``None`` where there is none.
            exclude: fields that no event shows.
            mask: fields whose values no event shows, beside those whose names look like a secret.
        """
        self.recorder.registered.add(cls, type=type, id=id, name=name, exclude=exclude, mask=mask)
        if "sqlalchemy.orm" in sys.modules:
            from affidavit.recorder.adapters.sessions import use, watch

            use(self.recorder)
            watch(cls)

    def capture(
        self,
        model: type,
        *,
        actions: Mapping[Literal["create", "update", "delete"], str | EventType] | None = None,
        exclude: Collection[str] = (),
        mask: Collection[str] = (),
    ) -> None:
        """Record each insert, update and delete of a model's objects, in the flush that writes them.

        Args:
            model: that SQLAlchemy maps; what inherits from it is captured, too.
            actions: of the kinds that are captured; by default all: ``<table>.create``, ``<table>.update``
                and ``<table>.delete``.
            exclude: fields that no event shows; an update of nothing else makes none.
            mask: fields whose values no event shows.

        Raises:
            TypeError: the model is not mapped, or ``actions`` names another kind.
        """
        try:
            from affidavit.recorder.capture.sqlalchemy import capture
        except ModuleNotFoundError as error:
            raise TypeError(f"{model.__name__} is no model of SQLAlchemy, which is not installed") from error
        capture(self.recorder, self._schema, model, actions=actions, exclude=exclude, mask=mask)

    @overload
    def carry(self, target: AwaitedConnection) -> Awaitable[None]: ...

    @overload
    def carry(self, target: Any) -> None: ...

    def carry(self, target: Any) -> Awaitable[None] | None:
        """Let the triggers of a PostgreSQL database know who acts, and the rest of the context.

        Args:
            target: an engine of SQLAlchemy, async or not: once for the app, and each transaction is told
                before its first statement that may change something, and again when the context has changed.
                A connection of SQLAlchemy or psycopg: now, for the rest of its transaction.

        Returns:
            What is to be awaited, for a connection of psycopg that is.

        Raises:
            InvalidEvent: the context breaks a rule of events.
            WrongTransaction: the connection has no transaction that it could be told to.
            ConfigError: it is something else.
        """
        from affidavit.recorder.capture.carried import carry

        return carry(self.recorder, target)

    def context(self, **fields: Unpack[ContextFields]) -> AbstractContextManager[contexts.Context]:
        """Fields of all events recorded within the block; see :func:`affidavit.recorder.context.context`."""
        return contexts.context(**fields)

    def actor(
        self,
        id: str | int | UUID | Actor,
        *,
        type: str = "user",
        name: str | None = None,
        email: str | None = None,
        **known: Unpack[ContextFields],
    ) -> None:
        """Say who acts from now on in this context; see :func:`affidavit.recorder.context.actor`."""
        contexts.actor(id, type=type, name=name, email=email, **known)
