"""``/api/v1/tokens``: list, create and revoke API tokens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from msgspec import Meta
from starlette.responses import Response

from affidavit.access.abilities import TOKENS_MANAGE
from affidavit.core.credentials import Token
from affidavit.web.api.organizations import moment
from affidavit.web.places import API
from affidavit.web.routes import Asked, Call, Nothing, Operation, Shape, json_answer

__all__ = ["OPERATIONS"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
Time = Annotated[datetime, Meta(tz=True)]


class TokenAnswer(Shape):
    """A token without its text."""

    id: str
    name: str
    organizations: tuple[str, ...]
    abilities: tuple[str, ...]
    created_at: Time
    created_by: str
    expires_at: Time | None = None
    last_used_at: Annotated[Time, Meta(description="Up to a minute behind.")] | None = None
    revoked_at: Time | None = None


class CreatedToken(TokenAnswer, kw_only=True):
    """A new token. Its text is shown here and never again."""

    token: Annotated[str, Meta(description="The text to send as `Authorization: Bearer`.")]


class TokenList(Shape):
    """Tokens, oldest first, revoked ones included."""

    tokens: list[TokenAnswer]


class NewToken(Asked):
    """A token to create."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    organizations: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=1000, description="Those that it reaches.")
    ]
    abilities: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=12, description="None that its maker lacks.")
    ]
    expires_at: Time | None = None


async def list_tokens(call: Call[Nothing]) -> Response:
    """The tokens of the organizations that the credential reaches."""
    reach = call.credential.organizations
    found = await call.thread(lambda: call.instance.tokens.list(reach))
    return json_answer(TokenList(tokens=[_answer(one) for one in found]))


async def create_token(call: Call[Nothing]) -> Response:
    """Make a token."""
    body: NewToken = call.body
    expires_at = None if body.expires_at is None else (body.expires_at - _EPOCH) // _MICROSECOND
    issued = await call.thread(
        lambda: call.instance.tokens.create(
            name=body.name,
            organizations=body.organizations,
            abilities=body.abilities,
            by=call.credential,
            expires_at=expires_at,
            address=call.address,
        )
    )
    return json_answer(CreatedToken(token=issued.text, **_fields(issued.token)), 201)


async def revoke_token(call: Call[Nothing]) -> Response:
    """End a token for good; the process that answers forgets it at once."""
    ended = await call.thread(
        lambda: call.instance.tokens.revoke(call.path["id"], by=call.credential, address=call.address)
    )
    call.instance.authentication.forget()
    return json_answer(_answer(ended))


def _answer(token: Token) -> TokenAnswer:
    return TokenAnswer(**_fields(token))


def _fields(token: Token) -> dict[str, Any]:
    def optional(microseconds: int | None) -> datetime | None:
        return None if microseconds is None else moment(microseconds)

    return {
        "id": token.id,
        "name": token.name,
        "organizations": token.organizations,
        "abilities": token.abilities,
        "created_at": moment(token.created_at),
        "created_by": token.created_by,
        "expires_at": optional(token.expires_at),
        "last_used_at": optional(token.last_used_at),
        "revoked_at": optional(token.revoked_at),
    }


OPERATIONS = [
    Operation(
        method="GET",
        path=f"{API}/tokens",
        handler=list_tokens,
        tag="tokens",
        summary="List API tokens",
        ability=TOKENS_MANAGE,
        answers={200: TokenList},
    ),
    Operation(
        method="POST",
        path=f"{API}/tokens",
        handler=create_token,
        tag="tokens",
        summary="Create an API token",
        ability=TOKENS_MANAGE,
        body=NewToken,
        answers={201: CreatedToken},
    ),
    Operation(
        method="DELETE",
        path=f"{API}/tokens/{{id}}",
        handler=revoke_token,
        tag="tokens",
        summary="Revoke an API token",
        description="Other processes of the server honour it within two seconds, this one at once.",
        ability=TOKENS_MANAGE,
        answers={200: TokenAnswer},
    ),
]
