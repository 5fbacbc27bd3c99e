"""The products that can be connected. They are pretended here: nothing leaves this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import NamedTuple

__all__ = ["CONNECTORS", "Connector", "Refused", "Source", "opened"]


class Connector(NamedTuple):
    """A product that can be connected.

    Attributes:
        title: its name.
        account: what its accounts are called.
        records: what comes from it.
        colour: of its tile.
    """

    title: str
    account: str
    records: str
    colour: str


CONNECTORS = {
    "github": Connector("GitHub", "Organization", "repositories", "#24292f"),
    "hubspot": Connector("HubSpot", "Portal", "contacts", "#ff5c35"),
    "jira": Connector("Jira", "Site", "issues", "#0b5cd5"),
    "salesforce": Connector("Salesforce", "Instance", "accounts", "#0091d9"),
    "slack": Connector("Slack", "Workspace", "channels", "#611f69"),
    "stripe": Connector("Stripe", "Account", "invoices", "#5a4fe0"),
}


class Refused(Exception):
    """The other product did not let us in."""


class Source:
    """An open connection to another product."""

    def __init__(self, account: str) -> None:
        self._account = account

    def read(self) -> int:
        """Read what is new; how many records that were."""
        return 20 + sha256(self._account.encode()).digest()[0]


@contextmanager
def opened(connector: str, account: str, secret: str) -> Iterator[Source]:
    """Sign in to another product. A secret that begins with ``expired`` is refused.

    Raises:
        Refused: the secret was not accepted.
    """
    if secret.startswith("expired"):
        raise Refused(f"{CONNECTORS[connector].title} answered 401 Unauthorized: the secret has expired")
    yield Source(account)
