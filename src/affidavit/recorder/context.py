"""Who and where: what every event of a request, a task or a script has in common.

A :class:`Context` is a mutable object in a ``ContextVar``. Middleware puts a fresh one there, and whatever
runs in that request fills it in, in a thread of its own as well: a value that was *set* in a copied context
would be lost with the copy, an object that was *changed* is seen by all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Unpack

from affidavit.core.event import Actor
from affidavit.errors import ContextMissing
from affidavit.recorder.fields import CONTEXT_FIELDS, ContextFields, person

__all__ = ["Context", "actor", "context", "current", "entered"]


class Context:
    """Fields that events take where they do not say otherwise.

    Attributes:
        fields: by the names of the event's fields.
    """

    __slots__ = ("_asked", "fields")

    def __init__(self, fields: Mapping[str, Any] = {}) -> None:
        self.fields = dict(fields)
        self._asked: dict[str, Callable[[], Any]] = {}

    def ask(self, name: str, how: Callable[[], Any]) -> None:
        """Let a field be found out when the first event needs it; ``None`` as an answer leaves it absent."""
        self._asked[name] = how

    def known(self) -> Mapping[str, Any]:
        """The fields, those that had to be asked for among them."""
        for name, how in list(self._asked.items()):
            if name not in self.fields and (value := how()) is not None:
                self.fields[name] = value
            del self._asked[name]
        return self.fields

    def update(self, **fields: Unpack[ContextFields]) -> None:
        """Fill in what became known, such as the actor once the session was read.

        Raises:
            TypeError: a field that is no part of a context.
        """
        for name in fields:
            if name not in CONTEXT_FIELDS:
                raise TypeError(f"{name!r} is not part of a context; there are: {', '.join(CONTEXT_FIELDS)}")
        self.fields.update(fields)


_current: ContextVar[Context | None] = ContextVar("affidavit_context", default=None)


def current() -> Context | None:
    """The context of what runs now; ``None`` outside of any."""
    return _current.get()


@contextmanager
def entered(inner: Context | None) -> Iterator[None]:
    """Make a context, or none, the current one for the length of the block."""
    token = _current.set(inner)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def context(**fields: Unpack[ContextFields]) -> Iterator[Context]:
    """Fields of all events that are recorded within the block; it nests, and inner fields win.

    Args:
        **fields: ``actor``, ``on_behalf_of``, ``session``, ``source``, ``organization``, ``project``,
            ``parent_id``, ``ip``, ``location``, ``user_agent``, ``client``, ``ci``, ``request``,
            ``trace_id``, ``span_id``.

    Raises:
        TypeError: a field that is no part of a context.
    """
    outer = _current.get()
    inner = Context(outer.known() if outer is not None else {})
    inner.update(**fields)
    with entered(inner):
        yield inner


def actor(id: str | Actor, *, type: str = "user", name: str | None = None, email: str | None = None) -> None:
    """Say who acts, for the rest of the current context.

    Args:
        id: of the person or program; or an :class:`~affidavit.core.event.Actor`.
        type: ``user``, ``api_token``, ``oauth_client``, ``service``, ``agent`` or ``system``.
        name: as it is now.
        email: as it is now.

    Raises:
        ContextMissing: there is no context: neither middleware nor ``with audit.context()`` is around.
    """
    here = _current.get()
    if here is None:
        raise ContextMissing(
            "There is no context to put the actor into; add the middleware, or use: with audit.context()"
        )
    here.update(actor=id if isinstance(id, Actor) else person(type, id, name, email))
