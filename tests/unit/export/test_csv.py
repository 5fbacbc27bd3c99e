"""CSV: every field, quoted as RFC 4180 says, and nothing that a spreadsheet runs."""

from __future__ import annotations

import csv as reference
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from affidavit.catalogs import ready_made
from affidavit.core.ids import make_id
from affidavit.core.row import StoredEvent, encode_group
from affidavit.export import csv, ndjson

MOMENT = 1_790_000_000_000_000
CATALOGS = ready_made()


def stored(actor: Any = None, remains: str | None = None, **groups: Any) -> StoredEvent:
    """A stored event with these groups; a text is taken as it is, ``None`` is an erased group."""
    who = {"actor": {"type": "user", "id": "u-1"}} if actor is None else actor
    given = {"resources": {}, "context": {}, "changes": {}, "details": {}, **groups}
    texts = [
        value if value is None or isinstance(value, str) else encode_group(value).decode()
        for value in (who, *(given[name] for name in ("resources", "context", "changes", "details")))
    ]
    named = who["actor"]["id"] if isinstance(who, dict) else "u-1"
    return StoredEvent(
        1,
        (
            make_id(MOMENT, 7),
            1,
            "acme",
            None,
            "user.update",
            "success",
            "info",
            "web",
            0,
            None,
            None,
            named,
            *texts,
            b"s" * 32 if remains is None else None,
            remains,
            MOMENT + 5,
        ),
    )


def read(*events: StoredEvent, safe: bool = True) -> list[dict[str, str]]:
    """The file as another program reads it."""
    text = b"".join(csv.rows([list(events)], CATALOGS, safe=safe)).decode()
    return list(reference.DictReader(io.StringIO(text, newline="")))


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
hostile = st.one_of(texts, st.sampled_from(csv.DANGEROUS).flatmap(lambda sign: texts.map(lambda t: sign + t)))


@given(name=hostile, note=hostile, safe=st.booleans())
def test_any_text_comes_back(name: str, note: str, safe: bool) -> None:
    """Another program reads the text itself, with at most one quote before it."""
    (row,) = read(
        stored({"actor": {"type": "user", "id": "x", "name": name}}, details={"reason": note}), safe=safe
    )
    for cell, text in ((row["Actor Name"], name), (row["Reason"], note)):
        assert cell.removeprefix("'") == text.removeprefix("'") or cell == text
        if safe:
            assert not cell.lstrip(" ").startswith(csv.DANGEROUS)
        else:
            assert cell == text


