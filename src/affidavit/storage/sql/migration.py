"""The numbered steps of a schema, as an engine's folder holds them."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

__all__ = ["Migration", "steps_in"]


class Migration(NamedTuple):
    """One step of the schema.

    Attributes:
        number: from 1, without a gap.
        name: of the file, without number and suffix.
        sql: its text.
        checksum: hex SHA-256 of the text.
    """

    number: int
    name: str
    sql: str
    checksum: str

    @classmethod
    def of(cls, file_name: str, text: str) -> Migration:
        """The step that a file such as ``0001_events.sql`` is."""
        number, _, name = file_name.removesuffix(".sql").partition("_")
        return cls(int(number), name, text, sha256(text.encode()).hexdigest())


def steps_in(package: str, folder: str) -> list[Migration]:
    """The steps in a folder of a package, in order."""
    found = (file for file in files(package).joinpath(folder).iterdir() if file.name.endswith(".sql"))
    return sorted(Migration.of(file.name, file.read_text(encoding="utf-8")) for file in found)
