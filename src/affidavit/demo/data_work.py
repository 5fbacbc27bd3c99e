"""What people at Meadow Data do: pipelines, connections, tokens, AI agents, billing (source document 000)."""

from __future__ import annotations

from typing import Any

from affidavit.core.event import Actor, Resource, Session
from affidavit.demo.cast import Person, identity, thing
from affidavit.demo.office import ADMINS, COMMON, EVERYBODY, MAKERS, Deeds
from affidavit.demo.organizations import MEADOW
from affidavit.demo.rhythm import zipf
from affidavit.demo.scribe import SECOND, Scribe, change

__all__ = ["AGENTS", "DEEDS", "PIPELINES", "backfill", "pipeline", "run_of"]

PIPELINES = (
    *(
        "orders_daily",
        "customers_snapshot",
        "web_events",
        "finance_close",
        "marketing_spend",
        "inventory_sync",
    ),
    *("churn_features", "returns_hourly", "fx_rates", "supplier_scores", "gdpr_exports", "ad_hoc_backfills"),
)
_ASSETS = (
    "stg_orders",
    "dim_customer",
    "fct_revenue",
    "stg_clicks",
    "dim_product",
    "fct_margin",
    "mart_board",
)
_CONNECTIONS = ("warehouse-eu", "lake-raw", "crm-replica", "payments-export", "ad-network")
_KINDS = ("warehouse", "object_store", "postgres", "http", "advertising")
_TEAMS = ("Analytics", "Platform", "Finance data")
AGENTS = ("run-doctor", "glossary-helper")
"""The AI agents, by name."""


def pipeline(name: str) -> Resource:
    """A pipeline as what something is done to."""
    return thing(MEADOW.name, "pipeline", name)


def run_of(scribe: Scribe, name: str) -> str:
    """The id of one of the latest runs of a pipeline."""
    return "run_" + identity(name, str(scribe.versions.get(name, 1)))[:12]


def trigger(scribe: Scribe, person: Person, at: int) -> None:
    """A run is triggered by hand."""
    name = zipf(scribe.random, PIPELINES)
    scribe.version(name)
    scribe.person(
        at,
        "pipeline.run.trigger",
        person,
        pipeline(name),
        project="warehouse",
        source="cli" if scribe.random.random() < 0.2 else "web",
        metadata={
            "trigger": "manual",
            "run_id": run_of(scribe, name),
            "full_refresh": scribe.random.random() < 0.1,
        },
    )


def rerun(scribe: Scribe, person: Person, at: int) -> None:
    """A run is repeated, wholly or where it failed."""
    name = zipf(scribe.random, PIPELINES)
    mode = scribe.random.choice(("failed", "failed", "all"))
    scribe.person(
        at,
        "pipeline.run.rerun",
        person,
        pipeline(name),
        project="warehouse",
        metadata={"mode": mode, "run_id": run_of(scribe, name)},
    )


def rerun_asset(scribe: Scribe, person: Person, at: int) -> None:
    """A single asset is tried again."""
    name, asset = zipf(scribe.random, PIPELINES), zipf(scribe.random, _ASSETS)
    scribe.person(
        at,
        "pipeline.asset.rerun",
        person,
        thing(MEADOW.name, "asset", asset),
        pipeline(name),
        project="warehouse",
        metadata={"asset": asset, "run_id": run_of(scribe, name)},
    )


def write_note(scribe: Scribe, person: Person, at: int) -> None:
    """A note on a run is added or edited."""
    name = zipf(scribe.random, PIPELINES)
    old = scribe.random.choice((None, "investigating"))
    new = scribe.random.choice(
        ("source was late", "schema drift, fixed upstream", "ok after retry", "see ticket 318")
    )
    scribe.person(
        at,
        "pipeline.run.note.update",
        person,
        pipeline(name),
        project="warehouse",
        changes=change(note=(old, new)),
        metadata={"run_id": run_of(scribe, name), "edit": "edited" if old else "added"},
    )


