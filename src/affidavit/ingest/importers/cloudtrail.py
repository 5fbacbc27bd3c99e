"""AWS CloudTrail: delivery files, ``lookup-events`` answers, and event stores that lower-case the keys."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from affidavit.core.event import Actor, ActorType, Change, Draft, Request
from affidavit.ingest import fit
from affidavit.ingest.importers.cloudtrail_category import category_of
from affidavit.ingest.importers.cloudtrail_resources import resources_of
from affidavit.ingest.jsontext import decode
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.times import parse_vendor_time

__all__ = ["CloudTrail"]

_FIELDS = {
    name.lower(): name
    for name in (
        "additionalEventData awsRegion errorCode errorMessage eventCategory eventID eventName eventSource "
        "eventTime eventType insightDetails managementEvent readOnly recipientAccountId requestID "
        "requestParameters resources responseElements serviceEventDetails sessionCredentialFromConsole "
        "sharedEventID sourceIPAddress userAgent userIdentity"
    ).split()
}
_PERSON = re.compile(r"[A-Za-z][\w-]+\.[A-Za-z][\w.-]+\Z", re.ASCII)
_SERVICE = re.compile(r"[a-z0-9.-]+\.(?:amazonaws|amazon)\.com(?:\.cn)?\Z", re.ASCII)
_SIGN_IN_ANSWERS = (
    "ConsoleLogin",
    "CheckMfa",
    "SwitchRole",
    "PasswordUpdated",
    "UserAuthentication",
    "CredentialVerification",
)
_PEOPLE = {
    "Root",
    "IAMUser",
    "SAMLUser",
    "WebIdentityUser",
    "FederatedUser",
    "IdentityCenterUser",
    "Directory",
}


class CloudTrail:
    """Maps CloudTrail records (record contents 1.0 to 1.11).

    Args:
        account: stands in ``metadata.account`` where a record names none.
    """

    name: ClassVar[str] = "cloudtrail"
    source: str = "aws"
    wrapper: str | None = "Records"
    shape: LineShape | None = None
    unmasked: ClassVar[frozenset[str]] = frozenset({"secretId", "authorizationInfo"})

    def __init__(self, account: str | None = None) -> None:
        self._account = account

    def events(self, record: dict[str, Any]) -> list[Draft]:
        """One event for each record, however it failed; see the protocol."""
        event = _spelled(_unpacked(record))
        insight = fit.mapping(event.get("insightDetails"))
        event_source = fit.first_text(event.get("eventSource"), insight.get("eventSource"), limit=fit.WHOLE)
        event_name = fit.first_text(event.get("eventName"), insight.get("eventName"), limit=fit.WHOLE)
        if event_source is None and event_name is None:
            raise RejectedRecord(
                "eventName", "required", "is no CloudTrail record: it names neither event nor service"
            )
        occurred_at = parse_vendor_time(event.get("eventTime"), "eventTime")
        service = (event_source or "unknown").partition(".")[0] or "unknown"
        failed = _failed(event)
        identity = fit.mapping(event.get("userIdentity"))
        ip, other_address = fit.address(event.get("sourceIPAddress"))
        region = fit.text(event.get("awsRegion"))
        return [
            Draft(
                action=fit.action_name(
                    self.source, f"{service}.{(event_name or 'unknown').replace('.', '_')}"
                ),
                occurred_at=occurred_at,
                idempotency_key=_key(event, record),
                outcome="failure" if failed else "success",
                source=self.source,
                imported=True,
                actor=_actor(identity, event_source if event.get("eventType") == "AwsServiceEvent" else None),
                on_behalf_of=_on_behalf_of(identity),
                session=fit.session(
                    "console" if event.get("sessionCredentialFromConsole") else "access_key",
                    identity.get("accessKeyId"),
                    identity.get("accessKeyId"),
                ),
                resources=resources_of(event, service),
                ip=ip,
                user_agent=fit.text(event.get("userAgent")),
                request=_request(event),
                changes=None if failed else _changes(event),
                reason=_reason(event),
                metadata=fit.metadata(
                    self.source,
                    record,
                    account=fit.first_text(
                        event.get("recipientAccountId"), identity.get("accountId"), self._account
                    ),
                    category=category_of(event, event_name or ""),
                    region=region,
                    source_address=other_address,
                ),
            )
        ]


def _unpacked(record: dict[str, Any]) -> dict[str, Any]:
    """The record inside an answer of ``aws cloudtrail lookup-events`` (as text) or an EventBridge event."""
    if "eventName" in record:
        return record
    inner = record.get("CloudTrailEvent", record.get("detail"))
    if isinstance(inner, str):
        inner = decode(inner.encode())
    return inner if isinstance(inner, dict) else record


def _spelled(record: dict[str, Any]) -> dict[str, Any]:
    """The record with CloudTrail's own spelling of its fields (Athena and Snowflake lower-case them)."""
    if "eventName" in record and "eventTime" in record:
        return record
    return {_FIELDS.get(name.lower(), name): value for name, value in record.items()}


def _key(event: dict[str, Any], record: dict[str, Any]) -> str:
    identifier = fit.text(event.get("eventID"), fit.WHOLE)
    return fit.key(identifier, fit.KEY_LENGTH) if identifier else fit.digest_key(record)


