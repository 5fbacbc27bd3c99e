"""Connections to a PostgreSQL database, how statements are written here, and what its errors mean to us.

Every statement of this folder and of :mod:`affidavit.storage.sql` has ``?`` where a parameter goes and names
our tables without a schema; :class:`Session` puts both in. No session keeps a state between two
transactions, so that they may go through PgBouncer in transaction mode. An id is 16 bytes wherever it comes
out, and goes in as :func:`uid` of these.
"""

from __future__ import annotations

import re
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format

from affidavit import errors
from affidavit.core.database_url import HOW, masked, readable

__all__ = ["Address", "Pool", "Session", "connect", "translate", "translated", "uid"]

CONNECT_SECONDS = 10
"""How long a new connection may take."""
LOCK_SECONDS = 10
"""How long a statement waits for a lock before it fails: somebody's migration or maintenance holds it."""
_SHARED: set[str] = set()
"""URLs that lead to a PgBouncer, which refuses settings of a session."""
MOST_IDLE_SECONDS = 300.0
"""A connection that was idle for longer is closed rather than used again."""


class Address(NamedTuple):
    """Where a database is, and which schema of it is ours.

    Attributes:
        url: ``postgresql://...``; may hold a password, so it is never shown.
        schema: of our tables.
    """

    url: str
    schema: str = "public"

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    @property
    def shown(self) -> str:
        """For people: host and database, no password."""
        if not readable(self.url):
            return "of the connection string"
        parts = urlsplit(self.url)
        query = dict(parse_qsl(parts.query))
        host = parts.netloc.rpartition("@")[2] or query.get("host", "localhost")
        name = unquote(parts.path.lstrip("/")) or query.get("dbname", "")
        return f"{name or 'database'} at {host}"


def uid(event_id: bytes) -> UUID:
    """An id as a parameter."""
    return UUID(bytes=event_id)


class _IdText(Loader):
    def load(self, data: Buffer) -> bytes:
        return bytes.fromhex(bytes(data).decode().replace("-", ""))


class _IdBinary(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _BoolText(Loader):
    def load(self, data: Buffer) -> int:
        return 1 if bytes(data) == b"t" else 0


class _BoolBinary(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> int:
        return bytes(data)[0]


class _BytesText(Loader):
    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class _BytesBinary(_BytesText):
    format = Format.BINARY


_LOADERS: tuple[tuple[str, type[Loader]], ...] = (
    ("uuid", _IdText),
    ("uuid", _IdBinary),
    ("bool", _BoolText),
    ("bool", _BoolBinary),
)
_RAW: tuple[tuple[str, type[Loader]], ...] = (
    ("text", _BytesText),
    ("text", _BytesBinary),
)


_OURS = re.compile(r"(?<![\w.\"'])affidavit_\w+")


@lru_cache(maxsize=2_048)
def written(statement: str, schema: str) -> bytes:
    """A statement as psycopg takes it: parameters as ``%s``, our names with their schema."""
    quoted = sql.Identifier(schema).as_string(None)
    text = _OURS.sub(lambda found: f"{quoted}.{found[0]}", statement)
    return text.replace("%", "%%").replace("?", "%s").encode()


class Session:
    """One connection, in autocommit mode outside of :meth:`transaction`.

    Args:
        connection: of psycopg.
        address: what it leads to.
    """

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], address: Address) -> None:
        self.connection = connection
        self.address = address

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run one statement; its rows come in binary form."""
        cursor = self.connection.cursor(binary=True)
        return cursor.execute(written(statement, self.address.schema), parameters)

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]]) -> int:
        """Run one statement for each set of parameters, in a pipeline; how many rows they changed."""
        cursor = self.connection.cursor()
        cursor.executemany(written(statement, self.address.schema), parameters)
        return cursor.rowcount

    def copy(self, statement: str) -> AbstractContextManager[psycopg.Copy]:
        """A ``COPY ... FROM STDIN`` or ``TO STDOUT``."""
        return self.connection.cursor().copy(written(statement, self.address.schema))

    def transaction(self) -> AbstractContextManager[Any]:
        """A transaction for the length of the block; within another one, a savepoint."""
        return self.connection.transaction()

    @property
    def broken(self) -> bool:
        """Whether the connection is lost."""
        return self.connection.closed or self.connection.broken

    def close(self) -> None:
        """Close it."""
        self.connection.close()


def connect(
    address: Address, *, raw: bool = False, name: str = "affidavit", patient: bool = False
) -> Session:
    """Open a connection.

    Args:
        address: of the database.
        raw: whether texts come out as UTF-8 bytes, as the log hashes them.
        name: that the database shows for the connection.
        patient: whether it waits for locks for as long as it takes.

    Raises:
        StorageError: in one of its kinds; names host and database, never a password.
    """
    if not readable(address.url):
        raise errors.StorageError(f"The database URL {masked(address.url)} cannot be read: {HOW}.")
    with translated(address):
        connection = _opened(address.url, name, patient=patient)
    # Whatever the database's default is: statements here wait for each other's rows and then look again.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    adapt(connection, raw=raw)
    return Session(connection, address)


def _opened(url: str, name: str, *, patient: bool) -> psycopg.Connection[tuple[Any, ...]]:
    first = options(name, "" if patient else url)
    try:
        return psycopg.connect(url, **first)
    except psycopg.OperationalError as error:
        # PgBouncer takes no setting for the sessions that its clients share; another thread may know already.
        if "startup parameter" not in str(error) or "options" not in first:
            raise
        _SHARED.add(url)
    return psycopg.connect(url, **options(name, url))


def options(name: str, url: str = "") -> dict[str, Any]:
    """How every connection is opened.

    Args:
        name: what the database shows for it.
        url: of the database, for a connection that gives up on a lock after :data:`LOCK_SECONDS`. Behind
            PgBouncer it does not, once :func:`connect` has found that out.
    """
    limited = {}
    if url and url not in _SHARED:
        theirs = conninfo_to_dict(url).get("options") or ""
        limited["options"] = f"-c lock_timeout={LOCK_SECONDS}s {theirs}".rstrip()
    return {
        **limited,
        "autocommit": True,
        "prepare_threshold": None,
        "connect_timeout": CONNECT_SECONDS,
        "application_name": name,
        "client_encoding": "UTF8",
    }


def adapt(connection: psycopg.abc.AdaptContext, *, raw: bool = False) -> None:
    """Let values come out of a connection as this folder has them; see :func:`connect`."""
    for kind, loader in (*_LOADERS, *(_RAW if raw else ())):
        connection.adapters.register_loader(kind, loader)


class Pool:
    """Connections kept between two uses; safe to use from several threads, opened when they are needed.

    Args:
        address: of the database.
        size: connections at most; who needs one more waits.
        raw: see :func:`connect`.
        opens: makes a connection.
    """

    def __init__(
        self,
        address: Address,
        size: int = 10,
        *,
        raw: bool = False,
        opens: Callable[..., Session] = connect,
    ) -> None:
        self.address = address
        self._raw = raw
        self._opens = opens
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[tuple[Session, float]] = []
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection for the length of the block; a broken one is not kept."""
        if not self._places.acquire(timeout=CONNECT_SECONDS):
            raise errors.StorageBusy(f"All connections to {self.address.shown} are in use; try again.")
        try:
            session = self._take()
            try:
                with translated(self.address):
                    yield session
            except BaseException:
                # Whatever state it is in, nobody else shall meet it.
                if not session.broken and session.connection.info.transaction_status != 0:
                    session.close()
                raise
            finally:
                self._give(session)
        finally:
            self._places.release()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction for the length of the block. A connection that died while it was idle is replaced."""
        with self.session() as session, session.transaction():
            yield session

    def _take(self) -> Session:
        oldest = time.monotonic() - MOST_IDLE_SECONDS
        while True:
            with self._lock:
                session, since = self._idle.pop() if self._idle else (None, 0.0)
            if session is None:
                return self._opens(self.address, raw=self._raw)
            if since >= oldest and alive(session.connection):
                return session
            session.close()

    def _give(self, session: Session) -> None:
        with self._lock:
            if not self._closed and not session.broken:
                self._idle.append((session, time.monotonic()))
                return
        session.close()

    def close(self) -> None:
        """Close what is idle; the others close when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for session, _ in idle:
            session.close()


