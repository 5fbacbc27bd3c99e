"""What can be allowed to people by their role, and to programs by their token."""

from __future__ import annotations

__all__ = ["ABILITIES", "PERMISSIONS"]

PERMISSIONS = {
    "integration.connect": "Connect products",
    "integration.update": "Change the secrets of connections",
    "integration.disconnect": "Disconnect products",
    "sync.run": "Run syncs",
    "user.create": "Add people",
    "user.role.assign": "Give people another role",
    "user.delete": "Remove people",
    "role.create": "Create roles",
    "role.permission.update": "Change the permissions of roles",
    "api_token.create": "Create API tokens",
    "api_token.delete": "Revoke API tokens",
    "organization.update": "Change the team's settings",
}
"""Of roles. Everybody may look at the team's connections."""

ABILITIES = {
    "integration.read": "Read connections and their syncs",
    "sync.run": "Run syncs",
}
"""Of tokens."""
