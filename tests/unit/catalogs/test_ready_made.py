"""The ready-made catalogs: every event of the five source documents, typed here from the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from affidavit.catalogs import READY_MADE, ready_made
from affidavit.catalogs.api_requests import REQUEST_TYPES, ApiRequests
from affidavit.catalogs.reference import documents_of, markdown
from affidavit.core.catalog import CatalogSet
from affidavit.core.event import RESERVED

DATA_PLATFORM = {
    "R8": {"Pipeline run triggered"},
    "R9": {"Pipeline run re-run"},
    "R10": {"Asset instance re-run"},
    "R11": {"Pipeline status change"},
    "R12": {"Run note updated"},
    "R13": {"Asset marked as instance", "Asset instance marked as run"},
    "R14": {"Enable multiple pipelines", "Disable multiple pipelines"},
    "R15": {"Mark multiple pipeline runs status"},
    "R16": {"Mark multiple asset instances"},
    "R17": {"Trigger multiple pipeline runs"},
    "R18": {"Connection created"},
    "R19": {"Connection deleted"},
    "R20": {"Team created"},
    "R21": {"Team updated"},
    "R22": {"Team deleted"},
    "R23": {"User login"},
    "R24": {"API token created"},
    "R25": {"API token updated"},
    "R26": {"API token deleted"},
    "R27": {"Agent created", "Agent updated", "Agent deleted"},
    "R28": {"Agent send message"},
    "R29": {"Agent get message status"},
    "R30": {"Agent list threads", "Agent list messages"},
    "R31": {"List agents"},
    "R42": {
        "Billing action",
        "Billing customer created",
        "Billing plan changed",
        "Billing threshold crossed",
    },
}
"""Event types of document 000 in its own words, by requirement."""

NAMED_REQUESTS = [
    *("Get pipelines", "Get projects", "Get single pipeline", "Get pipeline runs"),
    *("Get glossary entities", "Get glossary entity details"),
    *("Get pipeline assets", "Get single asset"),
    *("Get asset instances of a run", "Get asset instance details", "Get asset instance logs"),
    "Get pipeline validation errors",
    *(
        "Rerun pipeline run",
        "Mark pipeline run",
        "Trigger pipeline run",
        "Enable pipeline",
        "Disable pipeline",
    ),
]
"""The request types that document 000 describes, in its order."""

CLOUD_PLATFORM = {
    "R70": {"resource.create", "resource.update", "resource.delete", "application.deploy"},
    "R72": {"application.deploy"},
    "R73": {"auth.login.success", "auth.login.failed", "auth.session.create", "auth.token.rejected"},
    "R74": {"project.create", "project.update", "project.delete", "resource.create", "resource.delete"},
    "R75": {"organization.settings.update", "policy.update", "security.configuration.update"},
    "R76": {"member.invite", "user.role.assign", "role.permission.update"},
    "R78": {"auth.login.failed", "security.location.unusual", "security.privilege.escalation"},
}

INTEGRATION_PLATFORM = {
    "R106": {"auth.login.success", "auth.login.failed", "auth.logout", "auth.passkey.add"},
    "R107": {"user.create", "user.update", "user.delete", "user.role.assign"},
    "R108": {"role.create", "role.update", "role.delete", "role.permission.update"},
    "R109": {"organization.create", "organization.update", "organization.delete"},
    "R110": {"integration.connect"},
}
"""These names are the document's own, letter by letter."""

AUTOMATION_WORKSPACE = {
    "R160": {"member.invite", "user.role.assign"},
    "R161": {"secret.create", "secret.rotate"},
    "R162": {"environment.configuration.update"},
    "R163": {"runner.update"},
    "R164": {"journey.create", "journey.delete", "journey.access.grant", "journey.access.revoke"},
}

FLOW_PLATFORM = {"R185": {"auth.login.success", "flow.create"}}


@pytest.mark.parametrize(("requirement", "titles"), DATA_PLATFORM.items())
def test_each_event_of_the_data_platform(requirement: str, titles: set[str]) -> None:
    """Each event type of document 000 is there under its own human-readable name (R7), as named."""
    found = {
        item.title for item in ready_made().types() if requirement in item.references and not item.inferred
    }
    assert found == titles


