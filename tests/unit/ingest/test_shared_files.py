"""Every file of the real audit logs goes through an import: no crash, nothing lost, every reject named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from affidavit.ingest.importers import REGISTRY, Importer
from affidavit.ingest.importers.mapping import read_mapping
from affidavit.ingest.importers.ndjson import Ndjson
from affidavit.ingest.rejects import Reject, RejectFile
from affidavit.ingest.run import Counts, ImportRun
from tests.shared_data import shared_data
from tests.unit.ingest.memory import MemoryIntake

MAPS = Path(__file__).resolve().parents[3] / "examples" / "import-maps"
NO_MAP = ("occurred_at=time|timestamp|eventTime", "action=event|eventName|type")
"""For what is no audit log: documentation, labels, rules. Each of its lines is a named reject."""

PANTHER = {
    "Anthropic.Activity": "anthropic",
    "Asana.Audit": "asana",
    "Atlassian.Audit": "atlassian",
    "Auth0.Events": "auth0",
    "Axonius.Activity": "axonius",
    "Azure.Audit": "azure-audit",
    "Azure.MonitorActivity": "azure-monitor",
    "Box.Event": "box",
    "CarbonBlack.Audit": "carbon-black",
    "Databricks.Audit": "databricks",
    "Docusign.Connect": "docusign",
    "Dropbox.TeamEvent": "dropbox",
    "Duo.Administrator": "duo-administrator",
    "Duo.Authentication": "duo-authentication",
    "GCP.AuditLog": "gcp-audit",
    "GSuite.ActivityEvent": "gsuite-flat",
    "GitHub.Webhook": "github-webhook",
    "GitLab.Audit": "gitlab-audit",
    "GitLab.Production": "gitlab-production",
    "Gravitational.TeleportAudit": "teleport",
    "Microsoft365.Audit.AzureActiveDirectory": "microsoft365",
    "Microsoft365.Audit.Exchange": "microsoft365",
    "MicrosoftIntune.AuditLogs": "intune",
    "MicrosoftIntune.OperationalLogs": "intune",
    "MongoDB.OrganizationEvent": "mongodb-atlas",
    "Netskope.Audit": "netskope",
    "Notion.AuditLogs": "notion",
    "OneLogin.Events": "onelogin",
    "OnePassword.ItemUsage": "onepassword-item-usage",
    "OnePassword.SignInAttempt": "onepassword-signin",
    "OpenAI.Audit": "openai",
    "Panther.Audit": "panther",
    "PushSecurity.Activity": "push-security",
    "PushSecurity.Controls": "push-security",
    "PushSecurity.Entities": "push-security",
    "SentinelOne.Activity": "sentinelone",
    "Slack.AuditLogs": "slack",
    "Snowflake.LoginHistory": "snowflake-login",
    "Snowflake.QueryHistory": "snowflake-query",
    "Snyk.GroupAudit": "snyk",
    "Sublime.Audit": "sublime",
    "Tailscale.Audit": "tailscale",
    "Tines.Audit": "tines",
    "Wiz.Audit": "wiz",
    "Zendesk.Audit": "zendesk",
    "Zoom.Activity": "zoom-activity",
    "Zoom.Operation": "zoom-operation",
    "Zscaler.ZIA.AdminAuditLog": "zscaler-zia",
}
OTHERS = {
    "auditd/msticpy-auditd.log": ("auditd", None),
    "azure/otrf-AADAuditEvents.json": ("entra-sentinel", None),
    "azure/otrf-OfficeActivityEvents.json": ("microsoft365", None),
    "k8s/hkerma-audit-logs.csv.gz": ("k8s-csv", None),
    "otel/gcp-audit-to-otlp.json": ("gcp-audit", "raw"),
    "raw-restored/gcp.jsonl": ("gcp-audit", "log"),
    "raw-restored/google_workspace.jsonl": ("google-workspace", "log"),
    "ssh/beats-secure-rhel7.excerpt.log": ("sshd-syslog", None),
    "ssh/beats-test.log": ("sshd-syslog", None),
    "teleport/webapps-fixtures.jsonl": ("teleport", None),
    "vault/datadog-vault-audit.json": ("vault", "raw"),
}
OWN = (
    "cloudtrail/invictus/",
    "cloudtrail/stratus/",
    "panther/AWS.",
    "panther/Okta.",
    "panther/Amazon.",
    "panther/GitHub.Audit",
)
"""Read by the importer of their format in another test."""
NO_LOGS = (
    "README.md",
    "LICENSES.md",
    "manifest.json",
    "licenses/",
    "panther-meta/",
    "severity/",
    "sigma/",
    "cloudtrail/invictus-l",
)


def importer_of(name: str) -> Importer:
    """The importer that a file of the shared data goes through."""
    if name.startswith("panther/"):
        map_name, record = PANTHER[name.removeprefix("panther/").removesuffix(".jsonl")], "log"
    elif name.startswith("gcp/"):
        map_name, record = "gcp-audit", None
    elif name in OTHERS:
        map_name, record = OTHERS[name]
    else:
        assert name.startswith(NO_LOGS) or name in (
            "otel/cloudtrail-to-otlp.json",
            "k8s/audit2rbac-demo.log",
            "raw-restored/github.jsonl",
        )
        return Ndjson(mapping=read_mapping(NO_MAP))
    return Ndjson(mapping=read_mapping(file=MAPS / f"{map_name}.toml", record=record))


def files() -> Iterator[str]:
    """Every file but those of the four formats."""
    root = shared_data()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and not name.startswith(OWN):
            yield name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reject files go."""
    return tmp_path_factory.mktemp("rejects")


