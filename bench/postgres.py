"""PostgreSQL databases to measure on: a server of the bench's own, and the raw engine, COPY of events.

Raw means: ready blocks of text that psycopg sends by COPY into the same tables and indexes; no checks of
ours, no objects, no row in the queue.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from affidavit.config import Settings
from affidavit.core.filter import Filter
from affidavit.core.ids import make_id
from affidavit.core.row import COLUMNS, Recorded, Row
from affidavit.core.times import DAY
from affidavit.storage.postgres.connect import Address
from affidavit.storage.postgres.database import PostgresDatabase
from affidavit.storage.postgres.events import PostgresEvents
from affidavit.storage.postgres.migrate import migrate
from affidavit.storage.postgres.partitions import Partitions
from affidavit.wiring import clock as now
from bench.base import Behind, EnginePage, Ready
from bench.data import MAIN
from tests.postgres import Server

__all__ = ["SETTINGS", "PostgresBase", "block", "running"]

SETTINGS: Final = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "max_connections": "100",
}
"""Of the server; everything else is as PostgreSQL comes, fsync and synchronous_commit on."""

_COPY = f"COPY affidavit_events ({', '.join(COLUMNS)}) FROM STDIN"
_BEHIND = (
    "SELECT (SELECT count(*) FROM (SELECT FROM affidavit_pending LIMIT 100000) w)"
    " + p.seq - coalesce(i.seq, 0),"
    " coalesce((SELECT e.recorded_at FROM affidavit_leaves l JOIN affidavit_trees t ON t.tree = l.tree"
    "  JOIN affidavit_events e ON e.organization = t.organization AND e.id = l.id"
    "  WHERE l.seq = coalesce(i.seq, 0) + 1),"
    " (SELECT e.recorded_at FROM (SELECT organization, id FROM affidavit_pending ORDER BY seq LIMIT 1) q"
    "  JOIN affidavit_events e ON e.organization = q.organization AND e.id = q.id))"
    " FROM affidavit_position p LEFT JOIN affidavit_index i ON true"
)
_SIZES = (
    "SELECT coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint,"
    " coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class c"
    " WHERE c.relkind = 'r' AND c.relname ~ %s"
)
_PAGES = {
    "no filter": "",
    "actor": " AND actor_id = %s",
    "action": " AND action = %s",
    "outcome failure": " AND outcome = 'failure'",
}


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """The oldest version that is supported, its files in a folder; those of an earlier run are used again."""
    place = folder / "postgres"
    made = (place / "data" / "PG_VERSION").exists()
    place.mkdir(parents=True, exist_ok=True)
    for each in (folder, *folder.parents):  # the server's account must be able to enter
        if each.stat().st_mode & 0o005 != 0o005 and each.owner() == "root" and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o055)
    server = Server("15", place, dict(SETTINGS))
    if not made:
        server.init()
    server.start()
    try:
        with server.connect() as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
        shown = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
        print(f"PostgreSQL {version}, fsync and synchronous_commit on, {shown}", flush=True)
        yield server
    finally:
        server.stop()


class PostgresBase:
    """See :class:`bench.base.Base`.

    Args:
        server: runs.
        folder: for keys and guards.
        name: of the database.
    """

    engine = "PostgreSQL"

    def __init__(self, server: Server, folder: Path, name: str) -> None:
        self.name = name
        self.url = server.url(f"bench_{name}")
        self.address = Address(self.url)
        self._server = server
        self._folder = folder
        self.settings = Settings(
            database=self.url, data_dir=folder / "postgres-data" / name, listen="127.0.0.1:0"
        )

    def whole(self) -> bool:
        return bool(self._ask("SELECT 1 FROM pg_database WHERE datname = %s", f"bench_{self.name}_whole"))

    def finished(self) -> None:
        """An empty database beside it is the mark, so that it goes and stays with the server's files."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        self._do("CREATE DATABASE {}", f"bench_{self.name}_whole")

    def _ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._server.connect() as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def _do(self, statement: str, *names: str) -> None:
        with self._server.connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def make(self, since: int | None = None) -> None:
        self.drop()
        self._do("CREATE DATABASE {}", f"bench_{self.name}")
        migrate(self.address)
        if since is not None:
            with closing(Partitions(self.address)) as partitions:
                partitions.make_for(make_id(at, 0) for at in range(since - 3 * DAY, now() + DAY, DAY))

    @contextmanager
    def inserting(self, clock: Callable[[], int]) -> Iterator[Callable[[Sequence[Row]], list[Recorded]]]:
        with closing(PostgresDatabase(self.address, clock=clock)) as database:
            yield PostgresEvents(database).insert

    def beside(self, name: str) -> PostgresBase:
        return PostgresBase(self._server, self._folder, name)

    def copy_to(self, name: str) -> PostgresBase:
        other = self.beside(name)
        other.drop()
        self._do("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", f"bench_{name}", f"bench_{self.name}")
        if self.settings.data_dir.exists():
            shutil.copytree(self.settings.data_dir, other.settings.data_dir)
        return other

    def drop(self) -> None:
        shutil.rmtree(self.settings.data_dir, ignore_errors=True)
        for name in (f"bench_{self.name}", f"bench_{self.name}_whole"):
            self._do("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def raw(self, name: str, *, like: bool) -> _Raw:
        base = self.copy_to(name) if like else self.beside(name)
        if not like:
            base.make()
        return _Raw(base)

    def probe(self) -> _Probe:
        return _Probe(self.url)

    def sizes(self) -> Mapping[str, int]:
        found = {}
        with psycopg.connect(self.url) as connection:
            for name, pattern in (
                ("event", "^affidavit_events"),
                ("leaves", "^affidavit_(leaves|tiles|trees|checkpoints)$"),
                ("terms", "^affidavit_(terms|emails)"),
                ("counts", "^affidavit_hourly"),
            ):
                indexes, table = connection.execute(_SIZES, (pattern,)).fetchone() or (0, 0)
                found[name] = table
                found[f"{name} indexes"] = indexes
        return found

    @contextmanager
    def alone(self) -> Iterator[Mapping[str, EnginePage]]:
        # Constant bounds, as whoever knows the months would write it.
        bounds = " AND id >= {} AND id < {}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            low, high = (
                sql.Literal(each)
                for each in connection.execute(
                    "SELECT (array_agg(low ORDER BY low))[1], (array_agg(high ORDER BY high DESC))[1]"
                    " FROM affidavit_months"
                ).fetchone()
                or ()
            )

            def page(where: str) -> EnginePage:
                text = (
                    f"SELECT {', '.join(COLUMNS)} FROM affidavit_events"
                    f" WHERE organization = %s{where}{bounds} ORDER BY id DESC LIMIT 51"
                )
                statement = sql.SQL(text).format(low, high)

                def ask(filter_: Filter) -> object:
                    value = [filter_.conditions[0].values[0]] if "%s" in where else []
                    return connection.execute(statement, [MAIN, *value]).fetchall()

                return ask

            yield {name: page(where) for name, where in _PAGES.items()}


def block(rows: Sequence[Row], now: int) -> bytes:
    """Events as COPY takes them; their ``recorded_at`` is ``now``."""
    return "".join("\t".join(map(_field, (*row.values, now))) + "\n" for row in rows).encode()


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, bytes):
        return value.hex() if len(value) == 16 else f"\\\\x{value.hex()}"
    return str(value).translate(_ESCAPES)


class _Raw:
    def __init__(self, base: PostgresBase) -> None:
        self._base = base
        self._connection = psycopg.connect(base.url)

    def ready(self, rows: Sequence[Row], now: int) -> Ready:
        return Ready(len(rows), block(rows, now))

    def write(self, batches: Sequence[Ready]) -> float:
        begun = time.perf_counter()
        for batch in batches:
            with self._connection.cursor().copy(_COPY) as copy:
                copy.write(batch.content)
            self._connection.commit()
        return sum(batch.events for batch in batches) / (time.perf_counter() - begun)

    def close(self) -> None:
        self._connection.close()
        self._base.drop()


class _Probe:
    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def look(self) -> Behind:
        events, oldest = self._connection.execute(_BEHIND).fetchone() or (0, None)
        if events <= 0 or oldest is None:
            return Behind(max(0, events), 0.0)
        return Behind(events, (now() - oldest) / 1_000_000)

    def close(self) -> None:
        self._connection.close()
