"""The right to be the one worker of a database."""

from __future__ import annotations

from typing import Protocol

from affidavit.recorder.file_lease import FileLease

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
