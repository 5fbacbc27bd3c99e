"""Asking for an erasure, and what became of it."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from affidavit.access.scope import Credential
from affidavit.core.subject import SHORTEST_SUBSTRING, Subject
from affidavit.errors import FieldError, NotFound, Refused
from affidavit.log.retention.orders import credential_of, request_of
from affidavit.log.tasks import Task, new_task
from affidavit.storage.tasks import SUBJECT, TaskStore

__all__ = ["ERASE", "ErasureRequest", "Erasures", "request_in"]

ERASE: Final = "erase"
"""The kind of its tasks."""

_SUBJECT_CHARACTERS = 1_024
_BASIS_CHARACTERS = 1_000


class ErasureRequest(NamedTuple):
    """What was asked.

    Attributes:
        subject: the person; ``None`` once the erasure has ended.
        basis: why, in the words of whoever asked.
        include_substrings: whether substring hits are erased too.
        dry_run: whether it is only counted.
        by: who asked.
        address: where the request came from.
    """

    subject: Subject | None
    basis: str
    include_substrings: bool
    dry_run: bool
    by: Credential
    address: str | None


class Erasures:
    """Order erasures and look at them. The work is the worker's (:mod:`affidavit.log.erasure.erase`).

    Args:
        tasks: where they are kept.
        clock: microseconds since 1970 UTC.
        entropy: that many random bytes.
    """

    def __init__(
        self, tasks: TaskStore, *, clock: Callable[[], int], entropy: Callable[[int], bytes]
    ) -> None:
        self._tasks = tasks
        self._clock = clock
        self._entropy = entropy

    def request(
        self,
        organization: str,
        *,
        subject: str,
        basis: str,
        by: Credential,
        include_substrings: bool = False,
        dry_run: bool = False,
        address: str | None = None,
    ) -> Task:
        """Order one; the worker takes it up at its next tick.

        Args:
            organization: whose events.
            subject: id, name, e-mail or address of the person, 1 to 1,024 characters.
            basis: why, 1 to 1,000 characters; must not name the person, because it stays.
            by: who asks; not the person itself, whose name would be recorded anew.
            include_substrings: erase groups in which the text merely occurs, too.
            dry_run: count only; no event is recorded and nothing changes.
            address: the address that the request came from.

        Raises:
            Refused: a rule is broken.
        """
        _check(subject, basis, by, address, include_substrings=include_substrings)
        request: dict[str, Any] = {
            SUBJECT: subject,
            "basis": basis,
            "include_substrings": include_substrings,
            "dry_run": dry_run,
            "address": address,
        }
        task = new_task(
            ERASE,
            organization,
            request_of(by, **request),
            by=by.name,
            now=self._clock(),
            entropy=self._entropy,
        )
        self._tasks.add(task)
        return task

    def list(self, organization: str) -> builtins.list[Task]:
        """The erasures of an organization, newest first, dry runs too; at most 1,000."""
        return self._tasks.list(ERASE, organization)

    def get(self, organization: str, task_id: str) -> Task:
        """One of them.

        Raises:
            NotFound: the organization has none of this id.
        """
        task = self._tasks.get(task_id)
        if task is None or task.kind != ERASE or task.organization != organization:
            raise NotFound()
        return task


def request_in(task: Task) -> ErasureRequest:
    """What a task was asked to do."""
    request = task.request
    subject = request.get(SUBJECT)
    return ErasureRequest(
        None if subject is None else Subject(subject),
        request["basis"],
        request["include_substrings"],
        request["dry_run"],
        credential_of(task),
        request["address"],
    )


def _check(text: str, basis: str, by: Credential, address: str | None, *, include_substrings: bool) -> None:
    errors = []
    if not 1 <= len(text) <= _SUBJECT_CHARACTERS or text != text.strip() or not text.isprintable():
        rule = f"must be 1 to {_SUBJECT_CHARACTERS} printable characters without spaces around them"
        raise Refused(f"subject: {rule}.", (FieldError("/subject", "subject", rule),))
    subject = Subject(text)
    if include_substrings and len(text) < SHORTEST_SUBSTRING:
        rule = f"must have at least {SHORTEST_SUBSTRING} characters where substring hits are included"
        errors.append(FieldError("/subject", "too_short", rule))
    if not 1 <= len(basis.strip()) <= len(basis) <= _BASIS_CHARACTERS:
        errors.append(FieldError("/basis", "length", f"must say why, in 1 to {_BASIS_CHARACTERS} characters"))
    if _names(subject, basis, within=len(text) >= SHORTEST_SUBSTRING):
        errors.append(
            FieldError("/basis", "names_subject", "must not name the person: the basis is recorded")
        )
    who = (by.id, by.name, address or "")
    if any(_names(subject, each, within=include_substrings) for each in who):
        rule = "must be somebody else than whoever asks: the request is recorded with a name and an address"
        errors.append(FieldError("/subject", "asks_itself", rule))
    if errors:
        raise Refused(f"{errors[0].pointer[1:]}: {errors[0].message}.", tuple(errors))


def _names(subject: Subject, text: str, *, within: bool) -> bool:
    return subject.is_within(text) if within else subject.is_value(text) or subject.is_name(text)
