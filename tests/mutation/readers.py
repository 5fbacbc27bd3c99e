"""Everything that a reader of the database can get to see, as bytes, to compare before and after a change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from hashlib import sha256

from starlette.testclient import TestClient

from affidavit.config import Settings
from affidavit.core.filter import Filter
from affidavit.core.row import Recorded
from affidavit.export import csv, ndjson
from affidavit.export.bundle import Bundles
from affidavit.web.app import create_app
from affidavit.wiring import Instance, open_store
from tests.mutation import world

__all__ = ["outputs", "session_of"]

_VOLATILE = re.compile(
    rb'nonce[-=]"?[\w+/=-]+|"continuation_token":"[^"]*"|after=[\w-]+|before=[\w-]+|token=[\w-]+'
)
DETAILS = 40
"""Events whose page and detail are looked at, spread over each organization."""


def session_of(settings: Settings) -> str:
    """Sign in once, before the database is copied; the value of the cookie."""
    with world.opened(settings) as instance:
        code = instance.logins.create(name="auditor", organizations=world.ORGANIZATIONS, by=world.OPERATOR)
        return instance.logins.consume(code).cookie


def outputs(settings: Settings, cookie: str) -> dict[str, str]:
    """What each reader shows, as a hash; an error is shown, too.

    Args:
        settings: of a copy of the database, because reading may write.
        cookie: of a session.
    """
    found = {}
    for name, content in _all(settings, cookie):
        found[name] = sha256(_VOLATILE.sub(b"", content)).hexdigest()
    return found


def _all(settings: Settings, cookie: str) -> Iterator[tuple[str, bytes]]:
    try:
        instance = open_store(settings)
    except Exception as error:  # noqa: BLE001 - an error is what a reader would see
        yield "open", repr(error).encode()
        return
    try:
        instance.submit = _forget  # type: ignore[method-assign]  # reading is an event, whose id is random
        operator = (settings.data_dir / "operator.token").read_text().strip()
        client = TestClient(
            create_app(instance, settings=settings),
            base_url="http://127.0.0.1:8484",
            client=("127.0.0.1", 50_000),
            raise_server_exceptions=False,
            follow_redirects=False,
        )
        client.headers["Authorization"] = f"Bearer {operator}"
        page = TestClient(
            create_app(instance, settings=settings),
            base_url="http://127.0.0.1:8484",
            client=("127.0.0.1", 50_000),
            raise_server_exceptions=False,
            follow_redirects=False,
        )
        page.cookies.set("affidavit", cookie)
        for organization in world.ORGANIZATIONS:
            yield from _api(client, organization)
            yield from _pages(client, page, organization)
            yield from _exports(instance, organization)
    finally:
        instance.close()


async def _forget(rows: Sequence[object]) -> list[Recorded]:
    return [Recorded(b"", False) for _ in rows]


def _api(client: TestClient, organization: str) -> Iterator[tuple[str, bytes]]:
    parameters = {"organization": organization, "limit": "1000"}
    number = 0
    while True:
        answer = client.get("/api/v1/events", params=parameters)
        number += 1
        yield f"{organization} list {number}", answer.content
        token = answer.json().get("continuation_token") if answer.status_code == 200 else None
        if token is None or number > 20:
            return
        parameters = {**parameters, "continuation_token": token}


def _pages(client: TestClient, page: TestClient, organization: str) -> Iterator[tuple[str, bytes]]:
    for query in ("", "&outcome=failure", "&severity=critical", "&resource_type=document"):
        answer = page.get(f"/audit?organization={organization}{query}")
        yield f"{organization} page {query}", str(answer.status_code).encode() + answer.content
    listed = client.get("/api/v1/events", params={"organization": organization, "limit": "1000"})
    events = listed.json().get("events", []) if listed.status_code == 200 else []
    for event in events[:: max(1, len(events) // DETAILS)]:
        path = f"events/{event['id']}?organization={organization}"
        yield f"{organization} detail {event['id']}", client.get(f"/api/v1/{path}").content
        yield f"{organization} event page {event['id']}", page.get(f"/audit/{path}").content
        proof = client.get(f"/api/v1/events/{event['id']}/proof", params={"organization": organization})
        yield f"{organization} proof {event['id']}", proof.content


def _exports(instance: Instance, organization: str) -> Iterator[tuple[str, bytes]]:
    for name in ("csv", "ndjson", "bundle"):
        try:
            yield f"{organization} {name}", b"".join(_export(instance, organization, name))
        except Exception as error:  # noqa: BLE001 - an error is what a reader would see
            yield f"{organization} {name}", repr(error).encode()


def _export(instance: Instance, organization: str, name: str) -> Iterator[bytes]:
    if name == "bundle":
        bundles = Bundles(instance.log, instance.log, instance.entries, instance.reader)
        yield from bundles.open(organization, Filter()).chunks()
        return
    batches = instance.reader.export((organization,), Filter())
    rows = csv.rows(batches, instance.catalogs) if name == "csv" else ndjson.rows(batches, instance.catalogs)
    yield from rows
