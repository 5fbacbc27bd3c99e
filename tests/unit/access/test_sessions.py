"""The cookie's rules, and where a write with it may come from."""

from __future__ import annotations

import pytest

from affidavit.access.sessions import check_origin, cookie_rule, is_loopback
from affidavit.errors import AccessRefused


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:8484", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("[::1]:8484", True),
        ("page.localhost", True),
        ("10.0.0.1", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:80", False),
        ("", False),
        ("[::1", False),
    ],
)
def test_loopback_is_told_by_the_host_header(host: str, loopback: bool) -> None:
    """Only names of this machine count."""
    assert is_loopback(host) is loopback


def test_over_https_the_cookie_is_bound_to_the_host() -> None:
    """The name has the prefix that browsers enforce, and the attributes that go with it."""
    header = cookie_rule("https", "audit.example.org").header("v", 60)
    assert header == "__Host-affidavit=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"


def test_plain_http_is_for_this_machine_only() -> None:
    """Elsewhere sign-in is refused with what to do, unless the operator insists."""
    assert cookie_rule("http", "127.0.0.1:8484").header("v", 60) == (
        "affidavit=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
    )
    with pytest.raises(AccessRefused, match="--insecure-cookie"):
        cookie_rule("http", "audit.example.org")
    assert not cookie_rule("http", "audit.example.org", insecure=True).secure


@pytest.mark.parametrize(
    ("origin", "fetch_site", "passes"),
    [
        ("https://audit.example.org", None, True),
        ("https://audit.example.org", "cross-site", True),
        (None, "same-origin", True),
        ("http://audit.example.org", None, False),
        ("https://audit.example.org.evil.example", None, False),
        ("https://evil.example", "same-origin", False),
        ("null", None, False),
        ("https://[bad", None, False),
        (None, None, False),
        (None, "none", False),
        (None, "same-site", False),
    ],
)
def test_a_write_must_come_from_our_own_page(
    origin: str | None, fetch_site: str | None, passes: bool
) -> None:
    """Another site, an opaque origin or none at all is refused."""

    def check() -> bool:
        try:
            check_origin(scheme="https", host="audit.example.org", origin=origin, fetch_site=fetch_site)
        except AccessRefused:
            return False
        return True

    assert check() is passes
