"""A store that fails at a chosen call, before or after it was applied: a full disk, a lost answer."""

from __future__ import annotations

from typing import Any

from affidavit.errors import StorageError

__all__ = ["FaultyStore"]


class FaultyStore:
    """Stands in front of a queue, a log writer, a guard or any other role, and fails once.

    Args:
        store: what the calls go to.
        method: the name of the call that fails.
        nth: which of these calls fails, from 1.
        applied: whether the call reaches the store before it fails: the caller cannot know.
    """

    def __init__(self, store: Any, method: str, *, nth: int = 1, applied: bool = False) -> None:
        self._store = store
        self._method = method
        self._nth = nth
        self._applied = applied
        self.calls = 0

    @property
    def failed(self) -> bool:
        """Whether the failure has happened."""
        return self.calls >= self._nth

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._call if name == self._method else found

    def _call(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        if self.calls != self._nth:
            return getattr(self._store, self._method)(*arguments, **named)
        if self._applied:
            getattr(self._store, self._method)(*arguments, **named)
        raise StorageError(f"{self._method} failed, as it was told to.")
