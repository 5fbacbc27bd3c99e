"""A data-pipeline platform: pipelines, connections, teams, tokens, AI agents, billing (source document 000).

Signing in (R23) is ``auth.login.success`` of :mod:`.integration_platform`; its API requests stand in
:mod:`.api_requests`.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["Agents", "ApiTokens", "BillingActions", "Connections", "Pipelines", "Teams"]

_STATUS = ("success", "failed", "skipped", "cancelled")


class Pipelines(Catalog, prefix="pipeline", title="Pipeline operations"):
    """Runs of pipelines and what people do to them by hand."""

    run_trigger = EventType(
        "run.trigger",
        "Pipeline run triggered",
        metadata_schema=fields("trigger", trigger=("manual", "api"), run_id=str, full_refresh=bool),
        references=["R8", "R67"],
    )
    run_rerun = EventType(
        "run.rerun",
        "Pipeline run re-run",
        metadata_schema=fields("mode", mode=("all", "failed"), run_id=str),
        references=["R9", "R67"],
    )
    asset_rerun = EventType(
        "asset.rerun",
        "Asset instance re-run",
        metadata_schema=fields(run_id=str, asset=str),
        references=["R10", "R67"],
    )
    status_change = EventType(
        "status.change",
        "Pipeline status change",
        metadata_schema=fields("status", status=("enabled", "disabled", "deleted")),
        references=["R11"],
    )
    note_update = EventType(
        "run.note.update",
        "Run note updated",
        metadata_schema=fields(run_id=str, edit=("added", "edited")),
        references=["R12"],
    )
    asset_mark = EventType(
        "asset.mark",
        "Asset marked as instance",
        metadata_schema=fields(run_id=str, asset=str, status=_STATUS),
        references=["R13"],
    )
    asset_instance_mark = EventType(
        "asset_instance.mark",
        "Asset instance marked as run",
        metadata_schema=fields(run_id=str, asset=str, status=_STATUS),
        references=["R13"],
    )
    bulk_enable = EventType(
        "bulk.enable", "Enable multiple pipelines", metadata_schema=fields(count=int), references=["R14"]
    )
    bulk_disable = EventType(
        "bulk.disable", "Disable multiple pipelines", metadata_schema=fields(count=int), references=["R14"]
    )
    run_bulk_mark = EventType(
        "run.bulk.mark",
        "Mark multiple pipeline runs status",
        metadata_schema=fields(count=int, status=_STATUS),
        references=["R15"],
    )
    asset_instance_bulk_mark = EventType(
        "asset_instance.bulk.mark",
        "Mark multiple asset instances",
        metadata_schema=fields(count=int, run_id=str, status=_STATUS),
        references=["R16"],
    )
    run_bulk_trigger = EventType(
        "run.bulk.trigger",
        "Trigger multiple pipeline runs",
        metadata_schema=fields(count=int, start_date=str, end_date=str),
        references=["R17"],
    )


class Connections(Catalog, prefix="connection", title="Connections"):
    """Connections to other systems."""

    create = EventType(
        "create",
        "Connection created",
        metadata_schema=fields("connection_type", "name", connection_type=str, name=str),
        references=["R18"],
    )
    update = EventType("update", "Connection changed", inferred=True, references=["R1"])
    delete = EventType("delete", "Connection deleted", severity="warning", references=["R19"])


class Teams(Catalog, prefix="team", title="Teams"):
    """Teams; an update carries old and new values."""

    create = EventType("create", "Team created", references=["R20"])
    update = EventType("update", "Team updated", references=["R21", "R52"])
    delete = EventType("delete", "Team deleted", severity="warning", references=["R22"])


_TOKEN = fields(token_name=str, abilities=[str])


class ApiTokens(Catalog, prefix="api_token", title="API tokens"):
    """Tokens of the product's own API; an update carries the old and the new abilities."""

    create = EventType(
        "create", "API token created", severity="warning", metadata_schema=_TOKEN, references=["R24", "R67"]
    )
    update = EventType(
        "update",
        "API token updated",
        severity="warning",
        metadata_schema=_TOKEN,
        references=["R25", "R53", "R67"],
    )
    delete = EventType(
        "delete", "API token deleted", severity="warning", metadata_schema=_TOKEN, references=["R26", "R67"]
    )


class Agents(Catalog, prefix="agent", title="AI agents"):
    """AI agents and their conversations."""

    create = EventType("create", "Agent created", metadata_schema=fields(model=str), references=["R27"])
    update = EventType("update", "Agent updated", metadata_schema=fields(model=str), references=["R27"])
    delete = EventType("delete", "Agent deleted", references=["R27"])
    message_send = EventType(
        "message.send",
        "Agent send message",
        metadata_schema=fields(thread_id=str, characters=int),
        references=["R28"],
    )
    message_status = EventType(
        "message.status",
        "Agent get message status",
        metadata_schema=fields(thread_id=str, message_id=str),
        references=["R29"],
    )
    thread_list = EventType("thread.list", "Agent list threads", references=["R30"])
    message_list = EventType(
        "message.list", "Agent list messages", metadata_schema=fields(thread_id=str), references=["R30"]
    )
    agent_list = EventType("list", "List agents", references=["R31"])


class BillingActions(Catalog, prefix="billing", title="Billing"):
    """State changes that the payment provider reports."""

    action = EventType("action", "Billing action", metadata_schema=fields(change=str), references=["R42"])
    customer_create = EventType("customer.create", "Billing customer created", references=["R42"])
    plan_change = EventType("plan.change", "Billing plan changed", references=["R42"])
    threshold_cross = EventType(
        "threshold.cross",
        "Billing threshold crossed",
        metadata_schema=fields(threshold=float, amount=float, currency=str),
        references=["R42"],
    )