@given(st.lists(st.tuples(*[hostile] * 6), min_size=1, max_size=5))
def test_no_cell_of_any_column_is_run(lines: list[tuple[str, ...]]) -> None:
    """Whatever field holds it: no cell begins like a formula."""
    events = [
        stored(
            {"actor": {"type": a, "id": b, "email": c}, "session": {"type": d, "id": e}},
            resources={"resources": [{"type": f, "id": a, "name": b}]},
            context={
                "user_agent": c,
                "client": d,
                "ip": e,
                "location": {"city": f, "country": a},
                "ci": {"platform": b, "confidence": "guess", "run_id": c},
                "request": {"id": d, "method": e, "endpoint": f},
                "trace_id": a,
                "span_id": b,
            },
            details={"description": c, "reason": d},
        )
        for a, b, c, d, e, f in lines
    ]
    for row in read(*events):
        for cell in row.values():
            assert not cell.lstrip(" ").startswith(csv.DANGEROUS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("＠x", "'＠x"),
        ("\0=1", "'=1"),
        (" \0=1", "' =1"),
        ("a|b%c", "a|b%c"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_the_known_tricks(text: str, shown: str) -> None:
    """Each way to begin a formula is guarded, U+0000 is dropped, and nothing else is altered."""
    event = stored(details='{"reason":' + encode_group(text).decode() + "}")
    assert read(event)[0]["Reason"] == shown


def test_lines_end_as_rfc_4180_says() -> None:
    """CRLF after every line, the header first, with a byte order mark only where it is asked for."""
    raw = b"".join(csv.rows([[stored()]], CATALOGS))
    assert raw.startswith(b"User,Event Type,Source,IP,Timestamp,")
    assert raw.count(b"\r\n") == 2
    assert raw.endswith(b"\r\n")
    assert b"".join(csv.rows([[]], CATALOGS, bom=True)).startswith(b"\xef\xbb\xbfUser,")


def test_no_event_is_a_header_alone() -> None:
    """An empty result is still a table."""
    assert b"".join(csv.rows([], CATALOGS)) == ",".join(csv.COLUMNS).encode() + b"\r\n"


def test_every_field_has_its_column() -> None:
    """All details of an event, the objects as JSON."""
    (row,) = read(
        stored(
            {
                "actor": {"type": "user", "id": "u", "name": "Ana", "email": "ana@example.org"},
                "on_behalf_of": {"type": "user", "id": "b"},
                "session": {"type": "web", "id": "s"},
                "recorded_by": {"type": "api_token", "token_id": "t", "token_name": "app", "address": "::1"},
            },
            resources={"resources": [{"type": "team", "id": "7", "name": "P"}, {"type": "x", "id": "8"}]},
            context={"ip": "203.0.113.7", "location": {"city": "Lisbon"}, "request": {"params": {"a": [1]}}},
            changes={"changes": {"name": {"old": "a", "new": 'b"c'}}},
            details={"description": "d", "metadata": {"n": 1.5}},
        )
    )
    assert {name: cell for name, cell in row.items() if cell} == {
        "User": "ana@example.org",
        "Event Type": "User updated",
        "Source": "web",
        "IP": "203.0.113.7",
        "Timestamp": "2026-09-21T14:13:20.000000Z",
        "Event ID": row["Event ID"],
        "Action": "user.update",
        "Outcome": "success",
        "Severity": "info",
        "Organization": "acme",
        "Recorded At": "2026-09-21T14:13:20.000005Z",
        "Imported": "false",
        "Late": "false",
        "Actor Type": "user",
        "Actor ID": "u",
        "Actor Name": "Ana",
        "Actor Email": "ana@example.org",
        "On Behalf Of Type": "user",
        "On Behalf Of ID": "b",
        "Session Type": "web",
        "Session ID": "s",
        "Recorded By Type": "api_token",
        "Recorded By Token ID": "t",
        "Recorded By Token Name": "app",
        "Recorded By Address": "::1",
        "Resource Type": "team",
        "Resource ID": "7",
        "Resource Name": "P",
        "Resources": '[{"id":"7","name":"P","type":"team"},{"id":"8","type":"x"}]',
        "City": "Lisbon",
        "Request Parameters": '{"a":[1]}',
        "Description": "d",
        "Changes": '{"name":{"new":"b\\"c","old":"a"}}',
        "Metadata": '{"n":1.5}',
    }


def test_an_erased_group_is_said() -> None:
    """Values that are gone are empty, and the last columns say which."""
    erased = stored(remains="{}", context=None, details=None)
    (row,) = read(erased)
    assert row["Redacted"] == "context,details"
    assert row["IP"] == row["Metadata"] == ""


def test_an_edited_row_is_said_and_stops_nothing() -> None:
    """A group that is no JSON any more leaves its cells empty; the rows after it are there."""
    rows = read(stored(context="{broken"), stored({"actor": {"type": "user", "id": "u-2"}}))
    assert [row["Inconsistent"] for row in rows] == ["unreadable", ""]
    assert [row["Actor ID"] for row in rows] == ["", "u-2"]


def test_ndjson_counts_what_it_wrote() -> None:
    """One chunk a batch, then the trailer."""
    batches = [[stored(), stored(remains="{}", details=None)], [stored()]]
    lines = b"".join(ndjson.rows(batches, CATALOGS)).splitlines()
    assert len(lines) == 4
    assert lines[-1] == b'{"trailer":{"events":3,"redacted":1}}'
    assert list(ndjson.rows([], CATALOGS)) == [b'{"trailer":{"events":0,"redacted":0}}\n']
