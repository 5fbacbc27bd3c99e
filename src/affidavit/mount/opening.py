"""What the page works with, opened at the first request and closed by ``Audit.close()``.

A mounted application gets no lifespan events, and whatever it opened before the server's fork would be of no
use after it. So nothing is opened before somebody asks, and each process opens its own.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable

from starlette.applications import Starlette

from affidavit.config import Settings
from affidavit.core.catalog import CatalogSet
from affidavit.recorder.forks import when_forked
from affidavit.web.app import create_app
from affidavit.web.host import Host
from affidavit.wiring import Instance, engine_of, open_store, reapply_manifests

__all__ = ["Opening"]

SETTLING = 5.0
"""Seconds that closing waits for what is being written."""

_inherited: list[Instance] = []
"""Of parents: never used and never closed, as the other end of their connections belongs to the parent."""


class Opening:
    """The application around an instance that is opened when it is needed.

    Args:
        settings: found out at that moment.
        catalogs: of the product.
        host: the product.
    """

    def __init__(
        self, settings: Callable[[], Settings], catalogs: Callable[[], CatalogSet], host: Host
    ) -> None:
        self._settings = settings
        self._catalogs = catalogs
        self._host = host
        self._lock = threading.Lock()
        self._instance: Instance | None = None
        self.app: Starlette | None = None
        when_forked(self)
        atexit.register(_close, weakref.ref(self))

    def open(self) -> Starlette:
        """The application; opened by the first who asks, while others wait. Blocks.

        Raises:
            ConfigError: a setting breaks its rule.
            StorageError: the database cannot be used.
        """
        with self._lock:
            if self.app is None:
                settings = self._settings()
                engine = engine_of(settings)
                # People come through the product; whoever holds the operator's token has the command line.
                instance = open_store(engine, catalogs=self._catalogs(), operator=False)
                try:
                    # A backup may have brought back what was erased: it goes before anybody can see it.
                    reapply_manifests(engine, instance.database)
                    self.app = create_app(instance, settings=settings, page="", host=self._host)
                except BaseException:
                    instance.close()
                    raise
                self._instance = instance
            return self.app

    def close(self) -> None:
        """Write what was noted of the last answers and close; the next request opens it again."""
        app = self.app
        if app is not None:
            app.state.reads.finish(SETTLING)
        with self._lock:
            self._close()

    def _close(self) -> None:
        instance, self._instance, self.app = self._instance, None, None
        if instance is not None:
            instance.close()

    def before_fork(self) -> None:
        """Close files of SQLite; see :mod:`affidavit.recorder.forks`."""
        self._lock.acquire()
        if self._instance is not None and self._instance.settings.database_path is not None:
            if self.app is not None:
                self.app.state.reads.finish(SETTLING)
            self._close()

    def after_fork(self, *, child: bool) -> None:
        """A child opens its own."""
        if child and self._instance is not None:
            _inherited.append(self._instance)
            self._instance = self.app = None
        self._lock.release()


def _close(opening: weakref.ref[Opening]) -> None:
    left = opening()
    if left is not None:
        left.close()
