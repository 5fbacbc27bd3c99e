"""Previous and Next without JavaScript: the address carries the tokens of the pages before.

The reader's continuation tokens go one way only. The address of a page therefore holds its own token, its
number, and the tokens of the pages that led to it (``back``, oldest first), bounded in length: when the
oldest fall off, Previous still works for the newer ones and then offers the first page. Nothing here
grants anything: a token is checked by the reader and never replaces the scope check.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from affidavit.errors import InvalidQuery
from affidavit.web.ui.links import Pair

__all__ = ["BACK_CHARACTERS", "PARAMETERS", "Place"]

BACK_CHARACTERS = 4_000
"""Length of all earlier tokens together in an address, far below the 8 KiB that common proxies take."""

PARAMETERS = ("continuation_token", "back", "page")
_MOST_PAGES = 10_000_000


class Place(msgspec.Struct, frozen=True):
    """Where in the walk over pages a request stands.

    Attributes:
        number: 1 for the first page.
        token: the continuation token of this page; absent on the first.
        back: tokens of pages 2 to ``number - 1``, or the newest of them where they were cut.
    """

    number: int = 1
    token: str | None = None
    back: tuple[str, ...] = ()

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Place:
        """Read it from the parameters :data:`PARAMETERS`; empty values count as absent.

        Raises:
            InvalidQuery: repeated, or no page number.
        """
        tokens = [value for name, value in pairs if name == "continuation_token" and value]
        pages = [value for name, value in pairs if name == "page" and value]
        back = tuple(value for name, value in pairs if name == "back" and value)
        for name, values in (("continuation_token", tokens), ("page", pages)):
            if len(values) > 1:
                raise InvalidQuery.of(name, "repeated", "may be given once")
        if not tokens:
            return cls()
        return cls(_number(pages[0]) if pages else 2, tokens[0], back)

    @property
    def has_previous(self) -> bool:
        """Whether this is any page but the first."""
        return self.token is not None

    @property
    def previous_is_known(self) -> bool:
        """Whether the page before can be reached: the first, or one whose token was kept."""
        return self.has_previous and (self.number <= 2 or bool(self.back))

    def first(self) -> Place:
        """The first page."""
        return Place()

    def previous(self) -> Place:
        """The page before, or the first one where its token fell off."""
        if not self.back:
            return Place()
        return Place(self.number - 1, self.back[-1], self.back[:-1])

    def next(self, token: str) -> Place:
        """The page that ``token`` leads to."""
        back = (*self.back, self.token) if self.token is not None else self.back
        while back and sum(map(len, back)) > BACK_CHARACTERS:
            back = back[1:]
        return Place(self.number + 1, token, back)

    def pairs(self) -> list[Pair]:
        """The parameters that :meth:`of` reads."""
        if self.token is None:
            return []
        back = [("back", token) for token in self.back]
        return [*back, ("page", str(self.number)), ("continuation_token", self.token)]


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 8 and 2 <= int(text) <= _MOST_PAGES):
        raise InvalidQuery.of("page", "integer", "is set by Previous and Next; leave it out", text[:100])
    return int(text)
