"""Makes the parts of a mounted page: what opens it, and the product around it."""

from __future__ import annotations

from collections.abc import Callable

from affidavit.config import Settings
from affidavit.core.catalog import CatalogSet
from affidavit.errors import ConfigError
from affidavit.mount.asgi import Mounted
from affidavit.mount.asking import Authorize, check_authorize
from affidavit.mount.opening import Opening
from affidavit.web.host import Host

__all__ = ["make_page"]


def make_page(
    settings: Callable[[], Settings],
    *,
    catalogs: Callable[[], CatalogSet],
    authorize: Authorize,
    login_url: str | Callable[[], str] | None,
    organization: str | None,
    back: tuple[str, str | Callable[[], str]] | None,
) -> Mounted:
    """The page of a product.

    Args:
        settings: found out at the first request.
        catalogs: of the product.
        authorize: answers who is signed in.
        login_url: where people sign in.
        organization: of viewers who name none.
        back: text and address of a link to the product.

    Raises:
        ConfigError: an argument breaks its rule.
    """
    check_authorize(authorize)
    host = Host(login_url=_login_url(login_url), organization=organization, back=_back(back))
    return Mounted(Opening(settings, catalogs, host), authorize)


def _login_url(given: str | Callable[[], str] | None) -> str | Callable[[], str] | None:
    if given is None or callable(given) or _is_address(given):
        return given
    raise ConfigError(f"login_url must be an address, such as /login, not {repr(given)[:100]}")


def _back(given: object) -> tuple[str, str | Callable[[], str]] | None:
    if given is None:
        return None
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str) and given[0]:
        text, address = given
        if callable(address) or (_is_address(address) and address.startswith(("/", "https://", "http://"))):
            return text, address
    raise ConfigError(
        f"back must be a text and an address, such as ('Settings', '/settings'), not {repr(given)[:100]}"
    )


def _is_address(given: object) -> bool:
    return isinstance(given, str) and given != "" and given.isascii() and given.isprintable()
