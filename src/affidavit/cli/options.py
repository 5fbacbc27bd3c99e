"""The flags that commands share: where the database is, which organization, and the other settings."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import Group, Parameter

from affidavit.config import Loaded, Settings, describe, load

__all__ = ["GROUP", "NOTHING_GIVEN", "SERVING_NOTHING_GIVEN", "Common", "Serving", "setting_help"]

GROUP = Group("Settings", sort_key=1000)
"""The heading of the settings in help texts."""
_TYPES = describe()
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(Settings)}


def setting_help(name: str) -> str:
    """What a setting is for, with its default."""
    kind = _TYPES[name]
    assert isinstance(kind, msgspec.inspect.Metadata)
    text = str((kind.extra_json_schema or {})["description"]).replace("`", "")
    default = _DEFAULTS[name]
    if default in (None, "", ()):
        return text
    return f"{text} Default: {str(default).lower() if isinstance(default, bool) else default}."


def _flag(name: str) -> Parameter:
    negative = () if isinstance(_DEFAULTS[name], tuple) else None
    return Parameter(help=setting_help(name), group=GROUP, show_default=False, negative=negative)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """The settings that every command takes as flags; None is "not given"."""

    organization: Annotated[str | None, _flag("organization")] = None
    database: Annotated[str | None, _flag("database")] = None
    schema: Annotated[str | None, _flag("schema")] = None
    data_dir: Annotated[str | None, _flag("data_dir")] = None
    log_database: Annotated[str | None, _flag("log_database")] = None
    index_database: Annotated[str | None, _flag("index_database")] = None
    log_host: Annotated[str | None, _flag("log_host")] = None
    guard: Annotated[str | None, _flag("guard")] = None
    config: Annotated[
        Path | None,
        Parameter(
            help="The settings file. Default: affidavit.toml in the current folder, where it exists.",
            group=GROUP,
            show_default=False,
        ),
    ] = None

    def load(self, **instead: Any) -> Loaded:
        """The settings from these flags, the environment and the file.

        Args:
            instead: settings that the command sets itself unless the flag says otherwise.
        """
        flags = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "config"}
        flags |= {name: value for name, value in instead.items() if flags.get(name) is None}
        return load(flags, os.environ, folder=Path.cwd(), file=self.config)

    def settings(self) -> Settings:
        """The settings alone, from :meth:`load`."""
        return self.load().settings


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Serving(Common):
    """Every setting as a flag, for the commands that run the product."""

    database_pool: Annotated[int | None, _flag("database_pool")] = None
    listen: Annotated[str | None, _flag("listen")] = None
    public_url: Annotated[str | None, _flag("public_url")] = None
    insecure_cookie: Annotated[bool | None, _flag("insecure_cookie")] = None
    trusted_proxies: Annotated[list[str] | None, _flag("trusted_proxies")] = None
    geoip: Annotated[str | None, _flag("geoip")] = None
    spools: Annotated[list[str] | None, _flag("spools")] = None
    policy: Annotated[str | None, _flag("policy")] = None
    worker: Annotated[bool | None, _flag("worker")] = None
    log_level: Annotated[str | None, _flag("log_level")] = None


NOTHING_GIVEN = Common()
"""The default of a command's parameter: no flag was given."""
SERVING_NOTHING_GIVEN = Serving()
"""The same for :class:`Serving`."""
