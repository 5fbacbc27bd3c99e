"""What ``affidavit fsck`` works with: the files as they stand, and the keys that are trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from affidavit.config import Settings
from affidavit.core.note import Verifier, make_verifier, parse_verifier
from affidavit.core.policy import parse_policy
from affidavit.core.unsound import Malformed
from affidavit.errors import ConfigError, KeyMissing, KeyUnusable
from affidavit.log.fsck import Findings, Stores, fsck
from affidavit.log.keys import LogKeys
from affidavit.storage.sqlite.guard_evidence import SqliteGuardEvidence
from affidavit.wiring.engines import engine_of
from affidavit.wiring.log import key_file

__all__ = ["check_everything"]


def check_everything(
    settings: Settings, vkeys: Sequence[str] = (), findings: Findings | None = None
) -> Findings:
    """Check the database of these settings.

    Args:
        settings: of the program.
        vkeys: verifier keys of the log, of any of its origins; without one those of the key file count.
        findings: where faults go.

    Raises:
        ConfigError: a verifier key or the policy file is none.
        StorageError: there is no database.
    """
    given = [_parsed(text).key for text in vkeys]
    held = None if given else _held(settings)

    def keys(origin: str) -> Sequence[Verifier]:
        try:
            if given:
                return [make_verifier(origin, key) for key in given]
            return held.verifiers(origin) if held is not None else ()
        except Malformed:
            return ()  # no key can have this origin as its name: it was edited, which is named with its tree

    with _opened(settings) as stores:
        return fsck(stores, keys, _witnesses(settings), findings=findings)


def _parsed(text: str) -> Verifier:
    try:
        return parse_verifier(text)
    except Malformed as error:
        raise ConfigError(f"--key: {error.message}") from error


def _held(settings: Settings) -> LogKeys | None:
    with suppress(KeyMissing, KeyUnusable):
        return key_file(settings).load()
    return None


def _witnesses(settings: Settings) -> Sequence[Verifier]:
    if settings.policy is None:
        return ()
    try:
        policy = parse_policy(settings.policy.read_text(encoding="utf-8"))
    except (Malformed, UnicodeDecodeError) as error:
        raise ConfigError(f"The policy {settings.policy} cannot be used: {error}") from error
    return [witness.verifier for witness in policy.witnesses]


@contextmanager
def _opened(settings: Settings) -> Iterator[Stores]:
    stores = Stores(*engine_of(settings).evidence(), SqliteGuardEvidence(settings.guard_path))
    try:
        yield stores
    finally:
        stores.app.close()
        stores.log.close()
        stores.search.close()
        if stores.guard is not None:
            stores.guard.close()
