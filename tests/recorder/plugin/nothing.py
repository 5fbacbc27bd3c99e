"""A test of an app that does not record."""

from __future__ import annotations

import sys


def test_modules() -> None:
    """What the plugin does not need is not there."""
    ours = {name for name in sys.modules if name.partition(".")[0] == "affidavit"}
    assert ours == {"affidavit", "affidavit.testing", "affidavit.testing.plugin"}
    assert (
        not {"msgspec", "sqlalchemy", "django", "starlette", "psycopg", "cryptography"} & sys.modules.keys()
    )
