"""A day at the office: people sign in, do what their role lets them do, and some sign out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

from affidavit.demo.cast import Person, thing
from affidavit.demo.rhythm import HOUR, busy, midnight, moments, works_on, zipf
from affidavit.demo.scribe import MINUTE, SECOND, Scribe, change

__all__ = ["ADMINS", "COMMON", "EVERYBODY", "MAKERS", "Deed", "Deeds", "office_day"]

Deed = Callable[[Scribe, Person, int], None]
"""One thing that a person does at a moment."""
Deeds = Sequence[tuple[Deed, frozenset[str]]]
"""What there is to do, the most frequent first, each with the roles that do it."""

EVERYBODY = frozenset(("owner", "admin", "engineer", "analyst", "support"))
MAKERS = frozenset(("owner", "admin", "engineer"))
ADMINS = frozenset(("owner", "admin"))
SUPPORT = frozenset(("support",))

_METHODS = ("sso", "sso", "sso", "password", "passkey")


def office_day(scribe: Scribe, day: date, deeds: Deeds, mean: float) -> None:
    """One day of everybody in the scribe's organization.

    Args:
        scribe: of the organization.
        day: in UTC.
        deeds: what people there do.
        mean: how much the busiest person does on a working day.
    """
    random = scribe.random
    for person in scribe.organization.people:
        if not works_on(person, day, random):
            continue
        start = midnight(day) + int((9 - person.place.offset + random.gauss(0, 0.5)) * HOUR)
        end = start + int((8 + random.gauss(0, 0.8)) * HOUR)
        _sign_in(scribe, person, start)
        possible = [deed for deed, roles in deeds if person.role in roles]
        for at in moments(random, start + 5 * MINUTE, end, busy(random, person.weight, mean)):
            zipf(random, possible)(scribe, person, at)
        if random.random() < 0.35:
            scribe.person(end + 2 * MINUTE, "auth.logout", person)


def _sign_in(scribe: Scribe, person: Person, at: int) -> None:
    random = scribe.random
    method = random.choice(_METHODS)
    if method == "password" and random.random() < 0.25:
        scribe.person(
            at - 20 * SECOND,
            "auth.login.failed",
            person,
            person.resource,
            outcome="failure",
            session=None,
            reason="wrong password",
            metadata={"method": "password", "attempts": 1},
        )
    scribe.person(
        at,
        "auth.login.success",
        person,
        person.resource,
        metadata={"login_source": "web", "method": method, "mfa": method != "password"},
    )


_ROLES = ("Viewer", "Editor", "Operator", "Data steward", "Release manager", "Admin")
_PERMISSIONS = (
    *("runs:read", "runs:trigger", "connections:read", "connections:write", "secrets:use"),
    *("members:read", "exports:create", "agents:invoke"),
)
_NEWCOMERS = ("lena.dune", "ari.kestrel", "mo.tidal", "vera.copse", "ben.shale", "ida.furrow", "olu.brook")


def _newcomer(scribe: Scribe) -> str:
    number = scribe.version("newcomer")
    name = _NEWCOMERS[number % len(_NEWCOMERS)]
    return f"{name}{number // len(_NEWCOMERS) or ''}@{scribe.organization.domain}"


def invite_and_create(scribe: Scribe, person: Person, at: int) -> None:
    """Somebody new: invited, created, given a role, in one bulk operation."""
    name = scribe.organization.name
    email = _newcomer(scribe)
    role = scribe.random.choice(_ROLES[:3])
    account = thing(name, "user", email)
    first = scribe.person(
        at, "member.invite", person, scribe.organization.resource, metadata={"email": email, "role": role}
    )
    scribe.person(at + 3 * SECOND, "user.create", person, account, parent_id=first.id)
    scribe.person(
        at + 4 * SECOND,
        "user.role.assign",
        person,
        account,
        thing(name, "role", role),
        parent_id=first.id,
        changes=change(role=(None, role)),
        metadata={"role": role, "scope": "organization"},
    )


def change_role(scribe: Scribe, person: Person, at: int) -> None:
    """A colleague gets another role; now and then that is refused."""
    random, name = scribe.random, scribe.organization.name
    colleague = random.choice(scribe.organization.people)
    old, new = random.sample(_ROLES[:5], 2)
    refused = random.random() < 0.06
    scribe.person(
        at,
        "user.role.assign",
        person,
        colleague.resource,
        thing(name, "role", new),
        outcome="failure" if refused else "success",
        reason="only owners may assign this role" if refused else None,
        changes=None if refused else change(role=(old, new)),
        metadata={"role": new, "scope": "organization"},
    )


def change_permissions(scribe: Scribe, person: Person, at: int) -> None:
    """The permissions of a role change; the details hold the difference."""
    random = scribe.random
    role = random.choice(_ROLES[:5])
    old = sorted(random.sample(_PERMISSIONS, 4))
    added = sorted(random.sample([item for item in _PERMISSIONS if item not in old], random.randint(1, 2)))
    removed = [random.choice(old)]
    new = sorted({*old, *added} - set(removed))
    scribe.person(
        at,
        "role.permission.update",
        person,
        thing(scribe.organization.name, "role", role),
        changes=change(permissions=(old, new)),
        metadata={"diff": {"added": added, "removed": removed}},
    )


def update_user(scribe: Scribe, person: Person, at: int) -> None:
    """Somebody's profile changes."""
    random = scribe.random
    colleague = random.choice(scribe.organization.people)
    field, old, new = random.choice(
        (
            ("time_zone", "Europe/Amsterdam", "Europe/Lisbon"),
            ("title", "Engineer", "Senior engineer"),
            ("notifications", {"email": True, "chat": False}, {"email": True, "chat": True}),
        )
    )
    scribe.person(at, "user.update", person, colleague.resource, changes=change(**{field: (old, new)}))


