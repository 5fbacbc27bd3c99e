"""What the five source documents want recorded: recorded over HTTP and read back under its title."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.programs import Programs
from tests.unit.catalogs.test_ready_made import (
    AUTOMATION_WORKSPACE,
    CLOUD_PLATFORM,
    DATA_PLATFORM,
    FLOW_PLATFORM,
    INTEGRATION_PLATFORM,
    NAMED_REQUESTS,
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[httpx2.Client]:
    """A client that records and lists, of a server of its own."""
    program = programs(tmp_path_factory.mktemp("server"))
    abilities = [f"--ability={name}" for name in ("events:write", "audit-log:list")]
    token = program.json("token", "create", "--organization", "acme", *abilities, "--json")[0]["token"]
    with (
        program.serving() as serving,
        httpx2.Client(
            base_url=serving.address,
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        ) as opened,
    ):
        yield opened


def catalogued(client: httpx2.Client) -> dict[str, dict[str, Any]]:
    """The event types that the server names, by action."""
    types: list[dict[str, Any]] = client.get("/api/v1/catalog").json()["types"]
    return {item["action"]: item for item in types}


def record_and_read(client: httpx2.Client, action: str, **fields: Any) -> dict[str, Any]:
    """The event as it is read back by its id."""
    event = {"action": action, "actor": {"type": "user", "id": "ana", "email": "ana@example.com"}, **fields}
    answer = client.post("/api/v1/events", json=event)
    assert answer.status_code == 201, answer.text
    read: dict[str, Any] = client.get(f"/api/v1/events/{answer.json()['events'][0]['id']}").json()
    return read


def check_titles(client: httpx2.Client, titles: set[str]) -> None:
    """Every type with such a title can be recorded, and comes back under that title."""
    types = catalogued(client)
    named = {item["title"]: action for action, item in types.items()}
    assert titles <= set(named)
    for title in titles:
        assert record_and_read(client, named[title])["title"] == title


def check_actions(client: httpx2.Client, actions: set[str]) -> None:
    """Every action can be recorded, is in the catalog, and is found by its name and by its group."""
    types = catalogued(client)
    for action in sorted(actions):
        read = record_and_read(client, action)
        assert read["title"] == types[action]["title"]
        for question in ({"action": action}, {"action_group": action.partition(".")[0]}):
            listed = client.get("/api/v1/events", params={**question, "limit": 1000}).json()["events"]
            assert read["id"] in {event["id"] for event in listed}


@pytest.mark.requirement(
    "R6",
    "R8",
    "R9",
    "R10",
    "R11",
    "R12",
    "R13",
    "R14",
    "R15",
    "R16",
    "R17",
    "R18",
    "R19",
    "R20",
    "R22",
    "R23",
    "R24",
    "R25",
    "R27",
    "R28",
    "R29",
    "R30",
    "R31",
    "R42",
    "R67",
)
def test_every_event_of_a_data_platform(client: httpx2.Client) -> None:
    """Pipelines, connections, teams, tokens, agents, billing: each event is recorded under its name."""
    check_titles(client, set().union(*DATA_PLATFORM.values()))


@pytest.mark.requirement("R32", "R33", "R34", "R35", "R36", "R37", "R38", "R39", "R40")
def test_every_request_of_an_integration(client: httpx2.Client) -> None:
    """28 request types, each with endpoint, method, parameters, the token's name and what it touched."""
    types = [item for action, item in catalogued(client).items() if action.startswith("api.request.")]
    assert len(types) == 28
    assert {f"API: {title}" for title in NAMED_REQUESTS} <= {item["title"] for item in types}
    for item in types:
        read = record_and_read(
            client,
            item["action"],
            session={"type": "api_token", "token_name": "nightly sync"},
            request={"method": "GET", "endpoint": "/pipelines/{id}", "params": {"project": "web"}},
            resources=[{"type": "pipeline", "id": "p-1"}, {"type": "run", "id": "r-7"}],
        )
        assert read["title"] == item["title"]
        assert read["request"] == {
            "method": "GET",
            "endpoint": "/pipelines/{id}",
            "params": {"project": "web"},
        }
        assert read["session"]["token_name"] == "nightly sync"
        assert [resource["id"] for resource in read["resources"]] == ["p-1", "r-7"]


