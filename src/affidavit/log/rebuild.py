"""The task ``index_rebuild``: the search index is thrown away and made anew from the events."""

from __future__ import annotations

from collections.abc import Callable

from affidavit.log.tasks import WAITING, TaskSteps
from affidavit.storage.protocols import Progress
from affidavit.storage.tasks import Task

__all__ = ["IndexRebuild"]


class IndexRebuild:
    """Throws the index away and waits until the worker's follower has made it again.

    Args:
        progress: where the index stands, as a reader sees it.
        discard: throws it away. Answers stay right meanwhile, they only take longer.
    """

    def __init__(self, progress: Callable[[], Progress], discard: Callable[[], None]) -> None:
        self._progress = progress
        self._discard = discard

    def __call__(self, _task: Task) -> TaskSteps:
        """Do it; a second run after a crash throws away once more."""
        before = self._progress()
        end = before.seq + before.behind
        self._discard()
        while (reached := self._progress().seq) < end:
            yield WAITING
        return {"events": reached}
