"""``AFFIDAVIT`` in the settings of a project, and what follows from its ``DATABASES``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.utils.module_loading import import_string

from affidavit.errors import ConfigError

__all__ = ["audit_options", "database_url", "given", "schema"]

_OF_AUDIT = frozenset(
    {"organization", "source", "catalogs", "schema", "spool", "data_dir", "allow_import", "using"}
)
_OF_REQUESTS = frozenset({"requests", "request_source", "request_bodies", "request_on_error"})
_NAMES = _OF_AUDIT | _OF_REQUESTS | {"trusted_proxies", "organization_of", "start"}
_NOT_OF_LIBPQ = frozenset(
    {"autocommit", "client_encoding", "context", "cursor_factory", "prepare_threshold", "row_factory"}
)


def given() -> Mapping[str, Any]:
    """The setting ``AFFIDAVIT``.

    Raises:
        ConfigError: it has a key that is no setting.
    """
    found: Mapping[str, Any] = getattr(settings, "AFFIDAVIT", {})
    for name in found:
        if name not in _NAMES:
            raise ConfigError(f"AFFIDAVIT[{name!r}] is no setting; there are: {', '.join(sorted(_NAMES))}")
    return found


def audit_options() -> dict[str, Any]:
    """What :class:`affidavit.django.recording.DjangoAudit` is made with; catalogs may be dotted paths."""
    options = {name: value for name, value in given().items() if name in _OF_AUDIT}
    options["catalogs"] = [
        import_string(each) if isinstance(each, str) else each for each in options.get("catalogs", ())
    ]
    return options


def schema() -> str:
    """The schema of our tables on PostgreSQL."""
    return str(given().get("schema", "public"))


def database_url(connection: Any) -> str | None:
    """The URL of a database of ``DATABASES``; ``None`` for SQLite in memory, which has none.

    Args:
        connection: of ``django.db.connections``.

    Raises:
        ConfigError: it is neither SQLite nor PostgreSQL.
    """
    if connection.vendor == "postgresql":
        return _postgres_url(connection.get_connection_params())
    if connection.vendor == "sqlite":
        name = str(connection.settings_dict["NAME"])
        return None if connection.is_in_memory_db() else f"sqlite:///{quote(name)}"
    raise ConfigError(f"{connection.alias!r} is a database of {connection.vendor}; use SQLite or PostgreSQL.")


def _postgres_url(parameters: Mapping[str, Any]) -> str:
    """Everything that Django hands to libpq, as parameters of a URL: a host may be a path, or several."""
    left = {name: str(value) for name, value in parameters.items() if name not in _NOT_OF_LIBPQ}
    user, password = left.pop("user", ""), left.pop("password", "")
    account = _quoted(user) + (f":{_quoted(password)}" if password else "")
    name = _quoted(left.pop("dbname", ""))
    query = "&".join(f"{key}={_quoted(value)}" for key, value in left.items())
    return f"postgresql://{account}{'@' if account else ''}/{name}{'?' if query else ''}{query}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
