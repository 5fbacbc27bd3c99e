"""Our categories (``auth.login``, ``access.grant``, ...) from a vendor's event names alone."""

from __future__ import annotations

import re

__all__ = ["Categories"]


class Categories:
    """Rules in order; the first whose pattern fits the whole name gives the category.

    Args:
        rules: category and patterns, each a regular expression.
    """

    def __init__(self, *rules: tuple[str, str]) -> None:
        self._rules = tuple(
            (category, re.compile("|".join(patterns.split()))) for category, patterns in rules
        )

    def of(self, name: str) -> str | None:
        """The category, or None where none of ours fits."""
        return next((category for category, pattern in self._rules if pattern.fullmatch(name)), None)