def add_passkey(scribe: Scribe, person: Person, at: int) -> None:
    """Somebody adds a passkey to the own account; two are enough for anybody."""
    if scribe.version(f"passkeys of {person.email}") > 3:
        update_user(scribe, person, at)
        return
    scribe.person(
        at,
        "auth.passkey.add",
        person,
        person.resource,
        metadata={"passkey_name": f"{person.browser.label} key"},
    )


def update_organization(scribe: Scribe, person: Person, at: int) -> None:
    """The organization's own data changes."""
    number = scribe.version("seats")
    scribe.person(
        at,
        "organization.update",
        person,
        scribe.organization.resource,
        changes=change(seats=(20 + 5 * number, 25 + 5 * number)),
    )


def change_security(scribe: Scribe, person: Person, at: int) -> None:
    """The rules of signing in change."""
    hours = 8 + scribe.version("session hours") % 5
    scribe.person(
        at,
        "security.configuration.update",
        person,
        scribe.organization.resource,
        changes=change(session_hours=(hours, hours + 1)),
        reason="agreed in the quarterly access review",
    )


def connect_integration(scribe: Scribe, person: Person, at: int) -> None:
    """Another product is connected."""
    kind = scribe.random.choice(("Chat notifications", "Ticket tracker", "Directory sync", "Incident pager"))
    scribe.person(
        at,
        "integration.connect",
        person,
        thing(scribe.organization.name, "integration", kind),
        metadata={"integration": kind, "scopes": ["read", "notify"]},
    )


def look_as_customer(scribe: Scribe, person: Person, at: int) -> None:
    """Support looks at something as a customer, on their behalf and saying why."""
    random = scribe.random
    customer = random.choice(scribe.organization.people[:4])
    ticket = f"case {4000 + scribe.version('case')}"
    for step, field in enumerate(random.sample(("time_zone", "notifications", "language"), 2)):
        scribe.person(
            at + step * 40 * SECOND,
            "user.update",
            person,
            customer.resource,
            on_behalf_of=customer.actor,
            reason=f"{ticket}: asked by phone",
            changes=change(**{field: ("default", "adjusted")}),
        )


def be_denied(scribe: Scribe, person: Person, at: int) -> None:
    """Somebody opens what their role does not reach."""
    attempted, missing = scribe.random.choice(
        (
            ("billing.plan.change", "billing:manage"),
            ("role.create", "roles:manage"),
            ("user.delete", "users:manage"),
        )
    )
    scribe.person(
        at,
        "security.access.denied",
        person,
        scribe.organization.resource,
        outcome="failure",
        reason=f"missing permission {missing}",
        metadata={"attempted": attempted, "missing": missing},
    )


COMMON: Deeds = (
    (update_user, EVERYBODY),
    (look_as_customer, SUPPORT),
    (change_role, ADMINS),
    (invite_and_create, ADMINS),
    (change_permissions, ADMINS),
    (be_denied, frozenset(("analyst", "support"))),
    (connect_integration, ADMINS),
    (add_passkey, EVERYBODY),
    (update_organization, ADMINS),
    (change_security, ADMINS),
)
"""What people do in every organization; rarer than the organization's own work, so it comes after it."""
