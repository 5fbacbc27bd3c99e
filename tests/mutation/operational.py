"""The columns that docs/spec/coverage.md lists as operational."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["PAGE", "operational_columns"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "spec" / "coverage.md"


def operational_columns() -> frozenset[str]:
    """``table.column`` of each line that gives a reason of at least ten characters."""
    section = PAGE.read_text("utf-8").partition("## Operational columns")[2]
    return frozenset(re.findall(r"^\| `(\w+\.\w+)` \| .{10,} \|$", section, re.MULTILINE))
