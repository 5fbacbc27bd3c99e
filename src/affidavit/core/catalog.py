"""Catalogs: what the actions of a product are called, how severe they are and what they must say.

An app declares its event types as a class::

    class Billing(Catalog, prefix="billing", title="Billing"):
        refund = EventType("invoice.refund", title="Invoice refunded", requires=["reason"])

``Billing.refund.action`` is then ``billing.invoice.refund``. Several catalogs make a :class:`CatalogSet`,
which is asked once for each event that is recorded and each row that is shown, and which is stored and sent
as one document. An action that no catalog names is recorded all the same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from affidavit.core.event import RESERVED, SEVERITIES, Draft, Outcome, Severity
from affidavit.core.schema import schema_errors, value_errors
from affidavit.core.severity import classify
from affidavit.errors import FieldError, InvalidCatalog

__all__ = ["REQUIRABLE", "Catalog", "CatalogSet", "EventType", "check_metadata", "readable"]

VERSION = 1
"""Of the document that :meth:`CatalogSet.to_document` makes."""
MAX_TITLE = 200
MAX_TYPES = 10_000

_ACTION = re.compile(r"(?=.{3,128}\Z)[a-z0-9_-]+(?:\.[a-z0-9_-]+)+\Z", re.ASCII)
_SEGMENT = re.compile(r"[a-z0-9_-]{1,126}\Z", re.ASCII)
_NEVER_REQUIRED = {
    "action",
    "organization",
    "id",
    "idempotency_key",
    "outcome",
    "severity",
    "imported",
    "facts",
}

REQUIRABLE: tuple[str, ...] = tuple(name for name in Draft.__struct_fields__ if name not in _NEVER_REQUIRED)
"""The fields that an event type may require: those of an event that a caller may leave out."""


class EventType(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A catalogued action.

    Attributes:
        action: the dotted name; in a catalog class with a prefix, the part after it.
        title: what people read beside the event, at most 200 characters.
        severity: the least severity; the classifier and the caller may raise it.
        requires: fields that an event of this type must have, of :data:`REQUIRABLE`; enforced.
        mask: keys in ``changes``, ``metadata`` and ``request.params`` whose values are masked, besides those
            that look like a secret anyway.
        metadata_schema: JSON Schema of ``metadata`` in the keywords of :mod:`.schema`; documents.
        inferred: the source document does not name the event, it follows from what it says.
        classified: ``False`` where the classifier has no say: the catalogued severity stands.
        references: what asks for this event, such as ``R26``.
    """

    action: str
    title: str
    severity: Severity | None = None
    requires: Sequence[str] = ()
    mask: Sequence[str] = ()
    metadata_schema: dict[str, Any] | None = None
    inferred: bool = False
    classified: bool = True
    references: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("requires", "mask", "references"):
            msgspec.structs.force_setattr(self, name, tuple(getattr(self, name)))

    @property
    def group(self) -> str:
        """The action's first segment."""
        return self.action.partition(".")[0]


class Catalog:
    """The event types of one product or part of it, declared as a class.

    Class keywords:
        prefix: put before each action, with a dot; without it actions are written in full.
        title: of the prefix as an action group, such as ``Authentication``.
        groups: titles of further action groups, by their first segment.
        reserved: the product's own catalog, which alone may name reserved actions.

    Raises:
        InvalidCatalog: at class creation, naming everything that is wrong.
    """

    prefix: ClassVar[str | None] = None
    group_titles: ClassVar[Mapping[str, str]] = {}
    event_types: ClassVar[tuple[EventType, ...]] = ()

    def __init_subclass__(
        cls,
        *,
        prefix: str | None = None,
        title: str | None = None,
        groups: Mapping[str, str] | None = None,
        reserved: bool = False,
    ) -> None:
        super().__init_subclass__()
        found: list[EventType] = []
        for name, value in list(vars(cls).items()):
            declared = value if isinstance(value, tuple) else (value,)
            types = tuple(_prefixed(item, prefix) for item in declared if isinstance(item, EventType))
            if types and len(types) == len(declared):
                setattr(cls, name, types if isinstance(value, tuple) else types[0])
                found += types
        titles = dict(groups or {})
        if prefix is not None and title is not None:
            titles = {prefix.partition(".")[0]: title, **titles}
        errors = [*_group_errors(titles), *_type_errors(found, reserved=reserved)]
        if errors:
            raise InvalidCatalog(tuple(errors), cls.__name__)
        cls.prefix, cls.group_titles, cls.event_types = prefix, titles, tuple(found)


