"""Who gets proofs, receipts, tiles and bundles: every kind of credential asks about two organizations.

What each answer must be is decided here by a table of its own; each organization's events carry canaries, and
no answer to somebody who may not see them holds one, unpacked or not.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import httpx2
import pytest

from affidavit.access.abilities import ABILITIES
from affidavit.core.proof import parse_proof
from tests.e2e.program import Program
from tests.programs import Programs

LIST, EXPORT, WRITE, LOG = "audit-log:list", "audit-log:export", "events:write", "log:read"
PATIENCE = 20


class Tenant(NamedTuple):
    """An organization.

    Attributes:
        event: the id of an event that its own full token recorded.
        secrets: what must not reach anybody else.
    """

    name: str
    event: str
    log: str
    secrets: tuple[bytes, ...]


class Asker(NamedTuple):
    """A credential, and what it may."""

    client: httpx2.Client
    organizations: frozenset[str]
    abilities: frozenset[str]
    known: bool = True


class World(NamedTuple):
    """Two organizations and everybody who asks about them."""

    tenants: tuple[Tenant, Tenant]
    askers: dict[str, Asker]


BOTH = frozenset(("tenant-a", "tenant-b"))
ALL = frozenset(ABILITIES)

ROUTES = {
    "proof": ("/api/v1/events/{event}/proof?organization={name}", LIST),
    "receipt": ("/api/v1/events/{event}/receipt?organization={name}", LIST),
    "checkpoint": ("/log/{log}/checkpoint", LOG),
    "hashes": ("/log/{log}/tile/0/000.p/2", LOG),
    "entries": ("/log/{log}/tile/entries/000.p/2", LOG),
    "bundle": ("/api/v1/events/export?format=bundle&organization={name}", EXPORT),
    "filtered bundle": ("/api/v1/events/export?format=bundle&action=user.update&organization={name}", EXPORT),
    "receipts": ("/api/v1/events/export?format=ndjson&proofs=true&organization={name}", EXPORT),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[World]:
    """One server, two organizations with published events, and one asker of each kind."""
    program = programs(tmp_path_factory.mktemp("scopes"))
    with program.serving() as serving, ExitStack() as opened:

        def client(token: str | None) -> httpx2.Client:
            headers = {} if token is None else {"authorization": f"Bearer {token}"}
            made = httpx2.Client(base_url=serving.address, headers=headers, trust_env=False, timeout=60)
            return opened.enter_context(made)

        operator = client((program.folder / "affidavit-data" / "operator.token").read_text().strip())

        def token(abilities: frozenset[str], *organizations: str) -> tuple[str, httpx2.Client]:
            asked = {"name": "t", "organizations": organizations, "abilities": sorted(abilities)}
            made = operator.post("/api/v1/tokens", json=asked).json()
            return made["id"], client(made["token"])

        common = ALL - {"instance:operate"}
        full = {name: token(common, name)[1] for name in sorted(BOTH)}
        tenants = tuple(tenant(full[name], name) for name in sorted(BOTH))
        askers = {
            "nobody": Asker(client(None), frozenset(), frozenset(), known=False),
            "unknown token": Asker(client("aff_" + "A" * 43), frozenset(), frozenset(), known=False),
            "operator": Asker(operator, BOTH, ALL),
            "of both": Asker(token(common, *sorted(BOTH))[1], BOTH, common),
            "of another": Asker(token(common, "tenant-c")[1], frozenset(("tenant-c",)), common),
        }
        for name in sorted(BOTH):
            askers[f"full {name}"] = Asker(full[name], frozenset((name,)), common)
            for ability in sorted(common):
                asker = token(frozenset((ability,)), name)[1]
                askers[f"{ability} {name}"] = Asker(asker, frozenset((name,)), frozenset((ability,)))
        number, revoked = token(common, "tenant-a")
        assert operator.delete(f"/api/v1/tokens/{number}").status_code == 200
        askers["revoked"] = Asker(revoked, frozenset(), frozenset(), known=False)
        session = signed_in(program, serving.address, client(None))
        askers["session"] = Asker(session, frozenset(("tenant-a",)), frozenset((LIST, EXPORT)))
        yield World((tenants[0], tenants[1]), askers)


def signed_in(program: Program, address: str, visitor: httpx2.Client) -> httpx2.Client:
    """A browser's session of the first organization."""
    done = program.run("login", "--organization", "tenant-a", "--public-url", address)
    assert done.code == 0, done.err
    link = done.out.strip().removeprefix(address)
    login, _, code = link.partition("?code=")
    assert visitor.post(login, data={"code": code}, headers={"origin": address}).status_code == 303
    return visitor


