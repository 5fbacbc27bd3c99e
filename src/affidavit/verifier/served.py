"""Verifies a live log over HTTP: the whole tree, or a range of it, recomputed from its entries.

What the server stores of the tree is believed nowhere: every tile is followed to the signed root, every entry
to its tile, and where the whole tree is asked for, its entries are folded into the root once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from affidavit.core.checkpoint import Opened
from affidavit.core.explained import Reasons
from affidavit.core.folded import Folded
from affidavit.core.history import judge_history
from affidavit.core.judge import Judge, Question
from affidavit.core.merkle import HASH_SIZE
from affidavit.core.note import MAX_NOTE
from affidavit.core.tiles import MAX_ENTRY, WIDTH, Tile, TileTree, read_entries
from affidavit.core.trust import Demands, Trust, judge_checkpoint, judge_since
from affidavit.core.unsound import BadProof, Malformed, RootMismatch, Unsound
from affidavit.core.verdict import NotChecked, Verdict

__all__ = ["Fetch", "fetch_over_http", "verify_served"]

Fetch = Callable[[str, int], bytes | None]
"""Gives what stands at a path below the log, at most so many bytes; ``None`` where nothing does."""

TIMEOUT_SECONDS: Final = 30

_MAX_ENTRIES = WIDTH * (MAX_ENTRY + 2)
_GONE = (404, 410)
_is_log = re.compile(r"https?://[^\s?#@]+/log/[0-9a-f]{32}/[1-9][0-9]{0,17}").fullmatch


def verify_served(fetch: Fetch, trust: Trust, demands: Demands) -> Verdict:
    """Check a log that is served as C2SP tlog-tiles.

    Args:
        fetch: from :func:`fetch_over_http`.
        trust: whose signatures count.
        demands: what must be shown; a range limits what is fetched.

    Raises:
        NotChecked: the server cannot be reached or refuses.
    """
    verification = _Verification(fetch, trust, demands)
    try:
        verification.run()
    except Unsound as error:
        verification.verdict.disprove(verification.verdict.end - verification.verdict.start)
        verification.verdict.refuse(verification.place, error, entries=0)
    return verification.verdict


class _Verification:
    def __init__(self, fetch: Fetch, trust: Trust, demands: Demands) -> None:
        self.verdict = Verdict()
        self.place = "checkpoint"
        self._fetch = fetch
        self._trust = trust
        self._demands = demands
        self._broken: set[str] = set()

    def run(self) -> None:
        note = self._fetch("checkpoint", MAX_NOTE)
        if note is None:
            raise NotChecked("the server has no checkpoint at this address")
        opened = self._trust.read(note, self._demands.origin)
        judge_checkpoint(opened, self._trust, self._demands, self.verdict)
        self._size, self._root = opened.checkpoint.size, opened.checkpoint.root
        start, end = self._span()
        self.verdict.start, self.verdict.end = start, end
        self._tree = TileTree(self._tile, self._size, self._root)
        self._check_since(opened)
        parts = opened.checkpoint.origin.split("/")
        judge = Judge(self.verdict, parts[-2] if len(parts) > 2 else "", None, Question(_nothing, (), ()))
        self._entries(judge, start, end)
        self.verdict.warn("tiles hold leaves and no values: a bundle shows what the leaves stand for")
        if self.verdict.pruned:
            self.verdict.warn("tiles hold no manifests: a bundle shows why entries were pruned")
        judge_history(judge.explaining, opened, self.verdict)

    def _span(self) -> tuple[int, int]:
        start, end = self._demands.span or (0, None)
        end = self._size if end is None else end
        if not start <= end <= self._size:
            raise BadProof(f"the range {start}:{end} does not lie within its {self._size} entries")
        return start, end

    def _check_since(self, opened: Opened) -> None:
        since = self._demands.since
        if judge_since(since, opened.checkpoint, self.verdict) or since is None:
            return
        self.place = "tiles"
        if (computed := self._tree.root_at(since.size)) != since.root:
            what = f"rewritten: the tree at the size {since.size} you kept"
            self.verdict.refuse("checkpoint", RootMismatch(what, since.root, computed))

    def _entries(self, judge: Judge, start: int, end: int) -> None:
        """Every bundle of entries that the range touches; what stands outside it is not judged."""
        folded = Folded(0, ()) if (start, end) == (0, self._size) else None
        for number in range(start // WIDTH, -(-end // WIDTH) if start < end else 0):
            first = number * WIDTH
            count = min(WIDTH, self._size - first)
            known = self._known(number, count)
            hashes = []
            pairs = zip(self._bundle(number, count), known, strict=True)
            for index, (entry, expected) in enumerate(pairs, first):
                computed = expected if entry is None else sha256(b"\x00" + entry).digest()
                if computed is None:
                    raise Malformed("a pruned entry", "must have its hash in a tile", index)
                hashes.append(computed)
                if expected is None and folded is not None:
                    expected = computed  # the root will tell
                if start <= index < end:
                    self._judge(judge, index, entry, expected, computed)
            if folded is not None:
                folded.add(hashes)
        self.place = "entries"
        if folded is not None and (self._broken or not self.verdict.failed):
            folded.finish(self._size, (), self._root)

    def _judge(
        self, judge: Judge, index: int, entry: bytes | None, expected: bytes | None, computed: bytes
    ) -> None:
        if entry is None:
            judge.pruned(index, computed)
        elif expected is None:
            self.verdict.fail("entry", "its tile does not lead to the root that was signed", position=index)
        elif expected != computed:
            error = RootMismatch("it is not the leaf that was signed", expected, computed)
            self.verdict.refuse("entry", error, position=index)
        else:
            judge.leaf(index, entry, computed)

    def _known(self, number: int, count: int) -> list[bytes] | list[None]:
        """The leaf hashes of a tile; none where the tile itself does not hold, which is a failure."""
        self.place = Tile(0, number, count).path
        try:
            return [self._tree.leaf(number * WIDTH + offset) for offset in range(count)]
        except Unsound as error:
            if self.place not in self._broken:
                self._broken.add(self.place)
                self.verdict.refuse(self.place, error)
            return [None] * count

    def _bundle(self, number: int, count: int) -> Iterator[bytes | None]:
        """The entries; ``None`` for each that was pruned."""
        tile = Tile(None, number, count)
        self.place = tile.path
        content = self._get(tile, _MAX_ENTRIES)
        if content is None:
            yield from [None] * count
            return
        for entry in read_entries(content, count):
            yield entry or None

    def _tile(self, tile: Tile) -> bytes:
        content = self._get(tile, WIDTH * HASH_SIZE)
        if content is None:
            raise Malformed(tile.path, "must be there, and is not")
        return content

    def _get(self, tile: Tile, limit: int) -> bytes | None:
        """A tile; where a partial one is gone because the tree has grown, the full one, cut."""
        content = self._fetch(tile.path, limit)
        if content is not None or tile.width == WIDTH:
            return content
        full = self._fetch(Tile(tile.level, tile.index).path, limit)
        return None if full is None else _cut(full, tile)


def _cut(content: bytes, tile: Tile) -> bytes:
    if tile.level is not None:
        return content[: tile.width * HASH_SIZE]
    end = 0
    for _ in range(tile.width):
        end += 2 + int.from_bytes(content[end : end + 2], "big")
    return content[:end]


def _nothing() -> Reasons:
    return Reasons(frozenset(), ())


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would carry the token to whomever the answer names."""

    def redirect_request(self, *_: Any) -> None:
        return None


