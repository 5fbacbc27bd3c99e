"""Makes events: fields and context in, checked rows and the statements that store them out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from affidavit.core.catalog import CatalogSet, EventType
from affidavit.core.event import MAX_BATCH, Draft, Resource
from affidavit.core.prepare import Frame, Rights, at, prepare
from affidavit.core.row import Row
from affidavit.core.statement import Steps, postgres_steps, sqlite_steps
from affidavit.errors import FieldError, InvalidEvent, TooLarge
from affidavit.recorder.context import current
from affidavit.recorder.fields import Said, draft_of, merged
from affidavit.recorder.registered import Registered

__all__ = ["Recorder"]

_RANDOM = 40


def _no_secret(_organization: str) -> bytes:
    return bytes(32)


def _nothing(_draft: Draft) -> Mapping[str, Any]:
    return {}


class Recorder:
    """What is the same for every adapter.

    Args:
        organization: of events that name none; ``None`` asks each to.
        source: of events that name none.
        catalogs: gives the catalogs in force.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
        enrich: context fields that follow from a draft.
        allow_import: whether events older than 30 days are taken, and ``imported``.
    """

    def __init__(
        self,
        *,
        organization: str | None,
        source: str,
        catalogs: Callable[[], CatalogSet],
        clock: Callable[[], int],
        entropy: Callable[[int], bytes],
        enrich: Callable[[Draft], Mapping[str, Any]] = _nothing,
        allow_import: bool = False,
    ) -> None:
        self.organization = organization
        self.registered = Registered()
        self._source = source
        self._catalogs = catalogs
        self.clock = clock
        self.entropy = entropy
        self._enrich = enrich
        self._rights = Rights(may_import=allow_import, may_set_id=True)

    @property
    def catalogs(self) -> CatalogSet:
        """The catalogs in force."""
        return self._catalogs()

    def said(self, action: str | EventType, fields: Mapping[str, Any]) -> Said:
        """What is to be recorded, with the context of this moment: a draft can be made of it later.

        Raises:
            TypeError: a keyword is no field.
        """
        name = action.action if isinstance(action, EventType) else action
        context = current()
        return Said(name, merged(fields, context.known() if context is not None else {}))

    def refused(self, action: str | EventType, fields: Mapping[str, Any]) -> Said:
        """What is to be recorded of something that somebody may not: a failure, and ``critical`` (R100).

        Another severity is what the caller gives, or what the catalog says of a type that is not classified.

        Raises:
            TypeError: a keyword is no field.
        """
        known = self.catalogs.event_type(action.action if isinstance(action, EventType) else action)
        severity = {"severity": "critical"} if known is None or known.classified else {}
        return self.said(action, {**severity, **fields, "outcome": "failure"})

    def draft(self, said: Said, describe: Callable[[object], Resource | None] | None = None) -> Draft:
        """The draft of what was said.

        Args:
            said: by the caller.
            describe: the resource that an object is; by default what is registered.

        Raises:
            InvalidEvent: the actor is missing, or a field has none of its forms.
        """
        return draft_of(
            said.action,
            said.fields,
            organization=self.organization,
            describe=describe or self.describe,
        )

    def describe(self, value: object) -> Resource | None:
        """The resource that an object is: as its class was registered, or as an ORM that has it says."""
        return self.registered.describe(value)

    def check(self, drafts: Sequence[Draft]) -> list[Row]:
        """Raise now what :meth:`rows` would raise later.

        Returns:
            Their rows, which may be handed to :meth:`steps`; those of keyed events are not to be stored.

        Raises:
            InvalidEvent: with every rule that is broken.
        """
        return self.rows(drafts, _no_secret)

    def rows(
        self, drafts: Sequence[Draft], secret: Callable[[str], bytes], made: Sequence[Row | None] = ()
    ) -> list[Row]:
        """Check drafts and make their rows.

        Args:
            drafts: at most 1,000.
            secret: of an organization.
            made: rows that :meth:`check` gave for the same drafts, one for each or none at all. They get the
                time of now where the caller gave none.

        Raises:
            InvalidEvent: with every rule that is broken; nothing was written.
            TooLarge: more than 1,000 drafts.
        """
        if len(drafts) > MAX_BATCH:
            raise TooLarge(f"At most {MAX_BATCH:,} events are recorded at once; these are {len(drafts):,}.")
        frame = Frame(
            None,
            False,
            self._source,
            None,
            self._rights,
            self.clock(),
            self._catalogs(),
            secret,
            self._enrich,
        )
        moment = frame.now - sum(draft.occurred_at is None and draft.id is None for draft in drafts)
        rows: list[Row] = []
        broken: list[FieldError] = []
        for number, draft in enumerate(drafts):
            moment += draft.occurred_at is None
            if made and (row := made[number]) is not None and draft.idempotency_key is None:
                rows.append(row if draft.occurred_at is not None or draft.id is not None else at(row, moment))
                continue
            pointer = "" if len(drafts) == 1 else f"/events/{number}"
            try:
                rows.append(
                    prepare(draft, frame, pointer=pointer, moment=moment, random=self.entropy(_RANDOM))
                )
            except InvalidEvent as error:
                broken += error.errors
        if broken:
            raise InvalidEvent(tuple(broken))
        return rows

    def steps(self, drafts: Sequence[Draft], dialect: str, made: Sequence[Row | None] = ()) -> Steps:
        """The statements that record these drafts, on ``sqlite`` or ``postgresql``; see :meth:`rows`."""
        if dialect == "postgresql":
            return postgres_steps(drafts, lambda secret: self.rows(drafts, secret, made))
        return sqlite_steps(
            drafts,
            lambda secret: self.rows(drafts, secret, made),
            organization=lambda draft: draft.organization,
            now=self.clock(),
            entropy=self.entropy,
        )
