"""Typed routes: an operation is declared once, with its types; that gives its handler and its description.

The checks come in one order for all: who is asking, may they, what do they ask (every broken or unknown
parameter is named), what may they reach, what do they send. A handler gets a :class:`Call` in which all of
that is settled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import parse_qsl

import anyio.to_thread
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from affidavit.access.scope import Credential, Scope, scope_of
from affidavit.core.filter import Filter
from affidavit.core.query import PARAMETERS, parse_params
from affidavit.core.scan import decode_json
from affidavit.errors import FieldError, InvalidQuery, MissingAbility, NotSignedIn, Refused
from affidavit.web.authentication import credential_of, peer_address
from affidavit.web.body import read_body
from affidavit.web.instance import Instance

__all__ = ["JSON", "Asked", "Call", "Nothing", "Operation", "Shape", "json_answer", "routes_of"]

JSON = "application/json"
_BODY_LEVELS = 8
_MOST_PARAMETERS = 2000

Q = TypeVar("Q")
T = TypeVar("T")


class Shape(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The base of what goes out: absent fields are left out, and a later version may add some."""


class Asked(Shape, kw_only=True, forbid_unknown_fields=True):
    """The base of what comes in: unknown fields are refused."""


class Nothing(Asked):
    """No parameters, or no body."""


class Call(Generic[Q]):
    """One request after all checks that its operation declares.

    Attributes:
        instance: the running instance.
        request: the request itself.
        credential: who asks; absent only where the operation is open to all.
        query: the parameters, converted.
        filter: the filters, where the operation takes them.
        body: the body, converted.
        path: the parameters in the path.
    """

    def __init__(
        self,
        request: Request,
        credential: Credential | None,
        query: Q,
        filter_: Filter,
        body: Any,
        scope: Scope | None,
    ) -> None:
        self.request = request
        self.instance: Instance = request.app.state.instance
        self._credential = credential
        self.query = query
        self.filter = filter_
        self.body = body
        self.path: dict[str, str] = request.path_params
        self._scope = scope

    @property
    def credential(self) -> Credential:
        """Who asks, in an operation that needs somebody."""
        if self._credential is None:
            raise NotSignedIn()
        return self._credential

    @property
    def scope(self) -> Scope:
        """What the question may see, in an operation that is declared with an ability."""
        if self._scope is None:
            raise NotSignedIn()
        return self._scope

    @property
    def address(self) -> str | None:
        """The address of the client."""
        return peer_address(self.request.scope)

    def note_read(self, scope: Scope | None = None) -> None:
        """Record that the log was read; see :mod:`.reads`. ``scope`` where the handler made its own."""
        reads = self.request.app.state.reads
        reads.note(scope or self.scope, self.request.url.path, self.address, self.filter)

    async def thread(self, work: Callable[[], T]) -> T:
        """Run something that blocks in a thread."""
        return await anyio.to_thread.run_sync(work)


Handler = Callable[[Call[Any]], Awaitable[Response]]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path.

    Attributes:
        method: of HTTP; ``GET`` answers ``HEAD`` too.
        path: below the application's root, with ``{name}`` parameters.
        handler: answers it.
        summary: one line.
        description: more, in Markdown.
        tag: the resource it belongs to.
        ability: what it needs; ``None`` for open to all.
        or_ability: another one that is enough too, within bounds that the handler keeps.
        deep: the parameter at the end of the path that may hold slashes.
        signed: whether it shows what a signed checkpoint must cover.
        scoped: whether it asks about organizations, so that ``organization=`` applies.
        query: the struct of its parameters.
        filters: whether the filters of events are parameters too.
        empty: what an empty value of a parameter means.
        body: the struct of its body, or several of which it is one (which its handler reads itself).
        answers: what each status answers: a type as JSON, or media types of a text.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: dict[int, Any]
    description: str = ""
    ability: str | None = None
    or_ability: str | None = None
    deep: str | None = None
    signed: bool = False
    scoped: bool = False
    query: type[msgspec.Struct] = Nothing
    filters: bool = False
    empty: Literal["refuse", "ignore"] = "refuse"
    body: Any = None


def json_answer(value: Any, status: int = 200) -> Response:
    """A struct as the JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def routes_of(operations: Sequence[Operation]) -> list[Route]:
    """Starlette routes, one a path, so that a wrong method is answered with all that are right."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        path = operation.path.replace(f"{{{operation.deep}}}", f"{{{operation.deep}:path}}")
        by_path.setdefault(path, {})[operation.method] = operation
    return [
        Route(path, _endpoint(methods), methods=[*methods, *(["HEAD"] if "GET" in methods else [])])
        for path, methods in by_path.items()
    ]


