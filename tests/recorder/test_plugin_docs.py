"""The examples of docs/howto/testing.md run as tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "testing.md"
SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "app.db"}}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "affidavit.django"]
AFFIDAVIT = {"organization": "acme"}
"""


def examples() -> dict[str, str]:
    """Each block that says which file it is."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)


def pytest_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a reader of the page does."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:xdist", *words],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("files", "words", "passed"),
    [
        (["app.py", "conftest.py", "test_teams.py"], ["-p", "no:django"], 2),
        (["test_groups.py"], ["--ds", "settings"], 2),
    ],
)
def test_examples(tmp_path: Path, files: list[str], words: list[str], passed: int) -> None:
    """What the page shows passes."""
    for name in files:
        (tmp_path / name).write_text(examples()[name], encoding="utf-8")
    (tmp_path / "settings.py").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    done = pytest_in(tmp_path, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{passed} passed" in done.stdout


def test_every_example_is_tried() -> None:
    """None is left out."""
    assert examples().keys() == {"app.py", "conftest.py", "test_groups.py", "test_teams.py"}
    assert PAGE.read_text(encoding="utf-8").count("```python") == 4
