"""What the importers make of records, rule by rule."""

from __future__ import annotations

import json
from typing import Any

import pytest

from affidavit.core.event import Actor, Change, Draft, Resource
from affidavit.ingest.importers import REGISTRY, RejectedRecord
from affidavit.ingest.importers.cloudtrail import CloudTrail
from affidavit.ingest.importers.github import GitHub
from affidavit.ingest.importers.kubernetes import Kubernetes
from affidavit.ingest.importers.okta import Okta
from tests.unit.ingest.memory import MemoryIntake

MINIMAL: dict[str, dict[str, Any]] = {
    "cloudtrail": {
        "eventName": "CreateUser",
        "eventSource": "iam.amazonaws.com",
        "eventTime": "2026-01-02T03:04:05Z",
    },
    "github": {"action": "repo.create", "created_at": 1_767_323_045_000},
    "okta": {"eventType": "user.session.start", "published": "2026-01-02T03:04:05.000Z"},
    "kubernetes": {
        "verb": "create",
        "objectRef": {"resource": "pods", "subresource": "exec", "namespace": "n", "name": "p"},
        "stageTimestamp": "2026-01-02T03:04:05.123456Z",
    },
    "ndjson": {"action": "thing.do", "occurred_at": "2026-01-02T03:04:05Z"},
}
ACTIONS = {
    "cloudtrail": "aws.iam.createuser",
    "github": "github.repo.create",
    "okta": "okta.user.session.start",
    "kubernetes": "k8s.pods.exec.create",
    "ndjson": "thing.do",
}


def one(name: str, **fields: Any) -> Draft:
    """The event of the smallest record of a format with these fields."""
    (draft,) = REGISTRY[name]().events({**MINIMAL[name], **fields})
    return draft


@pytest.mark.parametrize("name", REGISTRY)
def test_minimal(name: str) -> None:
    """The least that a record can hold gives a whole event that the intake takes, with nobody invented."""
    draft = one(name)
    assert draft.action == ACTIONS[name]
    assert draft.imported
    assert draft.actor == Actor(type="anonymous", id="anonymous")
    assert isinstance(draft.occurred_at, int)
    assert draft.occurred_at // 1_000_000 == 1_767_323_045
    assert draft.idempotency_key is not None
    assert len(draft.idempotency_key) == 64
    MemoryIntake(REGISTRY[name]()).record([draft])


@pytest.mark.parametrize("name", REGISTRY)
def test_no_time(name: str) -> None:
    """A record without the vendor's time is a named reject; another time is never taken for it."""
    record = {key: value for key, value in MINIMAL[name].items() if key not in TIME_FIELDS}
    with pytest.raises(RejectedRecord) as caught:
        REGISTRY[name]().events({**record, "p_event_time": "2026-01-02T03:04:05Z"})
    assert caught.value.rule == "required"


TIME_FIELDS = {"eventTime", "created_at", "published", "stageTimestamp", "occurred_at"}


@pytest.mark.parametrize("name", ["cloudtrail", "github", "okta", "kubernetes"])
def test_raw_record_is_kept(name: str) -> None:
    """The raw record stands unchanged in metadata under the source's name."""
    importer = REGISTRY[name]()
    record = {**MINIMAL[name], "unheard_of": {"deep": [1, {"x": None}]}}
    (draft,) = importer.events(record)
    assert (draft.metadata or {})[importer.source] == record
    assert draft.source == importer.source


@pytest.mark.parametrize("name", ["cloudtrail", "github", "okta", "kubernetes"])
def test_other_records(name: str) -> None:
    """A record of another kind is refused by name, not mapped to nothing in particular."""
    with pytest.raises(RejectedRecord) as caught:
        REGISTRY[name]().events({"hello": "world", "eventTime": "2026-01-02T03:04:05Z"})
    assert caught.value.rule == "required"


