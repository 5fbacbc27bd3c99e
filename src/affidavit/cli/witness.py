"""``affidavit witness``: the memory of other people's logs, on a host that they do not control."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from affidavit.cli.log import write_log
from affidavit.cli.options import NOTHING_GIVEN, Common
from affidavit.cli.output import line
from affidavit.config import Settings, make_data_dir, split_listen
from affidavit.errors import ConfigError

__all__ = ["key_show_command", "serve_command"]

Name = Annotated[
    str | None,
    Parameter(help="Name of the witness, such as witness.example.org/w1; needed once, when it is new."),
]


def serve_command(
    *,
    listen: Annotated[str, Parameter(help="Address to listen on, HOST:PORT; port 0 takes a free one.")] = (
        "127.0.0.1:8485"
    ),
    name: Name = None,
    log: Annotated[
        list[str],
        Parameter(negative=(), help="Verifier key of a log to watch; repeatable.", show_default=False),
    ] = [],  # noqa: B006 - cyclopts makes a new one
    instance: Annotated[
        list[str],
        Parameter(
            negative=(),
            show_default=False,
            help="Verifier key of any log of an Affidavit instance; all its organizations are watched, also"
            " those to come. Repeatable.",
        ),
    ] = [],  # noqa: B006 - cyclopts makes a new one
    policy: Annotated[
        Path | None, Parameter(help="Policy file (c2sp.org/tlog-policy) whose log lines name logs to watch.")
    ] = None,
    common: Common = NOTHING_GIVEN,
) -> None:
    """Run a witness (c2sp.org/tlog-witness) until SIGTERM or Ctrl-C.

    It cosigns a checkpoint only when the log's key has signed it and it extends what this witness has seen of
    that log before. Run it where the log's operator cannot reach it. Its key and its memory are witness.key
    and witness.db in the data directory; a witness that has lost its memory does not start.
    """
    from affidavit.witness.serve import serve_witness
    from affidavit.witness.trust import read_trusted
    from affidavit.witness.witness import Witness, open_key

    settings = common.settings()
    host, port = split_listen(listen)
    trusted = read_trusted(log, instance, None if policy is None else _read(policy))
    write_log(settings)
    key, state = open_key(_folder(settings), name, os.urandom)
    with closing(state):
        witness = Witness(key, trusted, state, clock=lambda: time.time_ns() // 1000)

        def ready(port: int) -> None:
            shown = f"[{host}]" if ":" in host else host
            line(f"Witness {key.verifier.name} serves http://{shown}:{port}")
            line(key.verifier.vkey)
            sys.stdout.flush()

        serve_witness(witness, host, port, ready)


def key_show_command(*, name: Name = None, common: Common = NOTHING_GIVEN) -> None:
    """Print the verifier key of the witness in the data directory; --name makes a new one there."""
    from affidavit.witness.witness import open_key

    key, state = open_key(_folder(common.settings()), name, os.urandom)
    state.close()
    line(key.verifier.vkey)


def _folder(settings: Settings) -> Path:
    make_data_dir(settings)
    return settings.data_dir


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text") from error
