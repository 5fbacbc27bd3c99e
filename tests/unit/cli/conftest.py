"""Running the command line in this process: arguments in, exit code, standard output and error out."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from affidavit.cli import main


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """The JSON lines that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``affidavit`` in an empty folder without settings; its default database is made there."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("AFFIDAVIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])

    def run(*arguments: object) -> Done:
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return run


@pytest.fixture
def acme(run: Run) -> Run:
    """The same with an organization ``acme`` that has three events."""
    for number, (actor, outcome) in enumerate([("ana", "success"), ("ben", "failure"), ("ana", "success")]):
        done = run(
            "record",
            "user.update",
            "--organization=acme",
            f"--actor=user:{actor}",
            f"--outcome={outcome}",
            f"--resource=user:u{number}",
        )
        assert done.code == 0, done.err
    return run
