"""One witness and its thread: it asks while everybody else goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import NamedTuple

from affidavit.core.unsound import Unsound
from affidavit.errors import AffidavitError
from affidavit.log.asking import WitnessAsker
from affidavit.log.witness_client import WitnessError, WitnessNonsense, WitnessUnreachable
from affidavit.storage.log import Published, Tree

__all__ = ["LONGEST_REST", "REST", "Answered", "Desk", "Offered"]

log = logging.getLogger("affidavit.log")

REST, LONGEST_REST = 1.0, 60.0
"""Seconds until a witness that did not answer is asked again: doubled while it does not."""


class Offered(NamedTuple):
    """A checkpoint is shown to all witnesses."""

    tree: Tree
    published: Published


class Answered(NamedTuple):
    """One witness is done with a checkpoint: a checked line, an error, or neither: a newer one came."""

    tree: Tree
    published: Published
    witness: str
    line: str | None = None
    error: AffidavitError | None = None


class Desk(threading.Thread):
    """The thread of one witness: takes the newest checkpoint of each tree that is due, one by one."""

    def __init__(self, asker: WitnessAsker, bring: Callable[[Answered], None]) -> None:
        super().__init__(name="affidavit-witness", daemon=True)
        self.witness = asker.witness.name
        self._asker = asker
        self._bring = bring
        self._due: dict[int, Offered] = {}
        self._changed = threading.Condition()
        self._rest = 0.0
        self._ended = False

    def offer(self, tree: Tree, published: Published) -> None:
        """Have it asked; an older checkpoint of the tree that still waits is given up for it."""
        with self._changed:
            before = self._due.pop(tree.number, None)
            self._due[tree.number] = Offered(tree, published)
            self._changed.notify()
        if before is not None:
            self._bring(Answered(*before, self.witness))

    def end(self) -> None:
        """Ask no more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Ask until the end."""
        while (due := self._next()) is not None:
            error: AffidavitError
            try:
                self._bring(Answered(*due, self.witness, self._asker.ask(*due)))
                self._rest = 0.0
                continue
            except Unsound as unsound:
                error = WitnessNonsense(f"What the witness {self.witness} answered: {unsound.message}")
            except AffidavitError as affidavit:
                error = affidavit
            except Exception as defect:  # the border of a thread: it must outlive a defect
                log.exception("asking the witness %s failed", self.witness)
                error = WitnessError(f"asking the witness {self.witness} failed: {type(defect).__name__}")
            self._failed(due, error)

    def _next(self) -> Offered | None:
        with self._changed:
            if self._rest:
                self._changed.wait_for(lambda: self._ended, self._rest)
            self._changed.wait_for(lambda: self._ended or bool(self._due))
            return None if self._ended else self._due.pop(next(iter(self._due)))

    def _failed(self, due: Offered, error: AffidavitError) -> None:
        if isinstance(error, WitnessUnreachable):
            self._rest = min(LONGEST_REST, self._rest * 2 or REST)
            with self._changed:
                self._due.setdefault(due.tree.number, due)
        self._bring(Answered(*due, self.witness, error=error))
