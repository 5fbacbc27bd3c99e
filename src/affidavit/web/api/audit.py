"""``/api/audit``: the list under a short path, for scripts that fetch everything page by page.

The same answer as ``/api/v1/events``; only an empty value counts as absent here, because forms send them.
"""

from __future__ import annotations

from affidavit.access.abilities import LIST
from affidavit.web.api.events import ListQuery, list_events
from affidavit.web.api.shapes import EventList
from affidavit.web.routes import Operation

__all__ = ["OPERATIONS"]

OPERATIONS = [
    Operation(
        method="GET",
        path="/api/audit",
        handler=list_events,
        tag="events",
        summary="List events (short path)",
        description="The list of `/api/v1/events` with the same parameters; an empty value counts as absent.",
        ability=LIST,
        scoped=True,
        query=ListQuery,
        filters=True,
        empty="ignore",
        answers={200: EventList},
    ),
]
