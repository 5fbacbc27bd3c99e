"""Kubernetes audit log: JSON lines of the API server, webhook batches (EventList), EKS records."""

from __future__ import annotations

from typing import Any, ClassVar

from affidavit.core.event import Actor, ActorType, Change, Draft, Request, Resource, Session
from affidavit.ingest import fit
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.times import parse_vendor_time

__all__ = ["Kubernetes"]

_TIMES = ("requestReceivedTimestamp", "stageTimestamp", "timestamp")
_FINAL_STAGES = {"ResponseComplete", "Panic"}
_DECISION = "authorization.k8s.io/decision"
_REASON = "authorization.k8s.io/reason"
_SECRET_PARTS = ("data", "stringData")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MASKED = "[masked]"
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_GRANTS = {"rolebindings", "clusterrolebindings", "roles", "clusterroles"}
_SERVICES = ("system:serviceaccount:", "system:node:")
_SYSTEM = (
    "system:kube-",
    "system:apiserver",
    "system:volume-",
    "eks:",
    "aks:",
    "system:addon-manager",
    "system:cloud-",
)


class Kubernetes:
    """Maps audit.k8s.io events. Only finished requests become events.

    Args:
        account: the cluster, which events do not name; stands in ``metadata.account``.
    """

    name: ClassVar[str] = "kubernetes"
    source: str = "k8s"
    wrapper: str | None = "items"
    shape: LineShape | None = None
    unmasked: ClassVar[frozenset[str]] = frozenset({"authorizationInfo"})

    def __init__(self, account: str | None = None) -> None:
        self._account = account

    def events(self, record: dict[str, Any]) -> list[Draft]:
        """One event for each finished request, none for its earlier stages; see the protocol."""
        reference = fit.mapping(record.get("objectRef"))
        verb = fit.text(record.get("verb"), fit.WHOLE)
        if verb is None and not reference and "requestURI" not in record:
            raise RejectedRecord(
                "verb", "required", "is no Kubernetes audit event: it has neither verb nor object"
            )
        stage = fit.text(record.get("stage"), fit.TYPE_LENGTH)
        if stage is not None and stage not in _FINAL_STAGES:
            return []
        occurred_at = _time(record)
        status = fit.mapping(record.get("responseStatus"))
        failed = _failed(record, status, stage)
        addresses = record.get("sourceIPs")
        ip, other_address = (
            fit.address(addresses[0]) if isinstance(addresses, list) and addresses else (None, None)
        )
        user, impersonated = fit.mapping(record.get("user")), fit.mapping(record.get("impersonatedUser"))
        return [
            Draft(
                action=fit.action_name(self.source, _words(reference, verb or "unknown")),
                occurred_at=occurred_at,
                idempotency_key=_key(record, stage),
                outcome="failure" if failed else "success",
                source=self.source,
                imported=True,
                actor=_actor(impersonated or user) or Actor(type="anonymous", id="anonymous"),
                on_behalf_of=_actor(user) if impersonated else None,
                session=_session(user),
                resources=fit.resources([_resource(record, reference)]),
                ip=ip,
                user_agent=fit.text(record.get("userAgent")),
                request=_request(record),
                changes=None if failed else _changes(record, reference, verb),
                reason=_reason(record, status, failed),
                metadata=fit.metadata(
                    self.source,
                    _without_secret_values(record, reference),
                    account=self._account,
                    category=_category(reference, verb),
                    source_address=other_address,
                ),
            )
        ]


def _time(record: dict[str, Any]) -> int:
    for field in _TIMES:
        if record.get(field) is not None:
            return parse_vendor_time(record[field], field)
    return parse_vendor_time(None, _TIMES[0])


def _key(record: dict[str, Any], stage: str | None) -> str:
    identifier = fit.text(record.get("auditID"), fit.WHOLE)
    if identifier is None:
        return fit.digest_key(record)
    return fit.key(f"{identifier}/{stage}" if stage else identifier, fit.KEY_LENGTH)


def _words(reference: dict[str, Any], verb: str) -> str:
    """``pods.exec.create``: resource, subresource, verb; ``nonresource.get`` for a path such as /healthz."""
    parts = [fit.text(reference.get(name), fit.WHOLE) for name in ("resource", "subresource")]
    words = [part.replace(".", "_") for part in (*parts, verb) if part]
    return ".".join(words if parts[0] else ["nonresource", *words])


