"""From the text of a bearer token or cookie to a credential, without asking the store each time.

A credential that the store confirmed is believed for :data:`BELIEVED` microseconds. So a token that another
process revokes, or that expires, goes on working for at most that long; what this process revokes
ends at once, through :meth:`Authentication.forget`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from affidavit.access.operator import OPERATOR, OperatorToken
from affidavit.access.scope import Credential
from affidavit.access.sessions import WebSessions
from affidavit.access.tokens import TokenSettings
from affidavit.errors import NotSignedIn

__all__ = ["BELIEVED", "Authentication"]

BELIEVED: Final = 2_000_000
"""How long a confirmed credential is believed, in microseconds: two seconds."""

_REMEMBERED = 4096


class Authentication:
    """Recognises credentials, with a short memory.

    Args:
        operator: the operator's token; absent in an app that has none.
        tokens: API tokens.
        sessions: web sessions.
        clock: microseconds since 1970 UTC.
    """

    def __init__(
        self,
        operator: OperatorToken | None,
        tokens: TokenSettings,
        sessions: WebSessions,
        *,
        clock: Callable[[], int],
    ) -> None:
        self._operator = operator
        self._tokens = tokens
        self._sessions = sessions
        self._clock = clock
        self._believed: dict[bytes, tuple[Credential, int]] = {}

    def recall(self, text: str) -> Credential | None:
        """The credential behind a token or cookie that was confirmed a moment ago. Never blocks."""
        known = self._believed.get(sha256(text.encode()).digest())
        if known is None or not 0 <= self._clock() - known[1] < BELIEVED:
            return None
        return known[0]

    def bearer(self, text: str) -> Credential:
        """The credential behind a bearer token. May ask the store: call it in a thread.

        Raises:
            NotSignedIn: the token is malformed, unknown, expired or revoked.
        """
        digest = sha256(text.encode()).digest()
        if self._operator is not None and self._operator.matches(digest):
            return self._remember(digest, OPERATOR)
        return self._confirmed(digest, lambda: self._tokens.authenticate(text))

    def cookie(self, text: str) -> Credential:
        """The credential behind a session's cookie. May ask the store: call it in a thread.

        Raises:
            NotSignedIn: the session is unknown, expired or ended.
        """
        return self._confirmed(sha256(text.encode()).digest(), lambda: self._sessions.authenticate(text))

    def forget(self) -> None:
        """Believe nothing that was confirmed before now. Call it after each revocation or sign-out."""
        self._believed = {}

    def _confirmed(self, digest: bytes, confirm: Callable[[], Credential]) -> Credential:
        believed = self._believed  # forget() replaces it: what was confirmed before that is not kept
        asked = self._clock()
        try:
            credential = confirm()
        except NotSignedIn:
            believed.pop(digest, None)
            raise
        if len(believed) >= _REMEMBERED:
            believed.clear()
        believed[digest] = (credential, asked)
        return credential

    def _remember(self, digest: bytes, credential: Credential) -> Credential:
        self._believed[digest] = (credential, self._clock())
        return credential
