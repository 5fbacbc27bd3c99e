"""An API on FastAPI under uvicorn records its requests; the real server shows them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
import uvicorn
from fastapi import Body, Depends, FastAPI, Header, HTTPException

from affidavit.core.event import Session
from affidavit.embed import Audit
from affidavit.recorder.context import current
from affidavit.recorder.middleware.asgi import AuditMiddleware
from affidavit.recorder.requests import RequestRecorder
from tests.e2e.program import Program

READS = {
    "GET /v1/pipelines": "get_pipelines",
    "GET /v1/projects": "get_projects",
    "GET /v1/projects/{project}": "get_project",
    "GET /v1/pipelines/{pipeline_id}": "get_pipeline",
    "GET /v1/pipelines/{pipeline_id}/runs": "get_pipeline_runs",
    "GET /v1/pipelines/{pipeline_id}/runs/{run_id}": "get_pipeline_run",
    "GET /v1/connections": "get_connections",
}
GLOSSARY = {
    "GET /v1/glossary": "get_glossary_entities",
    "GET /v1/glossary/{entity}": "get_glossary_entity",
}
ASSETS = {
    "GET /v1/pipelines/{pipeline_id}/assets": "get_pipeline_assets",
    "GET /v1/assets/{asset_id}": "get_asset",
    "GET /v1/runs/{run_id}/assets": "get_run_asset_instances",
    "GET /v1/runs/{run_id}/assets/{asset_id}": "get_asset_instance",
    "GET /v1/runs/{run_id}/assets/{asset_id}/logs": "get_asset_instance_logs",
}
ERRORS = {"GET /v1/pipelines/{pipeline_id}/validation-errors": "get_pipeline_validation_errors"}
WRITES = {
    "POST /v1/pipelines/{pipeline_id}/runs": "trigger_pipeline_run",
    "POST /v1/runs/{run_id}/rerun": "rerun_pipeline_run",
    "POST /v1/runs/{run_id}/mark": "mark_pipeline_run",
    "POST /v1/pipelines/{pipeline_id}/enable": "enable_pipeline",
    "POST /v1/pipelines/{pipeline_id}/disable": "disable_pipeline",
    "POST /v1/runs/{run_id}/assets/{asset_id}/rerun": "rerun_asset_instance",
    "POST /v1/runs/{run_id}/assets/{asset_id}/mark": "mark_asset_instance",
    "POST /v1/runs/mark": "mark_pipeline_runs",
    "POST /v1/runs/{run_id}/assets/mark": "mark_asset_instances",
    "POST /v1/pipelines/trigger": "trigger_pipeline_runs",
    "POST /v1/pipelines/enable": "enable_pipelines",
    "POST /v1/pipelines/disable": "disable_pipelines",
    "PUT /v1/runs/{run_id}/note": "update_run_note",
}
ENDPOINTS = READS | GLOSSARY | ASSETS | ERRORS | WRITES
VALUES = {
    "project": "web",
    "pipeline_id": "p-1",
    "run_id": "r-7",
    "asset_id": "a-3",
    "entity": "customer",
}


def data_platform(audit: Audit) -> FastAPI:
    """An API with an endpoint for each of the 28 request types, sync and async in turn."""

    def authorized(authorization: Annotated[str, Header()] = "") -> None:
        name = authorization.removeprefix("Bearer ")
        if not name:
            raise HTTPException(401)
        audit.actor(f"token-{name}", type="api_token", name=name)
        here = current()
        assert here is not None
        here.update(session=Session(type="api_token", token_id=f"token-{name}", token_name=name))
        if name == "reader" and here.known()["request"].method != "GET":
            raise HTTPException(403)

    async def in_loop() -> str:
        return "ok"

    def in_thread() -> str:
        return "ok"

    async def write(body: Annotated[dict[str, Any] | None, Body()] = None) -> str:
        return "done"

    api = FastAPI(dependencies=[Depends(authorized)])
    # What is written out comes before what a parameter could be.
    for number, key in enumerate(sorted(ENDPOINTS, key=lambda key: key.count("{"))):
        method, path = key.split()
        read = in_loop if number % 2 else in_thread
        api.add_api_route(path, read if method == "GET" else write, methods=[method])
    return api


@dataclass(frozen=True)
class Platform:
    """The API that records, and the server that shows what it recorded."""

    address: str
    log: httpx2.Client

    def ask(self, key: str, token: str | None = "nightly sync", **options: Any) -> httpx2.Response:
        """Ask the API."""
        method, template = key.split()
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        url = self.address + template.format(**VALUES)
        return httpx2.request(method, url, headers=headers, trust_env=False, timeout=60, **options)

    def events(self, **filters: str) -> list[dict[str, Any]]:
        """What the log shows, oldest first."""
        found = self.log.get("/api/v1/events", params={"limit": 1000, "order": "desc", **filters})
        assert found.status_code == 200, found.text
        events: list[dict[str, Any]] = found.json()["events"]
        return events[::-1]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Both, on one SQLite file."""
    folder: Path = tmp_path_factory.mktemp("platform")
    database = f"sqlite:///{folder / 'platform.db'}"
    program = Program(folder, database=database)
    abilities = [f"--ability={name}" for name in ("events:write", "audit-log:list")]
    token = program.json("token", "create", "--organization", "acme", *abilities, "--json")[0]["token"]
    audit = Audit(database, organization="acme")
    chosen = {key: f"api.request.{name}" for key, name in ENDPOINTS.items()}
    api = data_platform(audit)
    api.add_middleware(
        AuditMiddleware,
        trusted_proxies=["127.0.0.1"],
        requests=RequestRecorder(audit, chosen, bodies=True),
    )
    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    with (
        program.serving() as serving,
        httpx2.Client(
            base_url=serving.address,
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        ) as log,
    ):
        thread.start()
        try:
            yield Platform(f"http://127.0.0.1:{_port(server)}", log)
        finally:
            server.should_exit = True
            thread.join(60)