def _prefixed(event_type: EventType, prefix: str | None) -> EventType:
    if prefix is None:
        return event_type
    return msgspec.structs.replace(event_type, action=f"{prefix}.{event_type.action}")


def _group_errors(titles: Mapping[str, str]) -> Iterator[FieldError]:
    for segment, title in titles.items():
        if not _SEGMENT.match(segment):
            yield FieldError("/groups", "pattern", "a group is one segment of a-z 0-9 _ -", segment)
        if not title or len(title) > MAX_TITLE:
            yield FieldError(
                f"/groups/{segment}", "length", f"a title has 1 to {MAX_TITLE} characters", title
            )


def _type_errors(types: Iterable[EventType], *, reserved: bool) -> Iterator[FieldError]:
    seen: set[str] = set()
    for event_type in types:
        action = event_type.action
        if action in seen:
            yield FieldError(f"/types/{action}", "duplicate", "is declared twice", action)
        seen.add(action)
        yield from _errors_of(event_type, reserved=reserved)


def _errors_of(event_type: EventType, *, reserved: bool) -> Iterator[FieldError]:
    action, where = event_type.action, f"/types/{event_type.action}"
    if not _ACTION.match(action):
        message = "must be 3 to 128 characters: two or more segments of a-z 0-9 _ - joined by dots"
        yield FieldError(f"{where}/action", "pattern", message, action)
    if action.startswith(RESERVED) and not reserved:
        message = "actions under audit., log., access. and detection. are Affidavit's own"
        yield FieldError(f"{where}/action", "reserved", message, action)
    if not event_type.title or len(event_type.title) > MAX_TITLE:
        message = f"a title has 1 to {MAX_TITLE} characters"
        yield FieldError(f"{where}/title", "length", message, event_type.title)
    if event_type.severity is not None and event_type.severity not in SEVERITIES:
        message = "must be one of: " + ", ".join(SEVERITIES)
        yield FieldError(f"{where}/severity", "enum", message, event_type.severity)
    for field in event_type.requires:
        if field not in REQUIRABLE:
            message = f"is not a field that can be required{_nearest(field)}"
            yield FieldError(f"{where}/requires", "unknown_field", message, field)
    for key in event_type.mask:
        if not key:
            yield FieldError(f"{where}/mask", "key", "must be the name of a key", key)
    if event_type.metadata_schema is not None:
        yield from schema_errors(event_type.metadata_schema, f"{where}/metadata_schema")


def _nearest(field: str) -> str:
    near = difflib.get_close_matches(str(field), REQUIRABLE, 1)
    return f"; did you mean {near[0]}?" if near else "; these are: " + ", ".join(REQUIRABLE)


def check_metadata(event_type: EventType, metadata: Mapping[str, Any] | None) -> list[FieldError]:
    """Where metadata departs from the schema of its type; empty where it follows it or there is none."""
    if event_type.metadata_schema is None:
        return []
    return value_errors(event_type.metadata_schema, dict(metadata or {}), "/metadata")


_SPELLED = (
    "AI API AWS CI CLI EC2 GCP GitHub GitLab IAM ID IP KMS MCP MFA OAuth OTEL OTLP RDS S3 SAML SCIM SSM SSO"
)
_SPELLINGS = {word.lower(): word for word in _SPELLED.split()} | {"k8s": "Kubernetes", "urls": "URLs"}