def mark_asset(scribe: Scribe, person: Person, at: int) -> None:
    """The status of an asset is set by hand from the run page."""
    name, asset = zipf(scribe.random, PIPELINES), zipf(scribe.random, _ASSETS)
    action = scribe.random.choice(("pipeline.asset.mark", "pipeline.asset_instance.mark"))
    scribe.person(
        at,
        action,
        person,
        thing(MEADOW.name, "asset", asset),
        project="warehouse",
        changes=change(status=("failed", "success")),
        metadata={"asset": asset, "run_id": run_of(scribe, name), "status": "success"},
    )


def switch_pipeline(scribe: Scribe, person: Person, at: int) -> None:
    """A pipeline is disabled or enabled again, sometimes several at once."""
    random = scribe.random
    off = random.random() < 0.5
    old, new = ("enabled", "disabled") if off else ("disabled", "enabled")
    if random.random() < 0.7:
        name = zipf(random, PIPELINES)
        scribe.person(
            at,
            "pipeline.status.change",
            person,
            pipeline(name),
            project="warehouse",
            changes=change(status=(old, new)),
            metadata={"status": new},
        )
        return
    several = random.sample(PIPELINES, 4)
    scribe.person(
        at,
        "pipeline.bulk.disable" if off else "pipeline.bulk.enable",
        person,
        *map(pipeline, several),
        project="warehouse",
        metadata={"count": len(several)},
        reason="warehouse maintenance" if off else None,
    )


def mark_many(scribe: Scribe, person: Person, at: int) -> None:
    """Several runs or asset instances are marked at once."""
    random = scribe.random
    name, count = zipf(random, PIPELINES), random.randint(3, 30)
    runs = random.random() < 0.5
    scribe.person(
        at,
        "pipeline.run.bulk.mark" if runs else "pipeline.asset_instance.bulk.mark",
        person,
        pipeline(name),
        project="warehouse",
        metadata={"count": count, "run_id": run_of(scribe, name), "status": "success"},
    )


def backfill(scribe: Scribe, person: Person, at: int, name: str, days: int, reason: str) -> None:
    """Many runs are triggered by one act: one event for the act, one for each run under its id."""
    first = scribe.person(
        at,
        "pipeline.run.bulk.trigger",
        person,
        pipeline(name),
        project="warehouse",
        metadata={
            "count": days,
            "start_date": "2024-01-01",
            "end_date": f"2024-{days // 28 + 1:02}-{days % 28 + 1:02}",
        },
        reason=reason,
    )
    for number in range(days):
        scribe.version(name)
        scribe.person(
            at + SECOND + number * 170_003,
            "pipeline.run.trigger",
            person,
            pipeline(name),
            project="warehouse",
            parent_id=first.id,
            metadata={"trigger": "manual", "run_id": run_of(scribe, name)},
        )


def backfill_some(scribe: Scribe, person: Person, at: int) -> None:
    """A small backfill."""
    name, days = zipf(scribe.random, PIPELINES), scribe.random.randint(3, 14)
    backfill(scribe, person, at, name, days, "source delivered late")


def change_connection(scribe: Scribe, person: Person, at: int) -> None:
    """A connection is made, changed or deleted."""
    random = scribe.random
    number = random.randrange(len(_CONNECTIONS))
    name, kind = _CONNECTIONS[number], _KINDS[number]
    verb = random.choice(("create", "update", "update", "delete"))
    scribe.person(
        at,
        f"connection.{verb}",
        person,
        thing(MEADOW.name, "connection", name),
        changes=change(host=(f"{name}-old.meadow.example", f"{name}.meadow.example"), password=("a", "b"))
        if verb == "update"
        else None,
        metadata={"connection_type": kind, "name": name},
    )


def message_agent(scribe: Scribe, person: Person, at: int) -> None:
    """A question to an agent, then its status and the thread."""
    random = scribe.random
    agent = thing(MEADOW.name, "agent", zipf(random, AGENTS))
    thread = f"thr_{random.getrandbits(40):010x}"
    size = random.randint(20, 900)
    scribe.person(at, "agent.message.send", person, agent, metadata={"thread_id": thread, "characters": size})
    if random.random() < 0.4:
        scribe.person(at + 9 * SECOND, "agent.message.status", person, agent, metadata={"thread_id": thread})
    if random.random() < 0.3:
        scribe.person(at + 30 * SECOND, "agent.message.list", person, agent, metadata={"thread_id": thread})


