"""The right to be the one worker of a database."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

__all__ = ["FileLease", "Lease"]


class Lease(Protocol):
    """Held by at most one process at a time; free again soon after its holder dies, however it dies."""

    def take(self) -> bool:
        """Take it where it is free; taking what is held is taking it."""
        ...

    @property
    def held(self) -> bool:
        """Whether it is still ours."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class FileLease:
    """An exclusive lock on a file; held until :meth:`release` or the end of the process."""

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
        """Give it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
