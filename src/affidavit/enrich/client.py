"""The label of a client from its user agent: ``Chrome on macOS``, ``kubectl``, ``Terraform``.

Machine clients come first, from a table of our own, because the usual pattern sets know only browsers well.
The browser patterns are those of ua-parser, an optional dependency; without it only machine clients get a
label.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

__all__ = ["label"]

_LONGEST = 1_000

_MACHINES: tuple[tuple[str, str], ...] = (
    (r"aws-cli/", "AWS CLI"),
    (r"Boto3/|Botocore/", "Boto3"),
    (r"aws-sdk-(\w+)", "AWS SDK"),
    (r"\bTerraform/|HashiCorp-Terraform|terraform-provider", "Terraform"),
    (r"\bkubectl/", "kubectl"),
    (r"\bkubelet/", "kubelet"),
    (r"\bkube-[a-z-]+/", "Kubernetes"),
    (r"\bhelm/", "Helm"),
    (r"GitHub-Hookshot", "GitHub webhook"),
    (r"^GitHub CLI|^gh/", "GitHub CLI"),
    (r"^git/", "Git"),
    (r"^curl/", "curl"),
    (r"^Wget/", "Wget"),
    (r"python-httpx", "HTTPX"),
    (r"python-requests", "Requests"),
    (r"Python-urllib", "urllib"),
    (r"^Go-http-client", "Go"),
    (r"^okhttp/", "OkHttp"),
    (r"^axios/", "Axios"),
    (r"^node(-fetch)?\b|^undici", "Node.js"),
    (r"^Java/", "Java"),
    (r"PostmanRuntime/", "Postman"),
    (r"^affidavit/", "Affidavit"),
)
_MACHINE = tuple((re.compile(pattern), name) for pattern, name in _MACHINES)
_SYSTEMS = {"Mac OS X": "macOS"}
_BROWSERS = {
    "Mobile Safari": "Safari",
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Firefox Mobile": "Firefox",
}


@lru_cache(maxsize=8192)
def label(user_agent: str) -> str | None:
    """A short name of the client, at most 128 characters; ``None`` where nothing is known about it.

    Args:
        user_agent: as it was sent, at most 1,000 characters are looked at.
    """
    text = user_agent[:_LONGEST]
    for pattern, name in _MACHINE:
        if pattern.search(text):
            return name
    parse = _parser()
    if parse is None:
        return None
    found = parse(text)
    browser = found.user_agent.family if found.user_agent is not None else None
    system = found.os.family if found.os is not None else None
    if browser is None or browser == "Other":
        return None
    browser = _BROWSERS.get(browser, browser)
    system = _SYSTEMS.get(system, system) if system is not None else None
    named = browser if system in (None, "Other") else f"{browser} on {system}"
    return named[:128]


@lru_cache(maxsize=1)
def _parser() -> Any:
    """The parser of ua-parser; compiling its patterns takes a quarter of a second, once."""
    try:
        from ua_parser import parse
    except ImportError:
        return None
    return parse