def fetch_over_http(url: str, token: str | None) -> Fetch:
    """How to read a live log.

    Args:
        url: ``https://host/log/<hex>/<incarnation>``.
        token: with the ability ``log:read``.

    Returns:
        A function that raises NotChecked where the server cannot be reached or refuses.

    Raises:
        NotChecked: the address is none of a log.
    """
    base = url.rstrip("/").removesuffix("/checkpoint")
    if _is_log(base) is None:
        raise NotChecked(f"{url}: the address of a log is https://HOST/log/HEX/INCARNATION")
    opener = build_opener(ProxyHandler({}), _NoRedirect())
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def fetch(path: str, limit: int) -> bytes | None:
        return _fetch(opener, Request(f"{base}/{path}", headers=headers), limit)  # noqa: S310 - http or https

    return fetch


def _fetch(opener: OpenerDirector, request: Request, limit: int) -> bytes | None:
    url = request.full_url
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            content: bytes = answer.read(limit + 1)
    except HTTPError as error:
        error.close()
        if error.code in _GONE:
            return None
        hint = "; give a token with the ability log:read (--token)" if error.code in (401, 403) else ""
        raise NotChecked(f"{url}: the server answered {error.code}{hint}") from None
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise NotChecked(f"{url}: {error}") from None
    if len(content) > limit:
        raise Malformed(url, f"must be at most {limit} bytes")
    return content
