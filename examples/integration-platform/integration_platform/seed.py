"""Two teams to begin with, where there is none."""

from __future__ import annotations

from sqlalchemy import select

from integration_platform import db
from integration_platform.models import Connection, Role, Team, User
from integration_platform.passwords import hashed
from integration_platform.permissions import PERMISSIONS

__all__ = ["PASSWORD", "fill"]

PASSWORD = "trellis-demo"
OPERATOR = ["integration.connect", "integration.update", "sync.run"]
TEAMS = {
    "Harbor Foods": [
        ("Ana Ferreira", "ana@harbor.example", "Admin"),
        ("Ben Otieno", "ben@harbor.example", "Operator"),
        ("Chiyo Tanaka", "chiyo@harbor.example", "Reader"),
    ],
    "Lumen Labs": [("Lea Novak", "lea@lumen.example", "Admin")],
}
CONNECTIONS = {
    "Harbor Foods": [
        ("salesforce", "Wholesale customers", "harbor.my.salesforce.example", "sf-9f2c41d7"),
        ("stripe", "Invoices", "acct_harbor", "expired-rk_live_77"),
        ("slack", "Warehouse channels", "harbor-foods", "xoxb-55aa01"),
    ],
    "Lumen Labs": [("github", "Firmware", "lumen-labs", "ghp-4471aa")],
}


def fill() -> None:
    """Make the teams of the demo."""
    with db.Session.begin() as session:
        if session.scalar(select(Team.id)) is not None:
            return
        for name, people in TEAMS.items():
            team = Team(id=db.new_id(), slug=name.lower().replace(" ", "-"), name=name)
            session.add(team)
            session.flush()
            roles = {
                role: Role(id=db.new_id(), team_id=team.id, name=role, permissions=permissions)
                for role, permissions in (
                    ("Admin", list(PERMISSIONS)),
                    ("Operator", OPERATOR),
                    ("Reader", []),
                )
            }
            session.add_all(roles.values())
            session.flush()
            for person, email, role in people:
                user = User(id=db.new_id(), team_id=team.id, name=person, email=email, role_id=roles[role].id)
                user.password = hashed(PASSWORD)
                session.add(user)
            for connector, title, account, secret in CONNECTIONS[name]:
                made = Connection(
                    id=db.new_id(), team_id=team.id, connector=connector, name=title, account=account
                )
                made.secret = secret
                session.add(made)