@pytest.mark.requirement("R70", "R71", "R72", "R73", "R74", "R75", "R76", "R89")
def test_every_event_of_a_cloud_platform(client: httpx2.Client) -> None:
    """Resources, authentication, configuration, deployments and administration, by people and by tokens."""
    check_actions(client, set().union(*CLOUD_PLATFORM.values()))


@pytest.mark.requirement("R78", "R98", "R99", "R100")
def test_what_needs_a_look_at_once_is_critical(client: httpx2.Client) -> None:
    """Failed sign-ins, unusual places and attempts at privileges are critical; routine is info."""
    assert record_and_read(client, "auth.login.failed", outcome="failure")["severity"] == "critical"
    assert record_and_read(client, "security.location.unusual")["severity"] == "critical"
    assert record_and_read(client, "security.privilege.escalation")["severity"] == "critical"
    assert record_and_read(client, "role.permission.update")["severity"] == "warning"
    assert record_and_read(client, "auth.logout")["severity"] == "info"
    found = client.get("/api/v1/events", params={"severity": "critical", "limit": 1000}).json()["events"]
    assert {event["severity"] for event in found} == {"critical"}


@pytest.mark.requirement("R104", "R105", "R106", "R107", "R108", "R109", "R110")
def test_every_event_of_an_integration_platform(client: httpx2.Client) -> None:
    """The dotted names of the document, letter by letter, each found in its group."""
    check_actions(client, set().union(*INTEGRATION_PLATFORM.values()))
    groups = {item["group"]: item["title"] for item in client.get("/api/v1/catalog").json()["groups"]}
    assert (groups["auth"], groups["user"], groups["role"]) == ("Authentication", "Users", "Roles")
    assert groups["organization"] == "Organizations"


@pytest.mark.requirement("R160", "R161", "R162", "R163", "R164", "R172", "R173")
def test_every_event_of_an_automation_workspace(client: httpx2.Client) -> None:
    """Invitations, secrets, environments, runners, journeys; with a note, and with the level granted."""
    check_actions(client, set().union(*AUTOMATION_WORKSPACE.values()))
    rotated = record_and_read(
        client,
        "secret.rotate",
        reason="partial rotation",
        resources=[{"type": "secret", "id": "s-1", "name": "deploy key"}],
    )
    assert rotated["reason"] == "partial rotation"
    granted = record_and_read(
        client,
        "journey.access.grant",
        resources=[{"type": "journey", "id": "j-1"}, {"type": "user", "id": "u-2", "name": "Bo"}],
        metadata={"level": "editor"},
    )
    assert granted["metadata"]["level"] == "editor"


@pytest.mark.requirement("R165", "R185", "R187")
def test_events_of_a_flow_platform_and_of_nobodys_catalog(client: httpx2.Client) -> None:
    """Sign-ins and flows with the type of the session, and an action that no catalog names yet."""
    check_actions(client, set().union(*FLOW_PLATFORM.values()))
    read = record_and_read(
        client, "flow.create", session={"type": "oauth_client", "id": "c-1", "token_name": "builder"}
    )
    assert read["session"] == {"type": "oauth_client", "id": "c-1", "token_name": "builder"}
    assert record_and_read(client, "rocket.stage.ignite")["action"] == "rocket.stage.ignite"


@pytest.mark.requirement("R150")
def test_a_change_of_permissions_holds_the_difference(client: httpx2.Client) -> None:
    """The old and the new list of permissions stand in the event."""
    changes = {"permissions": {"old": ["read"], "new": ["read", "write"]}}
    read = record_and_read(client, "role.permission.update", changes=changes)
    assert read["changes"] == changes
