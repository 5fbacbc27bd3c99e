"""What a Viewer gets from a mounted page: every role, every set of organizations, every endpoint.

What each answer must be is decided here by tables of its own; each organization's events carry canaries, and
no answer to somebody who may not see them holds one, unpacked or not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import httpx2
import pytest
from fastapi import FastAPI, Request
from starlette.testclient import TestClient

from affidavit.access.viewers import Viewer
from affidavit.embed import Audit
from affidavit.web.app import OPERATIONS
from tests.programs import Programs
from tests.security.test_proof_scopes import Tenant, tenant, unpacked

READS = frozenset(("audit-log:list", "audit-log:export", "log:read"))
RUNS = READS | {"events:write", "tokens:manage"}
OWNS = RUNS | {"retention:manage", "erasure:manage"}
ROLES = {
    "viewer": frozenset[str](),
    "auditor": READS,
    "admin": RUNS,
    "owner": OWNS,
    "operator": OWNS | {"instance:operate"},
}
"""What the how-to promises of each role."""
REACHES = {"none": "", "a": "tenant-a", "b": "tenant-b", "both": "tenant-a tenant-b", "absent": None}
HOME = "tenant-a"
"""The organization of the product, for whom no other is named."""
NOWHERE = "00000000-0000-7000-8000-000000000000"


class Route(NamedTuple):
    """An endpoint.

    Attributes:
        operation: as the API declares it; pages have none.
        ability: what it needs; two where either is enough.
        status: for those who may and reach the organization.
        about: whether it is about one organization, which a foreign one must not be told from an unknown one.
    """

    method: str
    path: str
    operation: str
    ability: str | None
    status: int
    about: bool = True
    body: Any = None


API = "/api/v1"
EVENT = {"action": "user.create", "actor": {"type": "user", "id": "u"}}
ROUTES = [
    Route("POST", f"{API}/events?organization={{name}}", f"{API}/events", "events:write", 201, body=EVENT),
    *[
        Route("GET", f"{path}?organization={{name}}{more}", path, "audit-log:list", 200)
        for path, more in (
            (f"{API}/events", ""),
            (f"{API}/events", "&q=canary&limit=1000"),
            (f"{API}/events", "&order=asc"),
            (f"{API}/events/histogram", ""),
            (f"{API}/events/facets", ""),
            ("/api/audit", ""),
        )
    ],
    *[
        Route(
            "GET",
            f"{API}/events/export?organization={{name}}&format={form}",
            f"{API}/events/export",
            "audit-log:export",
            200,
        )
        for form in ("csv", "ndjson", "bundle", "ndjson&proofs=true")
    ],
    *[
        Route(
            "GET",
            f"{API}/events/{{event}}{end}?organization={{name}}",
            f"{API}/events/{{id}}{end}",
            "audit-log:list",
            200,
        )
        for end in ("", "/proof")
    ],
    Route(
        "GET",
        f"{API}/events/{{event}}/receipt?organization={{name}}",
        f"{API}/events/{{id}}/receipt",
        "audit-log:list or events:write",
        200,
    ),
    Route("GET", f"{API}/catalog", f"{API}/catalog", "audit-log:list", 200, about=False),
    Route("GET", f"{API}/organizations", f"{API}/organizations", "instance:operate", 200, about=False),
    Route(
        "POST", f"{API}/organizations", f"{API}/organizations", "instance:operate", 200,
        about=False, body={"name": "declared"},
    ),
    Route("GET", f"{API}/tokens", f"{API}/tokens", "tokens:manage", 200, about=False),
    Route(
        "POST", f"{API}/tokens", f"{API}/tokens", "tokens:manage", 201,
        body={"name": "t", "organizations": ["{name}"], "abilities": ["log:read"]},
    ),
    Route("DELETE", f"{API}/tokens/tok_0", f"{API}/tokens/{{id}}", "tokens:manage", 404, about=False),
    *[
        Route(method, f"{API}/{path}?organization={{name}}", f"{API}/{operation}", may, status, body=body)
        for method, path, operation, may, status, body in (
            ("GET", "retention", "retention", "retention:manage", 200, None),
            ("POST", "retention/run", "retention/run", "retention:manage", 200, {"dry_run": True}),
            ("GET", f"retention/run/{NOWHERE}", "retention/run/{id}", "retention:manage", 404, None),
            ("PUT", "retention/user.*", "retention/{class}", "retention:manage", 200, {"days": 9999}),
            ("DELETE", "retention/none.*", "retention/{class}", "retention:manage", 404, None),
            ("GET", "holds", "holds", "retention:manage", 200, None),
            ("POST", "holds", "holds", "retention:manage", 201, {"name": "h", "reason": "r"}),
            ("DELETE", "holds/hold_0", "holds/{id}", "retention:manage", 404, None),
            ("GET", "erasures", "erasures", "erasure:manage", 200, None),
            ("POST", "erasures", "erasures", "erasure:manage", 202,
             {"subject": "s", "basis": "b", "dry_run": True}),
            ("GET", f"erasures/{NOWHERE}", "erasures/{id}", "erasure:manage", 404, None),
        )
    ],
    Route("GET", "/log/{log}/checkpoint", "/log/{hex}/{incarnation}/checkpoint", "log:read", 200),
    Route(
        "GET", "/log/{log}/tile/entries/000.p/2", "/log/{hex}/{incarnation}/tile/{level}/{index}",
        "log:read", 200,
    ),
    Route("GET", "/healthz", "/healthz", None, 200, about=False),
    Route("GET", "/readyz", "/readyz", None, 200, about=False),
    Route("GET", "/metrics", "/metrics", "instance:operate", 200, about=False),
]  # fmt: skip
PAGES = [
    Route("GET", "/?organization={name}", "", "audit-log:list", 200),
    Route("GET", "/?organization={name}&search=canary", "", "audit-log:list", 200),
    Route("GET", "/events/{event}?organization={name}", "", "audit-log:list", 200),
    Route("GET", "/events/{event}", "", "audit-log:list", 200),
]


class World(NamedTuple):
    """Two organizations, and a product with the page of both."""

    tenants: tuple[Tenant, Tenant]
    client: TestClient


def who(request: Request) -> Viewer | None:
    """Whoever the headers say."""
    role, reach = request.headers.get("x-role"), request.headers.get("x-reach")
    if role is None:
        return None
    return Viewer("v", role=role, organizations=None if reach is None else reach.split())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[World]:
    """Published events with canaries in two organizations; a product mounts the page on their database."""
    program = programs(tmp_path_factory.mktemp("viewers"))
    keys = program.folder / "affidavit-data"
    with program.serving() as serving:
        operator = {"authorization": f"Bearer {(keys / 'operator.token').read_text().strip()}"}
        with httpx2.Client(base_url=serving.address, headers=operator, trust_env=False, timeout=60) as asked:
            assert asked.post("/api/v1/organizations", json={"name": "declared"}).status_code == 201
            tenants = []
            for name in ("tenant-a", "tenant-b"):
                new = {"name": "t", "organizations": [name], "abilities": ["audit-log:list", "events:write"]}
                token = asked.post("/api/v1/tokens", json=new).json()["token"]
                bearer = {"authorization": f"Bearer {token}"}
                with httpx2.Client(
                    base_url=serving.address, headers=bearer, trust_env=False, timeout=60
                ) as made:
                    tenants.append(tenant(made, name))
        audit = Audit(program.database or f"sqlite:///{keys}/affidavit.db", organization=HOME, data_dir=keys)
        app = FastAPI()
        app.mount("/audit", audit.ui(authorize=who))
        with TestClient(app, client=("203.0.113.9", 1), follow_redirects=False) as client:
            yield World((tenants[0], tenants[1]), client)
        audit.close()


def ask(world: World, route: Route, of: Tenant, role: str | None, reach: str | None) -> Any:
    """The answer to somebody of a role and a reach."""
    filled = {"name": of.name, "event": of.event, "log": of.log}
    headers = {"origin": "http://testserver"}
    headers |= {} if role is None else {"x-role": role}
    headers |= {} if reach is None else {"x-reach": reach}
    body = None if route.body is None else json.dumps(route.body).replace("{name}", of.name)
    path = route.path.replace("{class}", "*").format(**filled)
    return world.client.request(route.method, f"/audit{path}", content=body, headers=headers)


def reached(role: str, reach: str | None) -> set[str]:
    """The organizations of a viewer, by the words of the how-to."""
    if reach is not None:
        return set(reach.split())
    return {"tenant-a", "tenant-b"} if role == "operator" else {HOME}


def expected(route: Route, role: str, reach: str | None, name: str) -> set[int]:
    """The statuses that the documentation admits."""
    page = route.operation == ""
    may = route.ability is None or bool(ROLES[role] & set(route.ability.split(" or ")))
    if not may:
        return {404} if page else {403}
    if route.about and name not in reached(role, reach):
        return {404}
    # Whoever may only write asks for the receipt of an event that somebody else recorded.
    if route.operation.endswith("/receipt") and "audit-log:list" not in ROLES[role]:
        return {404}
    return {route.status}


def test_every_operation_is_asked() -> None:
    """A new endpoint is one that nobody has looked at: it must be added here."""
    declared = {(operation.method, operation.path) for operation in OPERATIONS}
    assert {(route.method, route.operation) for route in ROUTES} == declared


@pytest.mark.parametrize("role", ROLES)
def test_every_viewer_gets_what_is_their_own(world: World, role: str) -> None:
    """The status of each set of organizations and route, and no canary in a foreign answer."""
    wrong: list[object] = []
    seen = 0
    for (title, reach), (own, other) in product(REACHES.items(), (world.tenants, world.tenants[::-1])):
        for route in [*ROUTES, *PAGES]:
            answer = ask(world, route, own, role, reach)
            case = (title, route.method, route.path, own.name)
            if answer.status_code not in expected(route, role, reach, own.name):
                wrong.append((*case, answer.status_code, answer.text[:200]))
            wrong += [(*case, secret) for secret in leaked(answer, own, other, reached(role, reach))]
            seen += answer.status_code == 200 and any(secret in answer.content for secret in own.secrets)
    assert wrong == []
    assert (seen > 0) == bool(ROLES[role])


def leaked(answer: Any, own: Tenant, other: Tenant, may: set[str]) -> list[bytes]:
    """What an answer holds of organizations that are out of reach, or of any where it is a refusal."""
    refused = answer.status_code != 200
    secrets = {secret for each in (own, other) if refused or each.name not in may for secret in each.secrets}
    if refused:  # an address that was asked for may be named again, in a link that leads away from it
        secrets -= {own.event.encode(), own.log.partition("/")[0].encode()}
    content = unpacked(answer.content)
    return [secret for secret in secrets if secret in content]


def test_a_foreign_organization_looks_like_an_unknown_one(world: World) -> None:
    """To an owner of one, another's address answers as one that never was."""
    theirs = world.tenants[1]
    never = theirs._replace(name="tenant-never", event=NOWHERE, log=f"{'0' * 32}/1")
    for route in [route for route in ROUTES + PAGES if route.about]:
        foreign, unknown = (ask(world, route, each, "owner", "tenant-a") for each in (theirs, never))
        assert foreign.status_code == unknown.status_code == 404, route
        assert foreign.headers["content-type"] == unknown.headers["content-type"]
        if route.operation:
            assert foreign.json() == unknown.json()


