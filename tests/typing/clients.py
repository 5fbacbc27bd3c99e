"""What a type checker knows of the HTTP clients; nobody runs this."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import assert_type

from affidavit import system
from affidavit.recorder.client import AsyncAuditClient, AuditClient, AuditHandler
from affidavit.recorder.spool import DeadLetter

ME = system("tests")


def blocking(url: str, token: str) -> None:
    """It takes the fields of an event, and gives nothing to wait for."""
    with AuditClient(url, token, spool=Path("spool.db"), when_full="block", limit=1_000_000) as client:
        assert_type(client, AuditClient)
        client.record("team.update", actor=ME, resource=("team", 7), changes={"name": ("a", "b")})
        assert_type(client.flush(5.0), bool)
        assert_type(client.close(), bool)
        assert_type(client.last_error, str | None)
        assert_type(client.dead_letters(), list[DeadLetter])
        client.record(7)  # type: ignore[arg-type]
        client.record("team.update", who=ME)  # type: ignore[call-arg]
        client.record("team.update", outcome="maybe")  # type: ignore[arg-type]
    AuditClient(url, token)  # type: ignore[call-arg]
    AuditClient(url, token, spool="spool.db", when_full="drop")  # type: ignore[arg-type]
    AuditClient(url, token, "spool.db")  # type: ignore[call-arg]


async def awaited(client: AuditClient) -> None:
    """The same, awaited."""
    async with AsyncAuditClient(client) as other:
        assert_type(other, AsyncAuditClient)
        await other.record("team.update", actor=ME)
        assert_type(await other.flush(), bool)
        assert_type(await other.close(1.0), bool)
        await other.record("team.update", who=ME)  # type: ignore[call-arg]
        other.record("team.update", actor=ME)  # type: ignore[unused-coroutine]
    AsyncAuditClient("http://host")  # type: ignore[arg-type]


def logged(client: AuditClient) -> None:
    """A handler of ``logging``."""
    logging.getLogger("app").addHandler(AuditHandler(client, logging.WARNING, actor=ME))
    AuditHandler(client, actor="app")  # type: ignore[arg-type]
    AuditHandler()  # type: ignore[call-arg]