def _failed(record: dict[str, Any], status: dict[str, Any], stage: str | None) -> bool:
    code = status.get("code")
    if isinstance(code, (int, float)) and code >= 400:
        return True
    decision = fit.mapping(record.get("annotations")).get(_DECISION)
    return decision == "forbid" or stage == "Panic" or status.get("status") == "Failure"


def _reason(record: dict[str, Any], status: dict[str, Any], failed: bool) -> str | None:
    reason = fit.text(status.get("reason"))
    if reason is None and failed:
        reason = fit.first_text(
            status.get("message"), fit.mapping(record.get("annotations")).get(_REASON), limit=1000
        )
    return reason


def _actor(user: dict[str, Any]) -> Actor | None:
    name = fit.text(user.get("username"), fit.WHOLE)
    if name == "system:anonymous":
        return Actor(type="anonymous", id="system:anonymous", name=name)
    return fit.actor(_actor_type(name or ""), user.get("uid") or name, name)


def _actor_type(name: str) -> ActorType:
    if name.startswith(_SERVICES):
        return "service"
    return "system" if name.startswith(_SYSTEM) else "user"


def _session(user: dict[str, Any]) -> Session | None:
    """EKS says which AWS session stood behind the user."""
    extra = fit.mapping(user.get("extra"))
    found = next((extra[name] for name in ("sessionName", "accessKeyId") if extra.get(name)), None)
    return fit.session("aws", found[0] if isinstance(found, list) and found else found)


def _resource(record: dict[str, Any], reference: dict[str, Any]) -> Resource | None:
    kind = fit.text(reference.get("resource"), fit.WHOLE)
    if kind is None:
        path = (fit.text(record.get("requestURI"), 100_000) or "").partition("?")[0]
        return fit.resource("path", path or None)
    namespace, name = (fit.text(reference.get(part), fit.WHOLE) for part in ("namespace", "name"))
    identity = "/".join(part for part in (namespace, kind, name) if part)
    return fit.resource(kind, identity, name)


def _request(record: dict[str, Any]) -> Request | None:
    identifier = fit.text(record.get("auditID"), fit.ID_LENGTH)
    endpoint = fit.text(record.get("requestURI"), fit.ENDPOINT_LENGTH)
    return Request(id=identifier, endpoint=endpoint) if identifier or endpoint else None


def _changes(record: dict[str, Any], reference: dict[str, Any], verb: str | None) -> dict[str, Change] | None:
    """The new state that a writing request asked for (at level Request and above); there is no old one."""
    body = fit.mapping(record.get("requestObject"))
    if verb not in _WRITES or not body or _holds_secret_values(reference):
        return None
    changes = {
        name: Change(new=value)
        for name, value in body.items()
        if name not in ("kind", "apiVersion", "metadata")
    }
    return changes or None


def _holds_secret_values(reference: dict[str, Any]) -> bool:
    return reference.get("resource") == "secrets"


def _without_secret_values(record: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """The record as it is kept: of a Secret object everything but the values, whose keys say nothing."""
    if not _holds_secret_values(reference):
        return record
    kept = dict(record)
    for part in ("requestObject", "responseObject"):
        if part in kept:
            kept[part] = _masked(kept[part])
    return kept


def _masked(value: Any) -> Any:
    if isinstance(value, list):
        return [_masked(each) for each in value]
    if not isinstance(value, dict):
        return value
    copy: dict[str, Any] = {}
    for name, each in value.items():
        if name in _SECRET_PARTS and isinstance(each, dict):
            copy[name] = dict.fromkeys(each, _MASKED)
        else:
            copy[name] = _MASKED if name == _LAST_APPLIED else _masked(each)
    return copy


def _category(reference: dict[str, Any], verb: str | None) -> str | None:
    resource, subresource = reference.get("resource"), reference.get("subresource")
    if resource in _GRANTS and verb in _WRITES:
        return "access.grant"
    if resource in ("tokenreviews", "selfsubjectreviews"):
        return "auth.login"
    if verb == "create" and (subresource == "token" or resource == "certificatesigningrequests"):
        return "key.create"
    if resource == "secrets" and verb in ("get", "list", "watch"):
        return "data.export"
    if verb in ("delete", "deletecollection"):
        return "data.delete"
    return "config.change" if verb in _WRITES and resource is not None and subresource is None else None