LONG = "x" * 2000
HOSTILE: dict[str, dict[str, Any]] = {
    "cloudtrail": {
        "eventName": LONG,
        "eventSource": LONG,
        "eventID": LONG,
        "userIdentity": {"type": LONG, "arn": LONG, "userName": LONG, "accountId": LONG, "accessKeyId": LONG},
        "userAgent": LONG,
        "sourceIPAddress": LONG,
        "errorCode": LONG,
        "errorMessage": LONG,
        "requestID": LONG,
        "recipientAccountId": LONG,
        "awsRegion": LONG,
        "resources": [{"ARN": f"{LONG}{number}", "type": LONG} for number in range(25)],
        "readOnly": False,
        "requestParameters": {f"{LONG}{number}": LONG for number in range(3)},
    },
    "github": {
        "action": LONG,
        "_document_id": LONG,
        "actor": LONG,
        "actor_id": LONG,
        "actor_ip": LONG,
        "user_agent": LONG,
        "repo": LONG,
        "team": LONG,
        "user": LONG,
        "actor_location": {"country_code": LONG},
        "hashed_token": LONG,
        "programmatic_access_type": LONG,
        "org": LONG,
        "conclusion": LONG,
        "url_path": LONG,
        "request_id": LONG,
    },
    "okta": {
        "eventType": LONG,
        "uuid": LONG,
        "actor": {"id": LONG, "type": LONG, "alternateId": f"{LONG}@example.com", "displayName": LONG},
        "client": {
            "ipAddress": LONG,
            "userAgent": {"rawUserAgent": LONG},
            "geographicalContext": {"city": LONG, "state": LONG, "country": LONG},
        },
        "outcome": {"result": LONG, "reason": LONG},
        "displayMessage": LONG,
        "target": [{"id": f"{LONG}{number}", "type": LONG, "displayName": LONG} for number in range(20)],
        "authenticationContext": {"externalSessionId": LONG},
        "transaction": {"id": LONG, "type": LONG},
        "debugContext": {"debugData": {"requestUri": LONG, "requestId": LONG}},
    },
    "kubernetes": {
        "verb": LONG,
        "auditID": LONG,
        "user": {"username": LONG, "uid": LONG, "extra": {"sessionName": [LONG]}},
        "objectRef": {"resource": LONG, "subresource": LONG, "namespace": LONG, "name": LONG},
        "sourceIPs": [LONG],
        "userAgent": LONG,
        "requestURI": LONG,
        "responseStatus": {"code": 500, "reason": LONG, "message": LONG},
    },
}
WRONG_TYPES: list[Any] = [None, 7, 1.5, True, "", "text", [], [1], ["x"], {}, {"a": 1}, [{"id": 5}]]


@pytest.mark.parametrize("name", HOSTILE)
def test_long_fields(name: str) -> None:
    """No record is refused because a field is long: it is cut or left out, and whole in the raw record."""
    draft = one(name, **HOSTILE[name])
    importer = REGISTRY[name]()
    MemoryIntake(importer).record([draft])
    assert (draft.metadata or {})[importer.source] == {**MINIMAL[name], **HOSTILE[name]}


@pytest.mark.parametrize("name", HOSTILE)
def test_two_long_ids_stay_two(name: str) -> None:
    """Cut identifiers end in a digest, so that two actors, keys or actions never become one."""
    first = one(name, **HOSTILE[name])
    second = one(name, **json.loads(json.dumps(HOSTILE[name]).replace(LONG, LONG[:-1] + "y")))
    assert first.actor is not None
    assert second.actor is not None
    assert first.actor.id != second.actor.id
    assert first.idempotency_key != second.idempotency_key
    assert first.action != second.action


@pytest.mark.parametrize("name", HOSTILE)
def test_wrong_types(name: str) -> None:
    """A field of a type that nobody expects is left out or is a named reject, never an error of ours."""
    importer = REGISTRY[name]()
    rules = set()
    recorded = 0
    for field in [*HOSTILE[name], *MINIMAL[name], "insightDetails", "impersonatedUser", "old_x"]:
        for value in WRONG_TYPES:
            try:
                drafts = importer.events({**HOSTILE[name], **MINIMAL[name], field: value})
            except RejectedRecord as problem:
                rules.add(problem.rule)
            else:
                recorded += len(MemoryIntake(importer).record(drafts))
    assert rules <= {"required", "time"}
    assert recorded > 100


def identity(**fields: Any) -> Draft:
    """A CloudTrail event by that identity."""
    return one("cloudtrail", userIdentity=fields)


ROLE = {"type": "Role", "arn": "arn:aws:iam::1:role/Admin", "userName": "Admin"}
SSO = {"type": "Role", "arn": "arn:aws:iam::1:role/aws-reserved/sso.amazonaws.com/Admin", "userName": "Admin"}