def _port(server: uvicorn.Server) -> int:
    ends = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < ends, "uvicorn did not start"
        threading.Event().wait(0.01)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def check(platform: Platform, endpoints: dict[str, str]) -> None:
    """Each endpoint leaves one event of its type, with what the path names, and without delay."""
    for key, name in endpoints.items():
        method, template = key.split()
        before = len(platform.events(action=f"api.request.{name}"))
        assert platform.ask(key, params={"page": "2"}).status_code == 200
        events = platform.events(action=f"api.request.{name}")
        assert len(events) == before + 1
        event = events[-1]
        named = {
            parameter.removesuffix("_id"): value
            for parameter, value in VALUES.items()
            if f"{{{parameter}}}" in template
        }
        assert event["request"]["endpoint"] == template
        assert event["request"]["method"] == method
        assert event["request"]["params"] == {"page": "2"}
        assert event["session"]["token_name"] == "nightly sync"
        assert event["metadata"] == {
            **named,
            "endpoint": template,
            "method": method,
            "status": 200,
            "token_name": "nightly sync",
        }
        assert {item["type"]: item["id"] for item in event.get("resources", [])} == named
        assert (event["outcome"], event["source"]) == ("success", "api")


@pytest.mark.requirement("R32")
def test_all_request_types_of_the_platform_are_there(platform: Platform) -> None:
    """The API of a data platform has 28 request types, and the log knows each by its title."""
    types = platform.log.get("/api/v1/catalog").json()["types"]
    known = {item["action"] for item in types if item["action"].startswith("api.request.")}
    assert known == {f"api.request.{name}" for name in ENDPOINTS.values()}
    assert len(known) == 28


@pytest.mark.requirement("R33", "R35")
def test_reads_of_pipelines_and_projects_are_recorded(platform: Platform) -> None:
    """Pipelines, projects, a single pipeline and its runs: each hit of a read endpoint is an event."""
    check(platform, READS)


@pytest.mark.requirement("R36")
def test_reads_of_the_glossary_are_recorded(platform: Platform) -> None:
    """Glossary entities and the details of one."""
    check(platform, GLOSSARY)


@pytest.mark.requirement("R37")
def test_reads_of_assets_are_recorded(platform: Platform) -> None:
    """The assets of a pipeline, one asset, its instances in a run, their details and logs."""
    check(platform, ASSETS)


