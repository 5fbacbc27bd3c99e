"""``affidavit token``: make, list and revoke API tokens."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from affidavit.access.abilities import ABILITIES
from affidavit.cli.exits import UsageError
from affidavit.cli.instance import credential, opened, writable_organization
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, line, note, print_json, print_table, wants_json
from affidavit.core.credentials import ALL, Token
from affidavit.core.times import format_time, parse_bound

__all__ = ["create_command", "list_command", "revoke_command"]


def create_command(
    *,
    ability: Annotated[
        list[str], Parameter(negative=(), help=f"What it may do; repeatable: {', '.join(ABILITIES)}.")
    ],
    name: Annotated[str, Parameter(help="What lists and events call it.")] = "cli",
    expires_at: Annotated[
        str | None, Parameter(help="Last day (2026-12-31) or moment (RFC 3339) it is valid; default: never.")
    ] = None,
    json: Annotated[
        bool, Parameter(negative=(), help="The token and what is public of it as JSON; else its text alone.")
    ] = False,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Make a token for one organization. Its text is shown once, here."""
    settings = common.settings()
    organization = writable_organization(settings)
    end = parse_bound(expires_at, "expires_at", end=True) if expires_at is not None else None
    with opened(settings, make=True) as instance:
        issued = instance.tokens.create(
            name=name, organizations=(organization,), abilities=ability, by=credential(), expires_at=end
        )
        # Without --json the text stands alone, for TOKEN=$(affidavit token create ...).
        if json:
            print_json({"token": issued.text, **_public(issued.token)})
            return
        line(issued.text)
        note(f"{issued.token.id}: {', '.join(issued.token.abilities)} in {organization}; shown this once.")


def list_command(*, json: Json = None, common: Common = NOTHING_GIVEN) -> None:
    """List the tokens of an organization, or all; revoked ones too."""
    settings = common.settings()
    with opened(settings) as instance:
        reach = ALL if settings.organization is None else (settings.organization,)
        tokens = [_public(token) for token in instance.tokens.list(reach)]
    if wants_json(json):
        for token in tokens:
            print_json(token)
        return
    columns = ("id", "name", "organizations", "abilities", "created_at", "last_used_at", "state")
    print_table(
        [column.replace("_", " ").capitalize() for column in columns],
        [[token.get(column) for column in columns] for token in tokens],
        empty="No tokens.",
    )


def revoke_command(
    id: Annotated[str, Parameter(help="Public id of the token, tok_...")],
    /,
    *,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """End a token for good."""
    if not id.startswith("tok_"):
        raise UsageError("give the public id of the token, tok_..., as in: affidavit token list")
    with opened(common.settings()) as instance:
        token = instance.tokens.revoke(id, by=credential())
    if wants_json(json):
        print_json(_public(token))
    else:
        line(f"{token.id} is revoked.")


def _public(token: Token) -> dict[str, object]:
    """What may be shown of a token: everything but its hash."""
    shown: dict[str, object] = {
        "id": token.id,
        "name": token.name,
        "organizations": list(token.organizations),
        "abilities": list(token.abilities),
        "created_by": token.created_by,
        "state": "revoked" if token.revoked_at is not None else "active",
    }
    for name in ("created_at", "expires_at", "last_used_at", "revoked_at"):
        moment = getattr(token, name)
        if moment is not None:
            shown[name] = format_time(moment)
    return shown
