"""Where an event stands in the log, and why a value is gone, in the words of the pages and of the API."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from affidavit.core.ids import format_id
from affidavit.core.row import Place, StoredEvent, encode_event
from tests.unit.web.ui.memory import MemoryInstance
from tests.unit.web.ui.test_views import client_of, events

DIGEST = "ab" * 32
DIGESTS = json.dumps(
    {group: {"digest": DIGEST} for group in ("actor", "changes", "context", "details", "resources")},
    separators=(",", ":"),
)
GONE: dict[str, Any] = dict.fromkeys(
    ("actor", "resources", "context", "changes", "details", "actor_id", "secret")
)


def event(**columns: Any) -> StoredEvent:
    """An event, with columns overwritten."""
    from affidavit.core.row import COLUMNS

    (one,) = events(1)
    values = dict(zip(COLUMNS, one.values, strict=True)) | columns
    return StoredEvent(one.seq, tuple(values[name] for name in COLUMNS))


def shown(one: StoredEvent) -> tuple[str, str]:
    """The list and the page of the event, as text without tags."""
    client = client_of(MemoryInstance([one]))
    pages = (client.get("/audit").text, client.get(f"/audit/events/{format_id(one.id)}").text)
    return tuple(re.sub(r"\s+", " ", page) for page in pages)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("place", "state", "mark", "words"),
    [
        (None, "pending", "Pending", "Recorded; it waits for its place in the log."),
        (Place(1, 41, b"", False), "sequenced", "#41", "Sequenced: entry 41 of the log, not signed yet."),
        (
            Place(1, 41, b"", True),
            "published",
            "#41",
            "Published: entry 41 of the log, covered by a signature.",
        ),
    ],
)
def test_every_state_is_said(place: Place | None, state: str, mark: str, words: str) -> None:
    """List, page and API say the same; proof and receipt are linked where they can be had, and only there."""
    one = event()
    one.place = place
    table, page = shown(one)
    assert f'<span class="badge badge-{state}" title="{words[:-1]}"><bdi>{mark}</bdi></span>' in table
    assert f"<p>{words}</p>" in page
    for name in ("proof", "receipt"):
        link = f'href="/api/v1/events/{format_id(one.id)}/{name}"'
        assert (link in page) == (state == "published")
    encoded = encode_event(one)
    assert f'"state":"{state}"'.encode() in encoded
    assert (b'"index":41' in encoded) == (place is not None)


def test_an_erased_value_is_said_to_be_erased() -> None:
    """The group is named; the page says that its digest remains, the API lists it."""
    remains = DIGESTS.replace(f'"changes":{{"digest":"{DIGEST}"}}', '"changes":{"salt":"' + "A" * 22 + '"}')
    one = event(actor=None, actor_id=None, secret=None, remains=remains)
    table, page = shown(one)
    assert "Redacted" in table
    assert "Erased; its digest remains as proof" in page
    assert "Expired" not in table + page
    assert b'"redacted":["actor"]' in encode_event(one)


def test_an_expired_event_is_said_to_have_expired() -> None:
    """All values are gone because of their age: that is no erasure, on the page and in the API."""
    one = event(**GONE, remains=DIGESTS)
    one.expired = True
    table, page = shown(one)
    assert "Expired" in table
    assert "Expired; its digest remains as proof" in page
    assert "Erased" not in table + page
    encoded = encode_event(one)
    assert b'"expired":true' in encoded
    assert b'"redacted"' not in encoded