def alive(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server has not hung up: an idle connection has nothing to read, a closed one its end."""
    if connection.closed or connection.broken:
        return False
    try:
        waiting = select.poll()  # select() takes no descriptor above 1,023
        waiting.register(connection.fileno(), select.POLLIN)
        return not waiting.poll(0)
    except (OSError, ValueError, psycopg.Error):
        return False


_KINDS: tuple[tuple[tuple[type[psycopg.Error], ...], type[errors.StorageError], str], ...] = (
    (
        (pg.LockNotAvailable,),
        errors.StorageBusy,
        "is locked by somebody else, such as a migration; try again when that has ended",
    ),
    (
        (pg.QueryCanceled, pg.DeadlockDetected, pg.SerializationFailure),
        errors.StorageBusy,
        "is busy",
    ),
    ((pg.DiskFull, pg.OutOfMemory), errors.StorageFull, "has no space left"),
    (
        (pg.ReadOnlySqlTransaction,),
        errors.StorageReadOnly,
        "cannot be written: it is a standby, in recovery, or read-only",
    ),
    (
        (pg.UndefinedTable, pg.InvalidSchemaName, pg.UndefinedFunction, pg.UndefinedColumn),
        errors.SchemaMissing,
        "lacks tables or functions of Affidavit; run: affidavit migrate",
    ),
)


def translate(error: psycopg.Error, address: Address) -> errors.StorageError:
    """Our error for one of psycopg's; the server's message is quoted, a connection string never."""
    for kinds, ours, sentence in _KINDS:
        if isinstance(error, kinds):
            return ours(f"The database {address.shown} {sentence} ({_first_line(error)}).")
    if isinstance(error, pg.InsufficientPrivilege):
        return errors.StorageReadOnly(
            f"The database {address.shown} refuses this ({_first_line(error)}); the role of the connection"
            " lacks a grant, see: affidavit doctor"
        )
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return errors.StorageError(
            f"The URL of the database {address.shown} cannot be read: a parameter behind the ? is unknown, or"
            " something is not in percent form."
        )
    return errors.StorageError(f"The database {address.shown} failed: {_first_line(error)}.")


def _first_line(error: psycopg.Error) -> str:
    message = error.diag.message_primary or (str(error).strip().splitlines() or ["no reason given"])[0]
    return message.rstrip(".")


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn psycopg's errors into ours; the database is named."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, address) from error
