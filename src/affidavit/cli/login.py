"""``affidavit login``: a one-time link that signs a browser in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from affidavit.cli.instance import account, credential, opened
from affidavit.cli.options import NOTHING_GIVEN, Common, setting_help
from affidavit.cli.output import line, note
from affidavit.core.credentials import ALL

if TYPE_CHECKING:
    from affidavit.config import Settings
    from affidavit.wiring import Instance

__all__ = ["command", "login_link", "page_address"]


def command(
    *,
    name: Annotated[str | None, Parameter(help="Who signs in; default: your account's name.")] = None,
    listen: Annotated[str | None, Parameter(help=setting_help("listen"), show_default=False)] = None,
    public_url: Annotated[str | None, Parameter(help=setting_help("public_url"), show_default=False)] = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Print a link that signs a browser in to the page, once, within ten minutes.

    With --organization it reaches that organization, else all of them.
    """
    settings = common.load(listen=listen, public_url=public_url).settings
    with opened(settings) as instance:
        link = login_link(instance, settings, name=name)
    line(link)
    note("Open it in a browser while the server runs; it works once, within ten minutes.")


def login_link(instance: Instance, settings: Settings, *, name: str | None = None, port: int = 0) -> str:
    """Make a login link and return its address.

    Args:
        instance: whose page it leads to.
        settings: the organization it reaches (all where none is set), and the server's address.
        name: who signs in; the account's name where absent.
        port: the port that the server got, where it is not that of the settings.
    """
    code = instance.logins.create(
        name=name or account(),
        organizations=ALL if settings.organization is None else (settings.organization,),
        by=credential(),
    )
    return f"{page_address(settings, port)}/login?code={code}"


def page_address(settings: Settings, port: int = 0) -> str:
    """The address of the page for a browser: ``public_url``, else one made from ``listen``."""
    if settings.public_url is not None:
        return settings.public_url.rstrip("/") + "/audit"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port or settings.port}/audit"
