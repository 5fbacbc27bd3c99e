"""What people at Harbour Cloud do: projects, applications, resources, policies (source document 001)."""

from __future__ import annotations

from affidavit.core.event import CI, Resource
from affidavit.demo.cast import Machine, Person, thing
from affidavit.demo.office import ADMINS, COMMON, EVERYBODY, MAKERS, Deeds
from affidavit.demo.organizations import HARBOUR
from affidavit.demo.rhythm import zipf
from affidavit.demo.scribe import MINUTE, SECOND, Scribe, change

__all__ = [
    "APPLICATIONS",
    "DEEDS",
    "application",
    "clean_up",
    "deploy_from_ci",
    "project",
    "provision",
    "scale",
]

_PROJECTS = ("storefront", "ledger", "telemetry", "sandbox")
APPLICATIONS = ("checkout", "catalogue", "ledger-api", "mailer", "collector", "playground")
_PROJECT_OF = dict(zip(APPLICATIONS, ("storefront", "storefront", "ledger", *_PROJECTS[1:]), strict=True))
_RESOURCES = ("orders-db", "session-cache", "assets-bucket", "edge-network", "build-volume", "events-queue")
_SERVICES = ("database", "cache", "object-store", "network", "volume", "queue")
_POLICIES = ("production-readers", "break-glass", "ci-deployers", "contractors")


def application(name: str) -> Resource:
    """An application as what something is done to."""
    return thing(HARBOUR.name, "application", name)


def project(name: str) -> Resource:
    """A project as what something is done to."""
    return thing(HARBOUR.name, "project", name)


def _release(scribe: Scribe, name: str) -> tuple[str, str]:
    number = scribe.version(name)
    return f"1.{number - 1}.0", f"1.{number}.0"


def deploy(scribe: Scribe, person: Person, at: int) -> None:
    """A deployment by hand, from the command line more often than not; some fail and are rolled back."""
    random = scribe.random
    name = zipf(random, APPLICATIONS)
    old, new = _release(scribe, name)
    failed = random.random() < 0.08
    metadata = {"version": new, "environment": random.choice(("staging", "production"))}
    target = (application(name), project(_PROJECT_OF[name]))
    source = "cli" if random.random() < 0.6 else "web"
    scribe.person(
        at,
        "application.deploy",
        person,
        *target,
        outcome="failure" if failed else "success",
        project=_PROJECT_OF[name],
        source=source,
        reason="health check failed after 120 s" if failed else None,
        changes=None if failed else change(version=(old, new)),
        metadata=metadata,
    )
    if failed:
        scribe.person(
            at + 3 * MINUTE,
            "application.rollback",
            person,
            *target,
            project=_PROJECT_OF[name],
            source=source,
            changes=change(version=(new, old)),
            metadata={**metadata, "version": old},
        )


def configure(scribe: Scribe, person: Person, at: int) -> None:
    """The configuration of an application changes; secret values never show."""
    random = scribe.random
    name = zipf(random, APPLICATIONS)
    fields = random.choice(
        (
            change(replicas=(2, 3)),
            change(memory_mb=(512, 1024), cpu=(0.5, 1.0)),
            change(log_level=("info", "debug")),
            change(
                database_password=("old", "new"),
                database_host=("db-1.harbour.example", "db-2.harbour.example"),
            ),
        )
    )
    scribe.person(
        at, "application.update", person, application(name), project=_PROJECT_OF[name], changes=fields
    )


def manage_resource(scribe: Scribe, person: Person, at: int) -> None:
    """A database, a volume or a network is made, changed or deleted."""
    random = scribe.random
    number = random.randrange(len(_RESOURCES))
    verb = random.choice(("update", "update", "create", "delete"))
    size = 10 * scribe.version(_RESOURCES[number])
    scribe.person(
        at,
        f"resource.{verb}",
        person,
        thing(HARBOUR.name, _SERVICES[number], _RESOURCES[number]),
        project=_PROJECTS[number % len(_PROJECTS)],
        changes=change(size_gb=(size - 10, size)) if verb == "update" else None,
        metadata={"service": _SERVICES[number], "region": "eu-central"},
    )


def manage_project(scribe: Scribe, person: Person, at: int) -> None:
    """A project is made, or its budget changes."""
    random = scribe.random
    if random.random() < 0.8:
        name = random.choice(_PROJECTS)
        number = scribe.version("budget")
        scribe.person(
            at,
            "project.update",
            person,
            project(name),
            project=name,
            changes=change(budget_eur=(500 + 50 * number, 550 + 50 * number)),
        )
        return
    name = f"spike-{scribe.version('spike')}"
    scribe.person(at, "project.create", person, project(name), metadata={"template": "blank"})


