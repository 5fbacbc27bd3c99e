"""What a CloudTrail record was about: its resources, the primary one first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from affidavit.core.event import Resource
from affidavit.ingest import fit

__all__ = ["resources_of"]

_USUAL = (
    ("userName", "user"),
    ("groupName", "group"),
    ("roleName", "role"),
    ("roleArn", "role"),
    ("instanceProfileName", "instanceprofile"),
    ("policyArn", "policy"),
    ("policyName", "policy"),
    ("accessKeyId", "accesskey"),
    ("serialNumber", "mfadevice"),
    ("bucketName", "bucket"),
    ("key", "object"),
    ("instanceId", "instance"),
    ("functionName", "function"),
    ("dBInstanceIdentifier", "dbinstance"),
    ("dBSnapshotIdentifier", "dbsnapshot"),
    ("secretId", "secret"),
    ("keyId", "key"),
    ("snapshotId", "snapshot"),
    ("imageId", "image"),
    ("volumeId", "volume"),
    ("groupId", "securitygroup"),
    ("vpcId", "vpc"),
    ("subnetId", "subnet"),
    ("keyName", "keypair"),
    ("trailName", "trail"),
    ("logGroupName", "loggroup"),
    ("tableName", "table"),
    ("topicArn", "topic"),
    ("queueUrl", "queue"),
    ("clusterName", "cluster"),
    ("stackName", "stack"),
    ("hostedZoneId", "hostedzone"),
    ("detectorId", "detector"),
    ("repositoryName", "repository"),
    ("documentName", "document"),
)
_USUAL_KEYS = frozenset(name for name, _ in _USUAL)
_NAMED_BY = ("Arn", "ARN", "Name", "Id", "Identifier")
_NOT_RESOURCES = frozenset(
    "requestId clientToken roleSessionName versionId nextToken sourceIdentity accountId externalId".split()
)
_LISTS = (("instancesSet", "instanceId", "instance"), ("snapshotSet", "snapshotId", "snapshot"))


def resources_of(event: dict[str, Any], service: str) -> tuple[Resource, ...]:
    """The resources of a record: those it lists, else those its request names, else those it created."""
    request = fit.mapping(event.get("requestParameters"))
    answer = fit.mapping(event.get("responseElements"))
    found = fit.resources(_listed(event))
    if not found:
        found = fit.resources(_usual(request))
    if not found:
        found = fit.resources(_in_sets(request, answer))
    if not found:
        found = fit.resources(_by_name(request, service))
    return found or fit.resources(_by_name(answer, service))


def _listed(event: dict[str, Any]) -> Iterator[Resource | None]:
    for each in fit.mappings(event.get("resources")):
        arn = fit.first_text(each.get("ARN"), each.get("arn"), each.get("ARNPrefix"), limit=fit.WHOLE)
        if arn is not None:
            kind = fit.text(each.get("type"), fit.TYPE_LENGTH)
            yield fit.resource(kind.rpartition("::")[2] if kind else _type_in(arn), arn, _name_in(arn))


def _usual(request: dict[str, Any]) -> Iterator[Resource | None]:
    for name, kind in _USUAL:
        value = request.get(name)
        if isinstance(value, str):
            yield fit.resource(kind, value, _name_in(value) if value.startswith("arn:") else None)


def _in_sets(request: dict[str, Any], answer: dict[str, Any]) -> Iterator[Resource | None]:
    for part in (request, answer):
        for name, identifier, kind in _LISTS:
            for item in fit.mappings(fit.mapping(part.get(name)).get("items")):
                yield fit.resource(kind, item.get(identifier))


def _by_name(parameters: dict[str, Any], service: str) -> Iterator[Resource | None]:
    """The first parameter whose key says that it names something: ``trustAnchorId``, ``name``."""
    for name, value in parameters.items():
        if not isinstance(value, str) or name in _NOT_RESOURCES or name in _USUAL_KEYS:
            continue
        label = _name_in(value) if value.startswith("arn:") else None
        if name in ("name", "id", "arn"):
            yield fit.resource(_type_in(value) if label else service, value, label)
            return
        for suffix in _NAMED_BY:
            if name.endswith(suffix) and len(name) > len(suffix):
                yield fit.resource(_type_in(value) if label else name.removesuffix(suffix), value, label)
                return


def _type_in(arn: str) -> str:
    """``role`` in ``arn:aws:iam::1:role/x``; the service where the ARN has no type."""
    parts = arn.split(":", 5)
    if len(parts) < 6:
        return "resource"
    tail = parts[5]
    kind = tail.partition("/")[0] if "/" in tail else tail.partition(":")[0] if ":" in tail else ""
    if parts[2] == "s3":
        return "object" if "/" in tail else "bucket"
    return kind or parts[2] or "resource"


def _name_in(arn: str) -> str | None:
    tail = arn.split(":", 5)[-1]
    if arn.startswith("arn:") and arn.split(":", 3)[2] == "s3":
        return tail
    return tail.rpartition("/")[2] or tail
