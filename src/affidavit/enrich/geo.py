"""Places of IP addresses, from an MMDB file of the operator's choice; none is shipped.

Three shapes are read: MaxMind's nested one, DB-IP's (which is the same), and the flat one of ip-location-db.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from affidavit.core.event import Location
from affidavit.errors import ConfigError

__all__ = ["Places"]


class Places:
    """Looks places up.

    Args:
        path: an MMDB file.

    Raises:
        ConfigError: the reader is not installed, or the file is none of this kind.
    """

    def __init__(self, path: Path) -> None:
        try:
            import maxminddb
        except ImportError:
            raise ConfigError("geoip needs the extra: pip install affidavit[enrich]") from None
        try:
            self._reader = maxminddb.open_database(str(path))
        except (OSError, ValueError) as error:
            raise ConfigError(f"geoip: {path} cannot be read as an MMDB file ({error})") from error
        self.of = lru_cache(maxsize=16384)(self._of)

    def _of(self, address: str) -> Location | None:
        """The place of a normalised address; ``None`` where the file knows nothing of it."""
        try:
            record = self._reader.get(ipaddress.ip_address(address))
        except ValueError:
            return None
        if not isinstance(record, Mapping):
            return None
        location = _flat(record) if "country_code" in record else _nested(record)
        return location if location != Location() else None


def _flat(record: Mapping[str, Any]) -> Location:
    return Location(
        city=_text(record.get("city")),
        region=_text(record.get("state1")),
        country=_text(record.get("country")),
        country_code=_text(record.get("country_code")),
    )


def _nested(record: Mapping[str, Any]) -> Location:
    country = record.get("country")
    regions = record.get("subdivisions")
    return Location(
        city=_name(record.get("city")),
        region=_name(regions[0]) if isinstance(regions, list) and regions else None,
        country=_name(country),
        country_code=_text(country.get("iso_code")) if isinstance(country, Mapping) else None,
    )


def _name(part: object) -> str | None:
    names = part.get("names") if isinstance(part, Mapping) else None
    return _text(names.get("en")) if isinstance(names, Mapping) else None


def _text(value: object) -> str | None:
    return value[:256] if isinstance(value, str) and value else None