def test_nobody_gets_nothing(world: World) -> None:
    """Without a Viewer: 401 from everything but what tells that the process is up."""
    for route in [*ROUTES, *PAGES]:
        answer = ask(world, route, world.tenants[0], None, None)
        assert answer.status_code == (200 if route.ability is None else 401), route
        assert all(secret not in answer.content for secret in world.tenants[0].secrets if len(secret) > 40)


@pytest.mark.parametrize("role", ["auditor", "admin", "owner"])
def test_several_organizations_are_named(world: World, role: str) -> None:
    """A question of a viewer of several that names none is refused; the empty set names nothing either."""
    for path in (f"{API}/events", f"{API}/events/export?format=csv"):
        headers = {"x-role": role, "x-reach": "tenant-a tenant-b"}
        answer = world.client.get(f"/audit{path}", headers=headers)
        assert answer.status_code == 400
        assert [error["pointer"] for error in answer.json()["errors"]] == ["organization"]
        nothing = world.client.get(f"/audit{path}", headers={"x-role": role, "x-reach": ""})
        assert nothing.status_code == 200
        assert b"canary" not in nothing.content


def test_an_owner_gives_no_more_than_they_have(world: World) -> None:
    """A token that a Viewer makes has no ability and no organization that they lack."""
    for role, reach, abilities, organization, status in (
        ("admin", "tenant-a", ["retention:manage"], "tenant-a", 403),
        ("owner", "tenant-a", ["instance:operate"], "tenant-a", 403),
        ("owner", "tenant-a", ["audit-log:list"], "tenant-b", 404),
        ("owner", "tenant-a", ["retention:manage"], "tenant-a", 201),
    ):
        new = {"name": "t", "organizations": [organization], "abilities": abilities}
        headers = {"x-role": role, "x-reach": reach, "origin": "http://testserver"}
        assert world.client.post("/audit/api/v1/tokens", json=new, headers=headers).status_code == status
