"""The URL patterns and models of a Django project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.apps import apps
from django.urls import Resolver404, get_resolver, resolve

from affidavit.testing.coverage.subject import ANY, UNSAFE, Model, Route

__all__ = ["django_models", "django_routes"]


def django_routes() -> Iterator[Route]:
    """Each pattern of the project whose view may change something.

    A view of a class says which methods it takes, and so does a view set of Django REST framework. A view
    that is a function does not: it counts as one route, whatever the method.
    """
    return _walk(get_resolver().url_patterns, "")


def _walk(patterns: Iterable[Any], before: str) -> Iterator[Route]:
    for each in patterns:
        route = before + str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from _walk(each.url_patterns, route)
        elif not str(getattr(each.callback, "__module__", "")).startswith("affidavit."):
            for method in _methods(each.callback):
                yield Route(method, f"/{route}", _fitting(route))


def _methods(view: Any) -> list[str]:
    actions = getattr(view, "actions", None)
    if isinstance(actions, dict):
        return sorted({name.upper() for name in actions} & set(UNSAFE))
    cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if cls is None:
        return [ANY]
    taken = {name.upper() for name in cls.http_method_names if hasattr(cls, name)}
    return sorted(taken & set(UNSAFE))


def _fitting(route: str) -> Callable[[str], bool]:
    def fits(path: str) -> bool:
        try:
            return str(resolve(path).route) == route
        except Resolver404:
            return path == f"/{route}"

    return fits


def django_models(audit: Any) -> Iterator[Model]:
    """Each model with a table of its own.

    Args:
        audit: whose ``register`` says what resources their objects are; by default their tables.
    """
    for model in apps.get_models():
        if model._meta.proxy or not model._meta.managed:
            continue
        known = audit.recorder.registered.type_of(model)
        yield Model(model._meta.label, frozenset({known or model._meta.db_table}))
