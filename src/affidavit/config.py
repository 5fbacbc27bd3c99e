"""Settings: every one a flag, an environment variable and a key of ``affidavit.toml``.

A flag wins over the environment, the environment over the file, the file over the default. An unknown
key, or an unknown variable that begins with ``AFFIDAVIT_``, is an error: a misspelt setting that is
silently ignored is one that nobody made. :func:`load` says where each value came from.

This module reads the file it is told of and nothing else; it opens no database and makes no folder except
in :func:`make_data_dir`. It is long because each setting stands here with what people read about it; flags,
variables, keys and the reference page are made from that one list.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from affidavit.core.database_url import HOW, masked, readable
from affidavit.errors import ConfigError

__all__ = [
    "DEFAULT_FILE",
    "OTHER_VARIABLES",
    "PREFIX",
    "Loaded",
    "Settings",
    "describe",
    "load",
    "make_data_dir",
    "shown",
]

PREFIX = "AFFIDAVIT_"
"""What the name of every environment variable of the product begins with."""

DEFAULT_FILE = "affidavit.toml"
"""The settings file, read where it exists in the current folder and no other is named."""

OTHER_VARIABLES = {
    "AFFIDAVIT_CONFIG": "The settings file; the flag --config goes before it.",
    "AFFIDAVIT_DEBUG": "1: an error prints its Python traceback as well.",
}
"""Environment variables that are known and are no settings."""

SCHEMES = ("sqlite", "postgresql", "postgres")

LogLevel = Literal["debug", "info", "warning", "error"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, checked and complete. The descriptions are those of ``docs/reference/settings.md``.

    Raises:
        ConfigError: a value breaks its rule.
    """

    data_dir: Annotated[
        Path,
        Meta(description="Folder of the default database and of the keys; made with mode 0700."),
    ] = Path("affidavit-data")
    database: Annotated[
        str,
        Meta(
            description="Database URL: `sqlite:///relative.db`, `sqlite:////absolute.db` or "
            "`postgresql://user@host:port/database`. Default: `affidavit.db` in the data directory.",
            extra={"secret": "password"},
        ),
    ] = ""
    schema: Annotated[
        str,
        Meta(description="Schema that holds our tables on PostgreSQL; it is made where it is missing."),
    ] = "public"
    database_pool: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Connections to PostgreSQL that one process opens at most, beside the one that "
            "records over HTTP and those of the worker.",
        ),
    ] = 10
    log_database: Annotated[
        Path | None,
        Meta(description="File of the log on SQLite. Default: beside the database, `NAME-log.db`."),
    ] = None
    index_database: Annotated[
        Path | None,
        Meta(
            description="File of the search index on SQLite; it may be deleted. "
            "Default: beside the database, `NAME-index.db`."
        ),
    ] = None
    log_host: Annotated[
        str,
        Meta(
            description="First part of the origin of logs that are begun from now on, such as "
            "`audit.example.org`. Logs that exist keep theirs."
        ),
    ] = "localhost"
    guard: Annotated[
        str,
        Meta(
            description="The guard, which must accept each checkpoint before it is signed: a file, best on "
            "another volume, or the http(s) address of a witness, which is then asked beside the file. "
            "Default: `guard.db` in the data directory."
        ),
    ] = ""
    policy: Annotated[
        Path | None,
        Meta(
            description="Policy file (C2SP tlog-policy) that names the witnesses which are asked to cosign "
            "every checkpoint."
        ),
    ] = None
    organization: Annotated[
        str | None,
        Meta(description="Organization that commands work on where none is named."),
    ] = None
    listen: Annotated[
        str,
        Meta(description="Address that `serve` listens on, HOST:PORT; port 0 takes a free one."),
    ] = "127.0.0.1:8484"
    public_url: Annotated[
        str | None,
        Meta(
            description="Address under which browsers reach the server, such as `https://audit.example.org`; "
            "used in login links. Default: made from `listen`."
        ),
    ] = None
    insecure_cookie: Annotated[
        bool,
        Meta(description="Allow sign-in to the page over plain HTTP on a host other than loopback."),
    ] = False
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies whose `X-Forwarded-For` is believed, "
            "read from the right."
        ),
    ] = ()
    geoip: Annotated[
        Path | None,
        Meta(description="MaxMind database (.mmdb) that gives an event's location from its address."),
    ] = None
    spools: Annotated[
        tuple[Path, ...],
        Meta(
            description="Spool files of apps on this machine that the worker empties and an erasure reaches, "
            "beside `NAME-spool.db` of an SQLite database."
        ),
    ] = ()
    worker: Annotated[
        bool,
        Meta(description="Whether `serve` starts and supervises the worker process."),
    ] = True
    log_level: Annotated[LogLevel, Meta(description="How much the server writes to standard error.")] = "info"

    def __post_init__(self) -> None:
        if not self.database:
            path = self.data_dir.absolute() / "affidavit.db"
            msgspec.structs.force_setattr(self, "database", f"sqlite:///{path}")
        if self.database.startswith("postgres://"):
            msgspec.structs.force_setattr(self, "database", f"postgresql{self.database[8:]}")
        _check_database(self.database)
        _check_schema(self.schema)
        _check_log_host(self.log_host)
        _check_guard(self.guard)
        split_listen(self.listen)
        _check_public_url(self.public_url)
        for network in self.trusted_proxies:
            _check_network(network)

    @property
    def host(self) -> str:
        """The host part of ``listen``, without brackets."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The port part of ``listen``."""
        return split_listen(self.listen)[1]

    @property
    def guard_path(self) -> Path:
        """The file of the guard; a witness is asked beside it, not instead of it."""
        if not self.guard or self.guard_url is not None:
            return self.data_dir / "guard.db"
        return Path(self.guard)

    @property
    def guard_url(self) -> str | None:
        """The address of the witness that must accept each checkpoint, where there is one."""
        return self.guard if "://" in self.guard else None

    @property
    def database_path(self) -> Path | None:
        """The file of an SQLite database; None for one in memory and for other engines."""
        scheme, _, rest = self.database.partition("://")
        if scheme != "sqlite" or rest in ("", "/", "/:memory:"):
            return None
        return Path(rest.removeprefix("/"))


