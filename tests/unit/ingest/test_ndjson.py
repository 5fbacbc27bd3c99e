"""JSON lines: our own shape, maps, and text formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affidavit.core.event import Actor, Change, Draft, Resource
from affidavit.errors import ConfigError
from affidavit.ingest.importers import RejectedRecord
from affidavit.ingest.importers.mapping import read_mapping
from affidavit.ingest.importers.ndjson import Ndjson
from affidavit.ingest.rejects import Reject, RejectFile
from affidavit.ingest.run import ImportRun
from tests.unit.ingest.memory import MemoryIntake

TIME = "2026-01-02T03:04:05Z"
OWN = {
    "action": "user.role.assign",
    "occurred_at": TIME,
    "actor": {"type": "user", "id": "u1", "name": "Ana"},
    "outcome": "failure",
    "source": "web",
    "resources": [{"type": "user", "id": "u2"}],
    "changes": {"role": {"old": None, "new": "admin"}},
    "metadata": {"ticket": 5},
}


def mapped(record: dict[str, Any], *maps: str) -> list[Draft]:
    """The events of a record under ``--map`` options."""
    return Ndjson(mapping=read_mapping(maps)).events(record)


def test_own_shape() -> None:
    """An event in our own shape comes through field by field, marked as imported."""
    (draft,) = Ndjson().events(OWN)
    assert (draft.action, draft.outcome, draft.source, draft.imported) == (
        "user.role.assign",
        "failure",
        "web",
        True,
    )
    assert draft.actor == Actor(type="user", id="u1", name="Ana")
    assert draft.resources == (Resource(type="user", id="u2"),)
    assert draft.changes == {"role": Change(old=None, new="admin")}
    assert draft.metadata == {"ticket": 5}
    (keyed,) = Ndjson().events({**OWN, "idempotency_key": "k"})
    assert keyed.idempotency_key == "k"


def test_our_own_export() -> None:
    """An export of ours can be imported: what an answer adds is left out or kept as the original's."""
    exported = {
        **OWN,
        "id": "019b7c1f-a2c8-7000-8000-000000000001",
        "organization": "acme",
        "recorded_at": TIME,
        "recorded_by": {"type": "api_token", "id": "t1"},
        "state": "pending",
        "late": False,
        "title": "Role assigned",
    }
    (draft,) = Ndjson().events(exported)
    assert str(draft.id) == exported["id"]
    assert draft.organization is None
    assert draft.metadata == {
        "ticket": 5,
        "original": {
            "organization": "acme",
            "recorded_at": TIME,
            "recorded_by": {"type": "api_token", "id": "t1"},
        },
    }
    assert Ndjson().events({"trailer": {"events": 1}}) == []


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"surprise": 1}, "", "unknown_field"),
        ({"actor": {"type": "user", "id": "u", "shoe": 46}}, "actor", "unknown_field"),
        ({"actor": {"type": "robot", "id": "u"}}, "actor.type", "type"),
        ({"action": None}, "action", "type"),
        ({"occurred_at": None}, "occurred_at", "required"),
        ({"occurred_at": "2026-02-30T00:00:00Z"}, "occurred_at", "time"),
    ],
)
def test_own_shape_refused(fields: dict[str, Any], field: str, rule: str) -> None:
    """What is wrong is named by field and rule."""
    with pytest.raises(RejectedRecord) as caught:
        Ndjson().events({**OWN, **fields})
    assert (caught.value.field, caught.value.rule) == (field, rule)


