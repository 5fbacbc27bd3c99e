"""The one way in: what callers say becomes checked rows, and rows are handed to a store.

The API, the importers, the command line, the demo and the library all come through here, so a rule holds
for each of them. Clock, randomness, catalogs and the store are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from affidavit.core.catalog import CatalogSet
from affidavit.core.event import MAX_BATCH, MAX_BATCH_BYTES, MAX_DEPTH, Draft, RecordedBy
from affidavit.core.prepare import Frame, Rights, prepare
from affidavit.core.row import Recorded, Row
from affidavit.core.scan import decode_json, escape_pointer, split_batch
from affidavit.errors import VALUE_CHARACTERS, FieldError, InvalidEvent, TooLarge

__all__ = ["Intake", "Rights"]

_ERRORS_OF = 20
"""Events of a batch whose errors one answer names."""
_RANDOM = 40
"""Random bytes of one event: its secret and the tail of its id."""

_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Draft)}


def _nothing(_draft: Draft) -> Mapping[str, Any]:
    return {}


_NO_RIGHTS = Rights()


class Intake:
    """Prepares and records events.

    Args:
        insert: stores a batch durably, in one transaction.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
        catalogs: gives the catalogs in force.
        organization_secret: the 32 bytes of an organization, made where it has none.
        enrich: context fields that follow from a draft, such as the client's label; they only fill what is
            absent.
        source: of events that name none.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[Row]], list[Recorded]],
        *,
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
        catalogs: Callable[[], CatalogSet],
        organization_secret: Callable[[str], bytes],
        enrich: Callable[[Draft], Mapping[str, Any]] = _nothing,
        source: str = "api",
    ) -> None:
        self._insert = insert
        self._clock = clock
        self._entropy = entropy
        self._catalogs = catalogs
        self._make_secret = organization_secret
        self._secrets: dict[str, bytes] = {}
        self._enrich = enrich
        self._source = source

    def _secret(self, organization: str) -> bytes:
        secret = self._secrets.get(organization)
        if secret is None:
            secret = self._secrets[organization] = self._make_secret(organization)
        return secret

    def _frame(
        self,
        organization: str | None,
        by: RecordedBy | None,
        rights: Rights,
        *,
        fixed: bool,
        source: str | None,
    ) -> Frame:
        return Frame(
            organization,
            fixed,
            source or self._source,
            by,
            rights,
            self._clock(),
            self._catalogs(),
            self._secret,
            self._enrich,
        )

    def prepare(
        self,
        drafts: Sequence[Draft],
        *,
        organization: str | None,
        by: RecordedBy | None = None,
        rights: Rights = _NO_RIGHTS,
        source: str | None = None,
    ) -> list[Row]:
        """Check drafts and make their rows; nothing is stored.

        Args:
            drafts: at most 1,000.
            organization: the only one that they may name.
            by: the credential that records.
            rights: what the caller may set.
            source: of drafts that name none.

        Raises:
            InvalidEvent: with the errors of up to 20 events; pointers begin with ``/events/N`` where there
            are several.
            TooLarge: more than 1,000 drafts.
        """
        frame = self._frame(organization, by, rights, fixed=organization is not None, source=source)
        if len(drafts) == 1:
            return self._rows(drafts, [""], frame)
        return self._rows(drafts, _pointers(len(drafts)), frame)

    def record(
        self,
        drafts: Sequence[Draft],
        *,
        organization: str | None,
        by: RecordedBy | None = None,
        rights: Rights = _NO_RIGHTS,
        source: str | None = None,
    ) -> list[Recorded]:
        """Check drafts and store them in one transaction, durable on return; see :meth:`prepare`.

        Raises:
            IdConflict: other content stands under an id; nothing was stored.
        """
        return self._insert(
            self.prepare(drafts, organization=organization, by=by, rights=rights, source=source)
        )

    def prepare_json(
        self,
        body: bytes,
        *,
        organization: str | None,
        by: RecordedBy | None,
        rights: Rights = _NO_RIGHTS,
        idempotency_key: str | None = None,
    ) -> list[Row]:
        """The rows of a request's body: one event, or ``{"events": [...]}``.

        Args:
            body: JSON, at most 16 MiB.
            organization: the only one that the events may name.
            by: the credential that records.
            rights: what the caller may set.
            idempotency_key: from the header, for one event.

        Raises:
            InvalidEvent, TooLarge: nothing was stored.
        """
        if len(body) > MAX_BATCH_BYTES:
            raise TooLarge()
        frame = self._frame(organization, by, rights, fixed=organization is not None, source=None)
        raws = split_batch(body) if idempotency_key is None else None
        if raws and len(raws) <= MAX_BATCH:
            # One by one is less work; what is wrong with any of them is named by the look at the whole below.
            with suppress(InvalidEvent, msgspec.ValidationError):
                drafts = [msgspec.convert(decode_json(raw, levels=MAX_DEPTH), Draft) for raw in raws]
                return self._rows(drafts, _pointers(len(raws)), frame)
        values, pointers = _events(decode_json(body, levels=MAX_DEPTH + 2))
        if idempotency_key is not None:
            values = [_with_key(values, idempotency_key)]
        return self._rows(_drafts(values, pointers), pointers, frame)

    def _rows(self, drafts: Sequence[Draft], pointers: Sequence[str], frame: Frame) -> list[Row]:
        if len(drafts) > MAX_BATCH:
            raise TooLarge(f"A batch holds at most {MAX_BATCH:,} events; this one has {len(drafts):,}.")
        random = self._entropy(_RANDOM * len(drafts))
        # Times that nobody gave are consecutive microseconds that end now, so none lies ahead of recorded_at.
        moment = frame.now - sum(draft.occurred_at is None and draft.id is None for draft in drafts)
        rows: list[Row] = []
        errors: list[FieldError] = []
        failed = 0
        for number, draft in enumerate(drafts):
            if draft.occurred_at is None:
                moment += 1
            try:
                rows.append(
                    prepare(
                        draft,
                        frame,
                        pointer=pointers[number],
                        moment=moment,
                        random=random[_RANDOM * number : _RANDOM * (number + 1)],
                    )
                )
            except InvalidEvent as error:
                errors += error.errors
                failed += 1
                if failed == _ERRORS_OF:
                    break
        if errors:
            raise InvalidEvent(tuple(errors))
        if sum(row.size for row in rows) > MAX_BATCH_BYTES:
            raise TooLarge()
        return rows


