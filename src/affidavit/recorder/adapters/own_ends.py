"""Stores what waited for a transaction of the app's own when an SQLAlchemy session ends it, either way."""

from __future__ import annotations

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from affidavit.recorder.now import transaction_ended

__all__ = ["listen_to_sessions"]

_listening = False


def listen_to_sessions() -> None:
    """Once a process, for all sessions: a session that nothing waits for pays for one look at a set."""
    global _listening  # noqa: PLW0603 - the events of a class are global, too
    if not _listening:
        _listening = True
        event.listen(Session, "after_transaction_end", _ended)


def _ended(_session: Session, transaction: SessionTransaction) -> None:
    # Commit, rollback and a plain close all come by here, with the connection given back.
    if transaction.parent is None:
        transaction_ended()
