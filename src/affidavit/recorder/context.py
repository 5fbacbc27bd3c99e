"""Who and where: what every event of a request, a task or a script has in common.

A :class:`Context` is a mutable object in a ``ContextVar``. Middleware puts a fresh one there, and whatever
runs in that request fills it in, in a thread of its own as well: a value that was *set* in a copied context
would be lost with the copy, an object that was *changed* is seen by all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Unpack
from uuid import UUID

from affidavit.core.event import CI, Actor, Location, Request, Session
from affidavit.errors import ContextMissing
from affidavit.recorder.fields import CONTEXT_FIELDS, ContextFields, person

__all__ = ["Context", "actor", "context", "current", "entered"]


class Context:
    """Fields that events take where they do not say otherwise.

    Args:
        fields: to begin with.
        asked: fields that somebody else is asked for.

    Attributes:
        fields: by the names of the event's fields.
    """

    __slots__ = ("_asked", "fields")

    def __init__(self, fields: Mapping[str, Any] = {}, asked: Mapping[str, Callable[[], Any]] = {}) -> None:
        self.fields = dict(fields)
        self._asked = dict(asked)

    def ask(self, name: str, how: Callable[[], Any]) -> None:
        """Let a field be found out when the first event needs it; ``None`` as an answer leaves it absent."""
        self._asked[name] = how

    def has(self, name: str) -> bool:
        """Whether a field is known, or somebody will be asked for it."""
        return self.fields.get(name) is not None or name in self._asked

    def otherwise(self, name: str, value: Any) -> None:
        """Give a field a value where nobody says another: neither now, nor when somebody is asked for it."""
        how = self._asked.get(name)
        if how is not None:
            self._asked[name] = lambda: value if (found := how()) is None else found
        elif self.fields.get(name) is None:
            self.fields[name] = value

    def known(self) -> Mapping[str, Any]:
        """The fields, those that had to be asked for among them."""
        for name, how in list(self._asked.items()):
            if name not in self.fields and (value := how()) is not None:
                self.fields.setdefault(name, value)
            # Last, so that another thread that comes meanwhile asks, too, and does not go without.
            self._asked.pop(name, None)
        return self.fields

    def inner(self) -> Context:
        """A context that begins with what this one has."""
        return Context(self.fields, self._asked)

    def update(self, **fields: Unpack[ContextFields]) -> None:
        """Fill in what became known, such as the actor once the session was read.

        Args:
            **fields: of :func:`context`; ``None`` takes one away.

        Raises:
            TypeError: a field that is no part of a context, or a value of another type.
        """
        for name, value in fields.items():
            kind = _KINDS.get(name)
            if kind is None:
                raise TypeError(f"{name!r} is not part of a context; there are: {', '.join(CONTEXT_FIELDS)}")
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be of type {kind.__name__}, not {type(value).__name__}")
        self.fields.update(fields)


_STRUCTS: dict[str, type] = {
    "actor": Actor,
    "on_behalf_of": Actor,
    "session": Session,
    "parent_id": UUID,
    "location": Location,
    "ci": CI,
    "request": Request,
}
_CREDENTIALS = ("api_token", "oauth_client")
_KINDS: dict[str, type] = {name: _STRUCTS.get(name, str) for name in CONTEXT_FIELDS}


class _Entry:
    """A block that was entered.

    Attributes:
        left: the block has ended; a task or a thread that was started in it may still be within.
        lost: it ended where the stack that it was put on cannot be reached, as an async generator does that
            is closed by the event loop.
    """

    __slots__ = ("context", "left", "lost")

    def __init__(self, context: Context | None) -> None:
        self.context = context
        self.left = self.lost = False


_stack: ContextVar[tuple[_Entry, ...]] = ContextVar("affidavit_contexts", default=())
"""The blocks around what runs now, the innermost last.

Not only the innermost: of two generators that are read in turn, the one that was begun first may end first.
"""


def current() -> Context | None:
    """The context of what runs now; ``None`` outside of any."""
    return next((entry.context for entry in reversed(_stack.get()) if not entry.lost), None)


@contextmanager
def entered(inner: Context | None) -> Iterator[None]:
    """Make a context, or none, the current one for the length of the block."""
    entry = _Entry(inner)
    token = _stack.set((*_reachable(), entry))
    try:
        yield
    finally:
        _leave(entry, token)


def _reachable() -> tuple[_Entry, ...]:
    """The stack without what can never be the current context again: a chain of tasks must not grow it."""
    stack = tuple(entry for entry in _stack.get() if not entry.lost)
    return stack[-1:] if stack and stack[-1].left else stack


def _leave(entry: _Entry, token: Token[tuple[_Entry, ...]]) -> None:
    entry.left = True
    stack = _stack.get()
    try:
        _stack.reset(token)
    except ValueError:  # the token is of another context variable scope: a generator was closed elsewhere
        entry.lost = True
    else:
        _stack.set(tuple(each for each in stack if each is not entry))


@contextmanager
def context(**fields: Unpack[ContextFields]) -> Iterator[Context]:
    """Fields of all events that are recorded within the block; it nests, and inner fields win.

    Args:
        **fields: ``actor``, ``on_behalf_of``, ``session``, ``source``, ``organization``, ``project``,
            ``parent_id``, ``ip``, ``location``, ``user_agent``, ``client``, ``ci``, ``request``,
            ``trace_id``, ``span_id``.

    A generator that yields within the block shares it with whoever reads it, until it goes on: give the
    fields to each event there.

    Raises:
        TypeError: a field that is no part of a context, or a value of another type.
    """
    outer = current()
    inner = outer.inner() if outer is not None else Context()
    inner.update(**fields)
    with entered(inner):
        yield inner


def actor(
    id: str | int | UUID | Actor,
    *,
    type: str = "user",
    name: str | None = None,
    email: str | None = None,
    **known: Unpack[ContextFields],
) -> None:
    """Say who acts, for the rest of the current context.

    Threads and tasks that were started in a context share it, so that each can say who acts for all. Where
    they act for different people, each takes ``with audit.context(actor=...)``.

    Args:
        id: of the person or program; or an :class:`~affidavit.core.event.Actor`.
        type: ``user``, ``api_token``, ``oauth_client``, ``service``, ``agent`` or ``system``. A token or a
            client of OAuth2 is the session, too, where the context has none.
        name: as it is now.
        email: as it is now.
        **known: what else became known with them, such as ``organization``; see :func:`context`.

    Raises:
        ContextMissing: there is no context: neither middleware nor ``with audit.context()`` is around.
        TypeError: the id is no id, such as that of an object that was not stored yet; or a field is no part
            of a context.
    """
    here = current()
    if here is None:
        raise ContextMissing(
            "There is no context to put the actor into; add the middleware, or use: with audit.context()"
        )
    who = id if isinstance(id, Actor) else person(type, _identifier(id), name, email)
    known["actor"] = who
    here.update(**known)
    if who.type in _CREDENTIALS:
        here.otherwise("session", Session(type=who.type, token_id=who.id, token_name=who.name))


def _identifier(value: object) -> str:
    if not isinstance(value, str | int | UUID) or isinstance(value, bool):
        raise TypeError(f"the actor's id must be a text, a number or a UUID, not {value!r}")
    return str(value)
