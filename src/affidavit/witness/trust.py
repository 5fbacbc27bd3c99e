"""Which keys a witness trusts for which log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from affidavit.core.note import ED25519, Verifier, make_verifier, parse_verifier
from affidavit.core.policy import parse_policy
from affidavit.core.unsound import Malformed
from affidavit.errors import ConfigError

__all__ = ["Trusted", "read_trusted"]

_ORIGIN = re.compile(r"(?P<host>[^+\s]+)/[0-9a-f]{32}/(?:[1-9][0-9]{0,8})", re.ASCII)
"""An origin of Affidavit: host, 32 hex digits of the organization, incarnation."""


class Trusted:
    """The logs that a witness cosigns for.

    Args:
        logs: each is trusted to sign for the origin that it is named after.
        instances: each is trusted, besides, for every origin of Affidavit under the same host: an instance
            has one key, and an origin for each of its organizations.

    Raises:
        ConfigError: there is none, one is of another type, or the name of an instance's key is no origin.
    """

    def __init__(self, logs: Iterable[Verifier], instances: Iterable[Verifier] = ()) -> None:
        self._logs: dict[str, list[Verifier]] = {}
        self._instances: dict[str, list[bytes]] = {}
        self.keys: set[bytes] = set()
        for verifier in (*logs, *(instances := tuple(instances))):
            if verifier.kind != ED25519:
                raise ConfigError(f"{verifier.vkey} is the key of a witness, not of a log")
            self._logs.setdefault(verifier.name, []).append(verifier)
            self.keys.add(verifier.key)
        for verifier in instances:
            match = _ORIGIN.fullmatch(verifier.name)
            if match is None:
                raise ConfigError(
                    f"{verifier.vkey} is not the key of an Affidavit instance: no host/hex/number"
                )
            self._instances.setdefault(match["host"], []).append(verifier.key)
        if not self.keys:
            raise ConfigError("a witness needs the key of at least one log: --log, --instance or --policy")

    def keys_of(self, origin: str) -> Sequence[Verifier]:
        """The keys that may sign for an origin; none for an unknown log."""
        match = _ORIGIN.fullmatch(origin)
        hosted = self._instances.get(match["host"], ()) if match is not None else ()
        derived = [make_verifier(origin, key) for key in hosted]
        return list(dict.fromkeys((*self._logs.get(origin, ()), *derived)))


def read_trusted(logs: Iterable[str], instances: Iterable[str], policy: str | None) -> Trusted:
    """Read what is trusted from the texts of flags and of a policy file, of which only ``log`` lines count.

    Raises:
        ConfigError: a key or a line that cannot be used.
    """
    try:
        listed = parse_policy(policy).log_keys if policy is not None else ()
        return Trusted((*map(parse_verifier, logs), *listed), map(parse_verifier, instances))
    except Malformed as error:
        raise ConfigError(error.message) from error
