"""One recorder in a process of its own: told what to do by :mod:`bench.recorders`, answers when it is done.

Runs with the Python of ``.venv-bench``, where the recorders are that ours is measured beside. It reads one
JSON object a line, ``{"do": "one", "times": 200}``, and answers with another.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import sys
import time
import warnings
from importlib import import_module
from typing import Any, Final

from affidavit.recorder.context import context
from bench.recorders_ours import known

__all__ = ["STACKS"]

STACKS: Final = {
    "sqlite3": "recorders_plain:Plain",
    "aiosqlite": "recorders_plain:AsyncPlain",
    "psycopg": "recorders_plain:Plain",
    "psycopg, async": "recorders_plain:AsyncPlain",
    "SQLAlchemy Connection": "recorders_alchemy:OnConnection",
    "SQLAlchemy Session": "recorders_alchemy:OnSession",
    "SQLAlchemy AsyncSession": "recorders_alchemy:OnAsyncSession",
    "Django": "recorders_django:OnDjango",
}
"""What holds the transaction, and the class that works with it."""


def main(stack: str, side: str, engine: str, url: str) -> None:
    """Open the stack, say what it is, and do what is asked until nobody asks any more."""
    module, _, name = STACKS[stack].partition(":")
    made = getattr(import_module(f"bench.{module}"), name)(side, engine, url)
    with asyncio.Runner() as runner:
        _wait(runner, made.open())
        _say(tables=made.tables, versions=getattr(made, "versions", {}), setup=getattr(made, "setup", ""))
        for line in sys.stdin:
            asked = json.loads(line)
            if asked["do"] == "operation":
                _say(**_operation(runner, made, asked["name"]))
                continue
            with context(**known()):
                begun, worked = time.perf_counter(), time.process_time()
                _wait(runner, getattr(made, asked["do"])(asked["times"]))
                seconds, cpu = time.perf_counter() - begun, time.process_time() - worked
            _say(seconds=seconds, cpu=cpu)
        if hasattr(made, "close"):
            _wait(runner, made.close())


def _operation(runner: asyncio.Runner, made: Any, name: str) -> dict[str, Any]:
    rows, error = None, ""
    with context(**known()), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            rows = _wait(runner, made.operation(name))
        except Exception as raised:  # noqa: BLE001 - what a recorder raises is what the table shows
            error = f"{type(raised).__name__}: {raised}".splitlines()[0]
    kinds = sorted({each.category.__name__ for each in warned})
    return {"rows": rows, "warned": kinds, "error": error}


def _wait(runner: asyncio.Runner, result: Any) -> Any:
    if not inspect.iscoroutine(result):
        return result
    # Of this moment: by itself it runs everything in the context in which it was made.
    return runner.run(result, context=contextvars.copy_context())


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
