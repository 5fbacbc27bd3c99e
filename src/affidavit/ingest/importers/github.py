"""GitHub audit log: the API's answers, exports and streams of organizations and enterprises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar

from affidavit.core.event import Actor, ActorType, Change, Draft, Location, Request, Resource, Session
from affidavit.ingest import fit
from affidavit.ingest.importers.categories import Categories
from affidavit.ingest.records import LineShape
from affidavit.ingest.rejects import RejectedRecord
from affidavit.ingest.times import parse_vendor_time

__all__ = ["GitHub"]

_TIMES = ("@timestamp", "at_sign_timestamp", "created_at")
_FAILED_CONCLUSIONS = {"failure", "timed_out", "startup_failure", "action_required"}
_FAILED_ACTION = re.compile(r"(?:\A|[._])failed(?:[._]|\Z)")

_CATEGORIES = Categories(
    ("auth.mfa", r".*two_factor.* .*recovery_code.* security_key\..* passkey\..*"),
    (
        "auth.login",
        r"""
        user\.(?:login|failed_login|logout|sign_in.*) org\.sso_response business\.sso_response
        """,
    ),
    (
        "log.disable",
        r"""
        audit_log_streaming\.(?:destroy|update) .*secret_scanning.*\.disable\w*
        .*\.disable_\w*secret_scanning\w* repository_vulnerability_alerts\.disable
        .*advanced_security.*disable\w* hook\.destroy
        """,
    ),
    (
        "key.create",
        r"""
        (?:personal_access_token|public_key|deploy_key|oauth_access|gpg_key)\.create
        .*personal_access_token\.access_granted org\.self_hosted_runner.*token
        integration_installation\.create enterprise\.register_self_hosted_runner
        """,
    ),
    (
        "access.grant",
        r"""

        .*\.(?:add_member|add_user|invite_member|add_collaborator|add_admin|update_member|add_repository|invite_admin|add_organization|update_member_repository_permission|update_default_repository_permission)
        repo\.access org\.transfer.* repo\.transfer.* .*\.invite organization_role\.assign
        organization_moderators\.add_.*
        """,
    ),
    (
        "data.export",
        r"""
        git\.clone git\.fetch .*\.download_zip repo\.(?:download|export).* migration\.create
        .*\.export
        """,
    ),
    (
        "data.delete",
        r"""
        repo\.destroy org\.delete .*(?:packages?|environment|codespaces)\.(?:delete|destroy)\w*
        """,
    ),
    (
        "config.change",
        r"""
        protected_branch\..* repository_ruleset\..*
        .*\.(?:enable|disable|update|set|create|destroy|remove|rename|archived)\w*
        .*\.(?:enable|disable|update|set|remove|config)_\w+
        """,
    ),
)


class GitHub:
    """Maps GitHub audit log entries.

    Args:
        account: stands in ``metadata.account`` where an entry names neither organization nor enterprise.
    """

    name: ClassVar[str] = "github"
    source: str = "github"
    wrapper: str | None = None
    shape: LineShape | None = None
    unmasked: ClassVar[frozenset[str]] = frozenset({"hashed_token", "public_key"})

    def __init__(self, account: str | None = None) -> None:
        self._account = account

    def events(self, record: dict[str, Any]) -> list[Draft]:
        """One event for each entry; see the protocol."""
        action = fit.text(record.get("action"), fit.WHOLE)
        if action is None:
            raise RejectedRecord("action", "required", "is no GitHub audit log entry: it has no action")
        occurred_at = _time(record)
        ip, other_address = fit.address(record.get("actor_ip"))
        outcome, word = _outcome(action, record)
        return [
            Draft(
                action=fit.action_name(self.source, action),
                occurred_at=occurred_at,
                idempotency_key=_key(record),
                outcome="failure" if outcome else "success",
                source=self.source,
                imported=True,
                actor=_actor(record),
                session=_session(record),
                resources=fit.resources(_resources(record)),
                ip=ip,
                location=_location(record),
                user_agent=fit.text(record.get("user_agent")),
                request=_request(record),
                changes=_changes(record),
                reason=fit.first_text(
                    record.get("reason"), record.get("failure_reason"), limit=fit.TEXT_LENGTH
                ),
                metadata=fit.metadata(
                    self.source,
                    record,
                    account=fit.first_text(record.get("org"), record.get("business"), self._account),
                    category=_CATEGORIES.of(action),
                    source_address=other_address,
                    github_outcome=word,
                ),
            )
        ]


def _time(record: dict[str, Any]) -> int:
    for field in _TIMES:
        if record.get(field) is not None:
            return parse_vendor_time(record[field], field)
    return parse_vendor_time(None, "@timestamp")


def _key(record: dict[str, Any]) -> str:
    identifier = fit.text(record.get("_document_id"), fit.WHOLE)
    return fit.key(identifier, fit.KEY_LENGTH) if identifier else fit.digest_key(record)


def _outcome(action: str, record: dict[str, Any]) -> tuple[bool, str | None]:
    """Whether it failed, and the vendor's word where it says neither success nor failure.

    The log has what happened; a workflow run has a conclusion, an API request a status code.
    """
    conclusion = fit.text(record.get("conclusion"), 128)
    if conclusion is not None:
        if conclusion in _FAILED_CONCLUSIONS:
            return True, None
        return False, None if conclusion == "success" else conclusion
    status = record.get("status_code")
    if isinstance(status, int) and action == "api.request":
        return status >= 400, None
    return bool(_FAILED_ACTION.search(action)), None


def _actor(record: dict[str, Any]) -> Actor:
    kind: ActorType = "user"
    access = str(record.get("programmatic_access_type") or "").lower()
    if record.get("actor_is_bot") is True or "github app" in access or "github_app" in access:
        kind = "service"
    elif "oauth" in access:
        kind = "oauth_client"
    elif access:
        kind = "api_token"
    found = fit.actor(kind, record.get("actor_id"), record.get("actor"))
    return found or Actor(type="anonymous", id="anonymous")


def _session(record: dict[str, Any]) -> Session | None:
    kind = fit.text(record.get("programmatic_access_type"), fit.TYPE_LENGTH) or "web"
    return fit.session(
        kind, record.get("hashed_token"), record.get("token_id"), record.get("oauth_application_name")
    )


def _resources(record: dict[str, Any]) -> Iterator[Resource | None]:
    """Repository, team, user; the organization where there is none of these."""
    repository = fit.first_text(record.get("repo"), record.get("repository"))
    found = [
        fit.resource("repo", record.get("repo_id") if repository else None, repository),
        fit.resource("team", record.get("team_id") if record.get("team") else None, record.get("team")),
        fit.resource("user", record.get("user_id"), record.get("user")),
    ]
    yield from found
    if not any(found):
        yield fit.resource("org", record.get("org_id"), record.get("org"))
        yield fit.resource("business", record.get("business_id"), record.get("business"))


def _location(record: dict[str, Any]) -> Location | None:
    code = fit.text(fit.mapping(record.get("actor_location")).get("country_code"), 256)
    return Location(country_code=code) if code else None


def _request(record: dict[str, Any]) -> Request | None:
    identifier = fit.text(record.get("request_id"), fit.ID_LENGTH)
    method = fit.text(record.get("request_method"), 64)
    endpoint = fit.text(record.get("url_path"), fit.ENDPOINT_LENGTH)
    if not (identifier or method or endpoint):
        return None
    return Request(id=identifier, method=method, endpoint=endpoint)


def _changes(record: dict[str, Any]) -> dict[str, Change] | None:
    """``old_user`` and ``user``, ``old_permission`` and ``permission`` or ``new_permission``."""
    changes: dict[str, Change] = {}
    for name, old in record.items():
        if name.startswith("old_") and len(name) > 4:
            field = name[4:]
            new = record.get(field, record.get(f"new_{field}"))
            changes[field] = Change(old=old, new=new)
    return changes or None
