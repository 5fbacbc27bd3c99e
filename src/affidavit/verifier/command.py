"""What ``affidavit verify`` does, and the same as a program of its own (``affidavit-verify.py``)."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from affidavit.core.bundle import verify_bundle
from affidavit.core.checkpoint import Checkpoint
from affidavit.core.members import lines_of
from affidavit.core.note import MAX_NOTE, parse_verifier
from affidavit.core.policy import MAX_POLICY, Policy, parse_policy
from affidavit.core.receipt import MAX_LINE, verify_receipts
from affidavit.core.strict import integer
from affidavit.core.trust import Demands, Trust
from affidavit.core.unsound import Malformed, Unsound
from affidavit.core.verdict import NotChecked, Verdict, escaped
from affidavit.verifier.archive import Archive
from affidavit.verifier.served import fetch_over_http, verify_served

__all__ = ["Asked", "main", "verdict_of", "written"]

_MAX_CSV_HEAD = 4096
_is_span = re.compile(r"([0-9]{1,19}):([0-9]{0,19})", re.ASCII).fullmatch


class Asked(NamedTuple):
    """One question.

    Attributes:
        target: the path of a bundle, a receipt or NDJSON with proofs, or the address of a live log.
        keys: verifier keys (C2SP vkey) of the log, and of witnesses to count.
        policy: path of a C2SP policy file.
        since: path of a checkpoint that the caller kept.
        span: ``A:B``, or ``A:`` to the end of the tree.
        max_age: seconds.
        origin: of the log that is meant.
        token: for a live log.
    """

    target: str
    keys: tuple[str, ...] = ()
    policy: str | None = None
    since: str | None = None
    span: str | None = None
    max_age: int | None = None
    origin: str | None = None
    token: str | None = None


def verdict_of(asked: Asked, now: int) -> Verdict:
    """Answer a question. Whatever is wrong stands in the verdict.

    Args:
        asked: what to check.
        now: seconds since 1970 UTC.
    """
    try:
        trust = _trust(asked)
        return _verify(asked, trust, _demands(asked, trust, now))
    except NotChecked as error:
        verdict = Verdict()
        verdict.not_checked = error.message
        return verdict
    except Unsound as error:
        verdict = Verdict()
        verdict.refuse("evidence", error)
        return verdict


def _verify(asked: Asked, trust: Trust, demands: Demands) -> Verdict:
    if asked.target.startswith(("http://", "https://")):
        return verify_served(fetch_over_http(asked.target, asked.token), trust, demands)
    path = Path(asked.target)
    if path.is_dir():
        raise NotChecked(f"{path}: this is a folder; a bundle is one zip file")
    head = _head(path)
    if head[:2] == b"PK":
        with Archive(path) as members:
            return verify_bundle(members, trust, demands)
    if head[:1] == b"{":
        with path.open("rb") as opened:
            found = lines_of(opened, asked.target, MAX_LINE, last_may_be_open=True)
            return verify_receipts(_lines(found), trust, demands)
    raise NotChecked(f"{path}: {_what_it_is(path, head)}")


def _lines(found: Iterator[list[bytes]]) -> Iterator[bytes]:
    return (line for lines in found for line in lines)


def _head(path: Path) -> bytes:
    """The first bytes of the file."""
    try:
        if path.exists() and not path.is_file():
            raise NotChecked(f"{path}: this is no ordinary file")
        with path.open("rb") as opened:
            return opened.read(_MAX_CSV_HEAD)
    except OSError as error:
        raise NotChecked(f"{path}: {error.strerror or error}") from None


def _what_it_is(path: Path, head: bytes) -> str:
    if path.suffix.lower() == ".csv" or b"," in head.partition(b"\n")[0]:
        return "CSV is no evidence, nothing in it is proven: export a bundle, or NDJSON with proofs"
    if head.startswith(b"c2sp.org/tlog-proof"):
        return "a proof alone does not hold the event that it proves: fetch the receipt"
    return "this is neither a bundle nor a receipt nor NDJSON with proofs"


def _trust(asked: Asked) -> Trust:
    """Keys and policy, all from outside the evidence."""
    policy: Policy | None = None
    try:
        if asked.policy is not None:
            policy = parse_policy(_small(asked.policy, MAX_POLICY).decode("utf-8"))
        keys = [parse_verifier(key) for key in asked.keys]
    except UnicodeDecodeError:
        raise NotChecked(f"{asked.policy}: a policy must be UTF-8") from None
    except Malformed as error:
        raise NotChecked(error.message) from None
    return Trust.of(keys, policy)


def _demands(asked: Asked, trust: Trust, now: int) -> Demands:
    span: tuple[int, int | None] | None = None
    if asked.span is not None:
        match = _is_span(asked.span)
        if match is None:
            raise NotChecked(f"--range {asked.span}: must be A:B, or A: to the end of the tree")
        span = int(match[1]), int(match[2]) if match[2] else None
    if asked.max_age is not None and asked.max_age < 0:
        raise NotChecked("--max-age must not be negative")
    return Demands(asked.origin, _since(asked.since, trust), span, asked.max_age, now)


def _since(path: str | None, trust: Trust) -> Checkpoint | None:
    if path is None:
        return None
    try:
        return trust.read(_small(path, MAX_NOTE), None).checkpoint
    except Unsound as error:
        raise NotChecked(f"{path}: this is no checkpoint that a trusted key has signed: {error}") from None


def _small(path: str, limit: int) -> bytes:
    try:
        with Path(path).open("rb") as opened:
            content = opened.read(limit + 1)
    except OSError as error:
        raise NotChecked(f"{path}: {error.strerror or error}") from None
    if len(content) > limit:
        raise NotChecked(f"{path}: must be at most {limit} bytes")
    return content


def written(verdict: Verdict, *, as_json: bool) -> str:
    """The verdict as it is printed: one JSON document in ASCII, or lines for people."""
    if as_json:
        return json.dumps(verdict.as_json()).replace("\x7f", "\\u007f") + "\n"
    return "".join(f"{line}\n" for line in verdict.lines())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="affidavit-verify",
        description="Check evidence from an audit log.",
        epilog="Exit code 0: sound, 1: not sound, 2: could not be checked.",
        allow_abbrev=False,
    )
    parser.add_argument("target", metavar="PATH|URL", help="a bundle, receipt or NDJSON file, or a live log")
    parser.add_argument(
        "--key", action="append", default=[], metavar="VKEY", help="of the log, or of a witness"
    )
    parser.add_argument("--policy", metavar="FILE", help="a C2SP policy: logs, witnesses and their quorum")
    parser.add_argument(
        "--since", metavar="FILE", help="a checkpoint that you kept: nothing before it may differ"
    )
    parser.add_argument("--range", metavar="A:B", help="the entries that must be there, from A to before B")
    parser.add_argument(
        "--max-age", type=_seconds, metavar="SECONDS", help="since a witness saw the checkpoint"
    )
    parser.add_argument("--origin", help="of the log that is meant")
    parser.add_argument("--token", help="for a live log: one with the ability log:read")
    parser.add_argument("--json", action="store_true", help="the verdict as one JSON document")
    return parser


def _seconds(text: str) -> int:
    try:
        return integer(text, "--max-age")
    except Malformed as error:
        raise argparse.ArgumentTypeError(error.message) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    given = _parser().parse_args(arguments)
    asked = Asked(
        given.target,
        tuple(given.key),
        given.policy,
        given.since,
        given.range,
        given.max_age,
        given.origin,
        given.token,
    )
    verdict = verdict_of(asked, int(time.time()))
    as_json = given.json or not sys.stdout.isatty()
    sys.stdout.write(written(verdict, as_json=as_json))
    if verdict.not_checked is not None and as_json:
        sys.stderr.write(f"could not be checked: {escaped(verdict.not_checked)}\n")
    return verdict.exit_code
