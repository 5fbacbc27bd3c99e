"""``affidavit verify``: checks a bundle, receipts or a live log; needs no database and no setting."""

from __future__ import annotations

import sys
import time
from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.exits import Exit, Failed
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import Json, wants_json
from affidavit.verifier.command import Asked, verdict_of, written

__all__ = ["command"]


def command(
    target: Annotated[
        str, Parameter(help="A bundle, a receipt, NDJSON with proofs, or https://HOST/log/HEX/INCARNATION.")
    ],
    /,
    *,
    key: Annotated[
        list[str] | None,
        Parameter(negative=(), help="Verifier key (C2SP vkey) of the log, or of a witness; repeatable."),
    ] = None,
    policy: Annotated[
        str | None, Parameter(help="C2SP policy file: logs, witnesses and the quorum that is demanded.")
    ] = None,
    since: Annotated[
        str | None, Parameter(help="File of a checkpoint that you kept: nothing before it may differ.")
    ] = None,
    range_: Annotated[
        str | None, Parameter(name="--range", help="Entries that must be there: A:B, or A: to the end.")
    ] = None,
    max_age: Annotated[
        int | None, Parameter(help="Seconds since a trusted witness saw the checkpoint, at most.")
    ] = None,
    origin: Annotated[
        str | None, Parameter(help="Of the log that is meant, where several are trusted.")
    ] = None,
    token: Annotated[
        str | None, Parameter(help="For a live log: an API token with the ability log:read.")
    ] = None,
    json: Json = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Check evidence from a log, offline; trust comes from --key or --policy alone.

    The verdict counts what was verified, redacted, expired, pruned, invalid and failed, and names what
    failed. The exit code is 0 where it is sound, 1 where it is not, 2 where it could not be checked.
    """
    del common  # every command takes these flags; evidence is checked without any setting
    asked = Asked(target, tuple(key or ()), policy, since, range_, max_age, origin, token)
    verdict = verdict_of(asked, int(time.time()))
    sys.stdout.write(written(verdict, as_json=wants_json(json)))
    if verdict.exit_code == 1:
        raise Failed
    if verdict.not_checked is not None:
        raise Failed(code=Exit.USAGE)
