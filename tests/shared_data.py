"""Where tests find the real audit logs, which are no part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["shared_data"]

_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Beside the repository."""


def shared_data(*parts: str) -> Path:
    """The path of a file or folder of real audit logs; ``AFFIDAVIT_SHARED_DATA`` names another place.

    Skips the test where the folder is absent; in CI that is a failure, because then nothing would be shown.
    """
    folder = Path(os.environ.get("AFFIDAVIT_SHARED_DATA", _FOLDER))
    if not folder.is_dir():
        message = f"no real audit logs at {folder}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return folder.joinpath(*parts)
