"""Severity: how much attention an event deserves, from its action, its outcome and its catalog.

The rules, in rising order of what they say; the greatest wins:

* ``info``: routine, and every read.
* ``warning``: a change of privileges (roles, permissions, policies, members, grants) or of the security
  configuration (credentials, secrets, sign-in, encryption, firewalls, the audit log itself).
* ``critical``: failed authentication, unauthorized access, an attempt at a privilege change that failed, an
  unusual place, and the audit log being switched off.

Catalogued and given severities only raise, unless the catalog says that the classifier has no say on a type
(``EventType(..., classified=False)``). Vendors' actions (``aws.``, ``github.``, ``okta.``, ``k8s.``) have
rules of their own, because their words are joined. Whether an attempt was *denied* or failed for another
reason is often only in the vendor's error code: :func:`is_denial` reads it, and an importer then gives
``critical``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise

from affidavit.core.event import Outcome, Severity

__all__ = ["classify", "greatest", "is_denial"]

_RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


def greatest(*severities: Severity | None) -> Severity:
    """The greatest of these; ``info`` where all are absent."""
    highest: Severity = "info"
    for severity in severities:
        if severity is not None and _RANK[severity] > _RANK[highest]:
            highest = severity
    return highest


@lru_cache(maxsize=16384)
def classify(
    action: str,
    outcome: Outcome,
    catalogued: Severity | None = None,
    given: Severity | None = None,
    classified: bool = True,
) -> Severity:
    """The severity that an event is recorded with.

    Args:
        action: the dotted name.
        outcome: ``success`` or ``failure``.
        catalogued: what the catalog says of the action; a floor.
        given: what the caller said; a floor as well.
        classified: ``False`` where the catalog adjusts the action: the rules here then say nothing.
    """
    if not classified:
        return greatest(catalogued, given)
    family, _, rest = action.partition(".")
    return greatest(catalogued, given, _FAMILIES.get(family, _plain)(action, rest, outcome))


_DENIALS = re.compile(
    r"access_?denied|unauthori[sz]ed|forbidden|not_?authori[sz]ed|permission_?denied|access_?refused|^(401|403)$",
    re.IGNORECASE,
)


@lru_cache(maxsize=1024)
def is_denial(code: str) -> bool:
    """Whether an error code or reason says unauthorized access: ``AccessDenied``, ``Forbidden``, ``403``.

    Args:
        code: the vendor's short code, not a sentence.
    """
    return _DENIALS.search(code.replace(" ", "_").replace("-", "_")) is not None


# Words of actions that name their parts in full: ours, our users', GitHub's and Okta's.


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_READS = _words(
    "get list read view show search fetch describe watch validate check count download lookup find query"
)
_VERBS = _words(
    "create add update change set modify edit delete remove revoke rotate assign unassign grant enable "
    "disable reset attach detach invite accept promote demote transfer approve activate deactivate register "
    "enroll unenroll issue regenerate replace upload impersonate elevate suspend unsuspend deprovision "
    "provision destroy override block unblock unlock lock start stop bypass authorize deauthorize connect "
    "disconnect make"
)
_CHANGES = (
    _VERBS
    | {verb + ("d" if verb.endswith("e") else "ed") for verb in _VERBS}
    | _words("rotation impersonation invitation modified stopped")
)
_PRIVILEGES = _words(
    "role roles permission permissions privilege privileges policy policies grant admin administrator owner "
    "ownership ability abilities member members membership invitation collaborator access acl acls rbac iam "
    "impersonation impersonate sudo superuser scope scopes moderators"
)
_SECURITY = _words(
    "security mfa 2fa otp factor sso saml oidc oauth scim idp passkey passkeys password passwords credential "
    "credentials secret secrets token tokens certificate certificates firewall allowlist denylist blocklist "
    "zone encryption audit logging retention detection monitoring guard authenticator webhook hook hooks"
)
_SECURITY_PAIRS = re.compile(
    r"(?:two_factor|(?:api|access|ssh|signing|deploy|public|encryption|private)_keys?|allow_list|"
    r"protected_branch|audit_log|log_stream(?:ing)?)(?![a-z])"
)
_SIGN_IN = _words("login signin logon authenticate authentication authn mfa challenge passkey")
_FAILED = _words("failed failure rejected refused invalid")
_UNAUTHORIZED = _words("denied unauthorized unauthorised forbidden escalation escalate suspicious")
_UNUSUAL = re.compile(
    r"(?:new|unusual|unknown|anomalous)_(?:country|location|place)|(?:country|location|place)[._](?:new|unusual)|"
    r"impossible_travel"
)
_SPLIT = re.compile(r"[._-]")


def _plain(action: str, _rest: str, outcome: Outcome) -> Severity:
    ordered = _SPLIT.split(action)
    words = frozenset(ordered)
    if words & _UNAUTHORIZED or _UNUSUAL.search(action):
        return "critical"
    if _is_failed_authentication(ordered, words, outcome):
        return "critical"
    if words & _READS and not words & _CHANGES:
        return "info"
    if not words & _CHANGES:
        return "info"
    if words & _PRIVILEGES:
        return "critical" if outcome == "failure" else "warning"
    if words & _SECURITY or _SECURITY_PAIRS.search(action):
        return "warning"
    return "info"


def _is_failed_authentication(ordered: list[str], words: frozenset[str], outcome: Outcome) -> bool:
    about = ordered[0] in {"auth", "authn", "login", "signin", "session"} or bool(words & _SIGN_IN)
    about = about or any(pair == ("sign", "in") for pair in pairwise(ordered))
    if not about or "logout" in words:
        return False
    return outcome == "failure" or bool(words & _FAILED)


_GITHUB = re.compile(
    r"protected_branch\.|repo\.(?:access|transfer|visibility|add_member|remove_member|update_member)|"
    r"(?:org|team|business)\.(?:\w*member|\w*repository_permission|\w*oauth_app\w*|\w*two_factor\w*)|"
    r"integration_installation\.|ip_allow_list|organization_moderators\.|personal_access_token|secret_scanning|"
    r"invite_member|org\.\w*user|self_hosted_runner|org\.set_\w*workflow|dependabot_alerts\.disable|repo\.destroy|code_scanning"
)
_GITHUB_OFF = re.compile(
    r"(?:org|business)\.(?:disable_two_factor|saml_disabled|disable_saml)|audit_log\w*\.destroy"
)


def _github(action: str, rest: str, outcome: Outcome) -> Severity:
    if _GITHUB_OFF.match(rest):
        return "critical"
    found = _plain(action, rest, outcome)
    return "warning" if found == "info" and _GITHUB.match(rest) else found


_OKTA_SIGN_IN = re.compile(r"user\.(?:session\.start|authentication)|policy\.evaluate_sign_on|app\.oauth2")
_OKTA_ALARM = re.compile(r"security\.(?:threat|attack|breached)|user\.account\.(?:lock\Z|report_suspicious)")
_OKTA_QUIET = re.compile(r"application\.user_membership\.(?!show_)|system\.agent|user\.lifecycle")
_OKTA_CHANGE = re.compile(
    r"policy\.|zone\.|application\.(?:lifecycle|policy)|system\.idp|"
    r"user\.mfa\.factor\.(?:de|reset|suspend)|application\.user_membership\.show_"
)


def _okta(action: str, rest: str, outcome: Outcome) -> Severity:
    if outcome == "failure" and _OKTA_SIGN_IN.match(rest):
        return "critical"
    if _OKTA_QUIET.match(rest):
        return "info"
    if _OKTA_ALARM.match(rest):
        return "critical"
    found = _plain(action, rest, outcome)
    evaluated = rest.startswith("policy.evaluate")
    return "warning" if found == "info" and not evaluated and _OKTA_CHANGE.match(rest) else found


# CloudTrail: aws.<service>.<operation>, the operation's words joined.

_AWS_READS = re.compile(
    r"(?:batch)?(?:get|list|describe|head|lookup|search|check|select|query|scan|view|simulate|validate|estimate|"
    r"preview|download|discover|detect)"
)
_AWS_SIGN_IN = re.compile(r"signin\.|sts\.(?:assume|getfederation|getsession)|sso\.(?:authenticate|federate)")
_AWS_OFF = re.compile(
    r"cloudtrail\.(?:stoplogging|deletetrail|deleteeventdatastore)|guardduty\.(?:deletedetector|disassociate)|"
    r"config\.(?:stopconfigurationrecorder|deleteconfigurationrecorder|deletedeliverychannel)|"
    r"securityhub\.disablesecurityhub|organizations\.leaveorganization"
)
_AWS_PRIVILEGES = re.compile(
    r"(?:iam|sso|sso-directory|identitystore|organizations|ram|rolesanywhere|access-analyzer)\.|"
    r"\w+\.\w*(?:policy|permission|loginprofile|accesskey)"
)
_AWS_SECURITY = re.compile(
    r"(?:cloudtrail|guardduty|securityhub|config|macie2?|detective|inspector2?|waf(?:v2|-regional)?|shield|"
    r"network-firewall|fms|acm-pca)\.|"
    r"kms\.(?:create|put|schedule|disable|enable|revoke|import|delete|update|cancel)|"
    r"secretsmanager\.(?:create|put|delete|update|rotate|restore|cancel)|"
    r"ssm\.(?:sendcommand|startsession|createactivation|modifydocumentpermission)|"
    r"[\w-]+\.\w*(?:publicaccess|securitygroup|acl\Z|encryption|flowlogs|snapshotattribute|imageattribute|"
    r"logging|loggroup|keypair|mfa|certificate|userdata|instanceattribute)"
)


def _aws(_action: str, rest: str, outcome: Outcome) -> Severity:
    if _AWS_SIGN_IN.match(rest):
        return "critical" if outcome == "failure" else "info"
    if _AWS_READS.match(rest.rpartition(".")[2]):
        return "info"
    if _AWS_OFF.match(rest):
        return "critical"
    if _AWS_PRIVILEGES.match(rest):
        return "critical" if outcome == "failure" else "warning"
    return "warning" if _AWS_SECURITY.match(rest) else "info"


# Kubernetes: k8s.<resource>[.<subresource>].<verb>.

_K8S_PRIVILEGES = re.compile(r"(?:cluster)?roles?(?:bindings?)?\.|certificatesigningrequests\.approval\.")
_K8S_SECURITY = re.compile(
    r"pods\.(?:exec|attach|portforward|ephemeralcontainers)\.|nodes\.proxy\.|secrets\.|serviceaccounts\.(?!token\.)|"
    r"(?:validating|mutating)webhookconfigurations\.|(?:network|podsecurity)policies\.|apiservices\.|"
    r"certificatesigningrequests\.|validatingadmissionpolic|users\.impersonate"
)
_K8S_CHANGES = _words("create update patch delete deletecollection approve bind escalate impersonate")


def _k8s(_action: str, rest: str, outcome: Outcome) -> Severity:
    verb = rest.rpartition(".")[2]
    if _K8S_SECURITY.match(rest) and rest.startswith(("pods.", "nodes.")):
        return "warning"  # a shell in a pod is opened by get as well as by create
    if verb not in _K8S_CHANGES:
        return "info"
    if _K8S_PRIVILEGES.match(rest):
        return "critical" if outcome == "failure" else "warning"
    return "warning" if _K8S_SECURITY.match(rest) else "info"


_FAMILIES: dict[str, Callable[[str, str, Outcome], Severity]] = {
    "aws": _aws,
    "github": _github,
    "okta": _okta,
    "k8s": _k8s,
}
