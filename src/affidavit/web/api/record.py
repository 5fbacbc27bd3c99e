"""``POST /api/v1/events``, as a bare ASGI function: what is done for every event is only what must be.

The answer is sent after the commit is durable. Small bodies are checked on the event loop, large ones in a
thread, so that one batch does not hold up everybody's single events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

import anyio.to_thread
from starlette.types import Receive, Scope, Send

from affidavit.access.abilities import EVENTS_IMPORT, EVENTS_WRITE
from affidavit.access.scope import Credential, scope_of
from affidavit.core.credentials import ALL
from affidavit.core.event import RecordedBy
from affidavit.core.ids import format_id
from affidavit.core.prepare import Rights
from affidavit.core.row import Recorded, Row
from affidavit.errors import FieldError, InvalidEvent, InvalidQuery, MissingAbility, NotSignedIn
from affidavit.web.authentication import Credentials, peer_address
from affidavit.web.body import read_body
from affidavit.web.instance import Instance
from affidavit.web.metrics import Metrics

__all__ = ["Record"]

INLINE: Final = 32 * 1024
"""Bodies up to this many bytes are checked on the event loop."""

_MAY_IMPORT: Final = Rights(may_import=True)
_ORDINARY: Final = Rights()
_CREATED: Final = {"type": "http.response.start", "status": 201}
_KEPT: Final = {"type": "http.response.start", "status": 200}


class Record:
    """Records what a request's body holds.

    Args:
        instance: where it goes.
        guard: finds the credential.
        metrics: counts events.
    """

    def __init__(self, instance: Instance, guard: Credentials, metrics: Metrics) -> None:
        self._instance = instance
        self._guard = guard
        self._metrics = metrics
        self._by: dict[tuple[str, str | None], RecordedBy] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors are raised, :class:`.edge.Edge` answers them."""
        credential = await self._guard.credential(scope)
        if credential is None:
            raise NotSignedIn()
        if EVENTS_WRITE not in credential.abilities:
            raise MissingAbility(EVENTS_WRITE)
        organization = _organization(credential, scope["query_string"])
        key = _idempotency_key(scope)
        body = await read_body(scope, receive)
        prepare = partial(self._prepare, body, credential, organization, key, peer_address(scope))
        rows = prepare() if len(body) <= INLINE else await anyio.to_thread.run_sync(prepare)
        recorded = await self._instance.submit(rows) if rows else []
        await _answer(recorded, send, self._count)

    def _count(self, recorded: int, duplicates: int) -> None:
        self._metrics.recorded += recorded
        self._metrics.duplicates += duplicates

    def _prepare(
        self,
        body: bytes,
        credential: Credential,
        organization: str | None,
        key: str | None,
        address: str | None,
    ) -> list[Row]:
        rights = _MAY_IMPORT if EVENTS_IMPORT in credential.abilities else _ORDINARY
        try:
            return self._instance.intake.prepare_json(
                body,
                organization=organization,
                by=self._recorded_by(credential, address),
                rights=rights,
                idempotency_key=key,
            )
        except InvalidEvent as error:
            raise _unnamed(error) if organization is None else error from None

    def _recorded_by(self, credential: Credential, address: str | None) -> RecordedBy:
        key = (credential.id, address)
        known = self._by.get(key)
        if known is None:
            if len(self._by) >= 1024:
                self._by.clear()
            known = self._by[key] = credential.recorded_by(address)
        return known


async def _answer(recorded: Sequence[Recorded], send: Send, count: Callable[[int, int], None]) -> None:
    duplicates = sum(1 for one in recorded if one.duplicate)
    count(len(recorded) - duplicates, duplicates)
    body = (
        '{"events":['
        + ",".join(
            f'{{"id":"{format_id(one.id)}","duplicate":{"true" if one.duplicate else "false"}}}'
            for one in recorded
        )
        + "]}"
    ).encode()
    start = _CREATED if len(recorded) > duplicates else _KEPT
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({**start, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _organization(credential: Credential, query: bytes) -> str | None:
    """The organization that the request names or the credential implies.

    ``None`` for a credential that reaches all: then the events themselves must name theirs.
    """
    if not query:
        if credential.organizations is ALL:
            return None
        return scope_of(credential, EVENTS_WRITE).organization
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape")
    errors = [
        FieldError(name[:100], "unknown", "there is no such parameter here")
        for name, _ in pairs
        if name != "organization"
    ]
    if len(pairs) > 1 and not errors:
        errors = [FieldError("organization", "repeated", "may be given once")]
    if errors:
        raise InvalidQuery(f"{errors[0].pointer}: {errors[0].message}", tuple(errors[:20]))
    if not pairs:
        return _organization(credential, b"")
    name = pairs[0][1]
    if not name:
        raise InvalidQuery.of("organization", "empty", "must not be empty; leave the parameter out instead")
    return scope_of(credential, EVENTS_WRITE, organization=name).organization


def _unnamed(error: InvalidEvent) -> Exception:
    """That no organization is named is a fault of the request where the credential reaches all."""
    if not any(one.pointer.endswith("/organization") and one.rule == "required" for one in error.errors):
        return error
    return InvalidQuery.of(
        "organization", "required", "this credential reaches all; name one, or name it in each event"
    )


def _idempotency_key(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"idempotency-key":
            try:
                text: str = value.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidQuery.of("Idempotency-Key", "utf8", "is not UTF-8") from None
            if not 1 <= len(text) <= 255:
                raise InvalidQuery.of("Idempotency-Key", "length", "must be 1 to 255 characters")
            return text
    return None
