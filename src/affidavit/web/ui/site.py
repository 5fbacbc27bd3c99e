"""What every page shares: the instance, the templates, the files, and the headers that guard an answer.

The templates escape everything, refuse undefined names, and get event text only as plain text that they
pass through the filters of :mod:`.text`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib import resources
from typing import Any, Final

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from affidavit.access.scope import Credential
from affidavit.web.host import Host
from affidavit.web.instance import Instance
from affidavit.web.ui import text
from affidavit.web.ui.links import Links

__all__ = ["HEADERS", "Asset", "Site", "load_assets", "now"]

HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    # The browser sends Origin with a form only where the policy lets it name this page.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""On every page. No script at all may run, and no style that is not in the style sheet."""

_FILES: Final = {"page.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Asset(msgspec.Struct, frozen=True):
    """A file of the page.

    Attributes:
        address: its name with a hash of its content, so that browsers may keep it for ever.
    """

    address: str
    media_type: str
    content: bytes


def load_assets() -> dict[str, Asset]:
    """Every file of the page by name."""
    folder = resources.files("affidavit.web.ui") / "static"
    assets = {}
    for name, media_type in _FILES.items():
        content = (folder / name).read_bytes()
        stem, _, suffix = name.rpartition(".")
        address = f"{stem}.{sha256(content).hexdigest()[:12]}.{suffix}"
        assets[name] = Asset(address, media_type, content)
    return assets


class Site:
    """The pages of one application.

    Args:
        instance: the running instance.
        page: the path of the table below the application's root; ``""`` where it is the root itself.
        host: the product that signs people in; ``None``: they sign in here.
        insecure_cookie: the operator accepts the session's cookie over plain HTTP off loopback.
        clock: microseconds since 1970 UTC, for the quick ranges.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        page: str,
        insecure_cookie: bool,
        clock: Callable[[], int],
        host: Host | None = None,
    ) -> None:
        self.instance = instance
        self.page = page
        self.host = host
        self.insecure_cookie = insecure_cookie
        self.clock = clock
        self.assets = load_assets()
        self._addresses = {name: asset.address for name, asset in self.assets.items()}
        self._templates = _environment()

    def links(self, request: Request) -> Links:
        """Addresses as this request must write them."""
        return Links.of(request.scope.get("root_path", ""), self.page, self._addresses)

    def render(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        visitor: Credential | None = None,
        status: int = 200,
    ) -> Response:
        """A page."""
        page = self._templates.get_template(template).render(
            links=self.links(request),
            visitor=_shown(visitor),
            signs_out=self.host is None,
            way_back=None if self.host is None else self.host.way_back,
            **values,
        )
        body = page.encode("utf-8", "replace")
        return Response(body, status, headers=dict(HEADERS), media_type="text/html")


def _shown(visitor: Credential | None) -> str:
    """What to call a person; programs with a token are not called anything."""
    if visitor is None or visitor.kind not in ("session", "viewer"):
        return ""
    person = visitor.person
    return visitor.name if person is None else person.name or person.email or person.id


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("affidavit.web.ui"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(line=text.line, block=text.block, plain=text.plain, json=text.pretty_json)
    return environment