@lru_cache(maxsize=4096)
def readable(action: str) -> str:
    """An action, or one segment, as people read it: ``api_token.create`` gives ``API token create``."""
    words = [_SPELLINGS.get(word, word) for word in re.split(r"[._-]+", action) if word]
    text = " ".join(words) or action
    return text[0].upper() + text[1:]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    groups: dict[str, str]
    types: list[EventType]


class CatalogSet:
    """Several catalogs as one. Immutable; where two name the same action or group, the later one counts."""

    __slots__ = ("_groups", "_types")

    def __init__(self, types: Iterable[EventType] = (), groups: Mapping[str, str] | None = None) -> None:
        self._types = {event_type.action: event_type for event_type in types}
        self._groups = dict(groups or {})

    @classmethod
    def of(cls, *catalogs: type[Catalog]) -> CatalogSet:
        """The set of these catalog classes."""
        groups: dict[str, str] = {}
        for catalog in catalogs:
            groups.update(catalog.group_titles)
        return cls((event_type for catalog in catalogs for event_type in catalog.event_types), groups)

    def merge(self, *others: CatalogSet) -> CatalogSet:
        """This set with others laid over it, the last on top."""
        types, groups = dict(self._types), dict(self._groups)
        for other in others:
            types.update(other._types)
            groups.update(other._groups)
        return CatalogSet(types.values(), groups)

    def event_type(self, action: str) -> EventType | None:
        """The type of an action, or ``None`` where no catalog names it."""
        return self._types.get(action)

    def title(self, action: str) -> str:
        """The catalogued title, else a readable form of the action."""
        event_type = self._types.get(action)
        return readable(action) if event_type is None else event_type.title

    def severity(self, action: str, outcome: Outcome, given: Severity | None = None) -> Severity:
        """The severity of an event: catalogued, raised by the classifier and by what the caller gave."""
        event_type = self._types.get(action)
        if event_type is None:
            return classify(action, outcome, None, given)
        return classify(action, outcome, event_type.severity, given, event_type.classified)

    def group_title(self, segment: str) -> str:
        """The title of an action group, else a readable form of the segment."""
        return self._groups.get(segment) or readable(segment)

    def groups(self) -> list[tuple[str, str]]:
        """Segment and title of each group that has event types, in the order of declaration."""
        used = {event_type.group for event_type in self._types.values()}
        titled = [segment for segment in self._groups if segment in used]
        return [
            (segment, self.group_title(segment)) for segment in (*titled, *sorted(used.difference(titled)))
        ]

    def types(self) -> list[EventType]:
        """All event types, in the order of declaration."""
        return list(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def __contains__(self, action: object) -> bool:
        return action in self._types

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CatalogSet):
            return NotImplemented
        return self._types == other._types and self._groups == other._groups

    __hash__ = None  # type: ignore[assignment]  # holds schemas, which are dicts

    def to_document(self) -> dict[str, Any]:
        """The set as plain JSON values, for the catalog table and the API."""
        document: dict[str, Any] = msgspec.to_builtins(
            {"version": VERSION, "groups": self._groups, "types": list(self._types.values())}
        )
        return document

    @classmethod
    def from_document(cls, document: object, *, reserved: bool = False) -> CatalogSet:
        """The set that :meth:`to_document` wrote, checked as a catalog class is.

        Args:
            document: the decoded JSON.
            reserved: whether it may name reserved actions (only where we wrote it ourselves).

        Raises:
            InvalidCatalog: the document is no catalog, of another version, or breaks a rule.
        """
        try:
            read = msgspec.convert(document, _Document)
        except msgspec.ValidationError as error:
            raise InvalidCatalog((FieldError("", "document", str(error)),)) from error
        errors = [*_group_errors(read.groups), *_type_errors(read.types, reserved=reserved)]
        if read.version != VERSION:
            errors = [FieldError("/version", "version", f"must be {VERSION}", read.version)]
        if len(read.types) > MAX_TYPES:
            errors = [FieldError("/types", "too_many", f"at most {MAX_TYPES:,} event types", len(read.types))]
        if errors:
            raise InvalidCatalog(tuple(errors))
        return cls(read.types, read.groups)