def test_map() -> None:
    """Dotted paths, indexes, alternatives, joined paths, constants, JSON pointers, JSON inside strings."""
    record = {
        "when": 1_767_323_045_123,
        "svc": {"name": "Vault"},
        "op": "Read Secret",
        "who": [{"id": 7, "mail": "ana@x.io", "first": "Ana", "last": "Lee"}],
        "a.b": {"c/d": "203.0.113.9:443"},
        "target": '{"id": "t1", "labels": ["x", "y"]}',
        "ok": False,
        "before": {"a": 1, "b": 2},
        "after": {"a": 1, "b": 3, "c": 4},
    }
    (draft,) = mapped(
        record,
        "occurred_at=when",
        "action=svc.name+op",
        "actor.id=who.0.uuid|who.0.id",
        "actor.name=who.0.first+who.0.last",
        "actor.email=who.0.mail",
        "ip=/a.b/c~1d",
        "resource.type==secret",
        "resource.id=target.id",
        "resources.1.type==label",
        "resources.1.id=target.labels.1",
        "outcome=ok",
        "account=nothing|=acme",
        "changes.old=before",
        "changes.new=after",
        "metadata.service=svc.name",
    )
    assert draft.action == "ndjson.vault.read_secret"
    assert draft.occurred_at == 1_767_323_045_123_000
    assert draft.actor == Actor(type="user", id="7", name="Ana Lee", email="ana@x.io")
    assert draft.ip == "203.0.113.9"
    assert draft.resources == (Resource(type="secret", id="t1"), Resource(type="label", id="y"))
    assert draft.outcome == "failure"
    assert draft.changes == {"b": Change(old=2, new=3), "c": Change(old=None, new=4)}
    assert draft.metadata == {"account": "acme", "service": "Vault", "ndjson": record}
    MemoryIntake(Ndjson()).record([draft])


@pytest.mark.parametrize(
    ("value", "outcome", "word"),
    [
        (True, "success", None),
        (False, "failure", None),
        ("SUCCESS", "success", None),
        ("Denied", "failure", None),
        (200, "success", None),
        ("404", "failure", None),
        (503.0, "failure", None),
        (0, "success", None),
        ("maybe", "success", "maybe"),
        (None, "success", None),
    ],
)
def test_outcomes(value: Any, outcome: str, word: str | None) -> None:
    """Words, booleans and HTTP codes; what nobody knows is a success that keeps its word."""
    (draft,) = mapped({"t": TIME, "r": value}, "occurred_at=t", "action==x", "outcome=r")
    assert (draft.outcome, (draft.metadata or {}).get("ndjson_outcome")) == (outcome, word)


@pytest.mark.parametrize(
    ("option", "action"),
    [
        ("action==login", "ndjson.login"),
        ("action==auth.login", "auth.login"),
        ("action=verb", "ndjson.get_object"),
        ("action=none|verb", "ndjson.get_object"),
        ("action=none|=fallback", "ndjson.fallback"),
    ],
)
def test_actions(option: str, action: str) -> None:
    """Words get the source as prefix; a constant with a dot stands as it is."""
    (draft,) = mapped({"t": TIME, "verb": "Get Object"}, "occurred_at=t", option)
    assert draft.action == action


def test_one_record_several_events(tmp_path: Path) -> None:
    """Each element of a list becomes an event; the ids stay the same at the next import."""
    file = tmp_path / "map.toml"
    file.write_text(
        'source = "reports"\neach = "events"\n[map]\noccurred_at = "id.time"\n'
        'action = "app+each.name"\nactor.id = "actor"\nresource.id = "each.file"\n'
    )
    importer = Ndjson(mapping=read_mapping(file=file))
    record = {
        "id": {"time": TIME},
        "app": "drive",
        "actor": "ana",
        "events": [{"name": "view", "file": "f1"}, {"name": "edit", "file": "f2"}],
    }
    first, second = importer.events(record)
    assert [first.action, second.action] == ["reports.drive.view", "reports.drive.edit"]
    assert [first.resources[0].id, second.resources[0].id] == ["f1", "f2"]
    assert first.idempotency_key != second.idempotency_key
    assert importer.events(record) == [first, second]
    assert importer.events({**record, "events": []}) == []
    source = tmp_path / "x.json"
    source.write_text(json.dumps(record) + "\n" + json.dumps({**record, "events": None}))
    counts = ImportRun(MemoryIntake(importer).record, importer, rejects=RejectFile(tmp_path)).run(
        [str(source)]
    )
    assert (counts.read, counts.recorded, counts.skipped) == (2, 2, 1)


