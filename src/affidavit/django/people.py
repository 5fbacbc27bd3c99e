"""The actor that a user of ``django.contrib.auth`` is, and what signing in and out means for a request."""

from __future__ import annotations

from typing import Any

from django.utils.functional import LazyObject, empty

from affidavit.core.event import Actor
from affidavit.recorder.context import current
from affidavit.recorder.fields import anonymous

__all__ = ["actor_of", "signed", "user_of"]


def actor_of(user: Any) -> Actor:
    """The actor that a user is; a model of users need not have names or addresses."""
    if not user.is_authenticated:
        return anonymous
    full_name = getattr(user, "get_full_name", None)
    email_field = getattr(user, "get_email_field_name", None)
    email = getattr(user, email_field(), None) if email_field is not None else None
    return Actor(
        type="user",
        id=str(user.pk),
        name=(full_name() if full_name is not None else "") or user.get_username() or None,
        email=email or None,
    )


def user_of(request: Any) -> Any:
    """The user of a request, without a query where an async view has asked already; ``None`` without one."""
    user = getattr(request, "user", None)
    if isinstance(user, LazyObject) and user.__dict__.get("_wrapped") is empty:
        return getattr(request, "_acached_user", user)
    return user


def signed(user: Any = None, **_more: Any) -> None:
    """Who signs in acts for the rest of the request, and who signs out does, too; one receiver for all."""
    context = current()
    if context is not None and user is not None:
        context.update(actor=actor_of(user))
