"""Importers: each turns one vendor's audit records into events, by one small protocol and in one file.

An importer reads no file and knows no database: it gets a decoded record and gives drafts. Which field goes
where stands in ``docs/reference/importers.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from affidavit.core.event import Draft
from affidavit.ingest.importers.cloudtrail import CloudTrail
from affidavit.ingest.importers.github import GitHub
from affidavit.ingest.importers.kubernetes import Kubernetes
from affidavit.ingest.importers.ndjson import Ndjson
from affidavit.ingest.importers.okta import Okta
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord

__all__ = ["REGISTRY", "Importer", "RejectedRecord"]


class Importer(Protocol):
    """One format.

    Attributes:
        name: what ``affidavit import`` calls it.
        source: the ``source`` of its events and the first segment of their actions.
        wrapper: the key of a document under which the list of records stands.
        shape: how lines that are not JSON become records; None for JSON.
        unmasked: keys that look like those of secrets and are none in this format.
    """

    name: ClassVar[str]
    source: str
    wrapper: str | None
    shape: LineShape | None
    unmasked: ClassVar[frozenset[str]]

    def events(self, record: dict[str, Any]) -> list[Draft]:
        """The events of a record; none where it is one that the format does not mean as an event (skipped).

        The same record always gives the same events with the same ``idempotency_key`` and ``occurred_at``.

        Raises:
            RejectedRecord: it cannot become an event, such as for want of a time.
        """
        ...


REGISTRY: dict[str, Callable[..., Importer]] = {
    "cloudtrail": CloudTrail,
    "github": GitHub,
    "kubernetes": Kubernetes,
    "ndjson": Ndjson,
    "okta": Okta,
}
"""Makes the importer of a name. All take ``account=``, which stands for the account where records name none;
``ndjson`` takes ``mapping=`` (:class:`affidavit.ingest.importers.mapping.Mapping`)."""