@pytest.mark.parametrize(
    ("fields", "actor"),
    [
        (
            {"type": "IAMUser", "arn": "arn:aws:iam::1:user/ana", "principalId": "AIDA", "userName": "ana"},
            Actor(type="user", id="arn:aws:iam::1:user/ana", name="ana"),
        ),
        (
            {"type": "Root", "arn": "arn:aws:iam::1:root", "principalId": "1", "accountId": "1"},
            Actor(type="user", id="arn:aws:iam::1:root", name="root"),
        ),
        (
            {
                "type": "AssumedRole",
                "arn": "arn:aws:sts::1:assumed-role/Admin/i-0abc",
                "sessionContext": {"sessionIssuer": ROLE},
            },
            Actor(type="service", id="arn:aws:sts::1:assumed-role/Admin/i-0abc", name="Admin"),
        ),
        (
            {
                "type": "AssumedRole",
                "arn": "arn:aws:sts::1:assumed-role/Admin/ana",
                "sessionContext": {"sessionIssuer": SSO},
            },
            Actor(type="user", id="arn:aws:sts::1:assumed-role/Admin/ana", name="ana"),
        ),
        (
            {
                "type": "AssumedRole",
                "arn": "arn:aws:sts::1:assumed-role/Admin/ana@x.io",
                "sessionContext": {"sessionIssuer": ROLE},
            },
            Actor(
                type="user",
                id="arn:aws:sts::1:assumed-role/Admin/ana@x.io",
                name="ana@x.io",
                email="ana@x.io",
            ),
        ),
        (
            {"type": "IAMUser", "principalId": "AIDA", "userName": "ana"},
            Actor(type="user", id="AIDA", name="ana"),
        ),
        (
            {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
            Actor(type="system", id="ec2.amazonaws.com"),
        ),
        ({"type": "AWSAccount", "accountId": "42"}, Actor(type="service", id="42")),
        ({"type": "AWSAccount", "accountId": "ANONYMOUS_PRINCIPAL"}, Actor(type="anonymous", id="anonymous")),
        ({}, Actor(type="anonymous", id="anonymous")),
    ],
)
def test_cloudtrail_actors(fields: dict[str, Any], actor: Actor) -> None:
    """Who acted, by each kind of identity."""
    assert identity(**fields).actor == actor


def test_cloudtrail_role() -> None:
    """The role stands beside its session."""
    fields = {
        "type": "AssumedRole",
        "arn": "arn:aws:sts::1:assumed-role/Admin/s",
        "sessionContext": {"sessionIssuer": ROLE},
    }
    assert identity(**fields).on_behalf_of == Actor(type="service", id=ROLE["arn"], name="Admin")


@pytest.mark.parametrize(
    ("fields", "outcome", "reason"),
    [
        ({}, "success", None),
        ({"errorCode": "AccessDenied", "errorMessage": "no"}, "failure", "AccessDenied: no"),
        ({"errorMessage": "Failed authentication"}, "failure", "Failed authentication"),
        ({"responseElements": {"ConsoleLogin": "Failure"}}, "failure", None),
        ({"responseElements": {"ConsoleLogin": "Success"}}, "success", None),
        ({"serviceEventDetails": {"UserAuthentication": "Failure"}}, "failure", None),
    ],
)
def test_cloudtrail_outcomes(fields: dict[str, Any], outcome: str, reason: str | None) -> None:
    """A record with an error is a failure, whatever else it says; so is a sign-in that says so."""
    draft = one("cloudtrail", **fields)
    assert (draft.outcome, draft.reason) == (outcome, reason)


def test_cloudtrail_resources_and_changes() -> None:
    """Listed resources, else what the request names; changes are what was asked for and what came of it."""
    draft = one(
        "cloudtrail",
        readOnly=False,
        requestParameters={"userName": "bob", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
        responseElements={"done": True},
        recipientAccountId="123",
        sourceIPAddress="AWS Internal",
    )
    assert draft.resources == (
        Resource(type="user", id="bob"),
        Resource(type="policy", id="arn:aws:iam::aws:policy/AdministratorAccess", name="AdministratorAccess"),
    )
    assert draft.changes is not None
    assert draft.changes["done"] == Change(new=True)
    metadata = draft.metadata or {}
    assert (draft.ip, metadata["source_address"], metadata["account"]) == (None, "AWS Internal", "123")
    assert metadata["category"] == "config.change"
    listed = one("cloudtrail", resources=[{"ARN": "arn:aws:s3:::b/k", "type": "AWS::S3::Object"}])
    assert listed.resources == (Resource(type="object", id="arn:aws:s3:::b/k", name="b/k"),)


def test_cloudtrail_envelopes() -> None:
    """An event inside an answer, an EventBridge event or a lower-cased table is the same event."""
    inner = {**MINIMAL["cloudtrail"], "eventID": "e-1"}
    importer = CloudTrail()
    for record in (
        inner,
        {"EventId": "e-1", "CloudTrailEvent": json.dumps(inner)},
        {"detail-type": "AWS API Call via CloudTrail", "detail": inner},
        {name.lower(): value for name, value in inner.items()},
    ):
        (draft,) = importer.events(record)
        assert (draft.action, draft.idempotency_key) == ("aws.iam.createuser", "e-1")


def test_cloudtrail_insight() -> None:
    """An Insights event has its name inside."""
    record = {
        "eventTime": "2026-01-02T03:04:05Z",
        "insightDetails": {"eventSource": "ec2.amazonaws.com", "eventName": "RunInstances"},
    }
    assert CloudTrail().events(record)[0].action == "aws.ec2.runinstances"


def test_github() -> None:
    """Actor, resources, changes, session and place of a GitHub entry."""
    draft = one(
        "github",
        _document_id="d1",
        action="org.update_member",
        actor="ana",
        actor_id=7,
        actor_ip="203.0.113.9",
        actor_location={"country_code": "DE"},
        org="acme",
        user="bob",
        user_id=8,
        old_permission="read",
        permission="admin",
        hashed_token="abc=",
        programmatic_access_type="personal_access_token",
    )
    assert draft.actor == Actor(type="api_token", id="7", name="ana")
    assert draft.resources == (Resource(type="user", id="8", name="bob"),)
    assert draft.changes == {"permission": Change(old="read", new="admin")}
    assert (draft.ip, draft.location and draft.location.country_code) == ("203.0.113.9", "DE")
    assert (draft.session and draft.session.id, draft.idempotency_key) == ("abc=", "d1")
    assert (draft.metadata or {})["account"] == "acme"
    assert one("github", org="acme", org_id=3).resources == (Resource(type="org", id="3", name="acme"),)
    assert one("github", actor="robot", actor_is_bot=True).actor == Actor(
        type="service", id="robot", name="robot"
    )


@pytest.mark.parametrize(
    ("fields", "outcome", "word"),
    [
        ({}, "success", None),
        ({"conclusion": "failure"}, "failure", None),
        ({"conclusion": "success"}, "success", None),
        ({"conclusion": "cancelled"}, "success", "cancelled"),
        ({"action": "user.failed_login"}, "failure", None),
        ({"action": "api.request", "status_code": 404}, "failure", None),
    ],
)
def test_github_outcomes(fields: dict[str, Any], outcome: str, word: str | None) -> None:
    """What happened is a success; a conclusion that is neither keeps its word."""
    draft = one("github", **fields)
    assert (draft.outcome, (draft.metadata or {}).get("github_outcome")) == (outcome, word)


def test_okta() -> None:
    """Targets, place, changes and outcome of an Okta event."""
    draft = one(
        "okta",
        uuid="u-1",
        severity="WARN",
        actor={"id": "a1", "type": "User", "alternateId": "ana@x.io", "displayName": "Ana"},
        target=[
            {"id": "a1", "type": "User", "alternateId": "ana@x.io"},
            {
                "id": "g1",
                "type": "UserGroup",
                "displayName": "Admins",
                "changeDetails": {"from": {"status": "old", "same": 1}, "to": {"status": "new", "same": 1}},
            },
        ],
        client={"ipAddress": "203.0.113.9", "geographicalContext": {"city": "Bonn", "country": "Germany"}},
        outcome={"result": "CHALLENGE", "reason": "second factor"},
        transaction={"type": "WEB", "id": "t1"},
        authenticationContext={"externalSessionId": "s1"},
    )
    assert draft.actor == Actor(type="user", id="a1", name="ana@x.io", email="ana@x.io")
    assert [resource.id for resource in draft.resources] == ["g1", "a1"]
    assert draft.resources[0] == Resource(type="usergroup", id="g1", name="Admins")
    assert draft.changes == {"status": Change(old="old", new="new")}
    assert (draft.outcome, draft.reason, draft.severity) == ("success", "second factor", "warning")
    assert (draft.metadata or {})["okta_outcome"] == "CHALLENGE"
    assert (draft.session and draft.session.id, draft.request and draft.request.id) == ("s1", "t1")
    assert draft.location is not None
    assert (draft.location.city, draft.location.country) == ("Bonn", "Germany")
    for word, outcome in (
        ("SUCCESS", "success"),
        ("ALLOW", "success"),
        ("FAILURE", "failure"),
        ("DENY", "failure"),
    ):
        assert one("okta", outcome={"result": word}).outcome == outcome
    unknown = one("okta", actor={"id": "a2", "type": "User", "alternateId": "unknown", "displayName": "Ana"})
    assert unknown.actor == Actor(type="user", id="a2", name="Ana")


def test_okta_account() -> None:
    """Okta does not name its host in the events, so the caller can."""
    (draft,) = Okta(account="acme.okta.com").events(MINIMAL["okta"])
    assert (draft.metadata or {})["account"] == "acme.okta.com"


@pytest.mark.parametrize(
    ("stage", "events"),
    [("RequestReceived", 0), ("ResponseStarted", 0), ("ResponseComplete", 1), ("Panic", 1), (None, 1)],
)
def test_kubernetes_stages(stage: str | None, events: int) -> None:
    """Only a finished request is an event, so that none is counted twice."""
    assert len(Kubernetes().events({**MINIMAL["kubernetes"], "stage": stage})) == events


def test_kubernetes_people() -> None:
    """With impersonation the person is the actor and the proxy stands beside; types go by the prefix."""
    draft = one("kubernetes", user={"username": "system:admin"}, impersonatedUser={"username": "bob"})
    assert draft.actor == Actor(type="user", id="bob", name="bob")
    assert draft.on_behalf_of is not None
    assert draft.on_behalf_of.id == "system:admin"
    for name, kind in (
        ("system:serviceaccount:a:b", "service"),
        ("system:node:n1", "service"),
        ("system:kube-scheduler", "system"),
        ("system:anonymous", "anonymous"),
        ("ana@x.io", "user"),
    ):
        actor = one("kubernetes", user={"username": name}).actor
        assert actor is not None
        assert actor.type == kind


def test_kubernetes_resources() -> None:
    """Namespace, resource and name; a path where there is no object."""
    assert one("kubernetes").resources == (Resource(type="pods", id="n/pods/p", name="p"),)
    path = one("kubernetes", objectRef=None, verb="get", requestURI="/healthz?verbose=1")
    assert (path.action, path.resources) == ("k8s.nonresource.get", (Resource(type="path", id="/healthz"),))


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"responseStatus": {"code": 201}}, "success"),
        ({"responseStatus": {"code": 403, "reason": "Forbidden"}}, "failure"),
        ({"annotations": {"authorization.k8s.io/decision": "forbid"}}, "failure"),
        ({"stage": "Panic"}, "failure"),
    ],
)
def test_kubernetes_outcomes(fields: dict[str, Any], outcome: str) -> None:
    """A code of 400 or more, or a decision to forbid, is a failure."""
    assert one("kubernetes", **fields).outcome == outcome


def test_kubernetes_secrets_stay_secret() -> None:
    """The values of a Secret are masked before anything is stored: their keys do not give them away."""
    body = {"kind": "Secret", "data": {"username": "YWRtaW4="}, "stringData": {"x": "hunter2"}}
    listed = {"items": [body]}
    draft = one(
        "kubernetes",
        objectRef={"resource": "secrets"},
        verb="create",
        requestObject=body,
        responseObject=listed,
    )
    text = str(draft)
    assert "YWRtaW4=" not in text
    assert "hunter2" not in text
    assert (draft.metadata or {})["k8s"]["requestObject"]["data"] == {"username": "[masked]"}
    assert draft.changes is None


def test_masking_exceptions() -> None:
    """What looks like a secret and is none in this format stays; real secrets in raw records are masked."""
    intake = MemoryIntake(GitHub())
    intake.record([one("github", hashed_token="abc=", token="ghp_secret")])
    (row,) = intake.rows.values()
    stored = str(row.values)
    assert "abc=" in stored
    assert "ghp_secret" not in stored
