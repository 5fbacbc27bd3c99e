"""What README.md and the quickstart tell a reader to run does what they say."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "docs" / "quickstart.md"
ADDRESS = "http://127.0.0.1:8484"
"""The address that the documents name; the test serves on a free one."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language, in order."""
    return re.findall(
        rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


@pytest.fixture
def reader(tmp_path: Path) -> dict[str, str]:
    """The environment of a reader: the command on PATH, no setting made, no proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AFFIDAVIT_")}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{kept['PATH']}", "HOME": str(tmp_path)}


@pytest.fixture
def address(tmp_path: Path, reader: dict[str, str]) -> Iterator[str]:
    """The address of a server started as the quickstart says, but for the port."""
    command = ["affidavit", "serve", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=tmp_path, env=reader, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            announced = process.stdout.readline()
            assert "serves http" in announced, "the server did not start"
            yield announced.split()[-1].removesuffix("/audit")
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
    assert process.returncode == 0


def run(script: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a script and return what it printed; a command that fails ends it."""
    command = ["bash", "-euo", "pipefail", "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_quickstart_does_what_it_says(tmp_path: Path, reader: dict[str, str], address: str) -> None:
    """Every command of the quickstart, typed in order, finds, exports and imports what it promises."""
    commands = blocks(QUICKSTART, "sh")
    assert commands[0] == "affidavit serve\n"
    printed = run("".join(commands[1:]).replace(ADDRESS, address), tmp_path, reader)
    assert printed.count('"reason":"double payment"') >= 2
    assert '"reason":"no space left"' in printed
    assert "wiki.page.delete" in printed
    assert (tmp_path / "acme.csv").read_text(encoding="utf-8").count("\n") >= 5
    (rejects,) = tmp_path.glob("*.rejects.ndjson")
    assert '"line":3' in rejects.read_text(encoding="utf-8")
    assert printed.splitlines()[-1].startswith('{"trailer":')


def test_the_example_of_the_readme_records_an_event(
    tmp_path: Path, reader: dict[str, str], address: str
) -> None:
    """The ten lines of Python in README.md record one event, and it is found."""
    example, _ = blocks(ROOT / "README.md", "python")
    assert len(example.strip().splitlines()) <= 12
    (tmp_path / "example.py").write_text(example.replace(ADDRESS, address), encoding="utf-8")
    make_token = next(block for block in blocks(QUICKSTART, "sh") if "token create" in block)
    run(f"{make_token}python example.py", tmp_path, reader)
    found = run("affidavit events --organization acme actor:ana@example.com", tmp_path, reader)
    assert '"action":"invoice.refund"' in found


def test_the_other_example_of_the_readme_records_with_the_change(
    tmp_path: Path, reader: dict[str, str]
) -> None:
    """The change and its event are in the app's own file, committed together."""
    _, example = blocks(ROOT / "README.md", "python")
    shop = sqlite3.connect(tmp_path / "shop.db")
    shop.executescript("CREATE TABLE team (id INTEGER, plan TEXT); INSERT INTO team VALUES (7, 'free')")
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    run("python example.py", tmp_path, reader)
    (event,) = shop.execute("SELECT action, changes FROM affidavit_events").fetchall()
    assert event == ("team.update", '{"changes":{"plan":{"new":"pro","old":"free"}}}')
    assert shop.execute("SELECT plan FROM team").fetchall() == [("pro",)]
    shop.close()
