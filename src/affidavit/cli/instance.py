"""Opening the product from the command line, and which organization a command works on.

Whoever can read the database file is the operator: the commands act with every ability, under the name
of the person's account on this machine.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from affidavit.access.abilities import LIST
from affidavit.access.operator import local_credential
from affidavit.access.scope import Credential, scope_of
from affidavit.cli.exits import UsageError
from affidavit.cli.output import note
from affidavit.config import Settings, make_data_dir
from affidavit.core.credentials import ALL, INSTANCE, Organizations
from affidavit.core.filter import Filter
from affidavit.errors import InvalidQuery, NotFound

if TYPE_CHECKING:
    from affidavit.wiring import Instance

__all__ = [
    "account",
    "credential",
    "is_new",
    "opened",
    "organizations_of",
    "private_files",
    "readable_organizations",
    "writable_organization",
]


def credential() -> Credential:
    """The person at the command line."""
    return local_credential(account())


def account() -> str:
    """The name of the person's account on this machine; the number of one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def is_new(settings: Settings) -> bool:
    """Whether there is no database yet: no file, or an empty one."""
    from affidavit.wiring import engine_of

    return not engine_of(settings).exists()


@contextmanager
def opened(settings: Settings, *, make: bool = False, source: str = "cli") -> Iterator[Instance]:
    """The instance of these settings, closed at the end.

    Args:
        settings: of the command.
        make: a database that does not exist is made, with a note; else that is an error.
        source: channel of events that name none.

    Raises:
        StorageError: the database cannot be used; the message says what to do.
    """
    from affidavit.wiring import engine_of, open_store

    new = make and is_new(settings)
    if new:
        note(f"A new database is made: {engine_of(settings).name}")
        if settings.database_path is not None and settings.database_path.is_relative_to(
            settings.data_dir.absolute()
        ):
            make_data_dir(settings)
    with private_files():
        instance = open_store(settings, migrate=new, source=source)
    try:
        yield instance
    finally:
        instance.close()


@contextmanager
def private_files() -> Iterator[None]:
    """Files that are made meanwhile can be read by this account alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def writable_organization(settings: Settings) -> str:
    """The organization that a command writes to.

    Raises:
        UsageError: none is named.
    """
    if settings.organization is None:
        raise UsageError("name the organization: --organization NAME (or set AFFIDAVIT_ORGANIZATION)")
    return settings.organization


def readable_organizations(instance: Instance, settings: Settings, asked: Filter) -> Organizations:
    """The organizations that a command reads: the one that is named, else the only one there is.

    Raises:
        UsageError: none is named and there are several.
        NotFound: the one that is named does not exist.
    """
    name = settings.organization
    known = organizations_of(instance)
    if name is None and len(known) == 1:
        name = known[0]
    bounded = asked.start is not None and asked.end is not None
    try:
        return scope_of(
            credential(), LIST, organization=name, bounded=bounded, known=instance.organizations.exists
        ).organizations
    except NotFound:
        raise NotFound(f"There is no organization {name!r}.{_there_are(known)}") from None
    except InvalidQuery as error:
        if name is not None:
            raise
        raise UsageError(
            "name the organization: --organization NAME, or give --start-date and --end-date to read all."
            + _there_are(known)
        ) from error


def organizations_of(instance: Instance) -> list[str]:
    """The names of all that were made or have an event, without the instance's own."""
    made = {organization.name for organization in instance.organizations.list(ALL)}
    return sorted((made | set(instance.reader.organizations())) - {INSTANCE})


def _there_are(known: list[str]) -> str:
    shown = ", ".join(known[:10])
    return f" There are: {shown}{', ...' if len(known) > 10 else ''}" if known else ""
