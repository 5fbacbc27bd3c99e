"""A zip as the members of a bundle: what is declared is not believed, what is read is bounded."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from affidavit.core.members import MAX_MEMBERS
from affidavit.core.unsound import Malformed
from affidavit.core.verdict import NotChecked

__all__ = ["ALLOWANCE", "MAX_RATIO", "Archive"]

MAX_RATIO: Final = 200
"""Bytes that all reading together may give for each byte of the file, beyond :data:`ALLOWANCE`."""

ALLOWANCE: Final = 64 * 1024 * 1024

_PASSES = 2
"""Members are read once, and the entries once more where something is missing."""

_MAX_READ: Final = 32 * 1024 * 1024
"""Of one read of the file itself; a longer directory is none of a bundle's."""

_KNOWN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError)


class Archive:
    """The members of a zip file.

    Args:
        path: of the file.

    Raises:
        NotChecked: it cannot be opened, or is no zip.
    """

    names: Sequence[str]

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            raise NotChecked(f"{path}: this is a folder; a bundle is one zip file")
        try:
            self._file = _Bounded(path.open("rb"))
        except OSError as error:
            raise NotChecked(f"{path}: {error.strerror or error}") from None
        try:
            self._zip = zipfile.ZipFile(self._file)
        except _BROKEN as error:
            self._file.close()
            raise NotChecked(f"{path}: this is no whole zip file: {error}") from None
        self._infos = self._zip.infolist()
        self.names = [info.filename for info in self._infos[: MAX_MEMBERS + 1]]
        self._left = (ALLOWANCE + MAX_RATIO * path.stat().st_size) * _PASSES

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()
        self._file.close()

    def stream(self, name: str) -> _Member:
        """The bytes of a member.

        Raises:
            Malformed: it is encrypted, packed in an unknown way, a link or a folder, or damaged.
        """
        info = self._zip.getinfo(name)
        mode = info.external_attr >> 16
        if info.is_dir() or (mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode)):
            raise Malformed(name, "must be a file, not a link or a folder")
        if info.flag_bits & _ENCRYPTED or info.compress_type not in _KNOWN:
            raise Malformed(name, "must be stored or deflated, and not encrypted")
        try:
            return _Member(self, name, self._zip.open(info))
        except _BROKEN as error:
            raise Malformed(name, f"is damaged: {error}") from None

    def spend(self, name: str, count: int) -> None:
        """Count bytes that were read.

        Raises:
            Malformed: they are more than a file of this size may hold.
        """
        self._left -= count
        if self._left < 0:
            raise Malformed(name, f"unpacks to far more than {MAX_RATIO} times the size of the file")


class _Member:
    """A member while it is being read."""

    def __init__(self, archive: Archive, name: str, opened: IO[bytes]) -> None:
        self._archive = archive
        self._name = name
        self._opened = opened

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end, where the checksum was right.

        Raises:
            Malformed: it is damaged, or unpacks to too much.
        """
        try:
            piece = self._opened.read(size)
        except _BROKEN as error:
            raise Malformed(self._name, f"is damaged: {error}") from None
        self._archive.spend(self._name, len(piece))
        return piece


class _Bounded:
    """A file that refuses huge reads: zipfile takes the size of the directory from the file itself."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self.seek = opened.seek
        self.tell = opened.tell
        self.close = opened.close
        self.seekable = opened.seekable

    def read(self, size: int = -1, /) -> bytes:
        if size > _MAX_READ:
            raise zipfile.BadZipFile("it says that its directory is huge")
        return self._opened.read(size)
