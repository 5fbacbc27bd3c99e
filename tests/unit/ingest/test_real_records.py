"""The importers against real records: an independent mapper's values, and labels made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from affidavit.core.event import Draft
from affidavit.ingest.importers import REGISTRY, RejectedRecord
from affidavit.ingest.records import read_records
from affidavit.ingest.rejects import RejectFile
from affidavit.ingest.run import Counts, ImportRun
from affidavit.ingest.sources import SourceStream, resolve_sources
from tests.shared_data import shared_data
from tests.unit.ingest.memory import MemoryIntake

ROOT = Path(__file__).resolve().parents[3]
VECTORS = ROOT / "tests" / "vectors" / "importers"
PAGE = ROOT / "docs" / "reference" / "importers-differences.md"
TIMES = {
    "cloudtrail": ("eventTime", "eventtime"),
    "github": ("@timestamp", "at_sign_timestamp", "created_at"),
    "kubernetes": ("requestReceivedTimestamp", "stageTimestamp", "timestamp"),
    "okta": ("published",),
}
CHECKED = {
    "panther/AWS.CloudTrail.jsonl": "cloudtrail",
    "panther/GitHub.Audit.jsonl": "github",
    "raw-restored/github.jsonl": "github",
    "panther/Okta.SystemLog.jsonl": "okta",
    "panther/Amazon.EKS.Audit.jsonl": "kubernetes",
}


def records(name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Records of a file or folder with their lines; of Panther's files the part that is the log."""
    for source in resolve_sources([str(shared_data(*name.split("/")))]):
        stream = SourceStream(source)
        for record in read_records(stream):
            assert record.value is not None
            yield record.line, record.value
        stream.close()


def mapped(name: str, log: dict[str, Any]) -> Draft | str:
    """What the mapper makes of a record, or why nothing.

    Many of Panther's records were trimmed to what a rule looks at: where the time is absent or redacted,
    another stands in for it, because it is the mapping that is checked and not the import.
    """
    importer = REGISTRY[name]()
    reason = ""
    for attempt in (log, {**log, TIMES[name][0]: "2020-01-01T00:00:00Z"}):
        try:
            drafts = importer.events(attempt)
        except RejectedRecord as problem:
            reason = problem.message
        else:
            return drafts[0] if drafts else "an unfinished stage"
    return reason


class Difference(NamedTuple):
    """One value of the independent mapper that is not ours."""

    file: str
    line: int
    field: str
    theirs: str
    ours: str
    reason: str


def pairs(udm: dict[str, Any], draft: Draft) -> dict[str, tuple[Any, Any]]:
    """Field by field: theirs and ours."""
    actor, first = draft.actor, draft.resources[0] if draft.resources else None
    assert actor is not None
    users = [resource.name for resource in draft.resources if resource.type == "user"]
    addresses = udm.get("sourceIPs") or [None]
    ours = {
        "actor_user": actor.name,
        "username": actor.name,
        "source_ip": draft.ip,
        "sourceIPs": draft.ip,
        "user_agent": draft.user_agent,
        "verb": draft.action.rpartition(".")[2],
        "resource": first and first.type,
        "namespace": first and first.id.partition("/")[0],
        "name": first and first.name,
        "user": users[0] if users else None,
    }
    return {
        field: (addresses[0] if field == "sourceIPs" else udm[field], value)
        for field, value in ours.items()
        if field in udm
    }


def reason_of(field: str, theirs: Any, ours: Any, log: dict[str, Any]) -> str:
    """Why the two differ, found from the record and not from our mapping; empty where nothing explains it."""
    identity = log.get("userIdentity") or log.get("useridentity") or {}
    issuer = (identity.get("sessionContext") or {}).get("sessionIssuer") or {}
    session = str(identity.get("arn") or "").rpartition("/")[2]
    if field == "source_ip" or field == "sourceIPs":
        return "the text is no address; it is kept in `metadata.source_address`" if ours is None else ""
    if str(theirs).startswith("Unknown"):
        if ours is None:
            return "nobody is named; theirs is a placeholder, ours stays empty"
        if str(ours) in str(identity):
            return "their path to the name is empty; ours reads the ARN or `userName`"
        return ""
    if identity.get("type") == "Root":
        return "theirs is the account number of the root user" if ours == "root" else ""
    if theirs == issuer.get("userName") and ours == session:
        return "the session's name is a person's; theirs is the role, ours has it in `on_behalf_of`"
    return ""


