"""The rule for the names of organizations and projects."""

from __future__ import annotations

import re
from typing import Final

from affidavit.errors import InvalidQuery

__all__ = ["NAME_RULE", "check_name", "name_is_valid"]

NAME_RULE: Final = (
    "must be 1 to 128 of A-Z a-z 0-9 . _ : -, begin and end with a letter or digit, and hold no '..'"
)

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?\Z")


def name_is_valid(name: str) -> bool:
    """Whether ``name`` keeps :data:`NAME_RULE`."""
    return _NAME.match(name) is not None and ".." not in name


def check_name(name: str, parameter: str = "organization") -> str:
    """The name itself where it keeps :data:`NAME_RULE`.

    Raises:
        InvalidQuery: it does not, such as ``../x``.
    """
    if not name_is_valid(name):
        raise InvalidQuery.of(parameter, "name", NAME_RULE, name[:100])
    return name
