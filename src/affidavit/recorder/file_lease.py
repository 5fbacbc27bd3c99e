"""A right that one process of a machine has: an exclusive lock on a file, free again when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["FileLease"]


class FileLease:
    """An exclusive lock on a file; held until :meth:`release` or the end of the process.

    Args:
        path: of the file; it is made where it is missing, and stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Take it where it is free."""
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
        return True

    @property
    def held(self) -> bool:
        """Until it is given back: the kernel keeps it."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give it back. In a child after a fork: leave it to the parent alone.

        Whoever holds a copy of the descriptor holds the lock, after the parent's death as well.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
