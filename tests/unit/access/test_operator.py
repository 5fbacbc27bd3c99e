"""The operator's token file: made once, 0600, complete, checked."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from affidavit.access.operator import load_operator_token
from affidavit.access.secrets import hash_secret
from affidavit.errors import ConfigError


def test_the_file_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    """The first start makes it with mode 0600; the next one reads the same token."""
    path = tmp_path / "operator.token"
    first = load_operator_token(path, os.urandom)
    text = path.read_text().strip()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert first.matches(hash_secret(text))
    assert load_operator_token(path, os.urandom).matches(hash_secret(text))
    assert not first.matches(hash_secret(text + "x"))
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """Whoever comes second takes the token of the first."""
    path = tmp_path / "operator.token"
    with ThreadPoolExecutor(16) as pool:
        loaded = list(pool.map(lambda _: load_operator_token(path, os.urandom), range(64)))
    digest = hash_secret(path.read_text().strip())
    assert all(token.matches(digest) for token in loaded)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """The error says which command puts it right."""
    path = tmp_path / "operator.token"
    load_operator_token(path, os.urandom)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_operator_token(path, os.urandom)


@pytest.mark.parametrize("content", ["", "aff_", "aff_" + "0" * 49, "x" * 500])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    """No guess is made about half a token."""
    path = tmp_path / "operator.token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="damaged"):
        load_operator_token(path, os.urandom)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link in its place is an error, whatever it leads to."""
    (tmp_path / "other").write_text("x")
    (tmp_path / "operator.token").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_operator_token(tmp_path / "operator.token", os.urandom)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(ConfigError, match=r"operator\.token"):
        load_operator_token(tmp_path / "missing" / "operator.token", os.urandom)
