"""What people at Orchard Studio do: journeys, secrets, runners (document 003), flows (document 004)."""

from __future__ import annotations

from affidavit.core.event import Resource, Session
from affidavit.demo.cast import Machine, Person, identity, thing
from affidavit.demo.office import ADMINS, COMMON, EVERYBODY, MAKERS, Deeds
from affidavit.demo.organizations import ORCHARD
from affidavit.demo.rhythm import zipf
from affidavit.demo.scribe import Scribe, change

__all__ = ["DEEDS", "flow_from_client", "journey", "run_by_machine", "secret"]

_JOURNEYS = (
    "welcome-mails",
    "nightly-payout",
    "invoice-reminders",
    "lead-scoring",
    "refund-approval",
    "gift-cards",
)
_SECRETS = ("mailer-key", "payout-bank", "crm-login", "warehouse-dsn")
_ENVIRONMENTS = ("production", "staging")
_RUNNERS = ("runner-eu-1", "runner-eu-2", "runner-gpu")
_FLOWS = ("order-intake", "returns-desk", "stock-alerts", "press-digest")
_LEVELS = ("viewer", "runner", "editor")


def journey(name: str) -> Resource:
    """A journey as what something is done to."""
    return thing(ORCHARD.name, "journey", name)


def secret(name: str) -> Resource:
    """A secret as what something is done to; never its value."""
    return thing(ORCHARD.name, "secret", name)


def change_journey(scribe: Scribe, person: Person, at: int) -> None:
    """A step of a journey changes."""
    random = scribe.random
    name = zipf(random, _JOURNEYS)
    number = scribe.version(name)
    fields = random.choice(
        (
            change(version=(number - 1, number)),
            change(version=(number - 1, number), schedule=("0 6 * * *", "30 5 * * *")),
            change(version=(number - 1, number), retries=(1, 3), alert=(False, True)),
        )
    )
    scribe.person(at, "journey.update", person, journey(name), project=name, changes=fields)


def run_journey(scribe: Scribe, person: Person, at: int) -> None:
    """A journey is run by hand."""
    random = scribe.random
    name = zipf(random, _JOURNEYS)
    scribe.person(
        at,
        "journey.run",
        person,
        journey(name),
        project=name,
        metadata={"environment": random.choice(_ENVIRONMENTS), "run_id": f"jr_{random.getrandbits(32):08x}"},
    )


def make_journey(scribe: Scribe, person: Person, at: int) -> None:
    """A journey is made or deleted."""
    number = scribe.version("experiment")
    name = f"experiment-{number // 2}"
    verb = "create" if number % 2 == 0 else "delete"
    scribe.person(at, f"journey.{verb}", person, journey(name), project=name)


def share_journey(scribe: Scribe, person: Person, at: int) -> None:
    """Somebody gets, changes or loses access to a journey."""
    random = scribe.random
    name, colleague = zipf(random, _JOURNEYS), random.choice(ORCHARD.people)
    verb = random.choice(("grant", "grant", "change", "revoke"))
    old, new = random.sample(_LEVELS, 2)
    before = {"grant": None, "change": old, "revoke": old}[verb]
    after = None if verb == "revoke" else new
    scribe.person(
        at,
        f"journey.access.{verb}",
        person,
        journey(name),
        colleague.resource,
        project=name,
        changes=change(level=(before, after)),
        metadata={"user": colleague.email} | ({} if after is None else {"level": after}),
    )


def manage_secret(scribe: Scribe, person: Person, at: int) -> None:
    """A secret is added, rotated or updated."""
    random = scribe.random
    name = zipf(random, _SECRETS)
    number = scribe.version(name)
    verb = random.choice(("rotate", "rotate", "update", "create"))
    scribe.person(
        at,
        f"secret.{verb}",
        person,
        secret(name),
        reason="regular rotation" if verb == "rotate" else None,
        changes=change(version=(None if verb == "create" else number - 1, number)),
        metadata={"version": number, "environments": list(_ENVIRONMENTS), "partial": False},
    )


def change_environment(scribe: Scribe, person: Person, at: int) -> None:
    """The configuration of an environment changes."""
    name = scribe.random.choice(_ENVIRONMENTS)
    number = scribe.version("timeout")
    scribe.person(
        at,
        "environment.configuration.update",
        person,
        thing(ORCHARD.name, "environment", name),
        changes=change(timeout_s=(30 + number, 31 + number), feature_flags=({"beta": False}, {"beta": True})),
    )


def update_runner(scribe: Scribe, person: Person, at: int) -> None:
    """A runner gets a new version or other labels."""
    name = scribe.random.choice(_RUNNERS)
    number = scribe.version(name)
    scribe.person(
        at,
        "runner.update",
        person,
        thing(ORCHARD.name, "runner", name),
        changes=change(version=(f"5.{number - 1}.0", f"5.{number}.0")),
    )


def change_flow(scribe: Scribe, person: Person, at: int) -> None:
    """A flow is made, changed or published in its project."""
    random = scribe.random
    name = zipf(random, _FLOWS)
    verb = random.choice(("update", "update", "publish", "create"))
    number = scribe.version(name)
    scribe.person(
        at,
        f"flow.{verb}",
        person,
        thing(ORCHARD.name, "flow", name),
        project=name,
        changes=change(version=(number - 1, number)) if verb == "update" else None,
        metadata={"version": number},
    )


def change_workspace(scribe: Scribe, person: Person, at: int) -> None:
    """Settings of the workspace change."""
    on = scribe.version("approvals") % 2 == 0
    scribe.person(
        at,
        "workspace.settings.update",
        person,
        thing(ORCHARD.name, "workspace", "Orchard"),
        changes=change(approvals_required=(not on, on)),
    )


def run_by_machine(scribe: Scribe, machine: Machine, at: int, *, failed: bool = False) -> None:
    """The cloud runner starts a journey on its schedule."""
    random = scribe.random
    name = zipf(random, _JOURNEYS)
    failed = failed or random.random() < 0.02
    scribe.machine(
        at,
        "journey.run",
        machine,
        journey(name),
        project=name,
        source="scheduler",
        outcome="failure" if failed else "success",
        reason="the runner was not reachable" if failed else None,
        metadata={"environment": "production", "run_id": f"jr_{random.getrandbits(32):08x}"},
    )


def flow_from_client(scribe: Scribe, machine: Machine, at: int) -> None:
    """A person changes a flow through an OAuth2 client; the session beside the person says so."""
    person = ORCHARD.people[scribe.random.randrange(3)]
    name = zipf(scribe.random, _FLOWS)
    number = scribe.version(name)
    client = identity(ORCHARD.name, "client", machine.name)
    scribe.write(
        at,
        "flow.update",
        person.actor,
        thing(ORCHARD.name, "flow", name),
        source="api",
        project=name,
        session=Session(type="oauth_client", id=client, token_name=machine.name),
        ip=machine.address,
        location=machine.location,
        user_agent=machine.agent,
        changes=change(version=(number - 1, number)),
        metadata={"version": number},
    )


DEEDS: Deeds = (
    (change_journey, EVERYBODY),
    (run_journey, EVERYBODY),
    (change_flow, EVERYBODY),
    (share_journey, MAKERS),
    (manage_secret, MAKERS),
    (make_journey, MAKERS),
    (change_environment, MAKERS),
    *COMMON,
    (update_runner, MAKERS),
    (change_workspace, ADMINS),
)
