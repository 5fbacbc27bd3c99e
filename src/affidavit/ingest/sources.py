"""Where records are read from: files, globs, folders, gzip, standard input; as chunks of UTF-8 bytes.

Constant memory: one chunk at a time, whatever the size of the file or the ratio of its compression.
"""

from __future__ import annotations

import codecs
import glob
import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from affidavit.errors import Refused

__all__ = ["CHUNK_BYTES", "STDIN", "DamagedSource", "SourceStream", "resolve_sources", "total_bytes"]

CHUNK_BYTES = 256 * 1024
STDIN = "-"
"""The name that stands for standard input."""

_GZIP = b"\x1f\x8b"
_OTHER_COMPRESSION = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"PAR1": "a Parquet file",
}


class DamagedSource(Refused):
    """The rest of the source cannot be read."""

    category = "damaged_source"


def resolve_sources(patterns: Sequence[str]) -> list[str]:
    """The sources that the patterns name, in order, each once.

    A pattern is a file, ``-``, a folder (every file under it, except hidden files and reject files) or a
    glob (``**`` for any depth); the files of a folder or glob are sorted by name.

    Raises:
        Refused: a pattern names nothing.
    """
    found: list[str] = []
    for pattern in patterns:
        names = _names(pattern)
        if not names:
            raise Refused(f"{pattern}: there is no such file")
        found.extend(names)
    return list(dict.fromkeys(found))


def _names(pattern: str) -> list[str]:
    path = Path(pattern)
    if pattern == STDIN or path.is_file():
        return [pattern]
    if path.is_dir():
        return sorted(
            str(each)
            for each in path.rglob("*")
            if each.is_file() and not each.name.startswith(".") and not each.name.endswith(".rejects.ndjson")
        )
    if path.exists():  # a named pipe, /dev/fd/63
        return [pattern]
    # glob.glob and not Path.glob: the pattern may be absolute.
    return sorted(name for name in glob.glob(pattern, recursive=True) if not Path(name).is_dir())  # noqa: PTH207


def total_bytes(sources: Sequence[str]) -> int | None:
    """The size of all sources on disk; None where one of them has none to tell (a pipe)."""
    total = 0
    for source in sources:
        if source == STDIN or not Path(source).is_file():
            return None
        total += Path(source).stat().st_size
    return total


class SourceStream:
    """One source, open for reading.

    gzip is recognised by its first bytes, never by the name; UTF-16 (with its byte order mark) becomes
    UTF-8, and a byte order mark is dropped.

    Raises:
        DamagedSource: the source cannot be opened or holds another compression.
    """

    def __init__(self, source: str) -> None:
        try:
            raw = sys.stdin.buffer if source == STDIN else Path(source).open("rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise DamagedSource(f"cannot be opened: {error.strerror}") from error
        self._raw = _Counted(raw, owned=source != STDIN)

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the source so far, as they are stored (compressed)."""
        return self._raw.count

    def close(self) -> None:
        """Close the file; standard input stays open."""
        self._raw.close()

    def chunks(self) -> Iterator[bytes]:
        """The text as UTF-8 bytes, chunk by chunk.

        Raises:
            DamagedSource: reading fails in the middle (truncated or damaged gzip, a disk error).
        """
        try:
            yield from _as_utf8(self._bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise DamagedSource(f"cannot be read further: {error}") from error
        except UnicodeError as error:
            raise DamagedSource("is not valid UTF-16") from error

    def _bytes(self) -> Iterator[bytes]:
        head = self._raw.peek(6)
        for magic, what in _OTHER_COMPRESSION.items():
            if head.startswith(magic):
                raise DamagedSource(f"is {what}; turn it into JSON lines first")
        if not head.startswith(_GZIP):
            while chunk := self._raw.read(CHUNK_BYTES):
                yield chunk
            return
        with gzip.GzipFile(fileobj=self._raw) as unpacked:  # type: ignore[call-overload]
            while chunk := unpacked.read1(CHUNK_BYTES):
                yield chunk


class _Counted:
    """A binary reader that counts what it reads and can look ahead."""

    def __init__(self, raw: BinaryIO, *, owned: bool) -> None:
        self._raw = raw
        self._owned = owned
        self._ahead = b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        while len(self._ahead) < size:
            more = self._raw.read(CHUNK_BYTES)
            if not more:
                break
            self.count += len(more)
            self._ahead += more
        return self._ahead[:size]

    def read(self, size: int = -1) -> bytes:
        if self._ahead:
            part, self._ahead = (self._ahead, b"") if size < 0 else (self._ahead[:size], self._ahead[size:])
            return part
        part = self._raw.read(size) or b""
        self.count += len(part)
        return part

    def close(self) -> None:
        if self._owned:
            self._raw.close()


def _as_utf8(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    while len(first) < 3 and (more := next(chunks, b"")):
        first += more
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        decoder = codecs.getincrementaldecoder("utf-16")()
        yield decoder.decode(first).encode()
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
        return
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from chunks
