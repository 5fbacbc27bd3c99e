"""Stories of work that went wrong, and of acts that touch many things at once."""

from __future__ import annotations

from affidavit.core.event import Actor
from affidavit.demo import cloud_work, data_work, studio_work
from affidavit.demo.cast import thing
from affidavit.demo.organizations import HARBOUR, MEADOW, ORCHARD
from affidavit.demo.rhythm import HOUR
from affidavit.demo.scribe import MINUTE, SECOND, Scribe, change

__all__ = [
    "grant_before_incident",
    "large_backfill",
    "leaver",
    "names_that_bite",
    "partial_rotation",
    "sandbox_clean_up",
    "steward_permissions",
]


def grant_before_incident(scribe: Scribe, day: int) -> None:
    """A runner is pointed at production, a newcomer becomes editor; next day the payouts go out."""
    maker, admin = ORCHARD.person("Nils"), ORCHARD.person("Yara")
    newcomer = ORCHARD.person("Zoe")
    payout = studio_work.journey("nightly-payout")
    runner = thing(ORCHARD.name, "runner", "runner-eu-2")
    at = day + 14 * HOUR + 22 * MINUTE
    scribe.person(
        at,
        "runner.update",
        maker,
        runner,
        reason="staging is too slow for the demo",
        changes=change(environment=("staging", "production"), labels=(["staging"], ["staging", "shared"])),
    )
    scribe.person(
        at + 47 * MINUTE,
        "journey.access.grant",
        admin,
        payout,
        newcomer.resource,
        project="nightly-payout",
        changes=change(level=(None, "editor")),
        metadata={"user": newcomer.email, "level": "editor"},
        reason="helps out while Anouk is away",
    )
    run = day + 33 * HOUR + 8 * MINUTE
    scribe.person(
        run,
        "journey.run",
        newcomer,
        payout,
        project="nightly-payout",
        severity="warning",
        description="Journey nightly-payout run against production, 1,284 payouts started",
        metadata={"environment": "production", "run_id": "jr_5eed0bad", "runner": "runner-eu-2"},
    )
    owner = ORCHARD.person("Hanne")
    note = "incident 12: payouts went out twice"
    scribe.person(
        run + 26 * MINUTE,
        "journey.access.revoke",
        owner,
        payout,
        newcomer.resource,
        project="nightly-payout",
        reason=note,
        changes=change(level=("editor", None)),
        metadata={"user": newcomer.email},
    )
    scribe.person(
        run + 31 * MINUTE,
        "runner.update",
        owner,
        runner,
        reason=note,
        changes=change(environment=("production", "staging")),
    )
    scribe.person(
        run + 50 * MINUTE,
        "workspace.settings.update",
        owner,
        thing(ORCHARD.name, "workspace", "Orchard"),
        reason=note,
        changes=change(production_approval=("nobody", "owner")),
    )


def partial_rotation(scribe: Scribe, day: int) -> None:
    """A secret is rotated in one environment only; two hours later the cloud runner's jobs fail."""
    random = scribe.random
    engineer, machine = ORCHARD.person("Elin"), ORCHARD.machine("cloud-runner")
    secret = studio_work.secret("payout-bank")
    at = day + 9 * HOUR + 41 * MINUTE
    scribe.person(
        at,
        "secret.update",
        engineer,
        secret,
        reason="partial rotation: staging done, production follows on Thursday",
        changes=change(version=(7, 8)),
        metadata={"version": 8, "environments": ["staging"], "partial": True},
    )
    for attempt in range(9):
        scribe.machine(
            at + 2 * HOUR + attempt * 15 * MINUTE + random.randrange(20 * SECOND),
            "journey.run",
            machine,
            studio_work.journey("nightly-payout"),
            project="nightly-payout",
            source="scheduler",
            outcome="failure",
            reason="authentication with payout-bank failed",
            metadata={"environment": "production", "run_id": f"jr_{random.getrandbits(32):08x}"},
        )
    fixed = at + 4 * HOUR + 33 * MINUTE
    scribe.person(
        fixed,
        "secret.rotate",
        engineer,
        secret,
        reason="rotation completed in production, fixes the failed payouts",
        changes=change(version=(8, 9)),
        metadata={"version": 9, "environments": ["production", "staging"], "partial": False},
    )


def leaver(scribe: Scribe, day: int) -> None:
    """Somebody leaves Meadow Data on a Friday; on Saturday the account is tried again."""
    admin, gone = MEADOW.person("Mira"), thing(MEADOW.name, "user", "rune.stave@meadow.example")
    at = day + 16 * HOUR + 2 * MINUTE
    note = "last day"
    token = thing(MEADOW.name, "api_token", "rune-laptop")
    first = scribe.person(at, "user.delete", admin, gone, reason=note)
    scribe.person(
        at + 2 * SECOND,
        "api_token.delete",
        admin,
        token,
        parent_id=first.id,
        reason=note,
        metadata={"token_name": "rune-laptop"},
    )
    scribe.person(at + 3 * SECOND, "member.remove", admin, gone, parent_id=first.id, reason=note)
    stranger = Actor(type="anonymous", id="rune.stave@meadow.example", email="rune.stave@meadow.example")
    for number in range(3):
        scribe.person(
            at + 26 * HOUR + number * 50 * SECOND,
            "auth.login.failed",
            admin,
            gone,
            actor=stranger,
            session=None,
            ip="198.51.100.77",
            location=None,
            outcome="failure",
            reason="unknown account",
            metadata={"method": "password", "attempts": number + 1},
        )


def large_backfill(scribe: Scribe, day: int) -> None:
    """Four months of web events are run again by one act: one event with 120 under its id."""
    at = day + 17 * HOUR + 30 * MINUTE
    data_work.backfill(
        scribe, MEADOW.person("Dae"), at, "web_events", 120, "four months of web events again, new schema"
    )


def sandbox_clean_up(scribe: Scribe, day: int) -> None:
    """Forty-two volumes of Harbour Cloud are deleted by one act from the command line."""
    cloud_work.clean_up(scribe, HARBOUR.person("Bo"), day + 15 * HOUR + 5 * MINUTE, 42)


def names_that_bite(scribe: Scribe, day: int) -> None:
    """A tester of Harbour Cloud makes projects whose names are code elsewhere; here they are text."""
    names = (
        "<img src=x onerror=alert(1)>",
        "=cmd|'/C calc'!A0",
        "Ünïcode ✓ 試験 \u202egnp.exe",
        "'); DROP TABLE audit_logs;--",
    )
    for step, name in enumerate(names):
        scribe.person(
            day + 11 * HOUR + step * 3 * MINUTE,
            "project.create",
            HARBOUR.person("Talia"),
            cloud_work.project(name),
            reason="testing what names may hold",
            metadata={"template": "blank"},
        )


def steward_permissions(scribe: Scribe, day: int) -> None:
    """The role Data steward gets a permission that nobody later remembers to have given."""
    scribe.person(
        day + 10 * HOUR + 26 * MINUTE,
        "role.permission.update",
        MEADOW.person("Ines"),
        thing(MEADOW.name, "role", "Data steward"),
        reason="for the audit of the exports",
        changes=change(
            permissions=(
                ["exports:create", "runs:read"],
                ["connections:reveal", "exports:create", "runs:read"],
            )
        ),
        metadata={"diff": {"added": ["connections:reveal"], "removed": []}},
    )
