"""Settings: precedence, sources, errors that name what is wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from affidavit.config import PREFIX, Settings, load, make_data_dir, shown
from affidavit.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    """Make a settings file."""
    file = folder / "affidavit.toml"
    file.write_text(text)
    return file


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    """Each of the four places gives way to the one before it, and each value names its place."""
    file = write(tmp_path, 'listen = "127.0.0.1:1"\nlog_level = "debug"\norganization = "file"\n')
    environ = {"AFFIDAVIT_LISTEN": "127.0.0.1:2", "AFFIDAVIT_LOG_LEVEL": "error", "HOME": "/"}
    loaded = load({"listen": "127.0.0.1:3", "geoip": None}, environ, folder=tmp_path)
    assert loaded.settings.listen == "127.0.0.1:3"
    assert loaded.settings.log_level == "error"
    assert loaded.settings.organization == "file"
    assert loaded.settings.insecure_cookie is False
    assert loaded.sources["listen"] == "flag --listen"
    assert loaded.sources["log_level"] == "environment AFFIDAVIT_LOG_LEVEL"
    assert loaded.sources["organization"] == f"file {file}"
    assert loaded.sources["insecure_cookie"] == "default"
    assert set(loaded.sources) == set(Settings.__struct_fields__)


def test_the_file_is_found_by_flag_variable_or_folder(tmp_path: Path) -> None:
    """--config goes before AFFIDAVIT_CONFIG, which goes before affidavit.toml in the folder."""
    write(tmp_path, 'organization = "folder"')
    for name in ("variable", "flag"):
        (tmp_path / f"{name}.toml").write_text(f'organization = "{name}"')
    variable = {"AFFIDAVIT_CONFIG": str(tmp_path / "variable.toml")}
    assert load({}, {}, folder=tmp_path).settings.organization == "folder"
    assert load({}, variable, folder=tmp_path).settings.organization == "variable"
    loaded = load({}, variable, folder=tmp_path, file=tmp_path / "flag.toml")
    assert loaded.settings.organization == "flag"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('lissten = "x"', ["'lissten'", "did you mean listen?"]),
        ('data-dir = "x"', ["'data-dir'", "did you mean data_dir?"]),
        ("[server]\nlisten = 1", ["'server'"]),
        ("listen = ", ["is not TOML"]),
        ('log_level = "loud"', ["log_level", "must be one of", "affidavit.toml", "'loud'"]),
        ("insecure_cookie = 'perhaps'", ["insecure_cookie", "true or false"]),
        ("listen = 8484", ["listen", "Expected str"]),
        ('trusted_proxies = ["10.0.0.0/33"]', ["trusted_proxies", "10.0.0.0/33"]),
    ],
)
def test_a_wrong_file_is_refused_with_key_and_rule(tmp_path: Path, text: str, words: list[str]) -> None:
    """The error names the key, the file and the rule, and the nearest key for a misspelt one."""
    write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load({}, {}, folder=tmp_path)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("AFFIDAVIT_LISTN", "did you mean AFFIDAVIT_LISTEN?"),
        ("AFFIDAVIT_listen", "unknown environment variable"),
        ("AFFIDAVIT_NOTHING_LIKE_IT", "unknown environment variable AFFIDAVIT_NOTHING_LIKE_IT"),
    ],
)
def test_an_unknown_variable_is_an_error(tmp_path: Path, variable: str, words: str) -> None:
    """A variable with our prefix that is no setting is never ignored."""
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        load({}, {variable: "x"}, folder=tmp_path)


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    """--config of a file that is not there does not fall back to defaults."""
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        load({}, {}, folder=tmp_path, file=tmp_path / "none.toml")


def test_relative_paths_in_the_file_count_from_the_file(tmp_path: Path) -> None:
    """The same file means the same place from every working folder; absolute paths stay."""
    folder = tmp_path / "etc"
    folder.mkdir()
    file = write(folder, 'data_dir = "data"\ngeoip = "/geo.mmdb"\ndatabase = "sqlite:///a.db"')
    settings = load({}, {}, folder=tmp_path, file=file).settings
    assert settings.data_dir == folder / "data"
    assert settings.geoip == Path("/geo.mmdb")
    assert settings.database_path == folder / "a.db"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///relative.db", Path("relative.db")),
        ("sqlite:////var/lib/absolute.db", Path("/var/lib/absolute.db")),
        ("sqlite:///:memory:", None),
        ("postgresql://u@h/d", None),
    ],
)
def test_a_database_url_names_its_file(url: str, path: Path | None) -> None:
    """Three slashes are relative, four absolute; databases without a file have none."""
    assert Settings(database=url).database_path == path


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file.db", "sqlite:///file.db"),
        ("mysql://h/d", "'mysql' is unknown"),
        ("sqlite://x.db", "sqlite:///x.db"),
    ],
)
def test_a_wrong_database_url_says_how_to_write_it(url: str, words: str) -> None:
    """The error has the right form in it."""
    with pytest.raises(ConfigError, match=words):
        Settings(database=url)


def test_the_default_database_lies_in_the_data_directory(tmp_path: Path) -> None:
    """Whoever moves the data directory moves the database with it."""
    assert Settings(data_dir=tmp_path).database_path == tmp_path / "affidavit.db"


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:8484", "127.0.0.1", 8484), ("[::1]:0", "::1", 0), ("localhost:65535", "localhost", 65535)],
)
def test_listen_has_host_and_port(listen: str, host: str, port: int) -> None:
    """IPv6 addresses stand in brackets."""
    settings = Settings(listen=listen)
    assert (settings.host, settings.port) == (host, port)


@pytest.mark.parametrize(
    "listen", ["", "8484", ":8484", "h:", "h:x", "h:65536", "::1:80", "[]:80", "h:\u0661"]
)
def test_a_wrong_listen_address_is_refused(listen: str) -> None:
    """No host, no port, a port out of range, bare IPv6."""
    with pytest.raises(ConfigError, match="HOST:PORT"):
        Settings(listen=listen)


def test_lists_come_from_commas_and_from_repeated_flags(tmp_path: Path) -> None:
    """A list is comma-separated in the environment, and an array in the file."""
    environ = {PREFIX + "TRUSTED_PROXIES": "10.0.0.0/8, ::1"}
    assert load({}, environ, folder=tmp_path).settings.trusted_proxies == ("10.0.0.0/8", "::1")
    given = {"trusted_proxies": ["10.0.0.1", "10.0.0.2,10.0.0.3"]}
    assert len(load(given, environ, folder=tmp_path).settings.trusted_proxies) == 3


def test_a_password_in_the_database_url_is_masked() -> None:
    """Whatever shows settings shows no secret; a URL without a password is shown as it is."""
    assert shown("database", "postgresql://ana:p@ss@host/db") == "postgresql://ana:***@host/db"
    assert shown("database", "sqlite:///a:b@c.db") == "sqlite:///a:***@c.db"
    assert shown("database", "postgresql://ana@host/db") == "postgresql://ana@host/db"


def test_an_error_about_the_database_hides_its_password(tmp_path: Path) -> None:
    """A refused URL with a password is quoted without it."""
    with pytest.raises(ConfigError) as caught:
        load({}, {"AFFIDAVIT_DATABASE": "mysql://ana:hunter2@host/db"}, folder=tmp_path)
    assert "hunter2" not in caught.value.message


def test_the_data_directory_is_made_private_and_left_alone_afterwards(tmp_path: Path) -> None:
    """A new one has mode 0700; one that exists keeps its mode (doctor warns)."""
    settings = Settings(data_dir=tmp_path / "new" / "data")
    make_data_dir(settings)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    settings.data_dir.chmod(0o750)
    make_data_dir(settings)
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o750


def test_a_file_in_place_of_the_data_directory_is_named(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        make_data_dir(Settings(data_dir=tmp_path / "data"))
