"""The key and the memory of a witness belong together, and nobody else reads the key."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from affidavit.core.note import make_verifier, parse_verifier
from affidavit.errors import ConfigError, NotADatabase
from affidavit.witness.trust import Trusted, read_trusted
from affidavit.witness.witness import KEY_FILE, STATE_FILE, Witness, open_key
from tests.watched_log import NaiveLog

HEX = "0123456789abcdef" * 2


def entropy(count: int) -> bytes:
    """The same bytes each time."""
    return b"\x07" * count


def make(folder: Path, name: str | None = "w.example/1") -> str:
    """Open and close the witness of a folder; its verifier key."""
    key, state = open_key(folder, name, entropy)
    state.close()
    return key.verifier.vkey


def test_a_witness_keeps_its_key(tmp_path: Path) -> None:
    """Made once with mode 0600, the same afterwards, with and without its name."""
    made = make(tmp_path)
    assert parse_verifier(made).kind == 4
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert make(tmp_path) == made == make(tmp_path, None)


def test_a_new_witness_needs_a_name_that_a_key_can_have(tmp_path: Path) -> None:
    """Nothing is made without one, nor with spaces or plus signs in it."""
    for name in (None, "", "a b", "a+b", "a\u2028b", "a\nb"):
        with pytest.raises(ConfigError, match="name"):
            make(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_another_name_is_refused(tmp_path: Path) -> None:
    """The name is part of the identity: another one would be another witness."""
    make(tmp_path)
    with pytest.raises(ConfigError, match=r"named w\.example/1, not w\.example/2"):
        make(tmp_path, "w.example/2")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"\xff", b"PRIVATE+KEY+w.example/1+00000000+BAAA\n", b"PRIVATE+KEY+w+1+" + b"A" * 44],
)
def test_a_damaged_key_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    """Whatever stands there, the message has the path and none of the content."""
    make(tmp_path)
    (tmp_path / KEY_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match="damaged") as refused:
        make(tmp_path)
    assert "AAAA" not in refused.value.message


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Mode 0640 is one too many; so is a link to somewhere else."""
    make(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        make(tmp_path)
    (tmp_path / KEY_FILE).rename(tmp_path / "elsewhere")
    (tmp_path / KEY_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be read"):
        make(tmp_path)


def test_a_witness_that_has_lost_its_memory_does_not_start(tmp_path: Path) -> None:
    """With the key alone it could cosign a second history; without the key the memory is of nobody."""
    make(tmp_path)
    (tmp_path / STATE_FILE).rename(tmp_path / "kept.db")
    with pytest.raises(ConfigError, match=r"memory .* is missing"):
        make(tmp_path)
    assert not (tmp_path / STATE_FILE).exists()
    (tmp_path / "kept.db").rename(tmp_path / STATE_FILE)
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(ConfigError, match=r"its key .* is missing"):
        make(tmp_path)
    assert not (tmp_path / KEY_FILE).exists()


def test_the_memory_of_another_witness_is_refused(tmp_path: Path) -> None:
    """Both are named."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    other.mkdir()
    make(mine)
    make(other, "w.example/2")
    (other / STATE_FILE).replace(mine / STATE_FILE)
    with pytest.raises(
        ConfigError, match=r"memory of the witness w\.example/2\+.* key here is w\.example/1\+"
    ):
        make(mine)


def test_a_memory_that_is_none_or_newer_is_refused(tmp_path: Path) -> None:
    """Neither is written to."""
    make(tmp_path)
    path = tmp_path / STATE_FILE
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match="newer version"):
        make(tmp_path)
    path.write_bytes(b"no database, and long enough to be looked at" * 40)
    before = path.read_bytes()
    with pytest.raises(NotADatabase, match="cannot be used"):
        make(tmp_path)
    assert path.read_bytes() == before


def test_the_key_of_a_log_is_no_key_of_its_witness(tmp_path: Path) -> None:
    """A log that watches itself is no memory outside: refused by name, under any origin."""
    key, state = open_key(tmp_path, "w.example/1", entropy)
    with closing(state):
        own = make_verifier(f"a.example/{HEX}/1", key.verifier.key)
        for trusted in (Trusted([own]), Trusted([], [own])):
            with pytest.raises(ConfigError, match="key of a log that it watches"):
                Witness(key, trusted, state, clock=lambda: 0)


def test_the_key_of_an_instance_stands_for_all_its_organizations() -> None:
    """Every origin under the same host, and no other host, form or key."""
    log = NaiveLog(f"a.example/{HEX}/1")
    trusted = read_trusted([], [log.vkey], None)
    other = f"a.example/{HEX[::-1]}/7"
    (key,) = trusted.keys_of(other)
    assert (key.name, key.key) == (other, log.public)
    assert key.vkey == NaiveLog(other).vkey
    for origin in (f"b.example/{HEX}/1", f"x/a.example/{HEX}/1", f"a.example/{HEX}/0", f"a.example/{HEX}/01",
                   f"a.example/{HEX[:-1]}/1", f"a.example/{HEX.upper()}/1", "a.example"):  # fmt: skip
        assert list(trusted.keys_of(origin)) == []
    assert len(read_trusted([log.vkey], [log.vkey], None).keys_of(log.origin)) == 1
    assert list(read_trusted([log.vkey], [], None).keys_of(other)) == []


def test_what_is_trusted_is_read_strictly(tmp_path: Path) -> None:
    """Nothing at all, a witness's key, a damaged key, another form of origin, a policy without logs."""
    log, witness = NaiveLog("logs.example/one"), make(tmp_path)
    assert [
        each.vkey for each in read_trusted([], [], f"log {log.vkey}\nquorum none\n").keys_of(log.origin)
    ] == [log.vkey]
    for logs, instances, policy in (
        ([], [], None),
        ([witness], [], None),
        ([log.vkey[:-2]], [], None),
        ([], [log.vkey], None),
        ([], [], "quorum none\n"),
        ([], [], f"log {witness}\nquorum none\n"),
        ([], [], "nonsense"),
    ):
        with pytest.raises(ConfigError):
            read_trusted(logs, instances, policy)
