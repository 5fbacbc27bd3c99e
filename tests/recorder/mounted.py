"""Products around a mounted page: an app on FastAPI with a login of its own, and clients of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from affidavit.access.viewers import Viewer
from affidavit.core.event import Actor
from affidavit.embed import Audit
from tests.recorder.apps import App

__all__ = ["PEER", "addresses", "audit_of", "browser", "host", "record", "who"]

PEER = ("203.0.113.9", 50_000)
"""Where requests come from."""


def audit_of(app: App, **more: Any) -> Audit:
    """The product's recorder; its keys are in a folder of the test."""
    return Audit(app.url, organization="acme", data_dir=app.folder / "keys", **more)


def who(request: Any) -> Viewer | None:
    """The product's login: a header names the user, a second one the role."""
    user = request.headers.get("x-user")
    if user is None:
        return None
    role = request.headers.get("x-role", "admin")
    return Viewer(user, name="Ana Ferreira", email="ana@acme.example", role=role)


def host(audit: Audit, path: str = "/audit", **more: Any) -> FastAPI:
    """A product with the page below a path, and a page of its own."""
    product = FastAPI()

    @product.get("/own")
    def own() -> dict[str, str]:
        return {"page": "of the product"}

    arguments: dict[str, Any] = {"authorize": who, "login_url": "/login"}
    product.mount(path, audit.ui(**(arguments | more)))
    return product


@contextmanager
def browser(product: Any, *, user: str | None = "u-7", **more: Any) -> Iterator[TestClient]:
    """Somebody who looks at a product; signed in, or not."""
    headers = {} if user is None else {"x-user": user}
    with TestClient(product, client=PEER, headers=headers, follow_redirects=False, **more) as client:
        yield client


def record(audit: Audit, *actions: str, **fields: Any) -> None:
    """Events that the product records."""
    for action in actions:
        audit.record_now(action, **({"actor": Actor(type="user", id="u-1", name="Ben"), **fields}))


def addresses(page: str) -> set[str]:
    """Where a page leads: links, forms, style sheets and icons, without jumps within it."""
    found = re.findall(r'(?:href|action|src)="([^"]*)"', page)
    return {address.replace("&amp;", "&") for address in found if not address.startswith("#")}
