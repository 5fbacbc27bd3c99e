"""What runs without people: tokens on the API, CI, AI agents over MCP, directory sync, the scheduler."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from affidavit.core.event import Actor, Session
from affidavit.demo import cloud_work, data_work, studio_work
from affidavit.demo.cast import Machine, identity, thing
from affidavit.demo.rhythm import HOUR, is_working_day, midnight, zipf
from affidavit.demo.scribe import MINUTE, SECOND, Scribe, change

__all__ = ["call_api", "machine_day", "system_day"]

_Endpoint = tuple[str, str, str]

_READS: tuple[_Endpoint, ...] = (
    ("get_pipeline_runs", "GET", "/v1/pipelines/{pipeline}/runs"),
    ("get_pipelines", "GET", "/v1/pipelines"),
    ("get_pipeline", "GET", "/v1/pipelines/{pipeline}"),
    ("get_run_asset_instances", "GET", "/v1/runs/{run}/assets"),
    ("get_asset_instance_logs", "GET", "/v1/runs/{run}/assets/stg_orders/logs"),
    ("get_pipeline_assets", "GET", "/v1/pipelines/{pipeline}/assets"),
    ("get_pipeline_validation_errors", "GET", "/v1/pipelines/{pipeline}/validation"),
    ("get_asset_instance", "GET", "/v1/runs/{run}/assets/stg_orders"),
    ("get_projects", "GET", "/v1/projects"),
    ("get_asset", "GET", "/v1/assets/dim_customer"),
)
_WRITES: tuple[_Endpoint, ...] = (
    ("trigger_pipeline_run", "POST", "/v1/pipelines/{pipeline}/runs"),
    ("rerun_pipeline_run", "POST", "/v1/runs/{run}/rerun"),
    ("mark_asset_instance", "POST", "/v1/runs/{run}/assets/stg_orders/mark"),
    ("enable_pipeline", "POST", "/v1/pipelines/{pipeline}/enable"),
    ("disable_pipeline", "POST", "/v1/pipelines/{pipeline}/disable"),
    ("update_run_note", "PUT", "/v1/runs/{run}/note"),
)
_GLOSSARY: tuple[_Endpoint, ...] = (
    ("get_glossary_entities", "GET", "/v1/glossary"),
    ("get_glossary_entity", "GET", "/v1/glossary/customer"),
)


def call_api(scribe: Scribe, machine: Machine, at: int, ip: str | None = None) -> None:
    """A hit on an endpoint: token, endpoint, method, parameters and the identifiers in scope."""
    random = scribe.random
    kinds = _GLOSSARY if machine.name == "glossary-sync" else _READS
    if "runs:trigger" in machine.abilities and random.random() < 0.25:
        kinds = _WRITES
    name, method, endpoint = zipf(random, kinds)
    pipeline = zipf(random, data_work.PIPELINES)
    run = data_work.run_of(scribe, pipeline)
    path = endpoint.format(pipeline=pipeline, run=run)
    where = {} if ip is None else {"ip": ip}
    params = {"limit": random.choice((20, 50, 100)), "page": random.randint(1, 4)} if method == "GET" else {}
    failed = random.random() < 0.015
    scribe.machine(
        at,
        f"api.request.{name}",
        machine,
        *(() if kinds is _GLOSSARY else (data_work.pipeline(pipeline),)),
        outcome="failure" if failed else "success",
        reason="404 not found" if failed else None,
        project="warehouse",
        request=scribe.request(method, path, **params),
        metadata={
            "endpoint": path,
            "method": method,
            "token_name": machine.name,
            "status": 404 if failed else 200,
            **({"pipeline": pipeline} if "{pipeline}" in endpoint else {}),
            **({"run": run} if "{run}" in endpoint else {}),
        },
        **where,
    )
    if name == "trigger_pipeline_run" and not failed:
        scribe.version(pipeline)
        scribe.machine(
            at + 20_000,
            "pipeline.run.trigger",
            machine,
            data_work.pipeline(pipeline),
            project="warehouse",
            metadata={"trigger": "api", "run_id": data_work.run_of(scribe, pipeline)},
            **where,
        )


_CALLS: dict[str, Callable[[Scribe, Machine, int], None]] = {
    "bi-dashboard": call_api,
    "orchestrator": call_api,
    "glossary-sync": call_api,
    "ci-deploy": call_api,
    "github-deploy": cloud_work.deploy_from_ci,
    "gitlab-deploy": cloud_work.deploy_from_ci,
    "terraform": cloud_work.provision,
    "autoscaler": cloud_work.scale,
    "cloud-runner": studio_work.run_by_machine,
    "crm-bridge": studio_work.flow_from_client,
}


def machine_day(scribe: Scribe, day: date) -> None:
    """One day of every token of the organization."""
    random = scribe.random
    for machine in scribe.organization.machines:
        share = 1.0 if is_working_day(day) else 0.2
        count = max(0, round(random.gauss(machine.daily * share, machine.daily * 0.12)))
        first, last = (midnight(day) + hour * HOUR for hour in machine.hours)
        for at in sorted(random.randrange(first, last) for _ in range(count)):
            _CALLS[machine.name](scribe, machine, at)


def system_day(scribe: Scribe, day: date) -> None:
    """One day of directory sync and scheduler, and of the agents where there are any."""
    start = midnight(day)
    for hour in (0, 6, 12, 18):
        _sync(scribe, start + hour * HOUR + scribe.random.randrange(30 * SECOND))
    if scribe.organization.name == "meadow-data":
        _ask_over_mcp(scribe, start, 7 if is_working_day(day) else 1)
        _close_month(scribe, day, start)


def _sync(scribe: Scribe, at: int) -> None:
    """The directory is read; now and then somebody there has changed. Not an HTTP request, so no address."""
    random, organization = scribe.random, scribe.organization
    changed = random.random() < 0.22
    directory = thing(organization.name, "integration", "Directory sync")
    first = scribe.system(
        at,
        "integration.sync",
        "sso_sync",
        directory,
        source="sso_sync",
        metadata={"integration": "Directory sync", "created": 0, "updated": int(changed), "removed": 0},
    )
    if changed:
        person = random.choice(organization.people)
        scribe.system(
            at + SECOND,
            "user.update",
            "sso_sync",
            person.resource,
            source="sso_sync",
            parent_id=first.id,
            changes=change(department=("Operations", random.choice(("Data", "Platform", "Finance")))),
        )


def _ask_over_mcp(scribe: Scribe, start: int, count: int) -> None:
    """An AI agent reads through MCP for the person who asked it; some of that at night."""
    random, organization = scribe.random, scribe.organization
    for _ in range(max(0, round(random.gauss(count, 2)))):
        name = zipf(random, data_work.AGENTS)
        agent = Actor(type="agent", id=identity(organization.name, "agent", name), name=name)
        person = random.choice(organization.people)
        at = start + random.randrange(24 * HOUR)
        pipeline = zipf(random, data_work.PIPELINES)
        for step, kind in enumerate(("get_pipeline_runs", "get_asset_instance_logs")[: random.randint(1, 2)]):
            endpoint = f"/v1/pipelines/{pipeline}/runs"
            scribe.write(
                at + step * 2 * SECOND,
                f"api.request.{kind}",
                agent,
                data_work.pipeline(pipeline),
                source="mcp",
                project="warehouse",
                on_behalf_of=person.actor,
                ip="198.51.100.247",
                user_agent="mcp-client/1.4.0",
                session=Session(type="oauth_client", id=identity(name, "mcp"), token_name=f"{name} (MCP)"),
                request=scribe.request("GET", endpoint, limit=20),
                metadata={"endpoint": endpoint, "method": "GET", "pipeline": pipeline, "status": 200},
            )


def _close_month(scribe: Scribe, day: date, start: int) -> None:
    """On the first of a month the scheduler re-runs the finance pipeline."""
    if day.day != 1:
        return
    scribe.version("finance_close")
    scribe.system(
        start + 4 * HOUR + 10 * MINUTE,
        "pipeline.run.rerun",
        "scheduler",
        data_work.pipeline("finance_close"),
        source="scheduler",
        project="warehouse",
        metadata={"mode": "all", "run_id": data_work.run_of(scribe, "finance_close")},
    )
