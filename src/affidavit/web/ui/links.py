"""Addresses of the page's own places, relative to wherever the application is mounted.

Served alone, the page is at ``/audit``; mounted in another application, it is the mount's root. A path is
never written anywhere else than here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

import msgspec

__all__ = ["Links", "Pair", "below", "is_local"]

Pair = tuple[str, str]
"""One parameter of a query string."""


class Links(msgspec.Struct, frozen=True):
    """Make addresses.

    Attributes:
        root: the path under which the application is mounted, without a final slash; ``""`` for none.
        page: the list's path below it, ``/audit`` or ``""``.
        assets: file name of an asset to the name with its hash.
    """

    root: str
    page: str
    assets: Mapping[str, str]

    @classmethod
    def of(cls, root_path: str, page: str, assets: Mapping[str, str]) -> Links:
        """The links of one request, from the ``root_path`` of its ASGI scope."""
        return cls(below(root_path), page, assets)

    def list(self, pairs: Iterable[Pair] = ()) -> str:
        """The table, under these filters."""
        return _with_query(f"{self.root}{self.page or '/'}", pairs)

    def event(self, event_id: str, organization: str | None = None) -> str:
        """The permalink of one event."""
        return _with_query(f"{self.root}{self.page}/events/{quote(event_id)}", _named(organization))

    def json(self, event_id: str, organization: str | None = None) -> str:
        """The event as the API answers it."""
        return _with_query(f"{self.root}/api/v1/events/{quote(event_id)}", _named(organization))

    def proof(self, event_id: str, organization: str | None = None) -> str:
        """The proof file of one event."""
        return _with_query(f"{self.root}/api/v1/events/{quote(event_id)}/proof", _named(organization))

    def receipt(self, event_id: str, organization: str | None = None) -> str:
        """The receipt of one event."""
        return _with_query(f"{self.root}/api/v1/events/{quote(event_id)}/receipt", _named(organization))

    def export(self, file_format: str, pairs: Iterable[Pair]) -> str:
        """The export of everything that these filters match."""
        return _with_query(f"{self.root}/api/v1/events/export", [("format", file_format), *pairs])

    def asset(self, name: str) -> str:
        """A file of the page, under a name that changes with its content."""
        return f"{self.root}{self.page}/assets/{self.assets[name]}"

    def login(self) -> str:
        """Where a one-time link is used."""
        return f"{self.root}{self.page}/login"

    def logout(self) -> str:
        """Where a session ends."""
        return f"{self.root}{self.page}/logout"


def below(root_path: str) -> str:
    """What every path of an application begins with, from the ``root_path`` of its ASGI scope."""
    # Two slashes at the beginning would make the next part a host.
    root = root_path.strip("/")
    return f"/{quote(root)}" if root else ""


def is_local(address: str) -> bool:
    """Whether ``address`` is a path on this host, so that a redirect to it cannot lead anywhere else."""
    return (
        address.startswith("/")
        and not address.startswith("//")
        and "\\" not in address
        and address.isprintable()
        and address.isascii()
    )


def _named(organization: str | None) -> list[Pair]:
    return [("organization", organization)] if organization is not None else []


def _with_query(path: str, pairs: Iterable[Pair]) -> str:
    query = urlencode(list(pairs), encoding="utf-8", errors="replace")
    return f"{path}?{query}" if query else path
