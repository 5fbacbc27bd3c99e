"""What the product records of itself, under the reserved prefixes.

Every change of a token, an organization or a setting, every read and export of the log, and what happened to
the log itself. Clients cannot record these.
"""

from __future__ import annotations

from affidavit.core.catalog import Catalog, EventType
from affidavit.core.schema import fields

__all__ = ["Access", "Audit", "Detections", "Log"]

_CREDENTIAL = fields(token_name=str, abilities=[str], expires_at=str)


class Access(Catalog, prefix="access", title="Access to the log", reserved=True):
    """Who may read and write the log."""

    organization_created = EventType("organization.created", "Organization created in the log")
    organization_updated = EventType("organization.updated", "Organization changed in the log")
    token_created = EventType(
        "token.created", "Audit token created", severity="warning", metadata_schema=_CREDENTIAL
    )
    token_updated = EventType(
        "token.updated", "Audit token changed", severity="warning", metadata_schema=_CREDENTIAL
    )
    token_revoked = EventType(
        "token.revoked", "Audit token revoked", severity="warning", metadata_schema=_CREDENTIAL
    )
    token_rejected = EventType("token.rejected", "Audit token rejected", severity="critical")
    login_link_created = EventType("login_link.created", "Login link made", severity="warning")
    login_link_refused = EventType("login_link.refused", "Login link refused", severity="critical")
    session_created = EventType("session.created", "Signed in to the audit log")
    session_ended = EventType("session.ended", "Signed out of the audit log")
    member_added = EventType("member.added", "Member added to the audit log", severity="warning")
    member_updated = EventType("member.updated", "Role in the audit log changed", severity="warning")
    member_removed = EventType("member.removed", "Member removed from the audit log", severity="warning")
    request_denied = EventType(
        "request.denied", "Access to the audit log denied", severity="critical", references=["R4", "R100"]
    )


_QUESTION = fields(filter=str, returned=int)
_EXPIRY = fields(task=str, until=str, expired=int, kept=int)
_PRUNED = fields(task=str, from_id=str, to_id=str, events=int)
_EXPORT = fields(format=("csv", "ndjson", "parquet", "bundle"), filter=str, events=int)

_ERASURE = fields(
    task=str,
    basis=str,
    include_substrings=bool,
    events=int,
    groups=dict,
    hits=dict,
    unconfirmed=dict,
    clear=dict,
    reapplied=bool,
)


class Audit(Catalog, prefix="audit", title="Audit log", reserved=True):
    """What people do with the log, and its settings."""

    log_read = EventType("log.read", "Audit log read", metadata_schema=_QUESTION)
    event_read = EventType("event.read", "Audit event read")
    question_asked = EventType("question.asked", "Audit log read by an agent", metadata_schema=_QUESTION)
    export_requested = EventType("export.requested", "Audit log export started", metadata_schema=_EXPORT)
    export_completed = EventType(
        "export.completed", "Audit log exported", severity="warning", metadata_schema=_EXPORT
    )
    export_failed = EventType("export.failed", "Audit log export failed", metadata_schema=_EXPORT)
    import_completed = EventType(
        "import.completed",
        "Audit events imported",
        severity="warning",
        metadata_schema=fields(format=str, read=int, recorded=int, duplicates=int, rejected=int),
    )
    catalog_pushed = EventType(
        "catalog.pushed",
        "Event catalog changed",
        severity="warning",
        metadata_schema=fields(name=str, version=int, types=int),
    )
    settings_updated = EventType("settings.updated", "Audit log settings changed", severity="warning")
    view_saved = EventType("view.saved", "Audit log view saved")
    view_deleted = EventType("view.deleted", "Audit log view deleted")
    stream_created = EventType(
        "stream.created", "Audit log export configured", severity="warning", references=["R192", "R195"]
    )
    stream_updated = EventType(
        "stream.updated", "Audit log export changed", severity="warning", references=["R195"]
    )
    stream_deleted = EventType("stream.deleted", "Audit log export removed", severity="critical")
    stream_failed = EventType(
        "stream.failed", "Audit log export failing", severity="warning", references=["R199"]
    )
    retention_changed = EventType(
        "retention.changed", "Retention policy changed", severity="warning", references=["R84"]
    )
    retention_expired = EventType(
        "retention.expired", "Expiry of audit events begun", severity="warning", metadata_schema=_EXPIRY
    )
    retention_completed = EventType(
        "retention.completed", "Audit events expired", severity="warning", metadata_schema=_EXPIRY
    )
    retention_pruned = EventType(
        "retention.pruned", "Audit events pruned", severity="critical", metadata_schema=_PRUNED
    )
    hold_created = EventType("hold.created", "Legal hold placed", severity="warning")
    hold_released = EventType("hold.released", "Legal hold released", severity="warning")
    erasure_requested = EventType(
        "erasure.requested",
        "Erasure of personal data requested",
        severity="warning",
        metadata_schema=_ERASURE,
        references=["R66"],
    )
    erasure_completed = EventType(
        "erasure.completed",
        "Personal data erased",
        severity="warning",
        metadata_schema=_ERASURE,
        references=["R66"],
    )
    index_rebuilt = EventType("index.rebuilt", "Search index rebuilt")


class Log(Catalog, prefix="log", title="Log", reserved=True):
    """What happened to the log as a proof."""

    created = EventType("created", "Log started")
    restored = EventType("restored", "Log restored from a backup", severity="critical", references=["R69"])
    pruned = EventType("pruned", "Log pruned", severity="warning")
    key_created = EventType("key.created", "Log signing key made", severity="warning")
    key_rotated = EventType("key.rotated", "Log signing key replaced", severity="warning")
    key_retired = EventType("key.retired", "Log signing key retired", severity="warning")
    guard_accepted = EventType("guard.accepted", "Guard told to accept a checkpoint", severity="critical")
    entry_invalid = EventType("entry.invalid", "Unreadable event sealed", severity="critical")


_ALERT = fields(rule=str, key=str, evidence=[str])


def _alert(name: str, title: str, *references: str) -> EventType:
    return EventType(name, title, severity="critical", metadata_schema=_ALERT, references=references)


class Detections(Catalog, prefix="detection", title="Detections", reserved=True):
    """Alerts; each names the ids of its evidence."""

    brute_force = _alert("brute_force", "Brute force on an account", "R127")
    password_spray = _alert("password_spray", "Password spray from one address", "R148")
    success_after_failures = _alert("success_after_failures", "Login after many failures", "R78")
    new_country = _alert("new_country", "Access from a new country", "R78")
    impossible_travel = _alert("impossible_travel", "Impossible travel", "R78")
    privilege_escalation = _alert("privilege_escalation", "Privilege escalation", "R78")
    mfa_disabled = _alert("mfa_disabled", "Second factor switched off")
    audit_disabled = _alert("audit_disabled", "Audit log switched off")
    mass_delete = _alert("mass_delete", "Mass deletion")
    mass_export = _alert("mass_export", "Mass export")
    token_elsewhere = _alert("token_elsewhere", "Token used from elsewhere")
    gap = _alert("gap", "Silence in the log")
    alert_resolved = EventType("alert.resolved", "Alert resolved")
