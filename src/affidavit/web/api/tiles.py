"""``/log/{hex}/{incarnation}``: checkpoints and tiles, as C2SP tlog-tiles lays them out.

The path names the tree, so no organization is named; a tree outside the credential's reach looks like one
that does not exist. Answers may be kept by the caller alone, never by a cache that others share.
"""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.responses import Response

from affidavit.access.abilities import LOG_READ
from affidavit.access.scope import Scope, scope_of
from affidavit.core.tiles import WIDTH, Tile, parse_tile_path
from affidavit.core.unsound import Malformed
from affidavit.errors import NotFound
from affidavit.storage.log import Tree
from affidavit.web.routes import Call, Nothing, Operation

__all__ = ["OPERATIONS", "cache_rule"]

_is_hex: Final = re.compile(r"[0-9a-f]{32}\Z").match
_is_number: Final = re.compile(r"[1-9][0-9]{0,17}\Z").match
_VARY: Final = "Authorization, Cookie"


def cache_rule(tile: Tile | None) -> str:
    """How long an answer may be kept: a full tile never changes; entries may be pruned, and must then go.

    Args:
        tile: ``None`` for a checkpoint.
    """
    if tile is None:
        return "private, max-age=1"
    if tile.level is None:
        return "private, max-age=60"
    return "private, max-age=31536000, immutable" if tile.width == WIDTH else "private, max-age=3600"


def _tree(call: Call[Any]) -> tuple[Tree, Scope]:
    """The tree that the path names, and the scope that it was found in.

    Raises:
        NotFound: there is none, or none that the credential reaches.
    """
    hex_digits, incarnation = call.path["hex"], call.path["incarnation"]
    if not _is_hex(hex_digits) or not _is_number(incarnation):
        raise NotFound()
    tree = call.instance.log.tree(hex_digits, int(incarnation))
    if tree is None:
        raise NotFound()
    return tree, scope_of(call.credential, LOG_READ, organization=tree.organization)


async def checkpoint(call: Call[Nothing]) -> Response:
    """The newest signed checkpoint."""

    def work() -> tuple[bytes, Scope]:
        tree, scope = _tree(call)
        return call.instance.tiles.checkpoint(tree).note, scope

    note, scope = await call.thread(work)
    call.note_read(scope)
    headers = {"cache-control": cache_rule(None), "vary": _VARY}
    return Response(note, media_type="text/plain; charset=utf-8", headers=headers)


async def tile(call: Call[Nothing]) -> Response:
    """A tile of hashes or a bundle of entries."""
    try:
        asked = parse_tile_path(f"tile/{call.path['level']}/{call.path['index']}")
    except Malformed:
        raise NotFound("There is no tile at this address.") from None

    def work() -> tuple[bytes, Scope]:
        tree, scope = _tree(call)
        return call.instance.tiles.tile(tree, asked), scope

    content, scope = await call.thread(work)
    call.note_read(scope)
    headers = {"cache-control": cache_rule(asked), "vary": _VARY}
    return Response(content, media_type="application/octet-stream", headers=headers)


OPERATIONS = [
    Operation(
        method="GET",
        path="/log/{hex}/{incarnation}/checkpoint",
        handler=checkpoint,
        tag="log",
        summary="Read the newest checkpoint",
        description="A signed note (c2sp.org/tlog-checkpoint) with origin, size and root hash of the tree, "
        "and the cosignatures of witnesses.",
        ability=LOG_READ,
        signed=True,
        answers={200: ("text/plain",)},
    ),
    Operation(
        method="GET",
        path="/log/{hex}/{incarnation}/tile/{level}/{index}",
        handler=tile,
        tag="log",
        summary="Read a tile",
        description="Hashes or, with the level `entries`, entries (c2sp.org/tlog-tiles), such as "
        "`tile/0/x001/x234/067` and `tile/entries/000.p/17`. Only what the newest checkpoint covers is "
        "there; other spellings, wider and empty tiles are a 404, entries of pruned events one of the type "
        "`pruned`.",
        ability=LOG_READ,
        deep="index",
        signed=True,
        answers={200: ("application/octet-stream",)},
    ),
]
