"""The severity classifier: what is routine, what needs review, what needs it at once."""

from __future__ import annotations

import timeit
from itertools import count, product

import pytest

from affidavit.core.event import OUTCOMES, SEVERITIES, Outcome, Severity
from affidavit.core.severity import classify, greatest, is_denial


def words(text: str) -> list[str]:
    """One action a word."""
    return text.split()


ROUTINE = words("""
    auth.login.success auth.logout user.create user.update organization.update project.create
    application.deploy pipeline.run.trigger connection.create team.update agent.message.send
    api.request.get_pipelines journey.run flow.create billing.plan.change role.list user.permission.get
    token.introspect.read audit.log.read aws.signin.consolelogin aws.sts.assumerole aws.iam.getuser
    aws.iam.listaccesskeys aws.s3.getbucketpolicy aws.ec2.describesecuritygroups aws.ec2.runinstances
    aws.kms.decrypt aws.ssm.getparameter aws.secretsmanager.getsecretvalue aws.cloudtrail.lookupevents
    aws.lambda.createfunction20150331 github.repo.create github.git.clone
    github.workflows.completed_workflow_run okta.user.session.start okta.policy.evaluate_sign_on
    okta.user.authentication.sso okta.application.user_membership.add okta.user.lifecycle.activate
    k8s.pods.list k8s.pods.create k8s.secrets.get k8s.deployments.apps.patch k8s.clusterroles.list
""")

REVIEW = words("""
    user.role.assign role.permission.update role.create policy.update member.invite api_token.create
    access.token.created access.token.revoked secret.rotate journey.access.grant auth.passkey.add
    auth.mfa.disable security.configuration.update sso.settings.update billing.admin.add
    organization.owner.transfer aws.iam.createuser aws.iam.attachrolepolicy aws.iam.createaccesskey
    aws.s3.putbucketpolicy aws.lambda.addpermission20150331v2 aws.ec2.authorizesecuritygroupingress
    aws.ec2.modifysnapshotattribute aws.kms.schedulekeydeletion aws.cloudtrail.updatetrail
    aws.secretsmanager.putsecretvalue aws.ssm.sendcommand aws.ec2.deleteflowlogs aws.logs.deleteloggroup
    github.org.add_member github.org.update_member github.repo.access github.protected_branch.destroy
    github.invite_member github.org.invite_user okta.application.user_membership.show_password
    github.hook.create github.personal_access_token.access_granted
    github.org.enable_two_factor_requirement github.ip_allow_list.disable
    github.integration_installation.create okta.user.account.privilege.grant
    okta.group.user_membership.add okta.system.api_token.create okta.policy.rule.update okta.zone.delete
    okta.user.mfa.factor.deactivate okta.application.lifecycle.update
    okta.user.session.impersonation.grant k8s.pods.exec.create k8s.pods.exec.get k8s.secrets.create
    k8s.clusterrolebindings.rbac.create k8s.rolebindings.delete k8s.validatingwebhookconfigurations.patch
""")

AT_ONCE = words("""
    auth.login.failed auth.token.rejected security.access.denied security.privilege.escalation
    security.location.unusual detection.new_country detection.impossible_travel app.request.forbidden
    account.sign_in.failed aws.cloudtrail.stoplogging aws.cloudtrail.deletetrail
    aws.guardduty.deletedetector github.org.disable_two_factor_requirement github.org.saml_disabled
    okta.security.threat.detected okta.user.account.lock
""")

FAILED_AT_ONCE = words("""
    auth.login.attempt auth.session.create login.attempt user.login user.sign_in account.mfa.challenge
    user.role.assign role.permission.update policy.delete member.invite aws.signin.consolelogin
    aws.sts.assumerole aws.iam.attachuserpolicy aws.iam.createuser okta.user.session.start
    okta.user.authentication.auth_via_mfa okta.policy.evaluate_sign_on okta.user.account.privilege.grant
    k8s.clusterrolebindings.create github.org.add_member
""")


@pytest.mark.parametrize(
    ("action", "outcome", "severity"),
    [
        *((action, "success", "info") for action in ROUTINE),
        *((action, "success", "warning") for action in REVIEW),
        *((action, "success", "critical") for action in AT_ONCE),
        *((action, "failure", "critical") for action in (*AT_ONCE, *FAILED_AT_ONCE)),
        *(
            (action, "failure", "info")
            for action in ("auth.logout", "aws.ec2.describeinstances", "user.create")
        ),
        *(
            (action, "failure", "warning")
            for action in ("secret.rotate", "aws.kms.disablekey", "k8s.secrets.create")
        ),
    ],
)
def test_the_rules(action: str, outcome: Outcome, severity: Severity) -> None:
    """Hand-sorted actions of products and vendors get the severity that R78 and R98 to R100 ask for."""
    assert classify(action, outcome) == severity


@pytest.mark.parametrize(("catalogued", "given"), list(product((None, *SEVERITIES), repeat=2)))
@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("action", ["user.update", "user.role.assign", "auth.login.failed"])
def test_nothing_lowers(
    action: str, outcome: Outcome, catalogued: Severity | None, given: Severity | None
) -> None:
    """A catalogued and a given severity only raise what the rules say."""
    order = ["info", "warning", "critical"]
    known = [value for value in (classify(action, outcome), catalogued, given) if value is not None]
    assert classify(action, outcome, catalogued, given) == max(known, key=order.index)


def test_a_catalog_can_silence_the_rules() -> None:
    """With ``classified=False`` only the catalog and the caller count."""
    assert classify("auth.login.failed", "failure", "info", None, False) == "info"
    assert classify("auth.login.failed", "failure", None, None, False) == "info"
    assert classify("auth.login.failed", "failure", "info", "critical", False) == "critical"


def test_greatest() -> None:
    """The greatest of severities; ``info`` of none."""
    assert greatest() == "info"
    assert greatest(None, "warning", "info") == "warning"


@pytest.mark.parametrize(
    ("code", "denied"),
    [
        ("AccessDenied", True),
        ("AccessDeniedException", True),
        ("Client.UnauthorizedOperation", True),
        ("Forbidden", True),
        ("PERMISSION_DENIED", True),
        ("access denied", True),
        ("403", True),
        ("401", True),
        ("ThrottlingException", False),
        ("NoSuchBucketPolicy", False),
        ("404", False),
        ("14030", False),
        ("", False),
    ],
)
def test_denials(code: str, denied: bool) -> None:
    """Vendors' words for unauthorized access are known; other failures are not taken for it."""
    assert is_denial(code) is denied


def test_it_is_fast_and_bounded() -> None:
    """A known action costs about a microsecond, a new one tens; hostile actions cannot fill the memory."""
    classify("user.role.assign", "success")
    known = min(timeit.repeat(lambda: classify("user.role.assign", "success"), number=5000, repeat=5)) / 5000
    numbers = count()
    new = timeit.timeit(lambda: classify(f"x.{'y' * 100}{next(numbers)}", "success"), number=2000) / 2000
    assert known < 5e-6
    assert new < 200e-6
    assert classify.cache_info().maxsize is not None
