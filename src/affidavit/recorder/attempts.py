"""What is said of an attempt: ``denied``, ``attempt`` and ``audited``, blocking and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from affidavit.errors import WrongTransaction

__all__ = ["failure", "no_running_loop", "watched"]

_MOST = 1_000


def failure(fields: Mapping[str, Any], error: BaseException) -> dict[str, Any]:
    """The fields of an attempt that failed: the reason is the caller's, else what was raised."""
    said = {**fields, "outcome": "failure"}
    if not said.get("reason"):
        said["reason"] = f"{type(error).__name__}: {error}"[:_MOST] if str(error) else type(error).__name__
    return said


def no_running_loop(name: str) -> None:
    """Raise where a call that waits for a database would stop an event loop.

    Raises:
        WrongTransaction: a loop runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WrongTransaction(f"{name} waits for the database; in a running loop: await audit.aio.{name}(...)")


@contextmanager
def watched(succeeded: Callable[[], object], failed: Callable[[BaseException], object]) -> Iterator[None]:
    """Call one of the two when the block ends. What it raised goes on; cancelling is a failure, too."""
    try:
        yield
    except BaseException as error:
        failed(error)
        raise
    succeeded()
