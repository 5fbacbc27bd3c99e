"""The client behind proxies is read from the right."""

from __future__ import annotations

import pytest

from affidavit.enrich.proxy import Proxies

TRUSTED = Proxies(["10.0.0.0/8", "::1", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6", "1.2.3.4, 10.0.0.2"], "1.2.3.4"),
        ("10.0.0.1", ["6.6.6.6, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["6.6.6.6, nonsense, 10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["1.2.3.4"], "1.2.3.4"),
        ("2001:db8::5", ["2a00::1"], "2a00::1"),
        ("::1", ["1.2.3.4:80"], "::1"),
        (None, ["1.2.3.4"], None),
        ("unix", ["1.2.3.4"], "unix"),
    ],
)
def test_only_what_trusted_proxies_wrote_counts(
    peer: str | None, forwarded: list[str], client: str | None
) -> None:
    """What stands left of the first unknown address, anybody may have written."""
    assert TRUSTED.client(peer, forwarded) == client


def test_without_proxies_nothing_is_believed() -> None:
    """The empty list trusts nobody."""
    nobody = Proxies([])
    assert not nobody
    assert nobody.client("127.0.0.1", ["1.2.3.4"]) == "127.0.0.1"
