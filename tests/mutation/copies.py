"""A database that is put back as it was after each attack on it."""

from __future__ import annotations

import shutil
from pathlib import Path

from affidavit.config import Settings
from affidavit.core.verdict import Verdict
from affidavit.wiring.fsck import check_everything
from tests.mutation import world

__all__ = ["FILES", "Copy"]

FILES = ("app.db", "app-log.db", "app-index.db", "guard.db")


class Copy:
    """A database with a row of every kind, and an untouched copy of its files.

    Args:
        folder: empty.
    """

    def __init__(self, folder: Path) -> None:
        self.settings: Settings = world.settings_in(folder / "database")
        self.kept = folder / "kept"
        self.settings.data_dir.mkdir()
        world.populate(self.settings)
        shutil.copytree(self.settings.data_dir, self.kept)

    def path(self, name: str) -> Path:
        """One of the files."""
        return self.settings.data_dir / name

    def restore(self) -> None:
        """Put every file back as it was."""
        for file in self.settings.data_dir.iterdir():
            file.unlink()
        shutil.copytree(self.kept, self.settings.data_dir, dirs_exist_ok=True)

    def verdict(self) -> Verdict:
        """What fsck says."""
        return check_everything(self.settings).total()

    def named(self) -> list[str]:
        """Everything that fsck names, a line each."""
        return [failure.line() for failure in self.verdict().failures]
