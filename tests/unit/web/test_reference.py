"""The page of the HTTP API is what the operations say."""

from __future__ import annotations

from pathlib import Path

from affidavit.web.reference import page

STORED = Path(__file__).resolve().parents[3] / "docs" / "reference" / "http-api.md"


def test_the_page_is_current() -> None:
    """Made again, it is the same."""
    assert STORED.read_text("utf-8") == page(), (
        "python -m affidavit.web.reference > docs/reference/http-api.md"
    )
