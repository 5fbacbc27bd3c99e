"""What is said of an attempt: ``denied``, ``attempt`` and ``audited``, blocking and async."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from affidavit.core.event import Draft, Resource, Severity
from affidavit.errors import AffidavitError, InvalidEvent, WrongTransaction
from affidavit.recorder.fields import ContextFields, ResourceLike, Said
from affidavit.recorder.recorder import Recorder

__all__ = [
    "Attempt",
    "CallFields",
    "by_names",
    "failure",
    "no_running_loop",
    "not_recorded",
    "watched",
]

_MOST = 1_000
_logger = logging.getLogger("affidavit.recorder")


class CallFields(ContextFields, total=False):
    """What can be said of every call of a function alike."""

    resources: Sequence[ResourceLike]
    severity: Severity
    description: str
    metadata: Mapping[str, Any]


class Attempt:
    """What is to be said of an attempt, with the context and the resources of its beginning.

    After a rollback an ORM's object cannot be asked any more: it is gone, or would be loaded again.

    Args:
        recorder: makes drafts.
        action: dotted name, or an event type.
        fields: of the event.

    Raises:
        TypeError: a keyword is no field.
    """

    def __init__(self, recorder: Recorder, action: Any, fields: Mapping[str, Any]) -> None:
        self._recorder = recorder
        said = recorder.said(action, fields)
        known = dict(said.fields)
        one, many = known.pop("resource", None), known.pop("resources", ())
        found = [self._found(value) for value in ([] if one is None else [one], many) for value in value]
        known["resources"] = tuple(value for value in found if value is not None)
        self._said = Said(said.action, known)

    def _found(self, value: object) -> object:
        if isinstance(value, Resource | tuple):
            return value
        described = self._recorder.describe(value)
        # A new object has no id yet, and if the attempt fails it never gets one.
        return None if described is None or described.id == "None" else described

    def succeeded(self) -> Draft:
        """What was attempted was done."""
        return self._recorder.draft(self._said)

    def failed(self, error: BaseException) -> Draft:
        """It was not; the reason is the caller's, else what was raised."""
        fields = failure(self._said.fields, error)
        try:
            draft = self._recorder.draft(self._said._replace(fields=fields))
            self._recorder.check([draft])
        except InvalidEvent:
            if self._said.fields.get("reason"):
                raise
            # What an exception says may be nothing that an event can hold.
            fields["reason"] = type(error).__name__
            draft = self._recorder.draft(self._said._replace(fields=fields))
        return draft


def failure(fields: Mapping[str, Any], error: BaseException) -> dict[str, Any]:
    """The fields of an attempt that failed: the reason is the caller's, else what was raised."""
    said = {**fields, "outcome": "failure"}
    if not said.get("reason"):
        text = str(error)
        said["reason"] = (f"{type(error).__name__}: {text}" if text else type(error).__name__)[:_MOST]
    return said


def not_recorded(error: BaseException, missing: Exception) -> None:
    """Say on what a block raised, and in the program's log, that its failure could not be recorded.

    The caller goes on to handle what the block raised, and nothing was changed that lacks its event.
    """
    text = missing.message if isinstance(missing, AffidavitError) else str(missing)
    error.add_note(f"That this failed could not be recorded: {type(missing).__name__}: {text}")
    _logger.error("A failed attempt could not be recorded", exc_info=missing)


def no_running_loop(name: str) -> None:
    """Raise where a call that waits for a database would stop an event loop.

    Raises:
        WrongTransaction: a loop runs in this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WrongTransaction(f"{name} waits for the database; in a running loop: await audit.aio.{name}(...)")


@contextmanager
def watched(succeeded: Callable[[], object], failed: Callable[[BaseException], object]) -> Iterator[None]:
    """Call one of the two when the block ends. What it raised goes on; cancelling is a failure, too."""
    try:
        yield
    except BaseException as error:
        try:
            failed(error)
        except Exception as missing:  # noqa: BLE001 - named on the error that goes on, and logged
            not_recorded(error, missing)
        raise
    succeeded()


def by_names(
    function: Callable[..., Any], resource: Callable[..., Any] | None
) -> Callable[..., Mapping[str, Any]]:
    """The fields that follow from the arguments of a call: ``resource``, asked with those it names.

    Args:
        function: whose calls are audited.
        resource: its parameters are named as those of the function.

    Raises:
        TypeError: the function is a generator, or the resource wants what it does not have.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"audited({function.__qualname__}): a generator has no one end that can be recorded")
    if resource is None:
        return lambda *_args, **_kwargs: {}
    signature, wanted = inspect.signature(function), inspect.signature(resource).parameters
    unknown = [name for name in wanted if name not in signature.parameters]
    if unknown:
        raise TypeError(
            f"audited({function.__qualname__}): resource wants {', '.join(unknown)}; the function has"
            f" {', '.join(signature.parameters) or 'no parameters'}"
        )

    def fields(*args: Any, **kwargs: Any) -> Mapping[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return {"resource": resource(**{name: bound.arguments[name] for name in wanted})}

    return fields
