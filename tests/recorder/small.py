"""An app's SQLite database for tests in which the engine does not matter."""

from __future__ import annotations

from pathlib import Path

from affidavit.storage.sqlite.database import migrate_file
from tests.recorder.apps import App

__all__ = ["sqlite_app"]


def sqlite_app(folder: Path) -> App:
    """An empty database with our tables."""
    path = folder / "app.db"
    migrate_file(path)
    return App("sqlite", f"sqlite:///{path}", folder)