def _endpoint(methods: dict[str, Operation]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = methods[method]
        return await operation.handler(await _call(operation, request))

    return endpoint


async def _call(operation: Operation, request: Request) -> Call[Any]:
    credential = await credential_of(request) if operation.ability is not None else None
    ability = ""
    if operation.ability is not None:
        if credential is None:
            raise NotSignedIn()
        ability = _ability(operation, credential)
    query, asked, organization = _question(operation, request)
    scope = None
    if operation.ability is not None and operation.scoped:
        instance: Instance = request.app.state.instance
        bounded = operation.filters and asked.start is not None and asked.end is not None
        if organization is None:
            scope = scope_of(credential, ability, bounded=bounded)
        else:
            scope = await anyio.to_thread.run_sync(
                lambda: scope_of(
                    credential, ability, organization=organization, known=instance.organizations.exists
                )
            )
    body = None
    if operation.body is not None and not isinstance(operation.body, tuple):
        body = _convert_body(await read_body(request.scope, request.receive), operation.body)
    return Call(request, credential, query, asked, body, scope)


def _ability(operation: Operation, credential: Credential) -> str:
    """The ability that a credential asks with; the narrower one only where it lacks the other.

    Raises:
        MissingAbility: it has neither.
    """
    for ability in (operation.ability, operation.or_ability):
        if ability is not None and ability in credential.abilities:
            return ability
    raise MissingAbility(operation.ability or "")


def _question(operation: Operation, request: Request) -> tuple[Any, Filter, str | None]:
    """The parameters of a request, every broken or unknown one named."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("latin-1"),
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise InvalidQuery(f"More than {_MOST_PARAMETERS:,} parameters.") from None
    fields = {field.encode_name: field for field in msgspec.structs.fields(operation.query)}
    own: dict[str, str] = {}
    rest: list[tuple[str, str]] = []
    organization: str | None = None
    errors: list[FieldError] = []
    for name, value in pairs:
        scoped = operation.scoped and name == "organization"
        if not scoped and name not in fields:
            rest.append((name, value))
        elif value == "":
            if operation.empty == "refuse":
                errors.append(FieldError(name, "empty", "must not be empty; leave the parameter out instead"))
        elif name in own or (scoped and organization is not None):
            errors.append(FieldError(name, "repeated", "may be given once", value[:100]))
        elif scoped:
            organization = value
        else:
            own[name] = value
    asked = _filter(operation, rest, errors)
    query = _convert_query(operation.query, own, errors)
    if errors:
        named = "; ".join(f"{error.pointer}: {error.message}" for error in errors[:5])
        raise InvalidQuery(named, tuple(errors[:20]))
    return query, asked, organization


def _filter(operation: Operation, rest: list[tuple[str, str]], errors: list[FieldError]) -> Filter:
    known = []
    for name, value in rest:
        if operation.filters and name in PARAMETERS:
            known.append((name, value))
        else:
            shown = name.encode("utf-8", "backslashreplace").decode()[:100]
            errors.append(FieldError(shown, "unknown", "there is no such parameter here"))
    try:
        return parse_params(known, empty=operation.empty)
    except InvalidQuery:
        # The parser stops at the first fault; asked for each parameter alone it names them all.
        for name in dict.fromkeys(name for name, _ in known):
            try:
                parse_params([pair for pair in known if pair[0] == name], empty=operation.empty)
            except InvalidQuery as error:
                errors += error.errors
        return Filter()


def _convert_query(shape: type[msgspec.Struct], own: dict[str, str], errors: list[FieldError]) -> Any:
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(shape):
        name = field.encode_name
        if name in own:
            try:
                values[field.name] = msgspec.convert(own[name], field.type, strict=False)
            except msgspec.ValidationError as error:
                shown = own[name].encode("utf-8", "backslashreplace").decode()[:100]
                errors.append(FieldError(name, "value", _sentence(error), shown))
        elif field.required and not any(error.pointer == name for error in errors):
            errors.append(FieldError(name, "required", "is needed"))
    return None if errors else shape(**values)


def _convert_body(raw: bytes, shape: Any) -> Any:
    value = decode_json(raw, levels=_BODY_LEVELS)
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        pointer = path.rstrip("`").replace("[", "/").replace("]", "").replace(".", "/")
        problem = FieldError(pointer, "body", text)
        raise Refused(f"{pointer or 'The body'}: {text}.", (problem,)) from error


def _sentence(error: msgspec.ValidationError) -> str:
    text = str(error).partition(" - at `$")[0]
    return f"is not valid: {text[0].lower()}{text[1:]}"
