"""Labels of clients."""

from __future__ import annotations

import pytest

from affidavit.enrich.client import label

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/131.0.0.0 Safari/537.36"
SAFARI = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Version/17.5 Mobile/15E148 Safari/604.1"
)
FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (CHROME, "Chrome on macOS"),
        (SAFARI, "Safari on iOS"),
        (FIREFOX, "Firefox on Windows"),
        ("python-httpx/0.28", "HTTPX"),
        ("GitHub-Hookshot/044aadd", "GitHub webhook"),
        ("HashiCorp Terraform/1.9 (+https://www.terraform.io)", "Terraform"),
        ("kubectl/v1.30.0 (linux/amd64) kubernetes/7c48c2b", "kubectl"),
        ("aws-cli/2.15.0 Python/3.11 Linux/6.1", "AWS CLI"),
        ("node", "Node.js"),
        ("no such client", None),
        ("", None),
        ("\u202egnp.exe" * 1000, None),
    ],
)
def test_labels(agent: str, expected: str | None) -> None:
    """R87: browser on system; machine clients by name; nothing where nothing is known."""
    assert label(agent) == expected
