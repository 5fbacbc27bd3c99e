"""What an address of the table asks for: the filters as they were given, and where in the walk it stands.

The page has five parameters of its own besides the filters of the API: ``search`` (the search line),
``organization``, and the three of :mod:`.paging`. Everything else goes to the parser of filters, which
refuses what it does not know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from affidavit.core.filter import Filter
from affidavit.core.query import parse_params, parse_search
from affidavit.errors import InvalidQuery
from affidavit.web.ui import paging
from affidavit.web.ui.links import Pair
from affidavit.web.ui.paging import Place

__all__ = ["EVERY", "Question"]

EVERY = "*"
"""The value of ``organization`` for all that the credential reaches; no organization has this name."""


class Question(msgspec.Struct, frozen=True):
    """One address, taken apart.

    Attributes:
        given: the filters in the order of the address, empty values left out.
        search: the search line.
        organization: a name, :data:`EVERY`, or absent.
    """

    given: tuple[Pair, ...] = ()
    search: str = ""
    organization: str | None = None
    place: Place = Place()

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Question:
        """Read it from the parameters of an address. Filters are not checked yet.

        Raises:
            InvalidQuery: a parameter of the page breaks its rule.
        """
        own = {"search", "organization", *paging.PARAMETERS}
        return cls(
            given=tuple((name, value) for name, value in pairs if name not in own and value),
            search=_single(pairs, "search") or "",
            organization=_single(pairs, "organization"),
            place=Place.of(pairs),
        )

    def filter(self) -> Filter:
        """The filter of the controls and the search line together.

        Raises:
            InvalidQuery: an unknown parameter, or a value that breaks its rule.
        """
        return parse_params([*self.given, *parse_search(self.search)], empty="ignore")

    @property
    def bounded(self) -> bool:
        """Whether both dates are given, so that a question may go across all organizations."""
        return {"start_date", "end_date"} <= {name for name, _ in self.given}

    def pairs(self, given: Iterable[Pair] | None = None, place: Place | None = None) -> list[Pair]:
        """The address of this question, with other filters or at another place where they are given."""
        return [
            *([("organization", self.organization)] if self.organization else []),
            *([("search", self.search)] if self.search else []),
            *(self.given if given is None else given),
            *(place or Place()).pairs(),
        ]

    def without(self, *names: str) -> list[Pair]:
        """The address at the first page, without the filters of these names."""
        rest = msgspec.structs.replace(
            self,
            search="" if "search" in names else self.search,
            organization=None if "organization" in names else self.organization,
        )
        return rest.pairs([pair for pair in self.given if pair[0] not in names])


def _single(pairs: Sequence[Pair], name: str) -> str | None:
    values = [value for parameter, value in pairs if parameter == name and value]
    if len(values) > 1:
        raise InvalidQuery.of(name, "repeated", "may be given once", values[1][:100])
    return values[0] if values else None