def _failed(event: dict[str, Any]) -> bool:
    if event.get("errorCode") or event.get("errorMessage"):
        return True
    for part in ("responseElements", "serviceEventDetails"):
        answer = fit.mapping(event.get(part))
        if any(answer.get(name) == "Failure" for name in _SIGN_IN_ANSWERS):
            return True
    return False


def _reason(event: dict[str, Any]) -> str | None:
    parts = [found for name in ("errorCode", "errorMessage") if (found := fit.text(event.get(name)))]
    return fit.text(": ".join(parts))


def _actor(identity: dict[str, Any], service: str | None) -> Actor:
    kind = identity.get("type")
    invoked_by = fit.text(identity.get("invokedBy"), fit.ID_LENGTH)
    who = fit.first_text(identity.get("arn"), identity.get("principalId"), limit=fit.WHOLE)
    if identity.get("accountId") == "ANONYMOUS_PRINCIPAL" or identity.get("accountid") == "anonymous":
        return Actor(type="anonymous", id="anonymous")
    if who is None and kind in _PEOPLE:
        # No ARN, but a name or an account that is unique to the user.
        who = fit.first_text(_name(identity), identity.get("accountId"))
    if who is None and kind != "AWSService":
        who = fit.first_text(
            identity.get("userName"), _issuer(identity).get("arn"), _issuer(identity).get("userName")
        )
    if who is None:
        return _nobody(invoked_by or service, identity)
    actor = fit.actor(_actor_type(identity, invoked_by), who, _name(identity))
    assert actor is not None
    return actor


def _nobody(service: str | None, identity: dict[str, Any]) -> Actor:
    """The vendor names no actor: the service or account that it names, else nobody."""
    account = fit.text(identity.get("accountId"), fit.ID_LENGTH)
    if identity.get("type") == "AWSAccount" and account:
        return Actor(type="service", id=account)
    return Actor(type="system", id=service) if service else Actor(type="anonymous", id="anonymous")


def _actor_type(identity: dict[str, Any], invoked_by: str | None) -> ActorType:
    kind = identity.get("type")
    if invoked_by or kind in ("AWSService", "AWSAccount"):
        return "service"
    if kind == "AssumedRole":
        return "user" if _is_person(identity) else "service"
    return "user" if kind in _PEOPLE or kind is None else "service"


def _issuer(identity: dict[str, Any]) -> dict[str, Any]:
    return fit.mapping(fit.mapping(identity.get("sessionContext")).get("sessionIssuer"))


def _session_name(identity: dict[str, Any]) -> str | None:
    arn = fit.text(identity.get("arn"), fit.WHOLE) or ""
    if arn.count("/") >= 2:
        return arn.rpartition("/")[2] or None
    principal = fit.text(identity.get("principalId"), fit.WHOLE) or ""
    return principal.partition(":")[2] or None


def _is_person(identity: dict[str, Any]) -> bool:
    """Whether the session of a role is a person's: single sign-on, or a name that looks like one."""
    name = _session_name(identity)
    if name is None:
        return False
    arns = f"{_issuer(identity).get('arn')} {identity.get('arn')}"
    single_sign_on = "aws-reserved/sso.amazonaws.com" in arns or ":assumed-role/AWSReservedSSO_" in arns
    # A service's name as session name (eks.amazonaws.com) has a dot too.
    return single_sign_on or "@" in name or bool(_PERSON.match(name) and not _SERVICE.match(name))


def _name(identity: dict[str, Any]) -> str | None:
    kind = identity.get("type")
    if kind == "Root":
        return "root"
    if kind == "AssumedRole":
        if _is_person(identity):
            return _session_name(identity)
        role = fit.text(_issuer(identity).get("userName"), fit.ID_LENGTH)
        given = fit.text(identity.get("userName"), fit.ID_LENGTH)
        return role or _role_in_arn(identity) or given or _session_name(identity)
    name = fit.text(identity.get("userName"), fit.ID_LENGTH)
    arn = fit.text(identity.get("arn"), fit.WHOLE) or ""
    return name or arn.rpartition("/")[2] or fit.text(identity.get("invokedBy"), fit.ID_LENGTH)


def _role_in_arn(identity: dict[str, Any]) -> str | None:
    arn = fit.text(identity.get("arn"), fit.WHOLE) or ""
    parts = arn.partition(":assumed-role/")[2].split("/")
    return parts[0] or None


def _on_behalf_of(identity: dict[str, Any]) -> Actor | None:
    issuer = _issuer(identity)
    arn = fit.text(issuer.get("arn"), fit.WHOLE)
    if arn is None or arn == identity.get("arn"):
        return None
    return fit.actor("user" if issuer.get("type") in _PEOPLE else "service", arn, issuer.get("userName"))


def _request(event: dict[str, Any]) -> Request | None:
    request_id = fit.text(event.get("requestID"), fit.ID_LENGTH)
    return Request(id=request_id) if request_id else None


def _changes(event: dict[str, Any]) -> dict[str, Change] | None:
    """What was asked for and what came of it; CloudTrail knows no old values."""
    if event.get("readOnly") is not False and event.get("readOnly") != "false":
        return None
    changes: dict[str, Change] = {}
    for part in ("requestParameters", "responseElements"):
        for field, value in fit.mapping(event.get(part)).items():
            if value is not None and field not in changes and field not in ("requestId", "_return"):
                changes[field] = Change(new=value)
    return changes or None
