"""The network address in a vendor's field, where there is one.

Vendors put other things there ("AWS Internal", a host name, "1.1.1.1.1"); then the text is kept by the caller
and the event has no address. Nothing is guessed: 075.050.255.67 is not an address, because readers disagree
on whether a leading zero means octal.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

__all__ = ["parse_address"]

_IPV4_PORT = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}\Z", re.ASCII)
_BRACKETS = re.compile(r"\[([0-9A-Fa-f:.%\w]+)\](?::\d{1,5})?\Z", re.ASCII)


def parse_address(text: str) -> str | None:
    """The normalised IPv4 or IPv6 address, or None.

    A port and brackets are cut off, an IPv6 zone too; IPv4 mapped into IPv6 becomes IPv4 (RFC 4291 section
    2.5.5.2).
    """
    text = text.strip()
    match = _IPV4_PORT.match(text) or _BRACKETS.match(text)
    if match:
        text = match[1]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(address)