def change_policy(scribe: Scribe, person: Person, at: int) -> None:
    """An access policy changes."""
    random = scribe.random
    name = zipf(random, _POLICIES)
    verb = random.choice(("update", "update", "update", "create", "delete"))
    old = ["group:operators"]
    scribe.person(
        at,
        f"policy.{verb}",
        person,
        thing(HARBOUR.name, "policy", name),
        changes=change(subjects=(old, [*old, f"user:{random.choice(HARBOUR.people).email}"]))
        if verb == "update"
        else None,
    )


def change_settings(scribe: Scribe, person: Person, at: int) -> None:
    """Settings of the organization change."""
    on = scribe.version("region lock") % 2 == 0
    scribe.person(
        at,
        "organization.settings.update",
        person,
        HARBOUR.resource,
        changes=change(region_lock=(not on, on), default_region=("eu-central", "eu-west")),
    )


def open_session(scribe: Scribe, person: Person, at: int) -> None:
    """A session for the command line."""
    scribe.person(
        at,
        "auth.session.create",
        person,
        person.resource,
        source="cli",
        metadata={"expires_at": "after 12 hours"},
    )


def leave(scribe: Scribe, person: Person, at: int) -> None:
    """A contractor's membership ends."""
    number = scribe.version("contractor")
    account = thing(HARBOUR.name, "user", f"contractor{number}@harbour.example")
    scribe.person(at, "member.remove", person, account, reason="contract ended")


def clean_up(scribe: Scribe, person: Person, at: int, count: int) -> None:
    """Many resources are deleted by one act."""
    first = scribe.person(
        at,
        "project.update",
        person,
        project("sandbox"),
        project="sandbox",
        source="cli",
        reason="quarterly clean-up of the sandbox",
        metadata={"deleted": count},
    )
    for number in range(count):
        scribe.person(
            at + SECOND + number * 310_007,
            "resource.delete",
            person,
            thing(HARBOUR.name, "volume", f"scratch-{number:03}"),
            project="sandbox",
            source="cli",
            parent_id=first.id,
            metadata={"service": "volume", "region": "eu-central"},
        )


def deploy_from_ci(scribe: Scribe, machine: Machine, at: int) -> None:
    """A deployment by a CI platform's token."""
    random = scribe.random
    name = zipf(random, APPLICATIONS[:3] if machine.name == "github-deploy" else APPLICATIONS[2:])
    old, new = _release(scribe, name)
    failed = random.random() < 0.05
    commit = f"{random.getrandbits(160):040x}"
    ci = machine.ci
    scribe.machine(
        at,
        "application.deploy",
        machine,
        application(name),
        project=_PROJECT_OF[name],
        outcome="failure" if failed else "success",
        reason="image not found" if failed else None,
        ci=None if ci is None else _with_run(ci, random.randrange(10**9, 10**10)),
        changes=None if failed else change(version=(old, new)),
        metadata={"version": new, "environment": "production", "commit": commit},
    )


def _with_run(ci: CI, number: int) -> CI:
    return CI(platform=ci.platform, confidence=ci.confidence, repository=ci.repository, run_id=str(number))


def provision(scribe: Scribe, machine: Machine, at: int) -> None:
    """Infrastructure as code makes or changes a resource."""
    random = scribe.random
    number = random.randrange(len(_RESOURCES))
    scribe.machine(
        at,
        random.choice(("resource.update", "resource.create", "resource.update")),
        machine,
        thing(HARBOUR.name, _SERVICES[number], _RESOURCES[number]),
        project=_PROJECTS[number % len(_PROJECTS)],
        metadata={"service": _SERVICES[number], "region": "eu-central"},
    )


def scale(scribe: Scribe, machine: Machine, at: int) -> None:
    """The autoscaler changes the number of replicas."""
    old = scribe.random.randint(2, 6)
    name = zipf(scribe.random, APPLICATIONS)
    scribe.machine(
        at,
        "application.update",
        machine,
        application(name),
        project=_PROJECT_OF[name],
        changes=change(replicas=(old, old + scribe.random.choice((-1, 1)))),
    )


DEEDS: Deeds = (
    (deploy, MAKERS),
    (configure, MAKERS),
    (open_session, EVERYBODY),
    (manage_resource, MAKERS),
    (manage_project, MAKERS),
    *COMMON,
    (change_policy, ADMINS),
    (change_settings, ADMINS),
    (leave, ADMINS),
)
