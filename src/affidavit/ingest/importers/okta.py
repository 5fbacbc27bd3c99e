"""Okta System Log: API answers, event hooks' events, log streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from affidavit.core.event import Actor, ActorType, Change, Draft, Location, Request, Resource, Severity
from affidavit.ingest import fit
from affidavit.ingest.importers.categories import Categories
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.times import parse_vendor_time

__all__ = ["Okta"]

_FIELDS = {
    name.lower(): name
    for name in (
        "actor authenticationContext client debugContext device displayMessage eventType legacyEventType "
        "outcome published request securityContext severity target transaction uuid version"
    ).split()
}
_ACTOR_TYPES: dict[str, ActorType] = {
    "user": "user",
    "systemprincipal": "system",
    "publicclientapp": "oauth_client",
    "appinstance": "service",
    "accesstoken": "api_token",
    "unknown": "user",
}
_OUTCOMES = {"SUCCESS": "success", "ALLOW": "success", "FAILURE": "failure", "DENY": "failure"}
_SEVERITIES: dict[str, Severity] = {"WARN": "warning", "ERROR": "warning", "HIGH": "warning"}

_CATEGORIES = Categories(
    (
        "auth.mfa",
        r"""
        user\.(?:mfa|authentication\.auth_via_mfa|account\.reset_mfa).*
        system\.(?:push|sms|voice|otp|mfa).* .*\.factor\..*
        """,
    ),
    (
        "auth.login",
        r"""
        user\.session\.(?!impersonation)\w+.* user\.authentication\..*
        user\.account\.(?:lock|unlock)\w* policy\.evaluate_sign_on app\.oauth2\..*(?:token|signon).*
        security\.threat\.detected user\.reauthenticate.*
        """,
    ),
    (
        "log.disable",
        r"""
        system\.log_stream\.lifecycle\.(?:deactivate|delete) event_hook\.(?:deactivate|deleted)
        system\.log.*disable
        """,
    ),
    (
        "key.create",
        r"""
        system\.api_token\.create app\.oauth2\.credentials\.lifecycle\.create
        .*\.key\.(?:create|generate)
        """,
    ),
    (
        "access.grant",
        r"""
        (?:user\.account|group)\.privilege\.grant group\.user_membership\.add
        application\.user_membership\.add iam\..*\.(?:create|add) app\.oauth2\.as\.consent\.grant
        user\.session\.impersonation\.(?:grant|initiate|extend) group\.application_assignment\.add
        """,
    ),
    ("data.export", r".*\.(?:export|csv|download)\w* user\.mim\.command.*"),
    ("data.delete", r"(?:user|group|application)\.lifecycle\.delete\.\w+ .*\.lifecycle\.delete"),
    (
        "config.change",
        r"""

        (?:policy|application|zone|group|system|network_zone|user)\..*\.(?:create|update|delete|activate|deactivate|change)\w*
        """,
    ),
)


class Okta:
    """Maps Okta System Log events.

    Args:
        account: the Okta host, which events do not name; stands in ``metadata.account``.
    """

    name: ClassVar[str] = "okta"
    source: str = "okta"
    wrapper: str | None = "events"
    shape: LineShape | None = None
    unmasked: ClassVar[frozenset[str]] = frozenset({"secretId", "authorizationInfo"})

    def __init__(self, account: str | None = None) -> None:
        self._account = account

    def events(self, record: dict[str, Any]) -> list[Draft]:
        """One event for each log event; see the protocol."""
        event = {_FIELDS.get(name.lower(), name): value for name, value in record.items()}
        kind = fit.text(event.get("eventType"), fit.WHOLE)
        if kind is None:
            raise RejectedRecord("eventType", "required", "is no Okta System Log event: it has no eventType")
        occurred_at = parse_vendor_time(event.get("published"), "published")
        client = fit.mapping(event.get("client"))
        ip, other_address = _address(event, client)
        outcome = fit.mapping(event.get("outcome"))
        word = fit.text(outcome.get("result"), 128)
        authentication = fit.mapping(event.get("authenticationContext"))
        return [
            Draft(
                action=fit.action_name(self.source, kind),
                occurred_at=occurred_at,
                idempotency_key=_key(event, record),
                outcome="failure" if _OUTCOMES.get((word or "").upper()) == "failure" else "success",
                severity=_SEVERITIES.get(str(event.get("severity")).upper()),
                source=self.source,
                imported=True,
                actor=_actor(fit.mapping(event.get("actor"))),
                session=fit.session(_session_type(event), authentication.get("externalSessionId")),
                resources=fit.resources(_resources(event)),
                ip=ip,
                location=_location(client),
                user_agent=_user_agent(client),
                request=_request(event),
                changes=_changes(event),
                description=fit.text(event.get("displayMessage")),
                reason=fit.text(outcome.get("reason")),
                metadata=fit.metadata(
                    self.source,
                    record,
                    account=self._account,
                    category=_CATEGORIES.of(kind),
                    source_address=other_address,
                    okta_outcome=word if word and word.upper() not in _OUTCOMES else None,
                ),
            )
        ]


def _key(event: dict[str, Any], record: dict[str, Any]) -> str:
    identifier = fit.text(event.get("uuid"), fit.WHOLE)
    return fit.key(identifier, fit.KEY_LENGTH) if identifier else fit.digest_key(record)


def _known(value: Any) -> str | None:
    found = fit.text(value, fit.WHOLE)
    return None if found is None or found.lower() == "unknown" else found


def _actor(actor: dict[str, Any]) -> Actor:
    name = _known(actor.get("alternateId")) or _known(actor.get("displayName"))
    kind = _ACTOR_TYPES.get(fit.vendor_type(actor.get("type"), "user"), "service")
    found = fit.actor(kind, _known(actor.get("id")), name)
    return found or Actor(type="anonymous", id="anonymous")


def _address(event: dict[str, Any], client: dict[str, Any]) -> tuple[str | None, str | None]:
    ip, other = fit.address(client.get("ipAddress"))
    if ip is None and other is None:
        for hop in fit.mappings(fit.mapping(event.get("request")).get("ipChain")):
            if hop.get("ip"):
                return fit.address(hop["ip"])
    return ip, other


def _session_type(event: dict[str, Any]) -> str:
    return fit.vendor_type(fit.mapping(event.get("transaction")).get("type"), "web")


def _resources(event: dict[str, Any]) -> Iterator[Resource | None]:
    """All targets; the first that is not the actor is the primary one."""
    targets = fit.mappings(event.get("target"))
    own = fit.mapping(event.get("actor")).get("id")
    others = [each for each in targets if own is None or each.get("id") != own]
    for target in others[:1] + [each for each in targets if each is not (others[0] if others else None)]:
        name = _known(target.get("alternateId")) or _known(target.get("displayName"))
        yield fit.resource(fit.vendor_type(target.get("type"), "target"), _known(target.get("id")), name)


def _location(client: dict[str, Any]) -> Location | None:
    place = fit.mapping(client.get("geographicalContext"))
    city, state, country = (fit.text(place.get(name), 256) for name in ("city", "state", "country"))
    return Location(city=city, region=state, country=country) if city or state or country else None


def _user_agent(client: dict[str, Any]) -> str | None:
    agent = client.get("userAgent")
    return fit.text(fit.mapping(agent).get("rawUserAgent")) or fit.text(agent)


def _request(event: dict[str, Any]) -> Request | None:
    debug = fit.mapping(fit.mapping(event.get("debugContext")).get("debugData"))
    transaction = fit.mapping(event.get("transaction"))
    identifier = fit.first_text(debug.get("requestId"), transaction.get("id"))
    endpoint = fit.text(debug.get("requestUri"), fit.ENDPOINT_LENGTH)
    return Request(id=identifier, endpoint=endpoint) if identifier or endpoint else None


def _changes(event: dict[str, Any]) -> dict[str, Change] | None:
    """``changeDetails`` of the targets; a field that changed on a second one carries its type too."""
    changes: dict[str, Change] = {}
    for target in fit.mappings(event.get("target")):
        details = fit.mapping(target.get("changeDetails"))
        old, new = fit.mapping(details.get("from")), fit.mapping(details.get("to"))
        for name in dict.fromkeys((*old, *new)):
            if old.get(name) != new.get(name):
                field = (
                    name if name not in changes else f"{fit.vendor_type(target.get('type'), 'target')}.{name}"
                )
                changes[field] = Change(old=old.get(name), new=new.get(name))
    return changes or None
