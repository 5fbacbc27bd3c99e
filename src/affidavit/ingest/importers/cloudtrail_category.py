"""Our category for a CloudTrail event, from its name alone."""

from __future__ import annotations

import re
from typing import Any

from affidavit.ingest.importers.categories import Categories

__all__ = ["category_of"]

_RULES = Categories(
    (
        "auth.login",
        r"""
        ConsoleLogin SwitchRole UserAuthentication GetSigninToken AssumeRole.* GetFederationToken
        GetSessionToken
        """,
    ),
    ("auth.mfa", r"CheckMfa CredentialVerification .*(?:MFA|Mfa)(?:Device|Options).*"),
    (
        "log.disable",
        r"""
        StopLogging DeleteTrail DeleteFlowLogs DeleteLogGroup DeleteLogStream
        StopConfigurationRecorder DeleteConfigurationRecorder DeleteDeliveryChannel DeleteDetector
        DisableSecurityHub DeleteEventDataStore StopEventDataStoreIngestion
        DeleteResolverQueryLogConfig DisassociateResolverQueryLogConfig DeleteWebACL DeleteMembers
        DisassociateMembers DisassociateFromMasterAccount DisableAlarmActions
        """,
    ),
    (
        "key.create",
        r"""
        CreateAccessKey CreateKeyPair ImportKeyPair CreateLoginProfile UpdateLoginProfile CreateKey
        CreateApiKey CreateServiceSpecificCredential UploadSSHPublicKey SendSSHPublicKey
        SendSerialConsoleSSHPublicKey CreateTrustAnchor GetPasswordData UploadSigningCertificate
        """,
    ),
    (
        "access.grant",
        r"""
        Attach(?:User|Role|Group)Policy Put(?:User|Role|Group)Policy AddUserToGroup
        AddRoleToInstanceProfile UpdateAssumeRolePolicy CreatePolicyVersion SetDefaultPolicyVersion
        Put.*(?:Bucket|Resource|Key)Policy PutBucketAcl PutObjectAcl PutBucketPublicAccessBlock
        AddPermission\w* AddLayerVersionPermission\w* CreateGrant
        AuthorizeSecurityGroup(?:Ingress|Egress) CreateSAMLProvider CreateOpenIDConnectProvider
        CreateAccountAssignment DeleteUserPermissionsBoundary DeleteRolePermissionsBoundary
        """,
    ),
    (
        "data.export",
        r"""
        Modify(?:Snapshot|Image|DBSnapshot|DBClusterSnapshot)Attribute CreateInstanceExportTask
        StartExportTask Export\w+ CreateExportTask CopySnapshot CopyDBSnapshot
        ModifyDocumentPermission GetSecretValue BatchGetSecretValue
        """,
    ),
    (
        "data.delete",
        r"""

        Delete(?:Bucket|Objects?|DBInstance|DBCluster|DBSnapshot|DBClusterSnapshot|Snapshot|Volume|Table|Backup|FileSystem|RecoveryPoint|Secret|Repository|Stream|Queue)
        ScheduleKeyDeletion DeregisterImage BatchDelete\w+
        """,
    ),
)
_WRITE = re.compile(
    r"(?:Create|Update|Modify|Put|Set|Enable|Disable|Attach|Detach|Associate|Disassociate|Register|Revoke)"
)


def category_of(event: dict[str, Any], event_name: str) -> str | None:
    """The category, or None where none of ours fits."""
    category = _RULES.of(event_name)
    if category is not None:
        return category
    management = event.get("eventCategory", "Management") == "Management"
    writes = event.get("readOnly") is not True and event.get("readOnly") != "true"
    return "config.change" if management and writes and _WRITE.match(event_name) else None