@cache
def run(name: str, folder: Path) -> tuple[Counts, list[Reject]]:
    """Import one file into memory, once."""
    importer = importer_of(name)
    intake = MemoryIntake(importer)
    rejects: list[Reject] = []
    counts = ImportRun(intake.record, importer, rejects=RejectFile(folder, rejects.append)).run(
        [str(shared_data(name))]
    )
    return counts, rejects


def test_every_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every record of every file is recorded, already there, skipped or a reject named by file and line."""
    lines = []
    for name in files():
        counts, rejects = run(name, folder)
        lines.append(
            f"{counts.recorded:6} recorded {counts.duplicates:5} repeated {counts.rejected:6} rejected {name}"
        )
        assert counts.rejected == len(rejects)
        assert all(reject.file.endswith(name) and reject.line > 0 and reject.error for reject in rejects)
        if not name.startswith("raw-restored/google"):  # one record, several events
            assert counts.recorded + counts.duplicates + counts.rejected + counts.skipped == counts.read, name
        if name.startswith(NO_LOGS):
            assert counts.recorded == 0, name
        kept = folder / f"{Path(name).name}.rejects.ndjson"
        if rejects:
            written = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
            assert [each["line"] for each in written] == [reject.line for reject in rejects]
        else:
            assert not kept.exists()
    with capsys.disabled():
        print("", *lines, sep="\n")


REJECTED = {
    "auditd/msticpy-auditd.log": (1708, 0),
    "azure/otrf-AADAuditEvents.json": (4, 0),
    "azure/otrf-OfficeActivityEvents.json": (1, 0),
    "k8s/hkerma-audit-logs.csv.gz": (16_563, 1),
    "teleport/webapps-fixtures.jsonl": (165, 0),
    "vault/datadog-vault-audit.json": (1, 0),
    "otel/gcp-audit-to-otlp.json": (2, 0),
    "ssh/beats-test.log": (0, 10),
    "panther/Slack.AuditLogs.jsonl": (24, 22),
}


@pytest.mark.parametrize("name", REJECTED)
def test_counts(folder: Path, name: str) -> None:
    """The files that hold whole records lose none of them; what is rejected has no time or is cut short."""
    counts, rejects = run(name, folder)
    went_in, rejected = REJECTED[name]
    assert (counts.recorded + counts.duplicates, counts.rejected) == (went_in, rejected)
    assert {reject.rule for reject in rejects} <= {"required", "time", "columns"}


@pytest.mark.parametrize("path", sorted(MAPS.glob("*.toml")), ids=lambda path: path.stem)
def test_maps_are_used(path: Path) -> None:
    """Each example map is read, and stands for a file of the shared data."""
    assert read_mapping(file=path) is not None
    assert path.stem in {*PANTHER.values(), *(name for name, _ in OTHERS.values())}


def test_formats_are_registered() -> None:
    """The names that scripts rely on."""
    assert sorted(REGISTRY) == ["cloudtrail", "github", "kubernetes", "ndjson", "okta"]