def test_option_wins_over_file(tmp_path: Path) -> None:
    """An option replaces the same field of the file."""
    file = tmp_path / "map.toml"
    file.write_text('[map]\noccurred_at = "a"\naction = "b"\n')
    (draft,) = Ndjson(mapping=read_mapping(["action=c"], file)).events({"a": TIME, "b": "no", "c": "yes"})
    assert draft.action == "ndjson.yes"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[map", "TOML"),
        ("[map]\naction = 'a'", "occurred_at and action"),
        ("[map]\noccurred_at = 'a'\naction = 'b'\nshoe = 'c'", "no field shoe"),
        ("[map]\noccurred_at = 'a'\naction = 5", "path"),
        ("[map]\noccurred_at = 'a.*.b'\naction = 'b'", "no path"),
        ("[map]\noccurred_at = 'a..b'\naction = 'b'", "no path"),
        ("colour = 1", "no key colour"),
        ("source = 'Not Good'", "source"),
        ("map = 1", "table"),
        ("[outcome]\nmaybe = ['x']", "outcome.maybe"),
        ("[outcome]\nfailure = [1]", "list of texts"),
        ("[lines]\npattern = '('", "pattern"),
        ("[lines]\ncsv = 'a'\ndelimiter = 'too long'", "one character"),
    ],
)
def test_bad_map_files(tmp_path: Path, text: str, what: str) -> None:
    """A map that is wrong is refused before the first record, with what is wrong with it."""
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=what):
        read_mapping(file=file)


def test_bad_map_options(tmp_path: Path) -> None:
    """So is an option; no map at all is no error."""
    for option in ("action", "action=", "nothing=x"):
        with pytest.raises(ConfigError):
            read_mapping([option, "occurred_at=t", "action=a"])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_mapping(file=tmp_path / "missing.toml")
    assert read_mapping() is None


def importing(tmp_path: Path, lines: str, content: str) -> tuple[list[Draft], list[Reject]]:
    """Import a text file under a map with that ``[lines]`` table."""
    file, source = tmp_path / "map.toml", tmp_path / "log.txt"
    file.write_text(f'[map]\noccurred_at = "time"\naction = "what"\nactor.id = "who"\n[lines]\n{lines}\n')
    source.write_text(content, "utf-8")
    importer = Ndjson(mapping=read_mapping(file=file))
    intake = MemoryIntake(importer)
    rejects: list[Reject] = []
    ImportRun(intake.record, importer, rejects=RejectFile(tmp_path, rejects.append)).run([str(source)])
    return list(intake.drafts.values()), rejects


def test_csv_with_header(tmp_path: Path) -> None:
    """Rows with a header, quoted line breaks, and rows of the wrong width as named rejects."""
    drafts, rejects = importing(
        tmp_path,
        'csv = []\ndelimiter = ";"',
        f'time;what;who\n{TIME};log in;"ana\nlee"\r\n{TIME};too;many;columns\n{TIME};out;bob\n',
    )
    assert [draft.action for draft in drafts] == ["ndjson.log_in", "ndjson.out"]
    assert drafts[0].actor is not None
    assert drafts[0].actor.id == "ana\nlee"
    assert [(reject.line, reject.rule) for reject in rejects] == [(4, "columns")]


def test_csv_with_an_open_quote(tmp_path: Path) -> None:
    """A quote that is never closed is one reject and no crash."""
    drafts, rejects = importing(
        tmp_path, 'csv = ["time", "what", "who"]', f'{TIME},in,ana\n{TIME},"out,bob\n'
    )
    assert len(drafts) == 1
    assert [(reject.line, reject.rule) for reject in rejects] == [(2, "csv")]


def test_pattern(tmp_path: Path) -> None:
    """Named groups become fields; a line that does not fit is a named reject with its text."""
    drafts, rejects = importing(
        tmp_path,
        r"pattern = '(?P<time>\S+) (?P<who>\w+): (?P<what>.+)'",
        f"{TIME} ana: reboot\n\nnonsense\n{TIME} bob: halt\n",
    )
    assert [draft.action for draft in drafts] == ["ndjson.reboot", "ndjson.halt"]
    assert [(reject.line, reject.rule, reject.record) for reject in rejects] == [(3, "pattern", "nonsense")]
    assert (drafts[0].metadata or {})["ndjson"]["line"] == f"{TIME} ana: reboot"
