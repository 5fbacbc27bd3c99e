"""The wheel is whole: built twice it is the same, and it runs in an environment that has nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import affidavit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parent.parent


def build(into: Path) -> Path:
    """Build the wheel as ``make build`` does."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(into), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with what requirements/server.txt pins, and the wheel."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet"]
    lock = ROOT / "requirements" / "server.txt"
    subprocess.run([*pip, "--require-hashes", "--requirement", str(lock)], check=True)
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    return environment / "bin"


def clean_environment() -> dict[str, str]:
    """The environment without what could lead Python back into the source tree."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AFFIDAVIT"))}


@pytest.fixture
def server(programs: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of the installed wheel with its first line, ended as an operator ends it."""
    command = [
        str(programs / "affidavit"),
        "serve",
        "--data-dir",
        str(tmp_path / "data"),
        "--listen",
        "127.0.0.1:0",
    ]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.send_signal(signal.SIGTERM)
            process.stdout.read()


def test_the_wheel_is_the_same_every_time(wheel: Path, tmp_path: Path) -> None:
    """Two builds of one tree give the same bytes."""
    assert build(tmp_path).read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    """SQL, templates and styles travel with the modules."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src/affidavit"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    expected = {name.removeprefix("src/") for name in listed if name and (ROOT / name).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_the_installed_program_names_its_version(programs: Path, tmp_path: Path) -> None:
    """``affidavit --version`` works with nothing but the lock and the wheel."""
    command = [str(programs / "affidavit"), "--version"]
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == affidavit.__version__


def test_the_installed_program_serves(server: tuple[subprocess.Popen[str], str]) -> None:
    """A server started from the wheel alone is ready, shows its page to nobody unasked and ends when told."""
    process, first_line = server
    address = first_line.split()[-1].removesuffix("/audit")
    with urllib.request.urlopen(f"{address}/readyz", timeout=30) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/audit", timeout=30)
    refused.value.close()
    assert refused.value.code == 401
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0