def _pointers(count: int) -> list[str]:
    return [f"/events/{number}" for number in range(count)]


def _drafts(values: Sequence[Any], pointers: Sequence[str]) -> list[Draft]:
    """The drafts of parsed events; every field that has the wrong type is named."""
    errors: list[FieldError] = []
    drafts: list[Draft] = []
    failed = 0
    for value, pointer in zip(values, pointers, strict=True):
        try:
            drafts.append(msgspec.convert(value, Draft))
        except msgspec.ValidationError as error:
            errors += _explain(value, pointer, str(error))
            failed += 1
            if failed == _ERRORS_OF:
                break
    if errors:
        raise InvalidEvent(tuple(errors))
    return drafts


def _events(value: Any) -> tuple[list[Any], list[str]]:
    """The events of a parsed body, and where each stands in it."""
    if not isinstance(value, dict) or "events" not in value:
        return [value], [""]
    events = value["events"]
    errors = [
        FieldError(f"/{escape_pointer(name)}", "unknown", "is no field of a batch")
        for name in value
        if name != "events"
    ]
    if not isinstance(events, list) or not events:
        errors.append(FieldError("/events", "type", "must be a list of 1 to 1,000 events"))
    elif len(events) > MAX_BATCH:
        raise TooLarge(f"A batch holds at most {MAX_BATCH:,} events; this one has {len(events):,}.")
    if errors:
        raise InvalidEvent(tuple(errors))
    return events, _pointers(len(events))


def _with_key(values: list[Any], key: str) -> Any:
    if len(values) != 1:
        raise InvalidEvent(
            (
                FieldError(
                    "Idempotency-Key",
                    "single",
                    "goes with one event; in a batch give each its idempotency_key",
                ),
            )
        )
    (value,) = values
    if isinstance(value, dict):
        if value.get("idempotency_key", key) != key:
            raise InvalidEvent(
                (FieldError("/idempotency_key", "conflict", "differs from the header Idempotency-Key"),)
            )
        return {**value, "idempotency_key": key}
    return value


def _explain(value: Any, pointer: str, message: str) -> list[FieldError]:
    """Every field that has the wrong type or is unknown; the parser named only the first."""
    if not isinstance(value, dict):
        return [FieldError(pointer, "type", "must be a JSON object", type(value).__name__)]
    errors = []
    if "action" not in value:
        errors.append(FieldError(f"{pointer}/action", "required", "say what happened, such as user.create"))
    for name, member in value.items():
        here = f"{pointer}/{escape_pointer(name)}"
        if name not in _FIELDS:
            errors.append(FieldError(here, "unknown", "is no field of an event"))
            continue
        try:
            msgspec.convert(member, _FIELDS[name])
        except msgspec.ValidationError as error:
            errors.append(_explain_part(here, member, str(error)))
    return errors or [FieldError(pointer, "type", message)]


_NAMED = re.compile(r"(?:contains unknown|missing required) field `([^`]*)`")


def _explain_part(here: str, value: Any, message: str) -> FieldError:
    """The parser's message about a part of an event, with a pointer to the member that it speaks of."""
    text, _, path = message.partition(" - at `$")
    # The parser writes `[0].actor.id`, a pointer /0/actor/id.
    pointer = here + path.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/")
    if (named := _NAMED.search(text)) is not None:
        pointer += f"/{escape_pointer(named[1])}"
        if "unknown" in named[0]:
            return FieldError(pointer, "unknown", "is no field here")
        return FieldError(pointer, "required", "must be given")
    shown = value if isinstance(value, str | int | float | bool) else None
    return FieldError(
        pointer,
        "type",
        text[0].lower() + text[1:],
        shown[:VALUE_CHARACTERS] if isinstance(shown, str) else shown,
    )