@pytest.mark.parametrize(
    ("requirement", "actions"),
    [
        *CLOUD_PLATFORM.items(),
        *INTEGRATION_PLATFORM.items(),
        *AUTOMATION_WORKSPACE.items(),
        *FLOW_PLATFORM.items(),
    ],
)
def test_each_event_of_the_other_documents(requirement: str, actions: set[str]) -> None:
    """Each event of documents 001 to 004 is there, carries its requirement and is not marked inferred."""
    for action in actions:
        event_type = ready_made().event_type(action)
        assert event_type is not None, action
        assert requirement in event_type.references, action
        assert not event_type.inferred, action


def test_the_28_request_types_are_listed_one_by_one() -> None:
    """28 request types (R32): those of the document first, in its order, the other eleven inferred."""
    assert (
        len(REQUEST_TYPES) == len(ApiRequests.event_types) == len({name for name, *_ in REQUEST_TYPES}) == 28
    )
    assert [title for _, title, _, inferred in REQUEST_TYPES if not inferred] == NAMED_REQUESTS
    assert [inferred for *_, inferred in REQUEST_TYPES] == [False] * 17 + [True] * 11
    for event_type in ApiRequests.event_types:
        assert event_type.action.startswith("api.request.")
        assert {"R32", "R33", "R34", "R40"} <= set(event_type.references)
        assert event_type.metadata_schema is not None
        assert {"endpoint", "method", "token_name", "project", "pipeline", "asset", "run"} <= set(
            event_type.metadata_schema["properties"]
        )


def test_groups_and_their_titles() -> None:
    """The groups of R124 come first, under the document's titles; every group has a title of its own."""
    groups = ready_made().groups()
    assert groups[:4] == [
        ("auth", "Authentication"),
        ("user", "Users"),
        ("role", "Roles"),
        ("organization", "Organizations"),
    ]
    titles = [title for _, title in groups]
    assert len(set(titles)) == len(titles)
    assert {
        "Pipeline operations",
        "Connections",
        "API tokens",
        "AI agents",
        "API requests",
        "Billing",
    } <= set(titles)


def test_an_action_is_declared_once() -> None:
    """No two ready-made catalogs name the same action, and no two actions share a title."""
    actions = [item.action for catalog in READY_MADE for item in catalog.event_types]
    assert len(actions) == len(set(actions))
    titles = [item.title for catalog in READY_MADE for item in catalog.event_types]
    assert sorted(title for title in set(titles) if titles.count(title) > 1) == []


def test_every_event_says_where_it_comes_from() -> None:
    """A type is named by a requirement, inferred, or our own under a reserved prefix."""
    for item in ready_made().types():
        own = item.action.startswith(RESERVED)
        assert own or item.inferred or documents_of(item), item.action
        assert all(1 <= int(reference.removeprefix("R")) <= 201 for reference in item.references), item.action


def test_the_severities_that_the_documents_ask_for() -> None:
    """R78, R98 to R100: routine info, privileges and security at least warning, failed sign-in critical."""
    severity = ready_made().severity
    assert severity("auth.login.success", "success") == "info"
    assert severity("pipeline.run.trigger", "success") == "info"
    for action in (
        "user.role.assign",
        "role.permission.update",
        "security.configuration.update",
        "secret.rotate",
    ):
        assert severity(action, "success") == "warning"
    for action in ("auth.login.failed", "security.access.denied", "security.location.unusual"):
        assert severity(action, "failure") == "critical"


def test_they_are_one_document_for_the_table() -> None:
    """The whole set goes through its stored form unchanged, and only where reserved actions are allowed."""
    document = ready_made().to_document()
    assert CatalogSet.from_document(document, reserved=True) == ready_made()


def test_the_reference_page_is_current() -> None:
    """``docs/reference/catalogs.md`` is what ``python -m affidavit.catalogs`` prints."""
    page = Path(__file__).parents[3] / "docs" / "reference" / "catalogs.md"
    assert page.read_text(encoding="utf-8") == markdown(), (
        "python -m affidavit.catalogs > docs/reference/catalogs.md"
    )
