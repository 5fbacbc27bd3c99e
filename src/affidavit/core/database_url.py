"""Database URLs as they may be shown, and those in which a password would be taken for something else.

A ``/``, ``@`` or ``#`` that stands as it is in a password ends it early: its rest becomes a host, a port or
the name of a database, which errors show. Such a URL is refused before anybody looks for its host.
"""

from __future__ import annotations

import re

__all__ = ["HOW", "masked", "readable"]

HOW = (
    "it reads postgresql://user:password@host:port/database, and whatever is no letter, no digit and none of"
    " -._~ in the user's name and the password is written in percent form (@ is %40, / is %2F, # is %23)"
)
"""What to do about a URL that is not :func:`readable`."""

_PERCENT = r"%(?![0-9A-Fa-f]{2})"
_POSTGRES = re.compile(
    r"postgres(?:ql)?://(?:[^:/?#\[\]@\s]*(?::[^/?#\[\]@\s]*)?@)?"  # user and password
    r"(?:[\w.~%-]*|\[[0-9A-Fa-f:.%\w]+\])(?::\d*)?"  # host and port, then more of them
    r"(?:,(?:[\w.~%-]+|\[[0-9A-Fa-f:.%\w]+\])(?::\d*)?)*"
    r"(?:/[^/?#@\s]*)?(?:\?[^?#@\s]*)?"  # database, parameters
)
_PASSWORD = re.compile(r"([?&]\w*pass\w*=)[^&]*", re.IGNORECASE)


def readable(url: str) -> bool:
    """Whether a PostgreSQL URL has one meaning: nothing of a password can be taken for something else."""
    return _POSTGRES.fullmatch(url) is not None and re.search(_PERCENT, url) is None


def masked(url: str) -> str:
    """The URL with ``***`` for whatever may be a password; one that has none comes back as it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***" if re.search("[@=]", url) else url
    account, at, place = rest.rpartition("@")
    if at and scheme != "sqlite" and re.search("[/?#]", account):
        return f"{scheme}://***"
    user, colon, _ = account.partition(":")
    if at and colon:
        rest = f"{user}:***@{place}"
    return scheme + separator + _PASSWORD.sub(r"\1***", rest)
