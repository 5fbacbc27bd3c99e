"""What a run is asked to look for, from the options of pytest and from the fixture ``audit_coverage``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pytest

from affidavit.recorder.watchers import request_watchers
from affidavit.testing.audit_log.watch import Watch
from affidavit.testing.coverage.apps import mapped_models, routes_of
from affidavit.testing.coverage.report import Silence, silence_in
from affidavit.testing.coverage.seen import Seen
from affidavit.testing.coverage.subject import Model, Route, Subjects

__all__ = ["AuditCoverage", "named", "subjects_of"]


class AuditCoverage:
    """Counts from now on; ``audit_coverage(app=app, models=Base, audit=audit)`` says what is silent so far.

    Args:
        watch: that hears of the events.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.seen = Seen()
        watch.also.append(self.seen.heard)
        request_watchers.append(self.seen.asked)

    def stop(self) -> None:
        """Count no longer."""
        self._watch.also.remove(self.seen.heard)
        request_watchers.remove(self.seen.asked)

    def __call__(
        self, *, app: Any = None, models: Any = None, audit: Any = None, allow: Sequence[str] = ()
    ) -> Silence:
        """The routes and models of which nothing was recorded so far, in this process.

        Args:
            app: of Starlette or FastAPI, or several; in a Django project its URL patterns are looked at.
            models: a declarative base of SQLAlchemy, or several; of Django all models are looked at.
            audit: the ``Audit`` that models are registered with.
            allow: what may be silent: ``POST /login``, ``POST /webhooks/*``, ``Session``.
        """
        subjects = subjects_of(_several(app), _several(models), audit)
        return silence_in(self.seen.counts(subjects), allow)


def subjects_of(apps: Sequence[Any], bases: Sequence[Any], audit: Any) -> Subjects:
    """The routes of these apps and the models of these bases; in a Django project its own as well."""
    unknown: list[str] = []
    routes = [route for app in apps for route in routes_of(app, unknown=unknown)]
    models = [model for base in bases for model in mapped_models(base, audit)]
    if "affidavit.django.recording" in sys.modules:
        from affidavit.django.recording import audit as of_django
        from affidavit.testing.coverage.django import django_models, django_routes

        routes += django_routes()
        models += django_models(of_django)
    return Subjects(list(_once(routes)), list(_once(models)), unknown)


def _once(subjects: Sequence[Any]) -> list[Any]:
    found: dict[str, Route | Model] = {}
    for each in subjects:
        found.setdefault(each.label, each)
    return list(found.values())


def _several(value: Any) -> Sequence[Any]:
    return () if value is None else value if isinstance(value, list | tuple) else (value,)


def named(place: str) -> Any:
    """The object at ``package.module:name``.

    Raises:
        UsageError: there is none.
    """
    module, _, name = place.partition(":")
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise pytest.UsageError(f"{place!r} cannot be looked at for the audit coverage: {error}") from error
    return found
