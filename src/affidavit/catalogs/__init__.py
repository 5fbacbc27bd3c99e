"""Ready-made catalogs: every event of the five source documents, and what the product records of itself.

One module for each kind of product. Where two documents share an action it is declared once, with the
requirements of both. ``python -m affidavit.catalogs`` prints the reference page.
"""

from __future__ import annotations

from functools import cache

from affidavit.catalogs.api_requests import ApiRequests
from affidavit.catalogs.automation_workspace import Environments, Journeys, Runners, Secrets, Workspace
from affidavit.catalogs.cloud_platform import (
    Applications,
    Members,
    Policies,
    Projects,
    Resources,
    Security,
    Sessions,
    Settings,
)
from affidavit.catalogs.data_platform import (
    Agents,
    ApiTokens,
    BillingActions,
    Connections,
    Pipelines,
    Teams,
)
from affidavit.catalogs.flow_platform import Flows, OauthClients
from affidavit.catalogs.integration_platform import Authentication, Integrations, Organizations, Roles, Users
from affidavit.catalogs.product import Access, Audit, Detections, Log
from affidavit.core.catalog import Catalog, CatalogSet

__all__ = ["READY_MADE", "ready_made"]

READY_MADE: tuple[type[Catalog], ...] = (
    *(Authentication, Users, Roles, Organizations, Integrations),
    *(Sessions, Settings, Members, Policies, Security, Projects, Applications, Resources),
    *(Pipelines, Connections, Teams, ApiTokens, Agents, ApiRequests, BillingActions),
    *(Journeys, Secrets, Environments, Runners, Workspace),
    *(Flows, OauthClients),
    *(Access, Audit, Log, Detections),
)
"""In the order in which their groups are offered: those of R124 first."""


@cache
def ready_made() -> CatalogSet:
    """All of them as one set."""
    return CatalogSet.of(*READY_MADE)
