"""The routes of Starlette and FastAPI, and the models of SQLAlchemy: asked of the objects themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from affidavit.testing.coverage.subject import UNSAFE, Model, Route, fitting

__all__ = ["mapped_models", "routes_of"]


def routes_of(app: Any, prefix: str = "", unknown: list[str] | None = None) -> Iterator[Route]:
    """Each route of an app that takes a method which changes something, those of mounted apps included.

    Args:
        app: of Starlette or FastAPI, or a router.
        prefix: where it is mounted.
        unknown: gets the paths of mounted apps that show no routes. The pages of Affidavit are left out.
    """
    return _walk(app.routes, prefix, [] if unknown is None else unknown)


def _walk(routes: Iterable[Any], prefix: str, unknown: list[str]) -> Iterator[Route]:
    for route in routes:
        included = getattr(route, "effective_candidates", None)
        if callable(included):  # FastAPI resolves an included router when it is asked
            yield from _walk(included(), prefix, unknown)
            continue
        path = prefix + (getattr(route, "path", None) or "")
        methods = getattr(route, "methods", None)
        if methods is not None:
            for method in sorted(set(methods) & set(UNSAFE)):
                yield Route(method, path, fitting(path))
        elif hasattr(route, "app") and not _is_ours(route.app):
            inner = getattr(route, "routes", None)
            if inner:
                yield from _walk(inner, path, unknown)
            elif type(route).__name__ in ("Mount", "Host"):
                unknown.append(f"{path} (a mounted app without routes)")


def _is_ours(app: Any) -> bool:
    return type(app).__module__.partition(".")[0] == "affidavit"


def mapped_models(base: Any, audit: Any = None) -> Iterator[Model]:
    """Each class that SQLAlchemy maps to a table.

    Args:
        base: a declarative base, its registry, or one of its classes.
        audit: whose ``register`` says what resources their objects are; by default their tables.
    """
    registry = getattr(base, "registry", base)
    for mapper in sorted(registry.mappers, key=lambda each: str(each.class_.__name__)):
        types = {str(getattr(mapper.local_table, "name", mapper.class_.__name__))}
        if audit is not None and (known := audit.recorder.registered.type_of(mapper.class_)) is not None:
            types = {known}
        yield Model(mapper.class_.__name__, frozenset(types))
