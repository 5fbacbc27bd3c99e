"""Records out of files: shapes, line numbers, and bad lines that stay one bad line."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.errors import Refused
from affidavit.ingest.documents import MAX_RECORD_BYTES, split_document
from affidavit.ingest.records import SourceRecord, read_records
from affidavit.ingest.sources import SourceStream, resolve_sources, total_bytes

A, B, C = {"n": 1, "s": 'a "quoted" }] text'}, {"n": 2, "l": [[], {}]}, {"n": 3, "deep": {"x": {"y": [1]}}}


def read(path: Path, wrapper: str | None = "Records") -> list[SourceRecord]:
    """All records of a file."""
    stream = SourceStream(str(path))
    try:
        return list(read_records(stream, wrapper=wrapper))
    finally:
        stream.close()


def write(folder: Path, content: bytes | str) -> Path:
    """A file with that content."""
    path = folder / "records"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def dumps(*values: object) -> str:
    """JSON lines."""
    return "".join(json.dumps(value) + "\n" for value in values)


SHAPES = {
    "lines": (dumps(A, B, C), [1, 2, 3]),
    "lines without an end": (dumps(A, B, C).rstrip("\n"), [1, 2, 3]),
    "lines of Windows": (dumps(A, B, C).replace("\n", "\r\n"), [1, 2, 3]),
    "blank lines": ("\n\n" + dumps(A) + "\n  \n" + dumps(B, C), [3, 6, 7]),
    "array on one line": (json.dumps([A, B, C]), [1, 1, 1]),
    "pretty array": (json.dumps([A, B, C], indent=2), [2, 6, 13]),
    "array with a record a line": ("[\n" + ",\n".join(map(json.dumps, (A, B, C))) + "\n]\n", [2, 3, 4]),
    "records on one line": (json.dumps({"Records": [A, B, C]}), [1, 1, 1]),
    "pretty records": (json.dumps({"version": "1", "Records": [A, B, C], "next": [1]}, indent=1), [4, 8, 15]),
    "records with a preface": (
        json.dumps({"a": {"Records": [5]}, "Records": [A, B, C], "z": "[{"}),
        [1, 1, 1],
    ),
    "lines of records": (dumps({"Records": [A, B]}, {"Records": [C]}), [1, 1, 2]),
    "files joined without a line break": (
        json.dumps({"Records": [A, B]}) + json.dumps({"Records": [C]}),
        [1, 1, 1],
    ),
    "lines of arrays": (dumps([A, B], [C]), [1, 1, 2]),
    "pretty objects one after the other": (
        "\n".join(json.dumps(each, indent=2) for each in (A, B, C)),
        [1, 5, 12],
    ),
    "pretty records with one a line": (
        '{"Records": [\n' + ",\n".join(map(json.dumps, (A, B, C))) + "\n]}",
        [2, 3, 4],
    ),
}


@pytest.mark.parametrize("pack", ["plain", "gzip", "byte order mark", "UTF-16", "two gzip members"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(tmp_path: Path, shape: str, pack: str) -> None:
    """Every shape gives the same three records, with the lines on which they start, however it is packed."""
    text, lines = SHAPES[shape]
    content = text.encode()
    if pack == "gzip":
        content = gzip.compress(content)
    elif pack == "two gzip members":
        content = gzip.compress(content[:20]) + gzip.compress(content[20:])
    elif pack == "byte order mark":
        content = b"\xef\xbb\xbf" + content
    elif pack == "UTF-16":
        content = text.encode("utf-16")
    records = read(write(tmp_path, content))
    assert [record.value for record in records] == [A, B, C]
    assert [record.line for record in records] == lines


def test_single_object(tmp_path: Path) -> None:
    """One object is one record, pretty-printed or not."""
    for text in (json.dumps(C), json.dumps(C, indent=4)):
        assert [(each.line, each.value) for each in read(write(tmp_path, text))] == [(1, C)]


def test_list_inside_a_record(tmp_path: Path) -> None:
    """Only the importer's own key wraps records."""
    record = {"id": 1, "items": [{"a": 1}], "events": [{"b": 2}]}
    assert [each.value for each in read(write(tmp_path, json.dumps(record, indent=1)))] == [record]
    assert [each.value for each in read(write(tmp_path, json.dumps(record)), "items")] == [{"a": 1}]
    assert [each.value for each in read(write(tmp_path, json.dumps(record, indent=1)), "items")] == [{"a": 1}]


