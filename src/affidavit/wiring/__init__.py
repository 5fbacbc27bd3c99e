"""The composition root of server, command line and worker: settings in, built objects out.

Here, and nowhere else in these programs, it is known which engine keeps the events: in
``sqlite`` and ``postgres``.
"""

from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine
from affidavit.wiring.engines import engine_of
from affidavit.wiring.erasure import reapply_manifests
from affidavit.wiring.lease import Lease
from affidavit.wiring.store import (
    Instance,
    LiveCatalogs,
    migrate,
    open_store,
    planned_migrations,
)
from affidavit.wiring.work import open_follower, open_upkeep

__all__ = [
    "Engine",
    "Instance",
    "Lease",
    "LiveCatalogs",
    "clock",
    "engine_of",
    "migrate",
    "open_follower",
    "open_store",
    "open_upkeep",
    "planned_migrations",
    "reapply_manifests",
]