def tenant(client: httpx2.Client, name: str) -> Tenant:
    """Record events with canaries and wait until they are signed."""
    canary = f"canary-of-{name}"
    events = [
        {
            "action": "user.update",
            "actor": {"type": "user", "id": canary, "email": f"{canary}@example.org"},
            "metadata": {"text": canary},
        }
        for _ in range(5)
    ]
    answer = client.post("/api/v1/events", json={"events": events})
    ids = [one["id"] for one in answer.json()["events"]]
    end = time.monotonic() + PATIENCE
    while (
        got := client.get(f"/api/v1/events/{ids[-1]}/proof")
    ).status_code == 409 and time.monotonic() < end:
        time.sleep(0.1)
    origin = parse_proof(got.content).checkpoint.decode().partition("\n")[0]
    hex_digits = origin.split("/")[1]
    secrets = (canary.encode(), hex_digits.encode(), *(each.encode() for each in ids))
    return Tenant(name, ids[0], f"{hex_digits}/1", secrets)


def expected(asker: Asker, route: str, name: str) -> int:
    """The status that the documentation promises."""
    if not asker.known:
        return 401
    ability = ROUTES[route][1]
    may = ability in asker.abilities
    writes = route == "receipt" and WRITE in asker.abilities
    if not may and not writes:
        return 403
    if name not in asker.organizations:
        return 404
    # Whoever may only write asks for the receipt of an event that another token recorded.
    return 200 if may else 404


def unpacked(content: bytes) -> bytes:
    """An answer with the members of a zip written out behind it."""
    if content[:2] != b"PK":
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return content + b"".join(opened.read(name) for name in opened.namelist())


def test_every_credential_gets_what_is_its_own(world: World) -> None:
    """Attack case 45: the status of each pair of credential and route, and no canary in a foreign answer."""
    wrong: list[object] = []
    seen = 0
    for title, asker in world.askers.items():
        for own, other in (world.tenants, world.tenants[::-1]):
            for route, (path, _) in ROUTES.items():
                answer = asker.client.get(path.format(event=own.event, log=own.log, name=own.name))
                if answer.status_code != expected(asker, route, own.name):
                    wrong.append((title, route, own.name, answer.status_code))
                content = unpacked(answer.content)
                hidden = other.secrets if answer.status_code == 200 else other.secrets + own.secrets
                wrong += [(title, route, own.name, secret) for secret in hidden if secret in content]
                seen += answer.status_code == 200 and any(secret in content for secret in own.secrets)
    assert wrong == []
    assert seen > 30


@pytest.mark.parametrize("route", ["proof", "receipt", "checkpoint", "hashes", "entries"])
def test_an_event_of_another_organization_is_unknown(world: World, route: str) -> None:
    """Attack case 45: a foreign event or log gets the same answer as one that never was."""
    ours, theirs = world.tenants
    path = ROUTES[route][0]
    for title in ("full tenant-a", "of another"):
        asker = world.askers[title].client
        name = ours.name if title == "full tenant-a" else "tenant-c"
        answer = asker.get(path.format(event=theirs.event, log=theirs.log, name=name))
        nowhere = asker.get(path.format(event=f"{theirs.event[:-4]}0000", log=f"{'0' * 32}/1", name=name))
        assert answer.status_code == nowhere.status_code == 404
        assert answer.json() == nowhere.json()


def test_a_bundle_is_never_across_organizations(world: World) -> None:
    """Whoever reaches several names one, also the operator within dates."""
    dates = "start_date=2020-01-01&end_date=2099-01-01"
    for title in ("operator", "of both"):
        for form in ("bundle", "ndjson&proofs=true"):
            answer = world.askers[title].client.get(f"/api/v1/events/export?format={form}&{dates}")
            assert answer.status_code == 400, (title, form, answer.text)
            assert [error["pointer"] for error in answer.json()["errors"]] == ["organization"]