def look_at_agents(scribe: Scribe, person: Person, at: int) -> None:
    """The list of agents, or of an agent's threads."""
    if scribe.random.random() < 0.5:
        scribe.person(at, "agent.list", person)
        return
    scribe.person(at, "agent.thread.list", person, thing(MEADOW.name, "agent", AGENTS[0]))


def update_agent(scribe: Scribe, person: Person, at: int) -> None:
    """An agent gets another model."""
    number = scribe.version("model")
    scribe.person(
        at,
        "agent.update",
        person,
        thing(MEADOW.name, "agent", zipf(scribe.random, AGENTS)),
        changes=change(model=(f"assistant-{number - 1}", f"assistant-{number}")),
        metadata={"model": f"assistant-{number}"},
    )


def manage_token(scribe: Scribe, person: Person, at: int) -> None:
    """A token is made, gets other abilities, or is deleted."""
    random = scribe.random
    machine = random.choice(MEADOW.machines)
    verb = random.choice(("update", "update", "create", "delete"))
    if verb == "update":
        old, new = list(machine.abilities), sorted({*machine.abilities, "runs:read", "assets:read"})
        scribe.person(
            at,
            "api_token.update",
            person,
            machine.resource,
            changes=change(abilities=(old, new)),
            metadata={"token_name": machine.name, "abilities": new},
        )
        return
    name = f"{person.name.split()[0].lower()}-laptop"
    scribe.person(
        at,
        f"api_token.{verb}",
        person,
        thing(MEADOW.name, "api_token", name),
        metadata={"token_name": name, "abilities": ["pipelines:read", "runs:read"]},
    )


def update_team(scribe: Scribe, person: Person, at: int) -> None:
    """A team changes; old and new of each field."""
    number = scribe.version("team")
    name = zipf(scribe.random, _TEAMS)
    scribe.person(
        at,
        "team.update",
        person,
        thing(MEADOW.name, "team", name),
        changes=change(
            chat_channel=(f"#data-{number - 1}", f"#data-{number}"), members=(6 + number % 4, 7 + number % 4)
        ),
    )


def _payments(scribe: Scribe, at: int, action: str, **fields: Any) -> None:
    provider = Actor(type="service", id="payment-provider", name="Payment provider")
    session = Session(type="webhook", id=f"evt_{scribe.random.getrandbits(48):012x}")
    scribe.write(
        at,
        action,
        provider,
        MEADOW.resource,
        source="webhook",
        session=session,
        ip="198.51.100.250",
        **fields,
    )


def cross_threshold(scribe: Scribe, person: Person, at: int) -> None:
    """The bill crosses a threshold, which the payment provider reports."""
    del person
    amount = round(scribe.random.uniform(900, 2600), 2)
    _payments(
        scribe,
        at,
        "billing.threshold.cross",
        metadata={"threshold": 900 if amount < 2000 else 2000, "amount": amount, "currency": "EUR"},
    )


def change_plan(scribe: Scribe, person: Person, at: int) -> None:
    """The plan changes: somebody chooses it, the payment provider confirms it."""
    plans = ("team", "business")
    new = plans[scribe.version("plan") % 2]
    old = plans[1 - plans.index(new)]
    scribe.person(at, "billing.action", person, MEADOW.resource, metadata={"change": f"{new} plan chosen"})
    _payments(scribe, at + 4 * SECOND, "billing.plan.change", changes=change(plan=(old, new)))


DEEDS: Deeds = (
    (trigger, EVERYBODY),
    (rerun, EVERYBODY),
    (message_agent, EVERYBODY),
    (rerun_asset, EVERYBODY),
    (write_note, EVERYBODY),
    (mark_asset, MAKERS),
    (switch_pipeline, MAKERS),
    (look_at_agents, EVERYBODY),
    (backfill_some, MAKERS),
    (mark_many, MAKERS),
    (change_connection, MAKERS),
    (manage_token, ADMINS),
    *COMMON,
    (update_agent, MAKERS),
    (update_team, ADMINS),
    (cross_threshold, ADMINS),
    (change_plan, frozenset(("owner",))),
)
