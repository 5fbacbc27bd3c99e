"""The server does what its OpenAPI document says, asked by a program that knows only the document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    ensure_resource_availability,
    ignored_auth,
    positive_data_acceptance,
)

from affidavit.web.app import OPERATIONS
from affidavit.web.routes import Operation
from tests.programs import Programs

EXCLUDED = [
    # What is valid by its shape can still be refused: somebody else's organization, an old event.
    positive_data_acceptance,
    ensure_resource_availability,
    # It repeats the request with the header that this test adds; test_http_api asks without.
    ignored_auth,
]

LONGEST = 8_000
"""Characters of a question; an address of more than 64 KiB is refused before it reaches the application."""

NEVER_WRONG = ("/healthz", "/readyz", "/metrics", "/api/v1/catalog", "/api/audit")
"""Operations without anything that could be wrong, and one where an empty value counts as absent."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Iterator[tuple[str, str]]:
    """A server, and a token with every ability that a token of one organization can use."""
    program = programs(tmp_path_factory.mktemp("described"))
    with program.serving() as serving:
        names = "audit-log:list audit-log:export log:read events:write events:import tokens:manage"
        abilities = names.split()
        flags = [flag for ability in abilities for flag in ("--ability", ability)]
        (made,) = program.json("token", "create", "--organization", "acme", *flags, "--json")
        yield serving.address, made["token"]


@pytest.fixture(scope="module")
def api(running: tuple[str, str]) -> schemathesis.BaseSchema:
    """The document, as the server gives it."""
    address, _token = running
    answer = httpx2.get(f"{address}/api/openapi.json", trust_env=False)
    schema = schemathesis.openapi.from_dict(answer.json())
    schema.config.update(base_url=address)
    return schema


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_every_operation_keeps_its_description(
    api: schemathesis.BaseSchema, running: tuple[str, str], operation: Operation, mode: GenerationMode
) -> None:
    """No answer outside the description, no server error, nothing wrong let through."""
    described = api[operation.path][operation.method]
    if mode is GenerationMode.NEGATIVE and operation.path in NEVER_WRONG:
        mode = GenerationMode.POSITIVE

    @settings(max_examples=10, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(case=described.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case[Any]) -> None:
        assume(len(str(case.query)) < LONGEST)
        case.call_and_validate(
            headers={"authorization": f"Bearer {running[1]}"},
            excluded_checks=EXCLUDED,
        )

    ask()
