"""Which texts are addresses."""

from __future__ import annotations

import pytest

from affidavit.ingest.addresses import parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:52378", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
        ("2603:0:0::5", "2603::5"),
        ("[2603::5]:54088", "2603::5"),
        ("[2603::5]", "2603::5"),
        ("fe80::1%eth0", "fe80::1"),
        ("::1", "::1"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    """Ports, brackets, zones and IPv4 inside IPv6 come off."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "AWS Internal",
        "ec2.amazonaws.com",
        "075.050.255.67",
        "1.1.1.1.1",
        "1.2.3",
        "not-an-ip",
        "",
        "-",
        "256.1.1.1",
        "٣.1.1.1",
    ],
)
def test_other_texts(text: str) -> None:
    """Nothing is guessed: a leading zero could be octal, a name is no address."""
    assert parse_address(text) is None