def differences() -> tuple[list[Difference], dict[str, int]]:
    """Every difference, and for each file how many values agree."""
    found: list[Difference] = []
    same: dict[str, int] = {}
    for file, name in CHECKED.items():
        same[file] = 0
        for line, record in records(file):
            log, udm = record["log"], record["udm"]
            draft = mapped(name, log)
            if isinstance(draft, str):
                found.append(Difference(file, line, "all", "", "", f"no event: {draft}"))
                continue
            for field, (theirs, ours) in pairs(udm, draft).items():
                if theirs == ours:
                    same[file] += 1
                else:
                    reason = reason_of(field, theirs, ours, log)
                    found.append(Difference(file, line, field, str(theirs), str(ours or "-"), reason))
    return found, same


def page(found: list[Difference], same: dict[str, int]) -> str:
    """The page that lists them."""
    lines = [
        "# Importers: where ours differs from an independent mapper",
        "",
        "The mappers run on each record of these files of real audit logs, and actor, address, user agent",
        "and (Kubernetes) verb and object are compared with the `udm` values that Panther's own data models",
        "gave for the same record. `tests/unit/ingest/test_real_records.py` checks this page: it fails",
        "when a difference has no reason or the page is not what it finds; `AFFIDAVIT_WRITE_PAGES=1`",
        "writes it anew. How records are mapped: [Importers](importers.md).",
        "",
        "| file | values that agree | differences |",
        "|---|---|---|",
    ]
    for file, number in same.items():
        lines.append(f"| {file} | {number} | {sum(each.file == file for each in found)} |")
    lines += ["", "| file | line | field | theirs | ours | reason |", "|---|---|---|---|---|---|"]
    for each in found:
        cells = (each.file, str(each.line), each.field, each.theirs, each.ours, each.reason)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def test_against_an_independent_mapper() -> None:
    """Actor, address and verb agree with the other mapper; each difference has a reason, on the page."""
    found, same = differences()
    assert [each for each in found if not each.reason] == []
    assert same == {
        "panther/AWS.CloudTrail.jsonl": 659,
        "panther/GitHub.Audit.jsonl": 61,
        "raw-restored/github.jsonl": 61,
        "panther/Okta.SystemLog.jsonl": 176,
        "panther/Amazon.EKS.Audit.jsonl": 435,
    }
    text = page(found, same)
    if os.environ.get("AFFIDAVIT_WRITE_PAGES"):
        PAGE.write_text(text, "utf-8")
    assert PAGE.read_text("utf-8") == text


@pytest.mark.parametrize("name", sorted(TIMES))
def test_hand_labels(name: str) -> None:
    """Action and outcome are what a reader of the record says, for at least thirty records of each format."""
    labels = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))["labels"]
    assert len(labels) >= 30
    for file in {label["file"] for label in labels}:
        wanted = [label for label in labels if label["file"] == file]
        by_place = {label.get("line", label.get("id")): label for label in wanted}
        assert len(by_place) == len(wanted)
        for line, record in records(file):
            log = record.get("log", record)
            label = by_place.pop(line, None) if "id" not in wanted[0] else by_place.pop(log["eventID"], None)
            if label is None:
                continue
            draft = mapped(name, log)
            assert isinstance(draft, Draft), (label, draft)
            assert (draft.action, draft.outcome) == (label["action"], label["outcome"]), label
            if word := label.get("vendor_outcome"):
                assert (draft.metadata or {})[f"{draft.source}_outcome"] == word
        assert by_place == {}


def test_cloudtrail_import(tmp_path: Path) -> None:
    """2,900 real CloudTrail events go in, 300 of them failures; a second import adds nothing."""
    importer = REGISTRY["cloudtrail"]()
    intake = MemoryIntake(importer)
    pattern = str(shared_data("cloudtrail", "invictus", "*.json"))
    counts = [
        msgspec.structs.asdict(
            ImportRun(intake.record, importer, rejects=RejectFile(tmp_path)).run([pattern])
        )
        for _ in range(2)
    ]
    assert counts == [
        {"read": 2900, "recorded": 2900, "duplicates": 0, "rejected": 0, "skipped": 0},
        {"read": 2900, "recorded": 0, "duplicates": 2900, "rejected": 0, "skipped": 0},
    ]
    drafts = list(intake.drafts.values())
    assert sum(draft.outcome == "failure" for draft in drafts) == 300
    assert sum(draft.ip is None for draft in drafts) == 353
    assert all("source_address" in (draft.metadata or {}) for draft in drafts if draft.ip is None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file", "counts"),
    [
        ("cloudtrail", "cloudtrail/stratus", Counts(read=114, recorded=114)),
        ("kubernetes", "k8s/audit2rbac-demo.log", Counts(read=37, recorded=37)),
    ],
)
def test_other_imports(tmp_path: Path, name: str, file: str, counts: Counts) -> None:
    """The other files of vendors' own records go in whole."""
    importer = REGISTRY[name]()
    intake = MemoryIntake(importer)
    assert (
        ImportRun(intake.record, importer, rejects=RejectFile(tmp_path)).run([str(shared_data(file))])
        == counts
    )
