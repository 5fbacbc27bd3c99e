"""Three stories of somebody who should not be there."""

from __future__ import annotations

from typing import Any

from affidavit.core.event import Actor
from affidavit.demo.cast import thing
from affidavit.demo.machines import call_api
from affidavit.demo.organizations import HARBOUR, MEADOW
from affidavit.demo.rhythm import HOUR
from affidavit.demo.scribe import MINUTE, SECOND, Scribe, change

__all__ = ["password_spray", "quiet_takeover", "stolen_token"]

ATTACKER = "203.0.113.66"
STOLEN_FROM = "2001:db8:5ca1::77"
ODD_PLACE = "203.0.113.201"

_SCRIPT = "python-requests/2.32.5"
_STRANGERS = ("admin", "info", "test", "backup", "it.support", "finance", "hr", "ceo", "deploy", "root")


def password_spray(scribe: Scribe, day: int) -> None:
    """One address tries every account of Meadow Data, gets into one and makes itself a token."""
    random = scribe.random
    names = [person.email for person in MEADOW.people] + [f"{name}@meadow.example" for name in _STRANGERS]
    tries = names + random.sample(names, 12)
    random.shuffle(tries)
    at = day + 3 * HOUR + 12 * MINUTE
    script: dict[str, Any] = {"ip": ATTACKER, "user_agent": _SCRIPT, "client": None, "session": None}
    for email in tries:
        at += random.randint(7, 24) * SECOND
        person = next((person for person in MEADOW.people if person.email == email), None)
        account = thing(MEADOW.name, "user", email) if person is None else person.resource
        scribe.person(
            at,
            "auth.login.failed",
            person or MEADOW.people[0],
            account,
            outcome="failure",
            actor=Actor(type="anonymous", id=email, email=email) if person is None else person.actor,
            reason="unknown account" if person is None else "wrong password",
            metadata={"method": "password", "attempts": 1},
            **script,
        )
    _intruder(scribe, at + 41 * SECOND, script)
    _clean_up_after_spray(scribe, day + 33 * HOUR)


def _intruder(scribe: Scribe, at: int, script: dict[str, Any]) -> None:
    victim = MEADOW.person("Petra")
    session: dict[str, Any] = {**script, "session": scribe.web_session(victim, at)}
    scribe.person(
        at,
        "auth.login.success",
        victim,
        victim.resource,
        metadata={"login_source": "web", "method": "password", "mfa": False},
        **session,
    )
    token = thing(MEADOW.name, "api_token", "sync-helper")
    scribe.person(
        at + 2 * MINUTE,
        "api_token.create",
        victim,
        token,
        metadata={
            "token_name": "sync-helper",
            "abilities": ["pipelines:read", "runs:read", "connections:read"],
        },
        **session,
    )
    scribe.person(
        at + 4 * MINUTE,
        "security.access.denied",
        victim,
        MEADOW.resource,
        outcome="failure",
        reason="missing permission connections:reveal",
        metadata={"attempted": "connection.reveal", "missing": "connections:reveal"},
        **session,
    )


def _clean_up_after_spray(scribe: Scribe, at: int) -> None:
    admin, victim = MEADOW.person("Mira"), MEADOW.person("Petra")
    note = "password spray on Sunday night, see incident 27"
    token = thing(MEADOW.name, "api_token", "sync-helper")
    scribe.person(at, "api_token.delete", admin, token, reason=note, metadata={"token_name": "sync-helper"})
    scribe.person(
        at + 3 * MINUTE,
        "user.update",
        admin,
        victim.resource,
        reason=note,
        changes=change(password_reset_required=(False, True)),
    )
    scribe.person(
        at + 9 * MINUTE,
        "security.configuration.update",
        admin,
        MEADOW.resource,
        reason=note,
        changes=change(second_factor=("optional", "required"), lockout_after=(None, 10)),
    )
    scribe.person(at + 52 * MINUTE, "auth.mfa.enable", victim, victim.resource)


def stolen_token(scribe: Scribe, day: int) -> None:
    """The orchestrator's token, always used from Germany, is used from Brazil until it is revoked."""
    random = scribe.random
    machine, admin = MEADOW.machine("orchestrator"), MEADOW.person("Ines")
    at = day + 1 * HOUR + 57 * MINUTE
    for _ in range(46):
        at += random.randint(9, 70) * SECOND
        call_api(scribe, machine, at, STOLEN_FROM)
    for missing in ("exports:create", "members:read", "connections:read"):
        at += 20 * SECOND
        scribe.machine(
            at,
            "auth.token.rejected",
            machine,
            machine.resource,
            ip=STOLEN_FROM,
            outcome="failure",
            reason=f"missing permission {missing}",
            metadata={"token_name": machine.name, "cause": "ability"},
        )
    found = day + 7 * HOUR + 48 * MINUTE
    note = "used from Brazil, we have nobody there"
    scribe.person(
        found,
        "api_token.delete",
        admin,
        machine.resource,
        reason=note,
        metadata={"token_name": machine.name, "abilities": list(machine.abilities)},
    )
    scribe.person(
        found + 6 * MINUTE,
        "api_token.create",
        admin,
        machine.resource,
        reason="replaces the stolen one, bound to our address",
        metadata={"token_name": machine.name, "abilities": list(machine.abilities)},
    )


def quiet_takeover(scribe: Scribe, day: int) -> None:
    """An admin of Harbour Cloud loses the second factor, signs in from Vietnam and widens a policy."""
    admin, owner = HARBOUR.person("Chloé"), HARBOUR.person("Edda")
    at = day + 22 * HOUR + 4 * MINUTE
    helper = HARBOUR.person("Ivo")
    scribe.person(
        at,
        "auth.mfa.disable",
        helper,
        admin.resource,
        reason="asked by mail: new phone",
        on_behalf_of=admin.actor,
    )
    scribe.person(
        at + 13 * MINUTE,
        "auth.login.success",
        admin,
        admin.resource,
        ip=ODD_PLACE,
        metadata={"login_source": "web", "method": "password", "mfa": False},
    )
    scribe.person(
        at + 13 * MINUTE + SECOND,
        "security.location.unusual",
        admin,
        admin.resource,
        ip=ODD_PLACE,
        metadata={"usual": ["CA"], "seen": "VN"},
    )
    scribe.person(
        at + 19 * MINUTE,
        "policy.update",
        admin,
        thing(HARBOUR.name, "policy", "break-glass"),
        ip=ODD_PLACE,
        changes=change(subjects=(["group:owners"], ["group:owners", "user:mo.tidal@harbour.example"])),
    )
    scribe.person(
        at + 24 * MINUTE,
        "user.role.assign",
        admin,
        thing(HARBOUR.name, "user", "mo.tidal@harbour.example"),
        thing(HARBOUR.name, "role", "Owner"),
        ip=ODD_PLACE,
        outcome="failure",
        reason="only owners may assign this role",
        metadata={"role": "Owner", "scope": "organization"},
    )
    undo = at + 10 * HOUR
    note = "not me, says Chloé; account locked"
    scribe.person(
        undo, "user.update", owner, admin.resource, reason=note, changes=change(locked=(False, True))
    )
    scribe.person(
        undo + 2 * MINUTE,
        "policy.update",
        owner,
        thing(HARBOUR.name, "policy", "break-glass"),
        reason=note,
        changes=change(subjects=(["group:owners", "user:mo.tidal@harbour.example"], ["group:owners"])),
    )
