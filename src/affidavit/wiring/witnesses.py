"""What asks the witnesses of the setting ``policy``, built when the worker first comes to it."""

from __future__ import annotations

from pathlib import Path

from affidavit.core.policy import parse_policy
from affidavit.core.unsound import Malformed
from affidavit.errors import ConfigError
from affidavit.log.cosigning import Cosigner
from affidavit.log.witness_client import WitnessError
from affidavit.wiring.clock import clock
from affidavit.wiring.engine import Engine, LogReader, LogSide
from affidavit.wiring.log import key_file

__all__ = ["Cosigning", "open_cosigning"]


class Cosigning:
    """The cosigner of the holder of the worker's lease.

    A policy that cannot be read stops nothing but itself: it is tried again at each step.

    Args:
        engine: of the database.
        policy: the policy file.
        writer: where cosigned checkpoints and alarms go.
    """

    def __init__(self, engine: Engine, policy: Path, writer: LogSide) -> None:
        self._engine = engine
        self._policy = policy
        self._writer = writer
        self._opened: tuple[Cosigner, LogReader] | None = None

    def step(self) -> int:
        """See :meth:`affidavit.log.cosigning.Cosigner.step`.

        Raises:
            WitnessError: the policy cannot be used.
            StorageError: what was cosigned could not be stored.
        """
        if self._opened is None:
            self._opened = self._open()
            self._opened[0].start()
        return self._opened[0].step()

    def _open(self) -> tuple[Cosigner, LogReader]:
        keys = key_file(self._engine.settings)
        store = self._engine.log_reader()
        try:
            cosigner = Cosigner(
                parse_policy(self._policy.read_text(encoding="utf-8")),
                store,
                self._writer.publish,
                self._writer,
                log_keys=lambda origin: keys.load().verifiers(origin),
                clock=clock,
            )
        except (OSError, UnicodeDecodeError, Malformed, ConfigError) as error:
            store.close()
            raise WitnessError(f"No witness is asked: the policy {self._policy}: {error}") from error
        return cosigner, store

    def close(self) -> None:
        """End; answers that are under way are not waited for."""
        if self._opened is not None:
            cosigner, store = self._opened
            cosigner.close()
            store.close()


def open_cosigning(engine: Engine, writer: LogSide) -> Cosigning | None:
    """The cosigner, ``None`` where no policy is set."""
    policy = engine.settings.policy
    return None if policy is None else Cosigning(engine, policy, writer)
