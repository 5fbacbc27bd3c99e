"""The 28 API request types of a data-pipeline platform (source document 000).

The document says that there are 28 and describes 17 of them; those come first. The other eleven are inferred
from the same endpoints: the single forms beside the lists, and the bulk forms beside the single ones.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["REQUEST_TYPES", "ApiRequests"]

REQUEST_TYPES: tuple[tuple[str, str, str, bool], ...] = (
    ("get_pipelines", "Get pipelines", "R35", False),
    ("get_projects", "Get projects", "R35", False),
    ("get_pipeline", "Get single pipeline", "R35", False),
    ("get_pipeline_runs", "Get pipeline runs", "R35", False),
    ("get_glossary_entities", "Get glossary entities", "R36", False),
    ("get_glossary_entity", "Get glossary entity details", "R36", False),
    ("get_pipeline_assets", "Get pipeline assets", "R37", False),
    ("get_asset", "Get single asset", "R37", False),
    ("get_run_asset_instances", "Get asset instances of a run", "R37", False),
    ("get_asset_instance", "Get asset instance details", "R37", False),
    ("get_asset_instance_logs", "Get asset instance logs", "R37", False),
    ("get_pipeline_validation_errors", "Get pipeline validation errors", "R38", False),
    ("rerun_pipeline_run", "Rerun pipeline run", "R39", False),
    ("mark_pipeline_run", "Mark pipeline run", "R39", False),
    ("trigger_pipeline_run", "Trigger pipeline run", "R39", False),
    ("enable_pipeline", "Enable pipeline", "R39", False),
    ("disable_pipeline", "Disable pipeline", "R39", False),
    ("get_project", "Get single project", "R35", True),
    ("get_pipeline_run", "Get single pipeline run", "R35", True),
    ("get_connections", "Get connections", "R35", True),
    ("rerun_asset_instance", "Rerun asset instance", "R39", True),
    ("mark_asset_instance", "Mark asset instance", "R39", True),
    ("mark_pipeline_runs", "Mark multiple pipeline runs", "R39", True),
    ("mark_asset_instances", "Mark multiple asset instances", "R39", True),
    ("trigger_pipeline_runs", "Trigger multiple pipeline runs", "R39", True),
    ("enable_pipelines", "Enable multiple pipelines", "R39", True),
    ("disable_pipelines", "Disable multiple pipelines", "R39", True),
    ("update_run_note", "Update run note", "R39", True),
)
"""Name, title, requirement and whether it is inferred, those that the document names first."""

_IDENTIFIERS = fields(
    endpoint=str,
    method=("GET", "POST", "PUT", "PATCH", "DELETE"),
    token_name=str,
    project=str,
    pipeline=str,
    asset=str,
    run=str,
    status=int,
)


class ApiRequests(Catalog, prefix="api.request", title="API requests"):
    """One event for each hit, with endpoint, method, token name and the identifiers in scope."""

    types = tuple(
        EventType(
            name,
            f"API: {title}",
            metadata_schema=_IDENTIFIERS,
            inferred=inferred,
            references=["R32", "R33", "R34", "R40", requirement],
        )
        for name, title, requirement, inferred in REQUEST_TYPES
    )
