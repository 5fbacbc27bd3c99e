"""``audit.capture(Model)``: checks what is asked for and hooks in where Django shows what it does."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.db.models.signals import class_prepared

from affidavit.core.catalog import EventType
from affidavit.django.capture import models
from affidavit.django.capture.deletes import hear_deletes
from affidavit.django.capture.known import loaded, refreshed
from affidavit.django.capture.models import Captured, Kind
from affidavit.django.capture.querysets import watch_querysets
from affidavit.django.capture.relations import hear_relations
from affidavit.django.capture.saves import saved
from affidavit.django.capture.statements import follow_all
from affidavit.errors import ConfigError
from affidavit.recorder.recorder import Recorder

__all__ = ["capture", "models_are_ready"]

_KEY = "_affidavit_capture"
_HOOKS = {"from_db": loaded, "refresh_from_db": refreshed, "_save_table": saved}
_waiting: list[tuple[Any, ...]] = []


def capture(
    recorder: Recorder,
    schema: str,
    model: Any,
    *,
    actions: Mapping[Kind, str | EventType] | None,
    exclude: Collection[str],
    mask: Collection[str],
) -> None:
    """See :meth:`affidavit.django.recording.DjangoAudit.capture`."""
    if not isinstance(model, type) or not issubclass(model, Model):
        raise TypeError(f"{getattr(model, '__name__', model)} is no model of Django")
    cls: Any = model
    meta = cls._meta
    if meta.abstract or meta.swapped or meta.auto_created:
        raise TypeError(f"{model.__name__} has no table of its own that could be captured")
    names = models.names_of(actions, meta.concrete_model)
    asked = (recorder, schema, meta.concrete_model, names, tuple(exclude), tuple(mask))
    if not apps.is_installed("affidavit.django"):
        raise ConfigError('Changes are captured once "affidavit.django" stands in INSTALLED_APPS.')
    if apps.models_ready:
        _capture(*asked)
    else:
        _waiting.append(asked)


def models_are_ready() -> None:
    """Capture what was asked for while models were still being loaded."""
    while _waiting:
        _capture(*_waiting.pop(0))


def _capture(
    recorder: Recorder,
    schema: str,
    model: Any,
    names: Mapping[Kind, str],
    exclude: Collection[str],
    mask: Collection[str],
) -> None:
    models.check_fields(model, {*exclude, *mask})
    left_out, masked = (
        frozenset().union(*(models.spelled(each, given) for each in models.family(model)))
        for given in (exclude, mask)
    )
    models.add(Captured(recorder, schema, model, names, left_out, masked))
    follow_all()
    watch_querysets()
    class_prepared.connect(_prepared, dispatch_uid="affidavit.capture")
    for each in models.family(model):
        _hook(each, of_its_own=each is model)


def _prepared(sender: Any, **_more: Any) -> None:
    """A class has come that may inherit from one that is captured."""
    models.forget()
    if models.is_captured(sender):
        _hook(sender, of_its_own=False)


def _hook(model: Any, *, of_its_own: bool) -> None:
    hear_deletes(model)
    hear_relations(model)
    for name, hook in _HOOKS.items():
        if of_its_own or name in vars(model):
            found = inspect.getattr_static(model, name)
            original = found.__func__ if isinstance(found, classmethod) else found
            if not hasattr(original, _KEY):
                made = hook(original)
                setattr(made, _KEY, True)
                setattr(model, name, classmethod(made) if isinstance(found, classmethod) else made)
