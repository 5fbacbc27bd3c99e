"""Source records, one by one, each with the file and the line where it stands.

A source is read in one of two ways, chosen by its first bytes:

* *lines*: one record a line (NDJSON), or a text format whose lines a :class:`LineShape` takes apart. Memory
  does not depend on the number of lines. A line that is an array or ``{"Records": [...]}`` gives several
  records, all with that line's number.
* *a document*: pretty-printed JSON, an array, or an object around a list of records. Each record has the line
  on which it starts; memory is bounded by the size of one record (4 MiB), not of the document.

What cannot be read is a record too: one with a ``problem``, which the import rejects by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from affidavit.ingest.documents import (
    MAX_RECORD_BYTES,
    Problem,
    Span,
    open_brackets,
    split_document,
)
from affidavit.ingest.jsontext import decode, pretty_prefix
from affidavit.ingest.rejects import KEPT_CHARACTERS, RejectedRecord
from affidavit.ingest.sources import DamagedSource, SourceStream

__all__ = ["LineShape", "SourceRecord", "read_records"]

_PEEK_BYTES = 64 * 1024
_NOT_A_RECORD = Problem("not_an_object", "is not a JSON object")
_TOO_LONG = Problem("too_long", f"is longer than {MAX_RECORD_BYTES} bytes")


class SourceRecord(NamedTuple):
    """One record of a source.

    Attributes:
        line: where it starts, from 1.
        size: its bytes; 0 where it shares them with others.
        value: the record, or None where there is a problem.
        text: the record as it stood, cut at 65,536 characters; only where there is a problem.
        problem: why it cannot be an event.
    """

    line: int
    size: int
    value: dict[str, Any] | None
    text: str | None = None
    problem: RejectedRecord | None = None


class LineShape(Protocol):
    """How the lines of a text format become records."""

    def parse(
        self, lines: Iterator[tuple[int, str]]
    ) -> Iterator[tuple[int, dict[str, Any] | RejectedRecord, str]]:
        """Take lines with their numbers; give line, record (or why there is none) and text of each record."""
        ...


def read_records(
    stream: SourceStream, *, wrapper: str | None = "Records", shape: LineShape | None = None
) -> Iterator[SourceRecord]:
    """Read the records of a source, in order.

    Args:
        stream: the open source.
        wrapper: the key under which an object may hold a list of records.
        shape: for text formats; without it the source is JSON.

    Yields:
        Every record, the unreadable ones with their problem. A source that breaks in the middle ends with
        such a record.
    """
    last = 1
    try:
        for record in _records(stream.chunks(), wrapper, shape):
            last = record.line
            yield record
    except DamagedSource as error:
        yield SourceRecord(last, 0, None, None, RejectedRecord("", "damaged", error.message))


def _records(chunks: Iterator[bytes], wrapper: str | None, shape: LineShape | None) -> Iterator[SourceRecord]:
    if shape is not None:
        yield from _shaped(_lines(chunks), shape)
        return
    head = b""
    while len(head) < _PEEK_BYTES and (chunk := next(chunks, b"")):
        head += chunk
    everything = _chain(head, chunks)
    spans = split_document(everything, wrapper) if _is_document(head, wrapper) else _lines(everything)
    for span in spans:
        yield from _of_span(span, wrapper)


def _is_document(head: bytes, wrapper: str | None) -> bool:
    """Whether the first bytes begin a document; the rest is read line by line."""
    head = head[:_PEEK_BYTES].lstrip()
    if not head.startswith((b"{", b"[")):
        return False
    first, found, rest = head.partition(b"\n")
    if wrapper and head.startswith(b"{") and _wraps(first, wrapper):
        return True
    if not found:
        return head.startswith(b"[") and (_is_value(first) or len(head) == _PEEK_BYTES)
    if _is_value(first):
        return first.startswith(b"[")
    if not pretty_prefix(first):
        return False
    # The first line is the beginning of a pretty-printed document, or a record that was cut short.
    second = rest.lstrip().partition(b"\n")[0]
    cut_short = open_brackets(first).endswith(b"{") and second.startswith(b"{") and _is_value(second)
    return not cut_short


def _wraps(line: bytes, wrapper: str) -> bool:
    start = line.find(b'"%s"' % wrapper.encode())
    if start < 0 or open_brackets(line[:start]) != b"{":
        return False
    return line[start:].partition(b":")[2].lstrip().startswith(b"[")


def _is_value(line: bytes) -> bool:
    try:
        decode(line)
    except RejectedRecord as problem:
        return problem.rule not in ("json", "truncated")
    return True


def _of_span(span: Span, wrapper: str | None) -> Iterator[SourceRecord]:
    line, raw, trouble = span
    if trouble is not None:
        yield _problem(line, raw, RejectedRecord("", *trouble))
        return
    try:
        value = decode(raw)
    except RejectedRecord as problem:
        yield _problem(line, raw, problem)
        return
    inner = value.get(wrapper) if wrapper and isinstance(value, dict) else value
    if isinstance(inner, list):
        size = len(raw) // max(1, len(inner))
        for item in inner:
            yield _of_value(line, size, item)
    else:
        yield _of_value(line, len(raw), value)


def _of_value(line: int, size: int, value: Any) -> SourceRecord:
    if isinstance(value, dict):
        return SourceRecord(line, size, value)
    text = repr(value)[:KEPT_CHARACTERS]
    return SourceRecord(line, size, None, text, RejectedRecord("", *_NOT_A_RECORD))


def _problem(line: int, raw: bytes, problem: RejectedRecord) -> SourceRecord:
    text = raw[:KEPT_CHARACTERS].decode(errors="backslashreplace")
    return SourceRecord(line, len(raw), None, text, problem)


def _shaped(spans: Iterator[Span], shape: LineShape) -> Iterator[SourceRecord]:
    def texts() -> Iterator[tuple[int, str]]:
        for line, raw, _ in spans:
            yield line, raw.replace(b"\0", b"\\0").decode(errors="backslashreplace")

    for line, value, text in shape.parse(texts()):
        if isinstance(value, RejectedRecord):
            yield SourceRecord(line, len(text), None, text[:KEPT_CHARACTERS], value)
        else:
            yield SourceRecord(line, len(text), value)


def _lines(chunks: Iterator[bytes]) -> Iterator[Span]:
    """Lines that are not blank; one that is too long is reported and passed over."""
    number, rest = 0, b""
    too_long = False
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            if too_long:
                too_long = False
            elif line.strip():
                yield _whole_line(number, line)
        if len(rest) > MAX_RECORD_BYTES:
            if not too_long:
                yield Span(number + 1, rest, _TOO_LONG)
            too_long, rest = True, b""
    if rest.strip() and not too_long:
        yield _whole_line(number + 1, rest)


def _whole_line(number: int, line: bytes) -> Span:
    return Span(number, line, _TOO_LONG if len(line) > MAX_RECORD_BYTES else None)


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest
