"""A real store with its log, and strangers who check what leaves it: for tests of proofs and bundles.

The signer here is a key of ``cryptography`` and the naive tree of :mod:`tests.rfc6962`, not the product's.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from base64 import b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from affidavit.core.bundle import verify_bundle
from affidavit.core.filter import Filter
from affidavit.core.manifest import ManifestBody, encode_manifest, manifest_hash, manifest_text
from affidavit.core.query import parse_params
from affidavit.core.row import Row, StoredEvent
from affidavit.core.trust import Demands, Trust
from affidavit.core.verdict import Verdict
from affidavit.export.bundle import Bundle, Bundles
from affidavit.log.entries import Entries
from affidavit.log.reader import Reader
from affidavit.log.receipts import Receipts
from affidavit.log.sequencer import Sequencer
from affidavit.log.tiles import Tiles
from affidavit.recorder.intake import Rights
from affidavit.storage.log import Manifest, Published, Tree
from affidavit.testing.author import Author, Clock, draft
from affidavit.testing.postgres import PostgresEngine
from affidavit.testing.sqlite import SqliteEngine
from tests.mutation.copies import PostgresRaw
from tests.postgres import Server
from tests.rfc6962 import NaiveTree
from tests.signers import Signer, signed

__all__ = ["OURS", "Evidence", "filter_of", "members_of", "rezip", "verify"]

OURS = Rights(reserved=True, may_import=True, may_set_id=True)
"""What Affidavit itself may record."""


class NoCipher:
    """Continuation tokens in the clear."""

    def encrypt(self, plain: bytes, _associated: bytes) -> bytes:
        return plain

    def decrypt(self, sealed: bytes, _associated: bytes) -> bytes | None:
        return sealed


class Evidence:
    """One store, and everything that makes proofs of it.

    Args:
        folder: of its files.
        server: the store is on this PostgreSQL server; on SQLite where there is none.
    """

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        self.clock = Clock()
        self._names = iter(range(1, 1000))
        self.on_server = server is not None
        self.engine: SqliteEngine | PostgresEngine = (
            SqliteEngine(folder, clock=self.clock)
            if server is None
            else PostgresEngine(server, clock=self.clock)
        )
        self.database = self.engine.create()
        self.stores: Any = self.engine.open(self.database)
        self.log = self.stores.log
        self.author = Author(self.clock)
        self.writer: Any = self.stores.log_side()
        self.sequencer = Sequencer(
            self.writer,
            self.writer,
            self.writer,
            host="log.example",
            clock=self.clock,
            entropy=lambda size: next(self._names).to_bytes(size, "big"),
        )
        self.reader = Reader(self.stores.events, self.stores.index, self.log, NoCipher())
        self.entries = Entries(self.log, self.stores.events, self.log)
        self.tiles = Tiles(self.log, self.entries)
        self.receipts = Receipts(self.log, self.entries)
        self.bundles = Bundles(self.log, self.log, self.entries, self.reader, clock=self.clock)

    def close(self) -> None:
        """Let go of the files."""
        self.writer.close()
        self.engine.close()

    def record(self, count: int = 1, organization: str = "acme", **fields: Any) -> list[StoredEvent]:
        """Record events, one every second."""
        rows: list[Row] = []
        for _ in range(count):
            self.clock.forward()
            rows += self.author.rows(draft(**fields), organization=organization)
        return self._stored(rows, organization)

    def ours(self, action: str, organization: str = "acme", **fields: Any) -> StoredEvent:
        """Record an event of Affidavit's own."""
        self.clock.forward()
        (event,) = self._stored(
            self.author.rows(draft(action, **fields), organization=organization, rights=OURS), organization
        )
        return event

    def _stored(self, rows: list[Row], organization: str) -> list[StoredEvent]:
        self.stores.events.insert(rows)
        found = self.stores.events.fetch(organization, [row.id for row in rows])
        order = [row.id for row in rows]
        return sorted(found, key=lambda event: order.index(event.id))

    def seal(self) -> None:
        """Give everything its leaf."""
        while self.sequencer.step():
            pass

    def signer(self, tree: Tree) -> Signer:
        """The key of the instance under the origin of a tree."""
        return Signer(tree.origin)

    def tree(self, organization: str = "acme", incarnation: int = -1) -> Tree:
        """A tree as it stands now; the newest by default."""
        trees = self.log.trees(organization)
        return trees[incarnation if incarnation < 0 else incarnation - 1]

    def leaves(self, tree: Tree, size: int | None = None) -> list[bytes]:
        """The stored leaf hashes."""
        found = self.log.leaves(tree.number, 0, tree.size if size is None else size)
        return [leaf.hash for piece in found for leaf in piece]

    def publish(self, organization: str = "acme", *, seal: bool = True) -> Tree:
        """Sign a checkpoint over what there is; the tree as it is then."""
        if seal:
            self.seal()
        tree = self.tree(organization)
        self.clock.forward()
        note = self.note(tree, naive_root(self.leaves(tree)))
        self.writer.publish([Published(tree.number, tree.size, self.clock(), note, cosigned=True)])
        return self.tree(organization)

    def note(self, tree: Tree, root: bytes, size: int | None = None) -> bytes:
        """A signed checkpoint of a tree that says whatever it is told."""
        text = f"{tree.origin}\n{tree.size if size is None else size}\n{b64encode(root).decode()}\n"
        return signed(text, self.signer(tree).line(text))

    def manifest(self, tree: Tree, body: ManifestBody) -> bytes:
        """Sign and keep a manifest; its hash."""
        written = encode_manifest(body)
        text = manifest_text(written)
        digest = manifest_hash(written)
        note = signed(text, self.signer(tree).line(text))
        self.writer.add(Manifest(digest, tree.organization, body.kind, written, note, self.clock()))
        return digest

    def place(self, event: StoredEvent) -> int:
        """The place of an event; where the sequencer gives it, it must have come by."""
        (found,) = self.stores.events.fetch(event.organization, [event.id])
        return int(found.seq)

    def sql(self, statement: str, *values: Any) -> None:
        """Change the app's file behind the program's back, triggers out of the way."""
        if self.on_server:
            self._superuser(statement, values)
            return
        connection = sqlite3.connect(self.database, isolation_level=None)
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        assert connection.execute(statement, values).rowcount > 0
        connection.close()

    def log_sql(self, statement: str, *values: Any) -> None:
        """The same in the log file."""
        if self.on_server:
            self._superuser(statement, values)
            return
        connection = sqlite3.connect(self.stores.database.log_path, isolation_level=None)
        assert connection.execute(statement, values).rowcount > 0
        connection.close()

    def _superuser(self, statement: str, values: Sequence[Any]) -> None:
        raw = PostgresRaw(self.database, raw=False)
        with raw.connection:
            raw.execute("SET LOCAL session_replication_role = replica")
            assert raw.execute(statement, values).rowcount > 0

    def bundle(self, *, organization: str = "acme", **more: Any) -> tuple[bytes, Bundle]:
        """A bundle, whole, and what it says of itself."""
        asked = more.pop("asked", Filter())
        opened = self.bundles.open(organization, asked, **more)
        return b"".join(opened.chunks()), opened

    def verify(self, bundle: bytes, tree: Tree | None = None) -> Verdict:
        """What an auditor finds who has the key of a tree."""
        return verify(bundle, self.signer(tree or self.tree()))


def naive_root(hashes: list[bytes]) -> bytes:
    """The root over leaf hashes, by the recursion of RFC 6962 section 2.1."""
    tree = NaiveTree([b""] * len(hashes))
    for at, digest in enumerate(hashes):
        tree._known[at, at + 1] = digest
    return tree.root()


def filter_of(**pairs: str) -> Filter:
    """A filter as the API reads it."""
    return parse_params(list(pairs.items()))


class ZipMembers:
    """The members of a zip in memory, as :class:`affidavit.core.members.Members` asks for them."""

    def __init__(self, bundle: bytes) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(bundle))
        self.names: Sequence[str] = self._zip.namelist()

    def stream(self, name: str) -> Any:
        return self._zip.open(name)


def verify(bundle: bytes, *signers: Signer, demands: Demands = Demands()) -> Verdict:  # noqa: B008 - a tuple
    """The verdict of the verifier on a bundle."""
    return verify_bundle(ZipMembers(bundle), Trust.of([each.verifier for each in signers]), demands)


def members_of(bundle: bytes) -> dict[str, bytes]:
    """The members of a bundle by name, as another reader of zips sees them."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert len(names) == len(set(names))
        return {name: opened.read(name) for name in names}


def rezip(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of these members."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members:
            made.writestr(name, content)
    return written.getvalue()


def lines(member: bytes) -> list[Any]:
    """The documents of a member, one a line."""
    return [json.loads(line) for line in member.splitlines()]