def test_empty(tmp_path: Path) -> None:
    """An empty file, blank lines and an empty list hold no record."""
    for text in ("", "\n\n", "[]", '{"Records": []}', "[\n]\n"):
        assert read(write(tmp_path, text)) == []


BAD = {
    "truncated": (b'{"a": "b', "truncated"),
    "truncated after a comma": (b'{"a": 1,', "truncated"),
    "depth 1,000": (b'{"a":' * 1000 + b"1" + b"}" * 1000, "too_deep"),
    "depth 100,000": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
    "NaN": (b'{"a": NaN}', "number"),
    "infinity": (b'{"a": -Infinity}', "number"),
    "a number above a double": (b'{"a": 1e999}', "number"),
    "duplicate keys": (b'{"a": {"b": 1, "b": 2}}', "duplicate_key"),
    "a lone surrogate": (b'{"a": "\\ud800"}', "lone_surrogate"),
    "surrogates in the wrong order": (b'{"a": "\\uDC00\\uD800"}', "lone_surrogate"),
    "a lone surrogate in a key": (b'{"\\udfff": 1}', "lone_surrogate"),
    "a NUL byte": (b'{"a": "x\0"}', "nul"),
    "an escaped NUL": (b'{"a": "x\\u0000"}', "nul"),
    "invalid UTF-8": (b'{"a": "\xff"}', "utf8"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', "utf8"),
    "5,000 digits": (b'{"a": ' + b"9" * 5000 + b"}", "number"),
    "a control character": (b'{"a": "\x01"}', "json"),
    "no JSON": (b"type=DAEMON_START msg=audit(1551485405.594:7507)", "json"),
    "two values": (b'{"a": 1} {"b": 2}', "json"),
    "a scalar": (b"17", "not_an_object"),
    "single quotes": (b"{'a': 1}", "json"),
    "too long": (b'{"a": "' + b"x" * MAX_RECORD_BYTES + b'"}', "too_long"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_bad_line(tmp_path: Path, name: str, at: int) -> None:
    """A bad line is one named problem with its number; the lines around it go in."""
    bad, rule = BAD[name]
    lines = [json.dumps(A).encode(), json.dumps(B).encode()]
    lines.insert(at, bad)
    records = read(write(tmp_path, b"\n".join(lines) + b"\n"))
    assert [record.value for record in records if record.problem is None] == [A, B]
    (problem,) = [record for record in records if record.problem is not None]
    assert problem.line == at + 1
    assert problem.problem is not None
    assert problem.problem.rule == rule
    assert problem.text is not None
    assert len(problem.text) <= 65_536


IN_A_DOCUMENT = {name: bad for name, bad in BAD.items() if bad[0].startswith(b"{") and name != "two values"}


@pytest.mark.parametrize("name", IN_A_DOCUMENT)
@pytest.mark.parametrize("head", [b"[\n", b'{"Records": [\n'])
def test_bad_record_in_a_document(tmp_path: Path, name: str, head: bytes) -> None:
    """In a document too, a bad record costs only itself, even when its brackets do not match."""
    bad, _ = IN_A_DOCUMENT[name]
    tail = b"\n]" if head == b"[\n" else b"\n]}"
    elements = [json.dumps(A).encode(), bad, json.dumps(B).encode(), json.dumps(C).encode()]
    records = read(write(tmp_path, head + b",\n".join(elements) + tail))
    assert [record.value for record in records if record.problem is None] == [A, B, C]
    assert [record.line for record in records if record.problem is not None] == [3]


def test_documents_cut_short(tmp_path: Path) -> None:
    """A document that ends too early says so, after the records that are whole."""
    whole = json.dumps([A, B, C])
    for end in range(len(json.dumps([A])), len(whole)):
        records = read(write(tmp_path, whole[:end]))
        good = [record.value for record in records if record.problem is None]
        assert good == [A, B, C][: len(good)]
        assert [record.problem.rule for record in records if record.problem] == ["truncated"]


def test_stray_values(tmp_path: Path) -> None:
    """What is no object is named, one by one."""
    records = read(write(tmp_path, json.dumps([A, 5, None, "text, with a comma", [B], True, C], indent=0)))
    assert [record.value for record in records if record.problem is None] == [A, C]
    assert [record.problem.rule for record in records if record.problem] == ["not_an_object"] * 5


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04rest", "zip"),
        (b"\x28\xb5\x2f\xfdrest", "zstd"),
        (b"PAR1rest", "Parquet"),
        (gzip.compress(dumps(*[A] * 1000).encode())[:-20], "further"),
        (gzip.compress(b"{}")[:4] + b"\0" * 30, "further"),
    ],
)
def test_damaged_sources(tmp_path: Path, content: bytes, what: str) -> None:
    """A source that cannot be read further ends with one problem that says why."""
    records = read(write(tmp_path, content))
    last = records[-1].problem
    assert last is not None
    assert last.rule == "damaged"
    assert what in last.message
    assert all(record.value == A for record in records[:-1])


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is standard input, gzip included, and stays open."""
    raw = io.BytesIO(gzip.compress(dumps(A, B).encode()))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=raw))
    stream = SourceStream("-")
    assert [record.value for record in read_records(stream)] == [A, B]
    stream.close()
    assert not raw.closed


def test_resolving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, globs and folders, in order, each once; a pattern without a file is refused by name."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.json", "a.json", "in/c.json", "in/.hidden", "in/c.json.rejects.ndjson"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    assert resolve_sources(["b.json", "*.json", "in", "-"]) == ["b.json", "a.json", "in/c.json", "-"]
    assert resolve_sources(["**/c.json"]) == ["in/c.json"]
    assert total_bytes(["a.json", "b.json"]) == 10
    assert total_bytes(["a.json", "-"]) is None
    with pytest.raises(Refused, match=r"nothing\.json"):
        resolve_sources(["a.json", "nothing.json"])


def test_brackets_in_a_file_name(tmp_path: Path) -> None:
    """A file that exists is meant as it is named."""
    path = tmp_path / "log[1].json"
    path.write_bytes(b"{}")
    assert resolve_sources([str(path)]) == [str(path)]


def _endless(line: bytes, count: int) -> Iterator[bytes]:
    block = line * 1000
    for _ in range(count // 1000):
        yield block


@pytest.mark.parametrize("head", [b"", b"[\n", b'{"Records": ['])
def test_memory(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """Memory does not grow with the number of records, in lines and in documents."""
    line = json.dumps({"text": "x" * 400}).encode() + (b",\n" if head else b"\n")

    def peak(count: int) -> int:
        def chunks(_: object) -> Iterator[bytes]:
            yield head
            yield from _endless(line, count)

        monkeypatch.setattr(SourceStream, "chunks", chunks)
        tracemalloc.start()
        try:
            number = sum(1 for record in read_records(SourceStream("-")) if record.problem is None)
            assert number == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(20_000) < peak(4_000) * 1.5 + 200_000


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('abR"\\[]{}', max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text('ab"\\[]{}:', max_size=5), JSON, max_size=4)


@given(st.lists(OBJECTS, max_size=6), st.integers(1, 40), st.sampled_from([None, 0, 2]), st.booleans())
def test_splitting_gives_back(
    values: list[dict[str, object]], size: int, indent: int | None, wrapped: bool
) -> None:
    """Whatever the records hold and wherever the chunks are cut, splitting gives back what was written."""
    text = json.dumps({"Records": values} if wrapped else values, indent=indent).encode()
    chunks = (text[start : start + size] for start in range(0, len(text), size))
    spans = list(split_document(chunks, "Records"))
    assert [span.problem for span in spans] == [None] * len(values)
    assert [json.loads(span.raw) for span in spans] == values
    places = [text.find(span.raw) for span in spans]
    assert all(span.line >= text[:place].count(b"\n") + 1 for span, place in zip(spans, places, strict=True))


@given(st.binary(max_size=200), st.integers(1, 20))
def test_splitting_ends(noise: bytes, size: int) -> None:
    """Noise of any kind is split into something, without an error and without an end that never comes."""
    text = b'[{"a": 1},' + noise
    spans = list(
        split_document((text[start : start + size] for start in range(0, len(text), size)), "Records")
    )
    assert spans[0].raw == b'{"a": 1}'
