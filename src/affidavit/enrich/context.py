"""What we add to an event when it is recorded: the client's label and the place of its address.

Only what is absent is filled. A place is looked up now, because one looked up years later would be a lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from affidavit.core.event import Draft
from affidavit.enrich.client import label
from affidavit.enrich.geo import Places

__all__ = ["Enrichment"]


class Enrichment:
    """Derives context fields from a draft.

    Args:
        geoip: an MMDB file, or ``None``: then no places are looked up.
    """

    def __init__(self, geoip: Path | None = None) -> None:
        self._places = Places(geoip) if geoip is not None else None

    def __call__(self, draft: Draft) -> Mapping[str, Any]:
        """The fields that follow from what the draft says and that it does not say itself."""
        added: dict[str, Any] = {}
        if draft.client is None and draft.user_agent and (client := label(draft.user_agent)) is not None:
            added["client"] = client
        if draft.location is None and draft.ip and self._places is not None:
            location = self._places.of(draft.ip)
            if location is not None:
                added["location"] = location
        return added