class Loaded(msgspec.Struct, frozen=True):
    """Settings, and for each the place its value came from.

    Attributes:
        sources: setting name to ``flag --listen``, ``environment AFFIDAVIT_LISTEN``,
            ``file /etc/affidavit.toml`` or ``default``; every setting is in it.
    """

    settings: Settings
    sources: dict[str, str]


def split_listen(listen: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[v6]:PORT``."""
    host, colon, port = listen.rpartition(":")
    bare = host.startswith("[") and host.endswith("]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 65_536
    if not colon or number > 65_535 or host in ("", "[]") or (":" in host and not bare):
        raise ConfigError(f"{listen!r} is no address to listen on; write HOST:PORT, such as 127.0.0.1:8484")
    return host[1:-1] if bare else host, number


def _check_database(url: str) -> None:
    scheme, separator, rest = url.partition("://")
    if not separator:
        given = masked(url)
        raise ConfigError(f"{given!r} is no database URL; for an SQLite file write sqlite:///{given}")
    if scheme not in SCHEMES:
        raise ConfigError(
            f"the database scheme {scheme!r} is unknown; use sqlite:///file.db or postgresql://"
        )
    if scheme != "sqlite" and not readable(url):
        raise ConfigError(f"the database URL {masked(url)} cannot be read: {HOW}")
    if scheme == "sqlite" and rest and not rest.startswith("/"):
        raise ConfigError(f"an SQLite URL has three slashes, four for an absolute path: sqlite:///{rest}")


def _check_schema(schema: str) -> None:
    if not 1 <= len(schema.encode()) <= 63 or "\0" in schema or schema.startswith("pg_"):
        raise ConfigError(f"{schema!r} is no name of a schema: 1 to 63 bytes, not beginning with pg_")


_LOG_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?\Z")


def _check_log_host(host: str) -> None:
    if _LOG_HOST.match(host) is None:
        raise ConfigError(f"{host!r} is no host name; write one such as audit.example.org")


def _check_guard(guard: str) -> None:
    scheme, separator, _ = guard.partition("://")
    if separator and (scheme not in ("http", "https") or not urlsplit(guard).netloc):
        raise ConfigError(f"{guard!r} is neither a file nor an http:// or https:// address")


def _check_public_url(url: str | None) -> None:
    if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc):
        raise ConfigError(f"{url!r} is no http:// or https:// address")


def _check_network(network: str) -> None:
    try:
        ip_network(network)
    except ValueError as error:
        raise ConfigError(f"{network!r} is no IP address or network such as 10.0.0.0/8") from error


def describe() -> dict[str, msgspec.inspect.Type]:
    """The type of each setting as msgspec sees it, in the order of the class."""
    info = msgspec.inspect.type_info(Settings)
    assert isinstance(info, msgspec.inspect.StructType)
    return {field.name: field.type for field in info.fields}


_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Settings)}
_PATHS = ("data_dir", "log_database", "index_database", "geoip", "policy")


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    folder: Path,
    file: Path | None = None,
    said: str | None = None,
) -> Loaded:
    """Put the settings together.

    Args:
        flags: setting name to value as given on the command line; None means not given.
        environ: the environment; only names with :data:`PREFIX` are read.
        folder: where :data:`DEFAULT_FILE` is looked for, normally the current folder.
        file: the settings file of the flag ``--config``; it must exist.
        said: how ``flags`` are called in errors where they are none, with ``{}`` for the name.

    Raises:
        ConfigError: an unknown key or variable, or a value that breaks its rule, with its source.
    """
    file = file or (Path(environ["AFFIDAVIT_CONFIG"]) if environ.get("AFFIDAVIT_CONFIG") else None)
    if file is None and (folder / DEFAULT_FILE).is_file():
        file = folder / DEFAULT_FILE
    values: dict[str, Any] = {}
    sources = dict.fromkeys(_FIELDS, "default")
    if file is not None:
        for name, value in _read_file(file).items():
            values[name] = _convert(name, _beside(file, name, value), f"file {file}")
            sources[name] = f"file {file}"
    for variable, name in _known_variables(environ).items():
        values[name] = _convert(name, _from_text(name, environ[variable]), f"environment {variable}")
        sources[name] = f"environment {variable}"
    for name, value in flags.items():
        if value is not None:
            source = said.format(name) if said else f"flag --{name.replace('_', '-')}"
            values[name] = _convert(name, value, source)
            sources[name] = source
    return Loaded(Settings(**values), sources)


def _known_variables(environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in _FIELDS or variable != PREFIX + name.upper():
            known = [PREFIX + field.upper() for field in _FIELDS] + list(OTHER_VARIABLES)
            raise ConfigError(f"unknown environment variable {variable}{_did_you_mean(variable, known)}")
        found[variable] = name
    return found


def _read_file(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the settings file {file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}") from error
    for key in content:
        if key not in _FIELDS:
            raise ConfigError(f"unknown key {key!r} in {file}{_did_you_mean(key, list(_FIELDS))}")
    return content


def _did_you_mean(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1) or get_close_matches(name.replace("-", "_"), known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _beside(file: Path, name: str, value: Any) -> Any:
    """A relative path in a settings file counts from that file's folder."""
    if name == "spools" and isinstance(value, list):
        return [str(file.parent / each) if isinstance(each, str) else each for each in value]
    if not isinstance(value, str):
        return value
    if name in _PATHS:
        return str(file.parent / value)
    if name == "guard" and value and "://" not in value:
        return str(file.parent / value)
    if name == "database" and value.startswith("sqlite:///") and value != "sqlite:///:memory:":
        return f"sqlite:///{file.parent / value.removeprefix('sqlite:///')}"
    return value


def _from_text(name: str, text: str) -> Any:
    return [text] if isinstance(_TYPES[name], msgspec.inspect.VarTupleType) else text


def _convert(name: str, value: Any, source: str) -> Any:
    """The value as the setting's type, checked by itself so that the error can name its source."""
    if isinstance(value, list) and isinstance(_TYPES[name], msgspec.inspect.VarTupleType):
        value = [part.strip() for item in value for part in str(item).split(",") if part.strip()]
    try:
        converted = msgspec.convert(value, _FIELDS[name], strict=False, dec_hook=_path)
        Settings(**{name: converted})
    except msgspec.ValidationError as error:
        raise ConfigError(
            f"{name} ({source}): {_rule(name, error)}, not {shown(name, value)!r:.100}"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{name} ({source}): {error.message}") from error
    return converted


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path) and str(value):
        return Path(value)
    raise ValueError("must be a path")


def _rule(name: str, error: msgspec.ValidationError) -> str:
    match _TYPES[name]:
        case msgspec.inspect.LiteralType(values=values):
            return "must be one of " + ", ".join(map(str, values))
        case msgspec.inspect.BoolType():
            return "must be true or false"
        case _:
            return str(error).replace("`", "")


_TYPES = {
    name: kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
    for name, kind in describe().items()
}


def shown(name: str, value: Any) -> Any:
    """The value as it may be shown: paths as text, a password in the database URL masked."""
    if name == "database" and isinstance(value, str):
        return masked(value)
    if isinstance(value, Path):
        return str(value)
    return [str(each) for each in value] if isinstance(value, tuple) else value


def make_data_dir(settings: Settings) -> None:
    """Make the data directory with mode 0700 where it does not exist; one that exists is left as it is.

    Raises:
        ConfigError: it cannot be made, or the path is no folder.
    """
    try:
        settings.data_dir.parent.mkdir(parents=True, exist_ok=True)
        settings.data_dir.mkdir(mode=0o700)
    except FileExistsError:
        if not settings.data_dir.is_dir():
            raise ConfigError(f"data_dir: {settings.data_dir} is a file, not a folder") from None
    except OSError as error:
        raise ConfigError(f"data_dir: cannot make {settings.data_dir}: {error.strerror}") from error
