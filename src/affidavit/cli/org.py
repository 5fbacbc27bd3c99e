"""``affidavit org``: declare and list organizations."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.instance import credential, opened, organizations_of
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, print_json, print_table, wants_json
from affidavit.core.credentials import ALL, Organization
from affidavit.core.times import format_time

__all__ = ["create_command", "list_command"]


def create_command(
    name: Annotated[
        str, Parameter(help="1 to 128 of A-Z a-z 0-9 . _ : -, first and last a letter or digit.")
    ],
    /,
    *,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Declare an organization. Doing it again changes nothing."""
    with opened(common.settings(), make=True) as instance:
        organization, created = instance.organizations.create(name, credential())
    if wants_json(json):
        print_json({**_public(organization), "created": created})
    else:
        line(f"{organization.name} {'is made' if created else 'was there already'}.")


def list_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """List the organizations that were declared, have a token or have an event."""
    with opened(common.settings()) as instance:
        made = {each.name: _public(each) for each in instance.organizations.list(ALL)}
        found = [made.get(name) or {"name": name, "declared": False} for name in organizations_of(instance)]
    if wants_json(json):
        for organization in found:
            print_json(organization)
        return
    print_table(
        ("Name", "Since", "Declared"),
        [(each["name"], each.get("created_at"), "yes" if each["declared"] else "no") for each in found],
        empty="No organizations.",
    )


def _public(organization: Organization) -> dict[str, object]:
    return {
        "name": organization.name,
        "created_at": format_time(organization.created_at),
        "declared": organization.declared,
    }
