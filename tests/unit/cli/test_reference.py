"""The reference pages are what the program says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.cli.exits import Exit
from affidavit.cli.reference import cli_page, settings_page
from affidavit.config import Settings

DOCS = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.mark.parametrize(("name", "page"), [("cli", cli_page), ("settings", settings_page)])
def test_the_page_is_current(name: str, page: object) -> None:
    """A command or setting that changed without its page fails here, with the command that makes it."""
    assert callable(page)
    stored = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    assert stored == page(), f"run: python -m affidavit.cli.reference {name} > docs/reference/{name}.md"


def test_the_settings_page_has_every_setting() -> None:
    """A row each, with flag and variable."""
    page = settings_page()
    for name in Settings.__struct_fields__:
        assert f"| `{name}` | `--{name.replace('_', '-')}` | `AFFIDAVIT_{name.upper()}` |" in page


def test_the_command_page_has_exit_codes_and_every_command() -> None:
    """Exit codes, and a section with a usage line for each command."""
    page = cli_page()
    for code in Exit:
        assert f"| {int(code)} | {code.meaning} |" in page
    for section in ("serve", "token create", "catalog check", "import", "doctor"):
        assert f"\n## affidavit {section}\n" in page
    assert "| `--json`, `--no-json` |" in page