@pytest.mark.requirement("R38")
def test_reads_of_validation_errors_are_recorded(platform: Platform) -> None:
    """The validation errors of a pipeline."""
    check(platform, ERRORS)


@pytest.mark.requirement("R39")
def test_writes_are_recorded(platform: Platform) -> None:
    """Re-run, mark, trigger, enable and disable, one at a time and many at once."""
    check(platform, WRITES)


@pytest.mark.requirement("R34", "R40")
def test_an_event_says_whose_token_asked_for_what(platform: Platform) -> None:
    """Token, parameters of query and body (secrets masked), endpoint, method and what the path names."""
    key = "POST /v1/runs/{run_id}/assets/{asset_id}/mark"
    answer = platform.ask(
        key,
        "ci-deploy",
        params={"dry": "1", "api_key": "hush"},
        json={"status": "failed", "password": "hush"},
    )
    assert answer.status_code == 200
    (event,) = platform.events(token="ci-deploy")
    assert event["action"] == "api.request.mark_asset_instance"
    assert event["title"] == "API: Mark asset instance"
    assert event["actor"]["id"] == "token-ci-deploy"
    assert event["request"]["params"] == {
        "dry": "1",
        "api_key": "[masked]",
        "body": {"status": "failed", "password": "[masked]"},
    }
    assert (event["metadata"]["run"], event["metadata"]["asset"]) == ("r-7", "a-3")
    assert event["metadata"]["token_name"] == "ci-deploy"
    assert "hush" not in json.dumps(event)


@pytest.mark.requirement("R41")
def test_what_an_integration_hits_and_when_can_be_read_off(platform: Platform) -> None:
    """Filtered by its token: the endpoints in order with their times, what was refused among them."""
    began = time.time()
    for key in ("GET /v1/pipelines", "GET /v1/assets/{asset_id}", "POST /v1/runs/{run_id}/rerun"):
        platform.ask(key, "reader")
    platform.ask("GET /v1/pipelines", "somebody else")
    events = platform.events(token="reader")
    assert [(event["request"]["endpoint"], event["outcome"]) for event in events] == [
        ("/v1/pipelines", "success"),
        ("/v1/assets/{asset_id}", "success"),
        ("/v1/runs/{run_id}/rerun", "failure"),
    ]
    assert events[-1]["reason"] == "403 Forbidden"
    times = [event["occurred_at"] for event in events]
    assert times == sorted(times)
    first = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(began - 60))
    assert all(
        first <= moment < time.strftime("%Y-%m-%dT%H:%M", time.gmtime(began + 120)) for moment in times
    )


def test_somebody_without_a_token_is_anonymous(platform: Platform) -> None:
    """A request that was refused for want of a token is a failure of somebody unknown, from an address."""
    answer = platform.ask("GET /v1/connections", None)
    assert answer.status_code == 401
    (event,) = platform.events(actor="anonymous")
    assert event["reason"] == "401 Unauthorized"
    assert event["ip"] == "127.0.0.1"
    assert event["actor"] == {"type": "anonymous", "id": "anonymous"}


def test_two_hundred_clients_at_once_are_not_mixed_up(platform: Platform) -> None:
    """Threads that ask over real connections: each event has the token and address of its own request."""
    keys = list(READS)
    errors: list[BaseException] = []

    def ask(numbers: range) -> None:
        try:
            with httpx2.Client(base_url=platform.address, trust_env=False, timeout=60) as client:
                for number in numbers:
                    headers = {"authorization": f"Bearer t{number}", "x-forwarded-for": f"203.0.113.{number}"}
                    path = keys[number % len(keys)].split()[1].format(**VALUES)
                    assert client.get(path, headers=headers, params={"n": number}).status_code == 200
        except BaseException as error:  # noqa: BLE001 - the test looks at them
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(range(start, 200, 10),)) for start in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    found = {
        (event["session"]["token_name"], event["actor"]["id"], event["ip"], event["request"]["params"]["n"])
        for event in platform.events(action="api.request.*")
        if "n" in event["request"].get("params", {})
    }
    assert found == {
        (f"t{number}", f"token-t{number}", f"203.0.113.{number}", str(number)) for number in range(200)
    }
