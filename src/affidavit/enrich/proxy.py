"""Who really connected, when there are proxies in between.

Each proxy appends the address it saw to ``X-Forwarded-For``, so only the right end of the list was written by
somebody we know. It is read from the right: addresses of trusted proxies are passed over, and the first
other one is the client. Whatever stands left of that the client may have invented.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

__all__ = ["Proxies"]

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Proxies:
    """The proxies that are trusted to say whom they speak for.

    Args:
        networks: addresses and CIDR ranges, checked by the settings.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(network, strict=False) for network in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, peer: str | None) -> bool:
        """Whether ``peer`` is a trusted proxy."""
        address = _parse(peer)
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: str | None, forwarded: Sequence[str]) -> str | None:
        """The address of the client.

        Args:
            peer: the other end of the connection.
            forwarded: the values of all ``X-Forwarded-For`` headers, in order.

        Returns:
            ``peer`` itself where it is no trusted proxy or nothing usable was forwarded.
        """
        if not self.trusts(peer):
            return peer
        nearest = peer
        for text in reversed([part.strip() for value in forwarded for part in value.split(",")]):
            address = _parse(text)
            if address is None:
                return nearest
            nearest = str(address)
            if not any(address in network for network in self._networks):
                return nearest
        return nearest


def _parse(text: str | None) -> _Address | None:
    try:
        address = ipaddress.ip_address(text or "")
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
