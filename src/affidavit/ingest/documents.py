"""Splitting JSON documents into records without holding the document.

A document is any run of JSON values: one pretty-printed object, an array of records, an object with a list of
records under a known key (``{"Records": [...]}``), or several of these one after the other. Only brackets
and strings are looked at here; each record's bytes are decoded strictly afterwards, so that one bad record
stays one bad record.

After a record whose end cannot be found (cut short, or a bracket that does not match), splitting goes on
at the next line that begins with ``{`` at the same indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["MAX_RECORD_BYTES", "Problem", "Span", "open_brackets", "split_document"]

MAX_RECORD_BYTES = 4 * 1024 * 1024
"""A source record; an event may hold 256 KiB, but a record may become several events."""

_STRING = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
# Both end at the symbol that matters: a bracket, the end of a string, or the quote of one without an end.
_TOKEN = re.compile(rb'[^"{}\[\]]*+(' + _STRING + rb'|["{}\[\]])', re.DOTALL)
_BRACKET = re.compile(rb'(?:[^"{}\[\]]++|' + _STRING + rb')*+(["{}\[\]])', re.DOTALL)
_LIST = re.compile(rb"\s*+:\s*+\[")
_LOOK_AHEAD = 64
_SPACE = re.compile(rb"[\s,:]*+")
_STRAY = re.compile(rb'[^\s,\[\]{}"]++|"[^"\n]*+"?')
_QUOTE, _OPEN_OBJECT, _OPEN_ARRAY, _CLOSE_OBJECT, _CLOSE_ARRAY = b'"{[}]'
_CLOSER = {_OPEN_OBJECT: _CLOSE_OBJECT, _OPEN_ARRAY: _CLOSE_ARRAY}


class Problem(NamedTuple):
    """Why the bytes are not a record."""

    rule: str
    message: str


class Span(NamedTuple):
    """The bytes of one record and the line (from 1) on which they start."""

    line: int
    raw: bytes
    problem: Problem | None = None


_TRUNCATED = Problem("truncated", "ends in the middle of a JSON value")
_UNBALANCED = Problem("json", "is not JSON: its brackets do not match")
_TOO_LONG = Problem("too_long", f"is longer than {MAX_RECORD_BYTES} bytes")
_NOT_CLOSED = Problem("truncated", "the document ends before its closing bracket; records may be missing")
_NOT_A_RECORD = Problem("not_an_object", "is not a JSON object")


def open_brackets(text: bytes) -> bytes:
    """The brackets that are open at the end of the text, outermost first; mismatches are ignored."""
    stack = bytearray()
    for match in _TOKEN.finditer(text):
        symbol = match[1][0]
        if symbol in _CLOSER:
            stack.append(symbol)
        elif symbol != _QUOTE and stack:
            stack.pop()
    return bytes(stack)


def split_document(chunks: Iterator[bytes], wrapper: str | None) -> Iterator[Span]:
    """Split a document into the bytes of its records.

    Args:
        chunks: the text, UTF-8.
        wrapper: the key of a top-level object whose list holds the records, such as ``Records``.

    Yields:
        Records in order; where ``problem`` is set, the bytes are what could not be read, cut at one line.
    """
    return _Splitter(chunks, wrapper).spans()


class _Broken(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class _Splitter:
    def __init__(self, chunks: Iterator[bytes], wrapper: str | None) -> None:
        self._chunks = chunks
        self._wrapper = b'"%s"' % wrapper.encode() if wrapper else None
        self._text = b""
        self._ended = False
        self._at = 0
        self._line = 1
        self._stack = bytearray()
        """What the next value stands in: arrays of records and, around them, wrapper objects."""

    def spans(self) -> Iterator[Span]:
        while self._skip_space():
            symbol = self._text[self._at]
            if symbol == _OPEN_OBJECT and not self._in_object():
                yield from self._object()
            elif symbol == _OPEN_ARRAY and not self._stack:
                self._stack.append(_OPEN_ARRAY)
                self._at += 1
            elif self._stack and symbol == _CLOSER[self._stack[-1]]:
                self._stack.pop()
                self._at += 1
            elif self._in_object():
                yield from self._member()
            else:
                yield from self._stray()
        if self._stack:
            yield Span(self._line, b"", _NOT_CLOSED)

    def _in_object(self) -> bool:
        return bool(self._stack) and self._stack[-1] == _OPEN_OBJECT

    def _object(self) -> Iterator[Span]:
        """A record; or, at the top, an object that wraps a list of records."""
        try:
            end = self._find_end(look_for=self._wrapper if not self._stack else None)
        except _Broken as broken:
            yield from self._recover(broken.problem)
            return
        if end is None:
            return
        raw = self._text[self._at : end]
        yield Span(self._line, raw, _TOO_LONG if len(raw) > MAX_RECORD_BYTES else None)
        self._pass(end)

    def _member(self) -> Iterator[Span]:
        """The rest of a wrapper object after its list: nothing of it is a record."""
        symbol = self._text[self._at]
        try:
            if symbol in _CLOSER:
                end = self._find_end(look_for=None)
            else:
                match = self._whole(_STRAY)
                end = match.end() if match else self._at + 1
        except _Broken as broken:
            yield from self._recover(broken.problem)
            return
        assert end is not None
        self._pass(end)

    def _stray(self) -> Iterator[Span]:
        """Something that is no record where a record should stand."""
        if self._text[self._at] == _OPEN_ARRAY:
            try:
                end = self._find_end(look_for=None)
            except _Broken as broken:
                yield from self._recover(broken.problem)
                return
            assert end is not None
        else:
            match = self._whole(_STRAY)
            end = match.end() if match else self._at + 1
        yield Span(self._line, self._text[self._at : end], _NOT_A_RECORD)
        self._pass(end)

    def _find_end(self, look_for: bytes | None) -> int | None:
        """The index after the value that starts here; None where it turned out to wrap a list of records.

        Raises:
            _Broken: it has no end.
        """
        open_ = bytearray()
        pattern = _TOKEN if look_for else _BRACKET
        seen = 0  # how far the value was followed, from its start
        while True:
            text, unclosed = self._text, -1
            while match := pattern.match(text, self._at + seen):
                symbol = text[match.end() - 1]
                if symbol in _CLOSER:
                    open_.append(symbol)
                elif symbol != _QUOTE:
                    if _CLOSER[open_.pop()] != symbol:
                        raise _Broken(_UNBALANCED)
                    if not open_:
                        return match.end()
                elif look_for is None or match[1] == b'"':
                    unclosed = match.end() - 1
                    break
                elif len(open_) == 1 and match[1] == look_for:
                    if len(text) < match.end() + _LOOK_AHEAD and not self._ended:
                        break
                    if self._enter_list(match.end()):
                        return None
                seen = match.end() - self._at
            self._continue(unclosed, patient=look_for is not None)

    def _continue(self, unclosed: int, *, patient: bool) -> None:
        """Read on, because the value that starts here has no end in the text.

        Args:
            unclosed: where a string starts that has no end in the text, or -1.
            patient: the end of the source is news that changes how the text is read, once.

        Raises:
            _Broken: there is no end to be found.
        """
        if unclosed >= 0 and self._text.find(b"\n", unclosed) >= 0:
            raise _Broken(_TRUNCATED)
        if len(self._text) - self._at > MAX_RECORD_BYTES:
            raise _Broken(_TOO_LONG)
        known = self._ended
        if not self._more() and (known or not patient):
            raise _Broken(_TRUNCATED)

    def _enter_list(self, position: int) -> bool:
        """Whether a list is the value of the key that ends here; then its elements are read next."""
        match = _LIST.match(self._text, position)
        if match:
            self._pass(match.end())
            self._stack += bytes((_OPEN_OBJECT, _OPEN_ARRAY))
        return match is not None

    def _recover(self, problem: Problem) -> Iterator[Span]:
        """Report the broken record, then go to the next line that looks like the start of one."""
        line_start = self._text.rfind(b"\n", 0, self._at) + 1
        indentation = self._text[line_start : self._at]
        start, line = self._at, self._line
        raw = self._text[start : start + MAX_RECORD_BYTES].split(b"\n", 1)[0]
        if indentation.strip(b" \t"):
            indentation = b""
        next_record = re.compile(rb"\n" + re.escape(indentation) + rb"\{")
        position = start
        while True:
            match = next_record.search(self._text, position)
            if match:
                self._pass(match.end() - 1)
                break
            # Keep enough of the end for a line break and an indentation that the next chunk completes.
            self._pass(max(self._at, len(self._text) - 1 - len(indentation)))
            position = self._at
            if not self._more():
                self._pass(len(self._text))
                self._stack.clear()
                break
            position = self._at
        yield Span(line, raw, problem)

    def _whole(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        match = pattern.match(self._text, self._at)
        while match and match.end() == len(self._text) and len(match[0]) < 1024 and self._more():
            match = pattern.match(self._text, self._at)
        return match

    def _skip_space(self) -> bool:
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._pass(match.end())
            if self._at < len(self._text):
                return True
            if not self._more():
                return False

    def _pass(self, position: int) -> None:
        self._line += self._text.count(b"\n", self._at, position)
        self._at = position

    def _more(self) -> bool:
        """Read a chunk; what was passed goes, except the line that the current record stands in."""
        chunk = next((chunk for chunk in self._chunks if chunk), None)
        if chunk is None:
            self._ended = True
            return False
        keep = max(self._text.rfind(b"\n", 0, self._at) + 1, self._at - 256)
        self._text = self._text[keep:] + chunk
        self._at -= keep
        return True
